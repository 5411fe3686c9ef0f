"""What an optimizer is: its operations, what it needs of a hold, and its report.

    state = optimizer.init(theta)
    state, rollout, report = optimizer.step(state, rollout, hold, left)

State goes in and comes out: a checkpoint of the state is all that training needs to
continue. A hold is the function that the optimizer minimises.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.network.network import Network
from hfcontrol.tasks.cost import ResidualIndex
from hfcontrol.tasks.scenario import Scenario


class Loop(Protocol):
    """What an optimizer needs to know of a closed loop, discrete or continuous."""

    network: Network
    scenario: Scenario
    # compiled or plain passes: only of a loop that has residuals at steps
    passes: Any

    @property
    def trials(self) -> int:
        """The number of trials, of each network."""
        ...

    def active_residuals(self) -> list[ResidualIndex]:
        """Return the residuals of nonzero weight; none of a continuous loop."""
        ...


class RolloutResult(Protocol):
    """A rollout as an optimizer sees it: weights theta (P,), loss, and what it cost."""

    @property
    def theta(self) -> Array:
        """The trained vector (P,)."""
        ...

    @property
    def loss(self) -> float:
        """The mean loss of all trials; infinite if any trial's is not finite."""
        ...

    @property
    def counts(self) -> Counts:
        """What making the rollout cost."""
        ...


class Derivative(Protocol):
    """The derivative of a closed loop's residuals by its weights, at one rollout.

    Only a loop that has residuals at steps has `rows` and `structural_product`.
    """

    # weights and values of the residuals
    cost: Any

    @property
    def loop(self) -> Any:
        """The closed loop that is linearised."""
        ...

    @property
    def trials(self) -> int:
        """The number of trials, of each network."""
        ...

    @property
    def counts(self) -> Counts:
        """What it and its subsets cost so far."""
        ...

    @property
    def gradient(self) -> Array:
        """Gradient of the loss (P,)."""
        ...

    def jvp(self, v: Array) -> Any:
        """Return the tangent of all residuals in the direction v (P,)."""
        ...

    def vjp(self, w: Any) -> Array:
        """Return the gradient (P,) of <w, residuals>."""
        ...

    def subset(self, trials: int) -> "Derivative":
        """Return the derivative of `trials` evenly spaced trials."""
        ...

    def rows(self, channels: list[ResidualIndex]) -> Array:
        """Return the weighted Jacobian (K, N, P) of K residuals of every trial."""
        ...

    def structural_product(self, v: Array) -> Array:
        """Return the curvature of the mean squared change of trajectories, times v."""
        ...


class Objective(Protocol):
    """The function of the weights that a hold keeps fixed, to be minimised."""

    @property
    def loop(self) -> Any:
        """The closed loop."""
        ...

    def rollout(self, theta: Array) -> Any:
        """Return the function's `RolloutResult` at theta (P,)."""
        ...

    def linearise(self, rollout: Any) -> Any:
        """Return the function's `Derivative` at one of its rollouts."""
        ...


@dataclass(frozen=True)
class Report:
    """How one step of an optimizer went, and what it cost.

    `loss` is the loss after it, `rho` the reduction ratio, `iterations` those of the
    solver, `tried` the rollouts of the line search, `updates` the updates made.
    """

    accepted: bool
    loss: float
    rho: float
    solver: str
    iterations: int
    tried: int
    updates: int = 1
    counts: Counts = NO_COUNTS


State = TypeVar("State")


class Optimizer(Protocol[State]):
    """An optimizer: options alone, no state of its own."""

    def init(self, theta: Array) -> State:
        """Return the state before the first update, from weights theta (P,)."""
        ...

    def step(
        self, state: State, rollout: Any, hold: Objective, left: int = 1
    ) -> tuple[State, Any, Report]:
        """Return state and rollout after an update, and the report.

        `rollout` is the objective at the state's weights. An optimizer may make up to
        `left` updates, the number that is left in the hold.
        """
        ...
