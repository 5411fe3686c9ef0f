"""What training costs: numbers of rollouts and steps.

Loops keep no counters. Each operation returns what it cost: `Rollout.counts`,
`Linearised.counts`, `Report.counts`. Whoever runs the operation adds it up.
"""

from typing import NamedTuple


class Counts(NamedTuple):
    """The cost of some part of a training.

    `rollouts` are simulations of all trials on the true plant. The other counts sum
    over trials: plant steps for Jacobians by finite differences, and steps of tangent
    and adjoint passes, which need no plant.
    """

    rollouts: int = 0
    jacobian_steps: int = 0
    tangent_steps: int = 0
    adjoint_steps: int = 0

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        """Add field by field, not as tuples do."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


NO_COUNTS = Counts()


class Tally:
    """A running total of `Counts`, which a linearisation shares with its parts."""

    def __init__(self, total: Counts) -> None:
        self.total = total

    def add(self, counts: Counts) -> None:
        """Add `counts` to the total."""
        self.total = self.total + counts
