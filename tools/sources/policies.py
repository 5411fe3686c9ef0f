"""The claims about time-continuous cells and policy gradients, and how to judge them.

Hasani et al., "Liquid Time-constant Networks" (AAAI 2021), with the report on cells
that built on it, and the papers of PPO and A2C.
"""

from collections.abc import Sequence

from sources.measure import Measured
from sources.post import Claim, Step

# The return at which CartPole-v1 counts as solved.
SOLVED = 475

# The success [%] from which a motor task counts as learned.
LEARNED = {"success_ltc": 95, "success_mlp": 95, "success_reach": 80}

CARTPOLE = ("ltc_return", "mlp_return")
BLIND = ("blind_ltc_return", "blind_mlp_return")
RATIOS = ("hf_reach", "hf_balance", "ppo_reach", "ppo_balance")


def judge_cells(found: Sequence[Measured]) -> str:
    """Judge which cells train to the optimum at every seed."""
    missing = found[0].facts["missing"]
    names = found[0].facts["cells"]
    late = [name for name, count in zip(names, missing, strict=True) if count]
    if not late:
        return "Confirmed for every cell."
    words = ", ".join(f"`{name}`" for name in late)
    return f"Confirmed for all cells but {words}, which miss it at some seed."


def judge_cartpole(found: Sequence[Measured]) -> str:
    """Judge whether PPO solves CartPole-v1, and what a memory is worth there."""
    facts = found[0].facts
    worst = min(min(facts[name]) for name in CARTPOLE)
    solved = "Confirmed" if worst >= SOLVED else f"Not confirmed, {worst:.3g} at worst"
    with_memory = min(facts["blind_ltc_return"])
    without = max(facts["blind_mlp_return"])
    if with_memory >= SOLVED > without:
        return (
            f"{solved}. Without velocities every seed with a memory solves it, and "
            "none without."
        )
    return f"{solved}. That a memory makes up for velocities is not confirmed."


def judge_a2c(found: Sequence[Measured]) -> str:
    """Judge whether A2C solves CartPole-v1."""
    returns = found[0].facts["a2c_return"]
    solved = sum(value >= SOLVED for value in returns)
    return f"{solved} of {len(returns)} trainings solve it ({SOLVED} or more)."


def judge_motor(found: Sequence[Measured]) -> str:
    """Judge in how many trainings PPO learns a motor task."""
    facts = found[0].facts

    def count(name: str) -> str:
        good = sum(value >= LEARNED[name] for value in facts[name])
        return f"{good} of {len(facts[name])}"

    return (
        f"`balance` is learned to {LEARNED['success_ltc']} % success in "
        f"{count('success_ltc')} trainings (LTC) and {count('success_mlp')} (MLP), "
        f"`reach` to {LEARNED['success_reach']} % in {count('success_reach')}."
    )


def judge_derivative(found: Sequence[Measured]) -> str:
    """Judge what the plant's derivative is worth on motor tasks."""
    first, second = found[0].facts["hf_reached"], found[0].facts["ppo_reached"]
    return (
        f"Hessian-free gets within 10 % of the optimum in {first[0]:g} of 5 trainings "
        f"(`reach`) and {first[1]:g} of 5 (`balance`); PPO, which has no derivative, "
        f"in {second[0]:g} and {second[1]:g}."
    )


CLAIMS = (
    Claim(
        "cells",
        "Time-continuous cells can be trained for control: to within 2 % of the "
        "optimum of a motor task.",
        (Step("tools/bench cells", ("cell_seconds",)),),
        judge_cells,
        "policies",
    ),
    Claim(
        "cartpole-ppo",
        "PPO trains networks of liquid time-constant cells, whose memory makes up for "
        "velocities that are not observed: CartPole-v1, largest return 500.",
        (Step("tools/bench policies", (*CARTPOLE, *BLIND)),),
        judge_cartpole,
        "policies",
    ),
    Claim(
        "a2c",
        "Of A2C's reference implementations: CartPole-v1 is solved within 500,000 "
        "steps. Here after 300,000.",
        (Step("tools/bench policies --only A2C", ("a2c_return",)),),
        judge_a2c,
        "policies",
    ),
    Claim(
        "motor",
        "The report's aim: motor policies of time-continuous cells, learned by PPO. It "
        "has no results. Here: success on held-out trials.",
        (Step("tools/bench motor", tuple(LEARNED)),),
        judge_motor,
        "policies",
    ),
    Claim(
        "derivative",
        "Not in the sources: the same networks and motor tasks with and without the "
        "plant's derivative.",
        (Step("tools/bench methods", RATIOS),),
        judge_derivative,
        "policies",
    ),
)
