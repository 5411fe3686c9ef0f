"""The claims of the CTPG paper, the commands that repeat them, and how to judge them.

Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021).
"""

from collections.abc import Sequence

from sources.measure import Measured
from sources.post import Claim, Step

# Trainings count as solved within this factor of the other method's final cost.
CLOSE = 1.1

# The cost of a stabilised quadrotor, by Hessian-free, and the most that counts as one.
HESSIAN_FREE = 50.0
STABLE = 2 * HESSIAN_FREE

TRAINED = (
    "ctpg_first",
    "ctpg_last",
    "ctpg_evaluations",
    "euler_last",
    "source_last",
    "source_evaluations",
)


def judge_gradients(found: Sequence[Measured]) -> str:
    """Judge whether CTPG's gradients need fewer evaluations than Euler's steps."""
    prices = found[0]
    factors = {
        name: min(
            prices.median(f"{name}_{plant}") / prices.median(f"ctpg_{plant}")
            for plant in ("linear", "diffdrive")
        )
        for name in ("euler", "rk4", "discrete")
    }
    if factors["euler"] < 1:
        return "Not confirmed."
    rounded = float(f"{factors['euler']:.1g}")
    return (
        f"Confirmed against Euler's method, which needs more than {rounded:,.0f} times "
        f"as many. Fixed steps of order 4 need {factors['rk4']:.2g} times as many, the "
        f"exact adjoint of the adaptive steps {factors['discrete']:.2g} times."
    )


def judge_backsolve(found: Sequence[Measured]) -> str:
    """Judge whether integrating backward unlearns what CTPG learns."""
    ours, theirs = found[0].worst("ctpg_loss"), found[0].median("backsolve_loss")
    if ours > CLOSE * 2.0:
        return "Not repeated: CTPG does not reach the optimum of 2 either."
    if theirs < CLOSE * 2.0:
        return "Not confirmed: integrating backward stays at the optimum too."
    return (
        f"Confirmed: CTPG ends at {ours:.3g}, the optimum is 2; integrating backward "
        f"gets to {found[0].median('backsolve_lowest'):.3g} and ends at {theirs:.3g}."
    )


def judge_training(found: Sequence[Measured]) -> str:
    """Judge whether CTPG ends lower than Euler's method with as many evaluations."""
    ours = found[-1].median("ctpg_last")
    euler = found[-1].median("euler_last")
    if not ours < found[-1].median("ctpg_first"):
        return "Not repeated: CTPG learns nothing with these settings."
    if ours * CLOSE < euler:
        return "Confirmed: CTPG ends lower, with as many evaluations."
    if euler * CLOSE < ours:
        return "Not confirmed: Euler's method ends lower, with as many evaluations."
    verdict = "With as many evaluations both end at about the same cost"
    if "source_last" not in found[-1].facts:
        return f"Not confirmed: {verdict[0].lower()}{verdict[1:]}."
    source = found[-1].median("source_last")
    times = found[-1].median("source_evaluations") / found[-1].median(
        "ctpg_evaluations"
    )
    if source * CLOSE < ours or times < CLOSE:
        return f"Not confirmed: {verdict[0].lower()}{verdict[1:]}."
    return (
        f"Confirmed for the paper's steps of Euler's method, which take {times:.2g} "
        f"times the evaluations. {verdict}."
    )


def judge_stages(found: Sequence[Measured]) -> str:
    """Judge whether the robot learns to drive to the goal."""
    first, ours = found[-1].median("ctpg_first"), found[-1].median("ctpg_last")
    if ours > first / 2:
        return f"Not repeated: the cost ends at {ours:.3g}."
    return (
        "Repeated, from larger initial weights; Euler's method with as many "
        "evaluations learns it too."
    )


def judge_swing_up(found: Sequence[Measured]) -> str:
    """Judge whether CTPG learns to swing the pole up, which hangs at first."""
    hanging, ours = found[-1].median("ctpg_first"), found[-1].median("ctpg_last")
    # Half the cost of hanging is that of a pole that lies level.
    if ours <= hanging / 2:
        return judge_training(found)
    euler = min(found[-1].median("euler_last"), found[-1].median("source_last"))
    others = (
        "Euler's method does" if euler <= hanging / 2 else "nor does Euler's method"
    )
    return f"Not repeated: CTPG does not swing the pole up, {others}."


def judge_quadrotor(found: Sequence[Measured]) -> str:
    """Judge whether CTPG stabilises the quadrotor, and Euler's method does not."""
    ours = found[-1].median("ctpg_last")
    euler = found[-1].median("euler_last")
    if ours <= STABLE < euler:
        return f"Confirmed: CTPG ends at {ours:.3g}, Euler's method at {euler:.3g}."
    if ours <= STABLE:
        return "Not confirmed: both stabilise it."
    return (
        f"Not repeated: neither stabilises it. CTPG ends at {ours:.3g} and Euler's "
        f"method at {euler:.3g}; Hessian-free ends at about {HESSIAN_FREE:g} "
        "(`hfcontrol compare orders`)."
    )


CLAIMS = (
    Claim(
        "euler-gradients",
        "Figure 1: for the same accuracy, CTPG's gradient takes fewer evaluations than "
        "back-propagation through Euler's steps. Here: evaluations for an error of "
        "1e-6, linear plant and robot.",
        (
            Step(
                "tools/bench comparisons",
                tuple(
                    f"{name}_{plant}"
                    for plant in ("linear", "diffdrive")
                    for name in ("ctpg", "discrete", "rk4", "euler")
                ),
            ),
        ),
        judge_gradients,
        "ctpg",
    ),
    Claim(
        "backsolve",
        "Neural ODEs, which integrate the state backward, unlearn a stable closed loop "
        "once they have found it. CTPG stays there.",
        (
            Step(
                "probe backsolve",
                ("ctpg_loss", "backsolve_lowest", "backsolve_loss", "backsolve_error"),
            ),
        ),
        judge_backsolve,
        "ctpg",
    ),
    Claim(
        "stages",
        "Figure 4: a robot on two wheels learns to drive to the goal. Here from ten "
        "times the paper's initial weights; with its own, nothing is learned.",
        (Step("hfcontrol compare diffdrive --updates 2000", TRAINED),),
        judge_stages,
        "ctpg",
    ),
    Claim(
        "electric",
        "Figure 5: on eight electrodes CTPG is better than Euler's method in "
        "evaluations and in time, over 32 trainings.",
        (Step("hfcontrol compare electric --seeds 1", TRAINED),),
        judge_training,
        "ctpg",
        Step("hfcontrol compare electric --seeds 32", TRAINED),
    ),
    Claim(
        "cartpole",
        "Figure 6: on MuJoCo's cartpole, by finite differences, CTPG learns to swing "
        "up with fewer evaluations than Euler's method, over 5 trainings.",
        (Step("hfcontrol compare cartpole --seeds 1", TRAINED),),
        judge_swing_up,
        "ctpg",
        Step("hfcontrol compare cartpole --seeds 5", TRAINED),
    ),
    Claim(
        "quadrotor",
        "Figure 7: CTPG stabilises a quadrotor, where Euler's method with as many "
        "evaluations cannot, over 5 trainings.",
        (Step("hfcontrol compare quadrotor --seeds 1", TRAINED),),
        judge_quadrotor,
        "ctpg",
        Step("hfcontrol compare quadrotor --seeds 5", TRAINED),
    ),
)
