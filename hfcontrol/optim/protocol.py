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
        """Return the function's `Linearised` loop at one of its rollouts."""
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
