"""The continuous loop: the operations of `ClosedLoop` in continuous time."""

from hfcontrol.closed_loop.continuous.products import Linearised
from hfcontrol.closed_loop.continuous.solver import Solver, Trajectory
from hfcontrol.tasks.cost import ResidualIndex


class ContinuousLoop(Solver):
    """Plant and network as one differential equation: `rollout` and `linearise`."""

    def active_residuals(self) -> list[ResidualIndex]:
        """Return nothing: residuals are spread over time."""
        return []

    def linearise(self, rollout: Trajectory) -> Linearised:
        """Return the derivatives of loss and residuals at a rollout."""
        return Linearised(self, rollout, tuple(range(len(self.blocks))))
