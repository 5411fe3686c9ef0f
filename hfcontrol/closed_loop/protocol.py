"""Protocols of closed loops, discrete and continuous alike.

`ClosedLoop` and `ContinuousLoop` are loops. Each makes rollouts of its own kind, and
linearises them; the residuals of a linearised loop are `Residuals` in discrete time and
one vector in continuous time.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.linear_model import LinearModel
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.cost import ResidualIndex
from hfcontrol.tasks.scenario import Scenario


class RolloutResult(Protocol):
    """A simulation of all trials, and what it cost."""

    @property
    def theta(self) -> Array:
        """The trained vector (P,)."""
        ...

    @property
    def x(self) -> Array:
        """States of the plant (T+1, nx, N) at the control steps."""
        ...

    @property
    def losses(self) -> Array:
        """Loss of every trial (N,)."""
        ...

    @property
    def loss(self) -> float:
        """Mean loss of all trials; infinite if any trial's is not finite."""
        ...

    @property
    def counts(self) -> Counts:
        """What making the rollout cost."""
        ...


class Linearised(Protocol):
    """The derivative of a loop's residuals by theta, at one rollout.

    Only a discrete loop has `rows`, `scaled_residuals` and `structural_product`: in
    continuous time, residuals do not belong to control steps.
    """

    @property
    def cost(self) -> Any:
        """Weights and values of the residuals."""
        ...

    @property
    def loop(self) -> Any:
        """The loop that is linearised."""
        ...

    @property
    def trials(self) -> int:
        """Number of trials, of each network."""
        ...

    @property
    def counts(self) -> Counts:
        """What it and its subsets have cost so far."""
        ...

    @property
    def gradient(self) -> Array:
        """Gradient of the loss (P,)."""
        ...

    def jvp(self, v: Array) -> Any:
        """Tangent of the residuals in the direction v (P,)."""
        ...

    def inner(self, residuals: Any, others: Any) -> float:
        """Inner product of residuals."""
        ...

    def vjp(self, w: Any) -> Array:
        """Gradient (P,) of <w, residuals>."""
        ...

    def subset(self, trials: int) -> "Linearised":
        """The derivative of about `trials` evenly spaced trials."""
        ...

    def rows(self, indices: Sequence[ResidualIndex]) -> Array:
        """Weighted Jacobian (K, N, P) of K residuals of every trial."""
        ...

    def scaled_residuals(self, indices: Sequence[ResidualIndex]) -> Array:
        """K weighted residuals of every trial (K, N)."""
        ...

    def structural_product(self, v: Array) -> Array:
        """Curvature of the mean squared change of the trajectories, times v."""
        ...


class Loop(Protocol):
    """One network on one plant and scenario."""

    plant: Plant
    kernels: Kernels
    network: Network
    scenario: Scenario

    @property
    def trials(self) -> int:
        """Number of trials, of each network."""
        ...

    def active_residuals(self) -> list[ResidualIndex]:
        """Indices of the residuals with a weight; none in continuous time."""
        ...

    def rollout(self, theta: Array, linear_model: LinearModel) -> Any:
        """Simulate all trials (a `RolloutResult`), with `linear_model` fixed."""
        ...

    def linearise(self, rollout: Any) -> Any:
        """The `Linearised` loop at one of its rollouts."""
        ...
