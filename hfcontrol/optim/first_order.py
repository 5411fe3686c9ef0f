"""Rivals of the Hessian-free step on the same exact gradient: Adam, momentum, and SciPy's L-BFGS restarted each hold."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.errors import UsageError
from hfcontrol.optim.counting import CountedHold
from hfcontrol.optim.hessian_free import Report

CLIP = 1.0  # most gradient norm, as users of recurrent controllers train with


@dataclass(frozen=True)
class FirstOrderState:
    """What Adam and momentum carry: weights, first and second moments of the gradient, and the count of updates."""

    theta: np.ndarray
    first: np.ndarray
    second: np.ndarray
    updates: int = 0


@dataclass(frozen=True)
class _FirstOrder:
    """A gradient step of fixed rate on the clipped gradient; every update is taken, whatever the loss does.

    The gradient's norm is at most `clip`, or, where `entrywise`, every entry's size.
    """

    rate: float
    clip: float = CLIP
    entrywise: bool = False

    def __post_init__(self):
        if not 0 < self.rate < np.inf:
            raise UsageError(
                f"--learning-rate {self.rate}: a positive number is needed"
            )

    def init(self, theta):
        """The state before the first update."""
        return FirstOrderState(theta, np.zeros_like(theta), np.zeros_like(theta))

    def step(self, state, rollout, hold, left=1):
        """One update: (state, rollout, report)."""
        hold = CountedHold(hold)
        new = self.moved(state, hold.linearise(rollout).gradient)
        moved = hold.rollout(new.theta)
        if not np.isfinite(moved.loss):
            failed = Report(
                False, rollout.loss, np.nan, self.name, 0, 1, 0, hold.counts
            )
            return state, rollout, failed
        report = Report(True, moved.loss, np.nan, self.name, 1, 1, counts=hold.counts)
        return new, moved, report

    def moved(self, state, g):
        """The state after an update along the gradient g (P,)."""
        if self.entrywise:
            return self._moved(state, np.clip(g, -self.clip, self.clip))
        return self._moved(
            state, g * min(1.0, self.clip / max(float(np.linalg.norm(g)), 1e-300))
        )


@dataclass(frozen=True)
class Adam(_FirstOrder):
    """Adam (Kingma and Ba 2015, algorithm 1)."""

    rate: float = 3e-3
    least: float = 1e-8
    name = "adam"

    def _moved(self, state, g):
        k = state.updates + 1
        m, v = 0.9 * state.first + 0.1 * g, 0.999 * state.second + 0.001 * g * g
        step = (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + self.least)
        return FirstOrderState(state.theta - self.rate * step, m, v, k)


@dataclass(frozen=True)
class RMSProp(_FirstOrder):
    """Gradients by the root of their running mean square (Tieleman and Hinton 2012), as A2C is trained with."""

    rate: float = 7e-4
    name = "rmsprop"

    def _moved(self, state, g):
        v = 0.99 * state.second + 0.01 * g * g
        return replace(
            state,
            theta=state.theta - self.rate * g / (np.sqrt(v) + 1e-5),
            second=v,
            updates=state.updates + 1,
        )


@dataclass(frozen=True)
class Momentum(_FirstOrder):
    """Gradient descent with momentum 0.9."""

    rate: float = 1e-2
    name = "momentum"

    def _moved(self, state, g):
        m = 0.9 * state.first - self.rate * g
        return replace(state, theta=state.theta + m, first=m, updates=state.updates + 1)


@dataclass(frozen=True)
class LBFGS:
    """SciPy's L-BFGS-B, one call per hold with at most its updates as iterations; only the weights pass between holds."""

    memory: int = 50
    name = "lbfgs"

    def init(self, theta):
        """The state before the first update."""
        return FirstOrderState(theta, np.zeros(0), np.zeros(0))

    def step(self, state, rollout, hold, left=1):
        """All the updates of a hold: (state, rollout, report)."""
        hold = CountedHold(hold)
        seen = {"theta": state.theta, "rollout": rollout}

        def loss_and_gradient(theta):
            moved = hold.rollout(to_device_of(theta.copy(), state.theta))
            if not np.isfinite(moved.loss):
                return 1e300, np.zeros_like(theta)
            if moved.loss <= seen["rollout"].loss:
                seen.update(theta=moved.theta, rollout=moved)
            return moved.loss, to_host(hold.linearise(moved).gradient)

        result = minimize(
            loss_and_gradient,
            to_host(state.theta).copy(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": left,
                "maxcor": self.memory,
                "ftol": 0.0,
                "gtol": 0.0,
                "maxls": 40,
            },
        )
        best = seen["rollout"]
        accepted = best.loss < rollout.loss
        updates = int(result.nit)
        report = Report(
            accepted,
            best.loss,
            np.nan,
            self.name,
            updates,
            int(result.nfev),
            max(updates, 1),
            hold.counts,
        )
        return (
            replace(state, theta=best.theta, updates=state.updates + updates),
            best,
            report,
        )
