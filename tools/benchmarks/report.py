"""What the sections share: one training with thresholds, tables, the machine."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import hand_errors
from hfcontrol.runs.settings import Settings
from hfcontrol.studies.harness import Setup

ROOT = Path(__file__).resolve().parents[2]

# Settings of a problem that trains in a moment, for `--smallest`.
SMALLEST = {"trials": 8, "steps": 10, "hidden": (8, 8)}
SMALLEST_SECONDS = 0.2  # of its training

# A hand error [m] that counts as precise, and its name among the thresholds.
PRECISE = 1e-3
PRECISE_NAME = "hand < 1 mm"

Row = dict[str, Any]
Spent = dict[str, float]


def machine() -> Row:
    """Return the machine and the versions that the figures belong to."""
    import numba
    import scipy

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "scipy": scipy.__version__,
    }


def _processor() -> str:
    """Return the model of the processor, on Linux as its kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class Result:
    """How a training ended, and what it spent until it reached each threshold.

    `reached` holds the seconds, updates, rollouts and products by the name of the
    threshold. `ratio` is None if thresholds are losses, `hand_mm` for a plant without a
    hand.
    """

    reached: dict[str, Spent] = field(default_factory=dict)
    loss: float = np.inf
    ratio: float | None = None
    updates: int = 0
    seconds: float = 0.0
    hand_mm: float | None = None
    theta: Array = field(default_factory=lambda: np.zeros(0))

    def value(self, by: str) -> float:
        """Return the last "loss" or "ratio"."""
        return getattr(self, by)

    def spent(self, threshold: str, measure: str) -> float | None:
        """Return what was spent until a threshold was reached; None if it was not."""
        spent = self.reached.get(threshold)
        return None if spent is None else spent[measure]


def train_to(thresholds: Sequence[float], by: str = "loss", **chosen: Any) -> Result:
    """Train until the last threshold of the true loss, or of its ratio, is reached.

    by: "loss", or "ratio" for the ratio to the optimal loss.
    chosen: the settings of the training, which may limit it.
    """
    settings = Settings(**chosen)
    setup = Setup(settings)
    # Only a ratio needs the optimum, which takes iLQR some time.
    optimal = setup.training_scenarios().optimal if by == "ratio" else 1.0
    last = min(thresholds)
    result = Result()
    products = 0

    for event, seconds in setup.events(setup.initial_state()):
        state = event.state
        if event.kind == "update":
            products += event.report.iterations
        spent = {
            "seconds": seconds,
            "updates": state.updates,
            "rollouts": state.rollouts,
            "products": products,
        }
        value = state.loss / optimal
        for threshold in thresholds:
            if value <= threshold:
                result.reached.setdefault(str(threshold), spent)

        # In a hold on the linear model, only rollouts between holds are true ones.
        is_true = event.kind != "update"
        if is_true or not event.rollout.linear_model.replaces_plant:
            errors = hand_errors(event.loop, event.rollout)
            if errors is not None:
                result.hand_mm = 1e3 * float(errors.mean())
                if errors.mean() < PRECISE:
                    result.reached.setdefault(PRECISE_NAME, spent)

        result.loss = state.loss
        result.ratio = value if by == "ratio" else None
        result.updates = state.updates
        result.seconds = seconds
        result.theta = state.theta
        # Updates on the linear model keep the loss of the hold's start, so that only
        # the rollout after a hold confirms what it reached.
        is_confirmed = value <= last and is_true
        if is_confirmed or (str(last) in result.reached and settings.hold != "model"):
            break
    return result


def spread(values: Sequence[float | None]) -> Row:
    """Return median and worst of the values that exist, and the number missing."""
    existing = [value for value in values if value is not None]
    missing = len(values) - len(existing)
    if not existing:
        return {"median": None, "worst": None, "missing": missing}
    median = float(np.median(existing))
    return {"median": median, "worst": max(existing), "missing": missing}


def show(number: float | None, digits: int = 3) -> str:
    """Return a number for a table, a dash for None."""
    return "-" if number is None else f"{number:.{digits}g}"


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table with columns as wide as their contents."""
    lines = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        pairs = zip(line, widths, strict=True)
        padded = [cell.ljust(width) for cell, width in pairs]
        print("  ".join(padded).rstrip(), flush=True)


def check_start(loss: float, loop: Any, theta: Array) -> None:
    """Raise RuntimeError if a program does not start from our loss of theta (P,)."""
    expected = loop.rollout(theta).loss
    # Wide enough for float32, too narrow for another arm or network.
    if not np.isclose(loss, expected, rtol=1e-3):
        raise RuntimeError(
            f"this program starts from a loss of {loss}, hfcontrol from {expected}: "
            "they must do the same task with the same weights; compare its arm and "
            "network with plants/arm2.py and hfcontrol/network"
        )
