"""Numbers of a task: those in TASKS, and those that a user replaces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfcontrol.errors import TaskError, UsageError
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.generators import GENERATORS
from hfcontrol.tasks.weights import (
    WEIGHTS,
    Weight,
    describe_bad_entry,
    find_bad_weight,
)

# Entries that a task in TASKS may have.
ENTRIES = (
    "generator",
    "draw",
    "sees",
    "preview",
    "start",
    "spread",
    "target",
    "centre",
    "radius",
    "targets",
    "range",
    "random",
    "trials",
    "judged",
    "steps",
    "final",
    "final_at",
    "running",
    "effort",
    "effort_about",
    "residual",
    "residuals",
    "residual_weight",
    "push",
    "success",
    "train",
)

# Norms that a task's `success` may limit.
SUCCESS = ("hand", "rates", "state")

SPACES = ("joint", "hand")

# Numbers of a task that a user may replace, by the names of the settings.
REPLACEABLE = {
    "trials": "trials",
    "steps": "steps",
    "effort": "effort",
    "running": "running",
    "final": "final",
    "target_centre": "centre",
    "target_radius": "radius",
}
TARGET_OPTIONS = ("target_centre", "target_radius")


@dataclass(frozen=True)
class TaskOptions:
    """Numbers of a task that a user replaces; None keeps the task's number.

    Weights are one number or one by component, as weights.py describes. Raises
    UsageError if one is out of range.
    """

    trials: int | None = None
    steps: int | None = None
    effort: Weight | None = None
    running: Weight | None = None
    final: Weight | None = None
    space: str = "joint"
    target_centre: tuple[float, float] | None = None
    target_radius: float | None = None
    disturbances: Disturbances = field(default_factory=Disturbances)

    def __post_init__(self) -> None:
        for name in ("trials", "steps"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UsageError(f"`{name}` {count}: must be at least 1")
        for name in WEIGHTS:
            weight = getattr(self, name)
            fault = None if weight is None else describe_bad_entry(weight)
            if fault:
                raise UsageError(f"`{name}` {weight}: {fault}")
        centre, radius = self.target_centre, self.target_radius
        if centre is not None and not _is_point(centre):
            raise UsageError(
                f"`target_centre` {centre}: must be two finite coordinates x, y [m]"
            )
        if radius is not None and not 0 < radius < np.inf:
            raise UsageError(
                f"`target_radius` {radius}: must be finite and above zero [m]"
            )
        if self.space not in SPACES:
            raise UsageError(f"`space` {self.space}: must be joint or hand")


def check_numbers(plant: Plant, name: str, numbers: Mapping[str, Any]) -> None:
    """Raise TaskError if a task has unknown, missing or unsuitable entries."""
    where = f"task {name} of {plant.name}"

    for entry in numbers:
        if entry not in ENTRIES:
            known = ", ".join(ENTRIES)
            raise TaskError(f"{where}: unknown entry {entry!r}; known are {known}")

    for entry in ("trials", "steps"):
        if entry not in numbers:
            raise TaskError(f"{where}: entry {entry} is missing; add a whole number")

    generator = numbers.get("generator")
    if not callable(numbers.get("draw")) and generator not in GENERATORS:
        raise TaskError(
            f"{where}: no draw function and no known generator ({generator!r}); known "
            f"generators are {', '.join(GENERATORS)}"
        )

    if numbers.get("judged", 1) < 1:
        raise TaskError(
            f"{where}: judged {numbers['judged']}, the number of trials for its "
            "evaluation, must be at least 1"
        )

    fault = find_bad_weight(plant, numbers)
    if fault:
        raise TaskError(f"{where}: {fault}")

    if "centre" in numbers and not _is_point(numbers["centre"]):
        raise TaskError(
            f"{where}: centre {numbers['centre']!r} must be two finite coordinates "
            "x, y [m]"
        )

    success = numbers.get("success", {})
    for entry in () if callable(success) else success:
        if entry not in SUCCESS or (entry == "hand" and plant.hand is None):
            raise TaskError(
                f"{where}: success limits {entry!r}; it can limit "
                f"{', '.join(SUCCESS)}, and hand only if the plant has hand_x and "
                "hand_y among its OUTPUT names"
            )


def _is_point(value: Any) -> bool:
    """Whether a value is a sequence of two finite numbers."""
    try:
        point = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return point.shape == (2,) and bool(np.isfinite(point).all())
