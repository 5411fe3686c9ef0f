"""First-order rivals of the Hessian-free step, on the same exact gradient."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.faults import check_gradient
from hfcontrol.errors import UsageError
from hfcontrol.optim.counting import CountedObjective
from hfcontrol.optim.protocol import Objective, Report

# Largest gradient norm, a usual choice for training recurrent controllers.
CLIP = 1.0

# Keeps the division by the norm of a zero gradient finite.
TINY = 1e-300


@dataclass(frozen=True)
class FirstOrderState:
    """What a first-order method carries from update to update.

    Weights (P,), first and second moments of the gradient (P,), number of updates.
    """

    theta: Array
    first: Array
    second: Array
    updates: int = 0


@dataclass(frozen=True)
class FirstOrder:
    """A gradient step of fixed rate on the clipped gradient.

    Every update is kept, whatever the loss does, unless the loss is not finite. The
    gradient is clipped to the norm `clip`, or with `entrywise` each entry to that size.
    Raises UsageError for a learning rate out of range.
    """

    rate: float
    clip: float = CLIP
    entrywise: bool = False
    name: ClassVar[str]

    def __post_init__(self) -> None:
        if not 0 < self.rate < np.inf:
            raise UsageError(f"`learning_rate` {self.rate}: must be a positive number")

    def init(self, theta: Array) -> FirstOrderState:
        """Return the state before the first update."""
        return FirstOrderState(theta, np.zeros_like(theta), np.zeros_like(theta))

    def step(
        self, state: FirstOrderState, rollout: Any, hold: Objective, left: int = 1
    ) -> tuple[FirstOrderState, Any, Report]:
        """Make one update; return the state and the rollout after it, and a report."""
        objective = CountedObjective(hold)
        linear = objective.linearise(rollout)
        check_gradient(linear)
        new_state = self.update(state, linear.gradient)
        new = objective.rollout(new_state.theta)
        counts = objective.counts

        if not np.isfinite(new.loss):
            report = Report(False, rollout.loss, np.nan, self.name, 0, 1, 0, counts)
            return state, rollout, report
        report = Report(True, new.loss, np.nan, self.name, 1, 1, counts=counts)
        return new_state, new, report

    def update(self, state: FirstOrderState, g: Array) -> FirstOrderState:
        """Return the state after an update along the gradient g (P,), clipped."""
        if self.entrywise:
            return self._apply(state, np.clip(g, -self.clip, self.clip))
        norm = max(float(np.linalg.norm(g)), TINY)
        return self._apply(state, g * min(1.0, self.clip / norm))

    @abstractmethod
    def _apply(self, state: FirstOrderState, g: Array) -> FirstOrderState:
        """Return the state after an update along the clipped gradient g (P,)."""


@dataclass(frozen=True)
class Adam(FirstOrder):
    """Adam (Kingma and Ba 2015, algorithm 1), with their decay rates."""

    rate: float = 3e-3
    least: float = 1e-8
    name = "adam"

    def _apply(self, state: FirstOrderState, g: Array) -> FirstOrderState:
        k = state.updates + 1
        m = 0.9 * state.first + 0.1 * g
        v = 0.999 * state.second + 0.001 * g * g

        m_unbiased = m / (1 - 0.9**k)
        v_unbiased = v / (1 - 0.999**k)
        step = m_unbiased / (np.sqrt(v_unbiased) + self.least)
        return FirstOrderState(state.theta - self.rate * step, m, v, k)


@dataclass(frozen=True)
class RMSProp(FirstOrder):
    """RMSProp (Tieleman and Hinton 2012), which A2C is trained with.

    Divides the gradient by the root of its running mean square.
    """

    rate: float = 7e-4
    name = "rmsprop"

    def _apply(self, state: FirstOrderState, g: Array) -> FirstOrderState:
        v = 0.99 * state.second + 0.01 * g * g
        theta = state.theta - self.rate * g / (np.sqrt(v) + 1e-5)
        return replace(state, theta=theta, second=v, updates=state.updates + 1)


@dataclass(frozen=True)
class Momentum(FirstOrder):
    """Gradient descent with momentum 0.9."""

    rate: float = 1e-2
    name = "momentum"

    def _apply(self, state: FirstOrderState, g: Array) -> FirstOrderState:
        m = 0.9 * state.first - self.rate * g
        theta = state.theta + m
        return replace(state, theta=theta, first=m, updates=state.updates + 1)
