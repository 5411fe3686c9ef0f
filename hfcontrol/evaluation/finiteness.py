"""Where an evaluation is not finite, in words: trials, steps and states."""

from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array


def describe_not_finite(comparison: Any) -> list[str]:
    """Return a sentence about the controller's trials, and one about the optimum's.

    Each is left out if all its trials are finite. `comparison` is a `Comparison`
    (evaluation.py).
    """
    sentences = []
    losses = comparison.rollout.losses
    x = comparison.rollout.x
    is_bad = ~np.isfinite(losses) | ~np.isfinite(x).all(axis=(0, 1))
    if is_bad.any():
        trial = int(np.argmax(is_bad))
        sentences.append(
            f"{_count(is_bad)} not finite under this controller: "
            f"{_describe_trial(comparison, trial)}"
        )
    if comparison.optimum is not None:
        is_bad = ~np.isfinite(comparison.optimum.losses)
        if is_bad.any():
            judged = comparison.judged
            trial = int(np.argmax(is_bad))
            trial = trial if judged is None else int(judged[trial])
            sentences.append(
                f"{_count(is_bad)} not finite under any controls that iLQR has tried, "
                f"the first one is trial {trial}: there is no optimum to compare with"
            )
    return sentences


def _count(is_bad: Array) -> str:
    """Return how many trials (N,) are bad, with a verb."""
    number = int(is_bad.sum())
    verb = "is" if number == 1 else "are"
    return f"{number} of {len(is_bad)} trials {verb}"


def _describe_trial(comparison: Any, trial: int) -> str:
    """Return where a trial is not finite: the first step and state, or the cost."""
    plant, x = comparison.loop.plant, comparison.rollout.x[:, :, trial]
    is_lost = ~np.isfinite(x)
    if not is_lost.any():
        return f"the cost of trial {trial} is {comparison.rollout.losses[trial]}"
    step = int(np.argmax(is_lost.any(axis=1)))
    state = int(np.argmax(is_lost[step]))
    before = "" if step == 0 else f", after {x[step - 1, state]:.4g}"
    return (
        f"{plant.state[state]} is {x[step, state]} in trial {trial} at step {step}"
        f"{before}"
    )
