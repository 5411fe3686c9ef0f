"""The claims of the blog post, the commands that repeat them, and how to judge them.

"Deep learning for control using augmented Hessian-free optimization", with the script
and the weights that it links.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sources.measure import Measured

# The circle of targets in the post's text; its script has the task's own.
TEXT_CIRCLE = "--target-centre 0,0.35 --target-radius 0.075"

# Enough for every training here; none may take much longer than the others.
LIMIT = "--rollouts 1000"

# Paths count as ugly from here on [% of the reach].
BENT = 20

Judge = Callable[[Sequence[Measured]], str]


class Step(NamedTuple):
    """A command, and the quantities to show.

    `probe NAME` is one of `PROBES`; `hfcontrol compare` has seeds of its own. The facts
    of commands in `STORED` come from tools/bench.json.
    """

    command: str
    shown: tuple[str, ...] = ()


class Claim(NamedTuple):
    """A claim of a source; `judge` turns what came out into a verdict.

    `source` names the table of docs/sources.md. `long` is a longer setting, which takes
    more than the minutes of a claim and runs when asked for.
    """

    name: str
    text: str
    steps: tuple[Step, ...]
    judge: Judge
    source: str = "post"
    long: Step | None = None


def post_loss(more: str = "", plant: str = "arm2") -> str:
    """Return the command that trains on the post's cost, down to its last loss."""
    words = f"hfcontrol train --plant {plant} --effort 0 --target-loss 5e-5 {LIMIT}"
    return f"{words} {more}".rstrip()


SPENT = ("updates", "rollouts", "cpu_seconds", "loss")
PATHS = ("error", "deviation", "peak", "speed_before")


def judge_speed(found: Sequence[Measured]) -> str:
    """Judge whether this loss takes weeks."""
    if not all(measured.reached() for measured in found):
        return "Not repeated: some seeds do not reach the loss within the limit."
    times = 13405 * 32 / max(measured.worst("updates") for measured in found)
    rounded = float(f"{times:.2g}")
    return f"The task does not need weeks: some {rounded:,.0f} times fewer updates."


def judge_reached(found: Sequence[Measured]) -> str:
    """Judge whether a training reaches what the source gave up or did not try."""
    if all(measured.reached() for measured in found):
        return "Can be trained: every seed reaches the target."
    return "Some seeds do not reach the target within the limit."


def judge_running(found: Sequence[Measured]) -> str:
    """Judge why training with a running cost looks stalled."""
    ours = found[0]
    if ours.worst("ratio") > 1.01:
        return "Not explained: the training does not reach the optimum."
    distance = ours.median("optimum_error")
    arrives = found[1].median("error")
    return (
        "Confirmed that the hand hardly moves, and explained: so does the optimum of "
        f"this cost, {distance:.2g} cm short. The training itself succeeds; with other "
        f"weights the hand stops {arrives:.2g} cm off."
    )


def judge_return(found: Sequence[Measured]) -> str:
    """Judge whether a controller of single reaches comes back, and one trained to."""
    single, both = found
    comes_back = single.median("return_error") < 1.0
    first = "Not confirmed" if comes_back else "Confirmed"
    learns = both.worst("error") < 1.0
    second = "learns it" if learns else "does not learn it either"
    return f"{first}; a network that is trained on both movements {second}."


def judge_second_arm(found: Sequence[Measured]) -> str:
    """Judge whether the second arm games the cost, and which cost cures it."""
    plain, *cured = found
    if plain.median("deviation") < BENT:
        bent = f"Not confirmed for these seeds: {plain.median('deviation'):.2g} %"
    else:
        bent = f"Confirmed: paths bend by {plain.median('deviation'):.2g} %"
    best = min(cured, key=lambda measured: measured.median("deviation"))
    options = " ".join(best.command.split()[4:]).partition(LIMIT)[0]
    return (
        f"{bent}, with {plain.median('peak'):.2g} N m. The straightest of the cures, "
        f"`{options.strip()}`: {best.median('deviation'):.2g} %, "
        f"{best.median('peak'):.2g} N m."
    )


def judge_gradient(found: Sequence[Measured]) -> str:
    """Judge whether the gradient without the feedback path points elsewhere."""
    cosines = {name: min(values) for name, values in found[0].facts.items()}
    lowest = min(cosines, key=lambda name: cosines[name])
    value = cosines[lowest]
    places = {
        "cosine_initial": "at initial weights",
        "cosine_trained": "at weights with a low loss",
        "cosine_inputs": "at weights that this gradient leads to",
    }
    if value > 0.5:
        return "Not confirmed: both gradients point the same way."
    return (
        "Confirmed in kind: the cosine is at least "
        f"{cosines['cosine_initial']:.2g} at initial weights, but {value:.2g} at one "
        f"seed {places[lowest]}. The published weights, where -0.12 was measured, are "
        "not part of this repository."
    )


def judge_holds(found: Sequence[Measured]) -> str:
    """Judge whether many updates on the same inputs help one cost and hurt another."""
    held = found[0]
    never = [float("inf")]
    many = held.facts.get("running_32_rollouts", never)[0]
    helps = many < held.facts.get("running_1_rollouts", never)[0]
    hurts = held.median("final_32") > held.median("final_1")
    first = "confirmed" if helps else "not confirmed"
    second = "confirmed" if hurts else "not confirmed"
    return (
        f"That they save rollouts with the running cost is {first}; that they hurt "
        f"with the final cost, after as many rollouts, is {second}."
    )


