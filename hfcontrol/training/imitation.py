"""Imitation: the whole network learns the optimal laws of a few trials.

A network is shown what a teacher observes, and learns what the teacher does. The
teacher follows the laws about the optima (optim/excess.py has the equations) from
disturbed starts and under disturbances. The loss is the second-order model of the
excess cost: divided by the optimal loss, it predicts the ratio to the optimum minus
one, in the states that the teacher visits.

The plant is not simulated with the network. So nothing can diverge, and a loss over a
long horizon is no harder than over a short one. A linear law (laws.py) is quicker to
find, but a network with memory can imitate laws that vary with time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.linear_model import (
    NOTHING_FIXED,
    LinearModel,
    PlantJacobians,
)
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.errors import TrainingError
from hfcontrol.kernels.base import LinearLaw, Perturbations
from hfcontrol.optim.excess import control_curvature, matrix_root
from hfcontrol.tasks.cost import Cost, LinearCost, Residuals, product
from hfcontrol.tasks.scenario import Scenario
from hfcontrol.training.diagnosis import Diagnosis

# Copies of every trial; in all but the first the teacher is disturbed.
COPIES = 4

# Disturbances of its start and of every step, in typical sizes of the states.
START = 0.3
STEP = 0.1

# Part of the optimal loss at which imitation is done.
CLOSE = 1e-3


@dataclass(frozen=True)
class ImitationCost(Cost):
    """The cost r = R (u - reference) with roots R (T, nu, nu, N) of a curvature.

    `references.state` are the states of the teacher, which cost nothing.
    """

    root: Array = field(kw_only=True)

    def residuals(self, x: Array, u: Array) -> Residuals:
        """Return all residuals of the trajectory x (T+1, nx, N), u (T, nu, N)."""
        away = u - self.references.control
        custom = self._pad(product(self.root, away), len(x))
        return Residuals(x - self.references.state, away, None, custom)

    def linearise(self, x: Array, u: Array) -> LinearCost:
        """Return the residuals at a trajectory together with their Jacobians."""
        by_control = self._pad(self.root, len(x))
        T1, nu, _, N = by_control.shape
        by_state = np.zeros_like(x, shape=(T1, nu, x.shape[1], N))
        return LinearCost(
            self.weights, self.residuals(x, u), None, (by_state, by_control)
        )

    def map(self, function: Callable[[Array], Array]) -> "Cost":
        """Return the cost with a function applied to every array."""
        # a cost of this class, with its root as it was
        mapped: Any = super().map(function)
        return replace(mapped, root=function(self.root))


class ImitationTask:
    """The task of imitating the laws about the optima of a diagnosis.

    Disturbances differ from draw to draw. `target_loss` is the loss at which it is
    done. Raises TrainingError if no trial has a finite optimum.
    """

    random = True
    noisy = False
    optimum_is_zero = True

    def __init__(self, diagnosis: Diagnosis) -> None:
        found = np.flatnonzero(np.isfinite(diagnosis.optima.losses))
        if not found.size:
            raise TrainingError(
                "`imitate`: no controls of finite cost are known for any trial; leave "
                "it out, or try `grow`"
            )
        # a copy of every trial after the other
        trials = np.tile(found, COPIES)
        self.copies = np.repeat(np.arange(COPIES), found.size)
        self.system = diagnosis.system.subset(trials)
        self.optima = diagnosis.optima.select(trials)
        self.gains = diagnosis.gains[:, trials]
        self.spread = diagnosis.sizes.states.size[:, None]
        self.target_loss = CLOSE * float(np.mean(diagnosis.optima.losses[found]))

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.copies)

    @cached_property
    def root(self) -> Array:
        """Roots (T, nu, nu, N) of the curvature of the excess cost."""
        best = self.optima
        roots = []
        for block in self.system.blocks():
            part = best.select(block)
            expansion = self.system.subset(block).expand(part.x, part.v, part.u)
            curvature = control_curvature(expansion, self.gains[:, block])
            roots.append(matrix_root(curvature))
        root = np.concatenate(roots, axis=1)
        return root.transpose(0, 2, 3, 1).copy()

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Draw what a disturbed teacher observes and does."""
        s, best = self.system.scenario, self.optima
        # the first copy is not disturbed
        size = self.spread * (self.copies > 0)
        start = START * size * rng.standard_normal(s.x0.shape)
        steps = STEP * size * rng.standard_normal(s.disturbance.shape)
        if self.system.kernels.plant.irregular:
            # The lengths of the steps stay those that the network is told.
            start[-1], steps[:, -1] = 0.0, s.disturbance[:, -1]
        bounds = self.system.wiring.limits.bounds
        law = LinearLaw(best.v, self.gains, best.x, bounds)
        chance = Perturbations(s.motor_gain, s.motor_noise, steps)
        with np.errstate(all="ignore"):
            x = self.system.kernels.regulate(
                s.x0 + start, law, s.params, chance, self.system.wiring.taper
            ).x
        is_finite = np.isfinite(x).all(axis=(0, 1))
        return self.along(np.where(is_finite, x, best.x))

    def along(self, x: Array) -> Scenario:
        """Return what the teacher does in the states x (T+1, nx, N)."""
        s, best = self.system.scenario, self.optima
        away = x[:-1] - best.x[:-1]
        v = best.v + np.einsum("tnij,tjn->tin", self.gains, away)
        controls = self.system.wiring.limits.clip(v)

        nothing = np.zeros_like(x, shape=(len(x), *v.shape[1:]))
        counted = np.ones_like(nothing)
        # there is no control at the last time index
        counted[-1] = 0.0
        cost = ImitationCost(
            Residuals(np.zeros_like(x), np.zeros_like(v), None, counted),
            Residuals(x, controls, None, nothing),
            s.cost.kernels,
            s.params,
            root=self.root,
        )
        return replace(s, x0=x[0], cost=cost)


class ImitationLoop(ClosedLoop):
    """A network that is shown the observations of a teacher, whatever it does."""

    @cached_property
    def shown(self) -> LinearModel:
        """The teacher's trajectory as a linear model that nothing can change."""
        s = self.share
        x, u = s.cost.references.state, s.cost.references.control
        times = np.maximum(np.arange(s.steps) - self.wiring.feedback_delay, 0)
        seen = self.kernels.observe(x[times], s.params)
        T, nu, N = u.shape
        nx, ny = x.shape[1], seen.shape[1]
        A, B, C = (
            np.zeros_like(x, shape=(T, rows, columns, N))
            for rows, columns in ((nx, nx), (nx, nu), (ny, nx))
        )
        return LinearModel(A, B, C, x, u, seen, seen, True, True)

    def rollout(
        self,
        theta: Array,
        linear_model: LinearModel = NOTHING_FIXED,
        exploration: Array | None = None,
    ) -> Rollout:
        """Return the network's controls for the teacher's observations."""
        return super().rollout(theta, self.shown, exploration)

    def plant_jacobians(self, rollout: Rollout) -> PlantJacobians:
        """Return Jacobians of zero, and the slope of the control limit."""
        return super().plant_jacobians(replace(rollout, linear_model=self.shown))

    def jacobian_counts(self, rollout: Rollout) -> Counts:
        """Return what they cost: nothing."""
        return NO_COUNTS
