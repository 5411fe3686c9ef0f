"""Advice: what limits the result of a training, and which commands may help.

Everything follows from numbers that were measured (`Signs`). The causes, in the order
in which they are named:

optimum      a ratio below 0.999: the optimum is not the best known
trials       held-out trials cost far more than training trials, each against its own
             optimum: the network is overfitted to the training trials
roughness    no step lowers the loss, and its gradient has not vanished
minimum      training ended far from the optimum of its own trials
saturation   the optimum keeps its controls at their limits, which a network only
             approaches
observation  the network sees a part of the state
network      training ended near the optimum of its own trials, but not at it
noise        the optimum knows what is drawn in advance
"""

from itertools import chain
from typing import NamedTuple

from hfcontrol.evaluation.evaluation import LEAST_RATIO

# A ratio up to this one leaves nothing to improve.
GOOD_RATIO = 1.01

# Training that converges above this ratio has found a poor minimum.
POOR_RATIO = 1.5

# Held-out trials that exceed their optimum by this factor more than training trials,
# and by a part of it at least, show overfitting.
GAP = 3.0
LEAST_GAP = 0.02

# A part of the optimal controls at their limits that limits a network.
SATURATED = 0.3

# More trials, and a larger network, by these factors.
MORE_TRIALS = 4
MORE_UNITS = 2

# Most commands that are worth reading.
MOST_COMMANDS = 2


class Signs(NamedTuple):
    """What was measured of a training.

    `stop` is the word of its `Stop`; `training` and `held_out` are the ratios to
    optimal, None if there are none, and `saturated` is the part of the optimal controls
    at a limit. `trials` and `hidden` are the sizes of task and network, and `climbs`
    tells whether a ladder has tried other ways already. `chance` are the settings whose
    values are drawn so that no controller knows them in advance. `used` are the options
    of a curriculum that the training had.
    """

    stop: str
    training: float | None
    held_out: float | None
    saturated: float
    trials: int
    hidden: tuple[int, ...]
    chance: tuple[str, ...]
    sees_part: bool
    remembers: bool
    climbs: bool
    used: tuple[str, ...]
    seed: int


class Way(NamedTuple):
    """Something to try: a command, "train" or "evaluate", with more options."""

    command: str
    options: tuple[str, ...]


class Cause(NamedTuple):
    """What limits a result, in one line, and ways to change it, the best one first."""

    sentence: str
    ways: tuple[Way, ...]


def find_causes(signs: Signs) -> list[Cause]:
    """Return what limits a result; nothing if it is as good as it can be."""
    judges = (
        _judge_optimum,
        _judge_trials,
        _judge_minimum,
        _judge_saturation,
        _judge_network,
        _judge_noise,
    )
    causes = [judge(signs) for judge in judges]
    return [cause for cause in causes if cause is not None]


def best_ways(causes: list[Cause]) -> list[Way]:
    """Return at most two different ways: the best one of each cause, then others."""
    most = max((len(cause.ways) for cause in causes), default=0)
    by_rank = [
        cause.ways[rank]
        for rank in range(most)
        for cause in causes
        if rank < len(cause.ways)
    ]
    return list(dict.fromkeys(by_rank))[:MOST_COMMANDS]


def _judge_optimum(signs: Signs) -> Cause | None:
    ratios = [r for r in (signs.training, signs.held_out) if r is not None]
    if not ratios or min(ratios) >= LEAST_RATIO:
        return None
    count = f"{MORE_TRIALS * signs.trials}"
    sentence = (
        f"optimum: the controller beats it ({min(ratios):.4g}); trials share their "
        "optimal laws, so more of them find better ones"
    )
    way = Way("evaluate", ("--trials", count, "--judge", "all"))
    return Cause(sentence, (way,))


def _judge_trials(signs: Signs) -> Cause | None:
    if signs.training is None or signs.held_out is None:
        return None
    excess, held_out = signs.training - 1.0, signs.held_out - 1.0
    if held_out <= GAP * max(excess, 0.0) + LEAST_GAP:
        return None
    sentence = (
        f"trials: too few ({signs.trials}); ratio {signs.held_out:.4g} on held-out "
        f"trials, {signs.training:.4g} on those of the training"
    )
    way = Way("train", ("--trials", f"{MORE_TRIALS * signs.trials}"))
    return Cause(sentence, (way,))


def _judge_minimum(signs: Signs) -> Cause | None:
    is_poor = signs.training is not None and signs.training > POOR_RATIO
    ended = signs.stop in ("converged", "failed", "validated")
    if signs.stop == "stalled":
        sentence = "roughness: the loss is too rough for derivatives to help"
    elif ended and is_poor:
        sentence = f"minimum: training converged at {signs.training:.4g} of the optimum"
    else:
        return None

    chances = [("grow", "12"), ("race", "4"), ("guide", "32")]
    if signs.stop == "stalled":
        chances.reverse()
    ways = [
        Way("train", (f"--{name}", value))
        for name, value in chances
        if name not in signs.used and not signs.climbs
    ]
    # What a ladder or options have tried does not help; other weights may.
    ways.append(Way("train", ("--seed", f"{signs.seed + 1}")))
    ways.append(_larger_network(signs))
    return Cause(sentence, tuple(ways))


def _judge_saturation(signs: Signs) -> Cause | None:
    if not _could_be_better(signs) or signs.saturated < SATURATED:
        return None
    sentence = (
        f"saturation: {100 * signs.saturated:.0f} % of the optimal controls are at "
        "their limits, which a network only approaches"
    )
    return Cause(sentence, ())


def _judge_network(signs: Signs) -> Cause | None:
    ended = signs.stop in ("converged", "failed", "validated")
    is_near = signs.training is not None and signs.training <= POOR_RATIO
    if not ended or not is_near or not _could_be_better(signs):
        return None
    if signs.sees_part and not signs.remembers:
        sentence = "observation: the network sees a part of the state without a memory"
        return Cause(sentence, (Way("train", ("--recurrent", "all")),))
    if signs.sees_part:
        sentence = (
            "observation: the network sees a part of the state or sees it late; the "
            "optimum knows all of it"
        )
        return Cause(sentence, (_larger_network(signs),))
    if signs.chance:
        return None
    units = "+".join(map(str, signs.hidden))
    sentence = (
        f"network: too small ({units} units); training converged at "
        f"{signs.training:.4g} of the optimum of its own trials"
    )
    return Cause(sentence, (_larger_network(signs),))


def _judge_noise(signs: Signs) -> Cause | None:
    if not signs.chance or not _could_be_better(signs):
        return None
    names = ", ".join(name.replace("_", " ") for name in signs.chance)
    sentence = (
        "noise: a part of the ratio cannot be removed, because the optimum knows what "
        f"is drawn in advance ({names})"
    )
    options = [(f"--{name.replace('_', '-')}", "0") for name in signs.chance]
    return Cause(sentence, (Way("evaluate", tuple(chain(*options))),))


def _could_be_better(signs: Signs) -> bool:
    """Whether a ratio is above a good one."""
    return any(
        r is not None and r > GOOD_RATIO for r in (signs.training, signs.held_out)
    )


def _larger_network(signs: Signs) -> Way:
    """Return the way of more hidden units."""
    units = ",".join(str(MORE_UNITS * size) for size in signs.hidden)
    return Way("train", ("--hidden", units))
