"""Numbers of a task that a user replaces."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.weights import (
    WEIGHTS,
    Weight,
    describe_bad_entry,
)

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


def _is_point(value: Any) -> bool:
    """Whether a value is a sequence of two finite numbers."""
    try:
        point = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    return point.shape == (2,) and bool(np.isfinite(point).all())