def judge_library(found: Sequence[Measured]) -> str:
    """Judge whether the post's own library makes progress."""
    if found[0].median("loss") < 1e-2:
        return "Not confirmed: the library trains this task."
    return f"Confirmed: after that time the loss is {found[0].median('loss'):.2g}."


def judge_delays(found: Sequence[Measured]) -> str:
    """Judge whether the thesis' delays and noise can be trained."""
    share = min(found[0].facts["success"])
    if share < 90:
        return "Not solved."
    return f"Can be trained: at the worst seed {share:.3g} % of the reaches succeed."


def judge_differences(found: Sequence[Measured]) -> str:
    """Judge whether the source's differences are mostly rounding."""
    noise = found[0].median("control_1e-06")
    largest = found[0].worst("control_1e-06_max")
    better = found[0].median("control_0.01")
    if noise < 1:
        return "Not confirmed."
    return (
        f"Confirmed: with the script's step of 1e-6 the control's derivative is off by "
        f"{noise:.2g} %, and up to {largest:.2g} %; with 1e-2 it is {better:.1g} %."
    )


CLAIMS = (
    Claim(
        "weeks",
        "Training 32 + 32 units to an error of 5e-5 takes 4 to 5 weeks: 13,405 x 32 "
        "updates.",
        (Step(post_loss(), SPENT), Step(post_loss(TEXT_CIRCLE), SPENT)),
        judge_speed,
    ),
    Claim(
        "units",
        "96 + 96 units were given up after 4 weeks.",
        (Step(post_loss("--hidden 96,96"), SPENT),),
        judge_reached,
    ),
    Claim(
        "small",
        "From the thesis behind the post: a cost of the final state alone can be "
        "optimised with much smaller networks.",
        (Step(post_loss("--hidden 8,8"), SPENT),),
        judge_reached,
    ),
    Claim(
        "penalty",
        "The full loss of the thesis adds a control penalty of 1e-4 per step; the post "
        "trains without it.",
        (
            Step(
                "hfcontrol train --plant arm2 --effort 1e-4 --target-ratio 1.01 "
                f"{LIMIT}",
                ("updates", "ratio", "error", "peak"),
            ),
        ),
        judge_reached,
    ),
    Claim(
        "running",
        "With a running cost, the squared distance of all four states at every step, "
        "training stalls.",
        (
            Step(
                "hfcontrol train --plant arm2 --running 1,1,1,1 --effort 0 "
                f"{TEXT_CIRCLE} --target-ratio 1.001 {LIMIT}",
                ("updates", "ratio", "error", "optimum_error"),
            ),
            Step(
                "hfcontrol train --plant arm2 --running 0.05 --effort 1e-3 "
                f"{TEXT_CIRCLE} --target-ratio 1.01 {LIMIT}",
                ("updates", "ratio", "error", "optimum_error"),
            ),
        ),
        judge_running,
    ),
    Claim(
        "back",
        "The network cannot reach back to the start: it was trained one way only.",
        (
            Step("probe return", ("halfway_error", "return_error")),
            Step(
                "hfcontrol train --plant arm2 --task out_and_back --target-ratio 1.2 "
                f"{LIMIT}",
                ("updates", "ratio", "halfway_error", "error"),
            ),
        ),
        judge_return,
    ),
    Claim(
        "second-arm",
        "A second arm games the cost: it stops exactly on time, on ugly paths. A cure "
        "would be to weigh distance more than velocity, or a running cost.",
        (
            Step(post_loss(plant="arm2_todorov"), PATHS),
            Step(post_loss("--final 1,1,0.1,0.1", plant="arm2_todorov"), PATHS),
            Step(
                "hfcontrol train --plant arm2_todorov --running 0.05 --effort 1e-3 "
                f"--target-ratio 1.01 {LIMIT}",
                PATHS,
            ),
            Step(
                "hfcontrol train --plant arm2_todorov --effort 1e-4 "
                f"--target-ratio 1.01 {LIMIT}",
                PATHS,
            ),
        ),
        judge_second_arm,
    ),
    Claim(
        "held-inputs",
        "Inputs that stay fixed for 32 updates help with a running cost, and hurt with "
        "the cost of the final state.",
        (
            Step(
                "tools/bench holds",
                (
                    "running_1",
                    "running_1_rollouts",
                    "running_32",
                    "running_32_rollouts",
                    "final_1",
                    "final_32",
                ),
            ),
        ),
        judge_holds,
    ),
    Claim(
        "delays",
        "Not done in the post: the delays and the noise of the thesis.",
        (Step("tools/bench tasks --only feedback_delay", ("error", "success")),),
        judge_delays,
    ),
    Claim(
        "library",
        "The post's library, set up as in its script, needs weeks. Here it trains our "
        "compiled arm for 30 s from our initial weights.",
        (Step("tools/bench peers", ("loss", "ms")),),
        judge_library,
    ),
    Claim(
        "gradient",
        "From the script: its library's gradient leaves out the path from the arm's "
        "state to the network's input. On the published weights its cosine with the "
        "true gradient is -0.12.",
        (
            Step(
                "probe gradient",
                ("cosine_initial", "cosine_trained", "cosine_inputs"),
            ),
        ),
        judge_gradient,
    ),
    Claim(
        "differences",
        "From the script: the arm's derivatives are differences of float32 numbers "
        "over 1e-6, and rounding makes them wrong by many percent.",
        (
            Step(
                "probe differences",
                ("state_1e-06", "control_1e-06", "state_0.01", "control_0.01"),
            ),
        ),
        judge_differences,
    ),
)
