"""The learning curve of a run as arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.runs.tables import make_dataframe
from hfcontrol.training.state import CurvePoint


@dataclass(frozen=True, repr=False)
class History:
    """A learning curve: an entry for the first weights, then for every update.

    loss: true losses (n,).
    update, rollouts: numbers (n,) of updates and rollouts made until then.
    seconds: time (n,) [s] spent until then.
    """

    loss: Array
    update: Array
    rollouts: Array
    seconds: Array

    @classmethod
    def from_points(cls, points: Iterable[CurvePoint]) -> "History":
        """Return the history of the points of a learning curve."""
        table = list(points)
        return cls(
            loss=np.array([point.loss for point in table]),
            update=np.array([point.updates for point in table], dtype=int),
            rollouts=np.array([point.rollouts for point in table], dtype=int),
            seconds=np.array([point.seconds for point in table]),
        )

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        if not len(self):
            return "History(empty)"
        ends = f"loss {self.loss[0]:.3g} to {self.loss[-1]:.3g}"
        return f"History({self.update[-1]} updates, {ends})"

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per entry; needs pandas."""
        return make_dataframe(vars(self))
