"""A plant of second order as mechanics: its mass matrix and its drift.

Its accelerations are affine in the controls,

    q'' = W(q) u + a(q, q')     or     M(q) q'' + h(q, q') = u,

with the mass matrix M = W^-1 and the forces h = -M a of gravity, friction and inertia.
Steps of the plant give both: a is the change of the rates in a step without control,
divided by dt, and a column of W the change that one control adds to it. The latter is
no approximation, because the accelerations are affine.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.problem import Problem, UnsuitableError
from hfcontrol.plant.contract import Plant

# Relative error below which accelerations count as affine in the controls, and the
# derivatives of the positions as the rates.
TOLERANCE = 1e-3

# A larger condition number of W means that a control moves no position of its own.
WORST_CONDITION = 1e8


class Motion(NamedTuple):
    """Mass matrices M (N, n, n), their inverses W, and drifts a (N, n)."""

    M: Array
    W: Array
    a: Array


def rates_of_positions(plant: Plant) -> Array:
    """Return the index of the rate of every position.

    Raises UnsuitableError if the states are not positions and their rates alone.
    """
    positions = plant.positions
    if not len(positions) == len(plant.rates) == plant.n_body / 2:
        raise UnsuitableError(
            f"the states of {plant.name} are not positions and their rates alone"
        )
    if plant.integrator == "semi_implicit":
        return positions + len(positions)
    return np.array([plant.state.index(f"{plant.state[i]}_rate") for i in positions])


class Mechanics:
    """Mass matrix and drift of a problem's plant, at any states.

    Raises UnsuitableError for a plant that is not of second order with one control for
    each position, and for a task without a goal for every position.
    """

    def __init__(self, problem: Problem) -> None:
        self.plant, self.kernels = problem.plant, problem.kernels
        self.positions = self.plant.positions
        self.rates = rates_of_positions(self.plant)
        if self.plant.nu != len(self.positions):
            raise UnsuitableError(
                f"{self.plant.name} has {self.plant.nu} controls for "
                f"{len(self.positions)} positions; one for each is needed"
            )
        if self.plant.actuator_lag:
            raise UnsuitableError(
                f"actuators come between the controls and the body of {self.plant.name}"
            )
        problem.check_positions()
        self._params = problem.params
        # One block of trials without control, then one for each control.
        self._blocks = np.tile(problem.params, self.plant.nu + 1)
        self._check(problem.scenario.x0)

    def at(self, x: Array) -> Motion:
        """Return mass matrix and drift at states x (nx, N)."""
        drift, W = self._accelerations(x, self.plant.typical_control)
        return Motion(np.linalg.inv(W), W, drift.T)

    def at_rest(self, x: Array) -> Motion:
        """Return mass matrix and drift in the postures of x (nx, N), without rates."""
        still = x.copy()
        still[self.rates] = 0.0
        return self.at(still)

    def _accelerations(self, x: Array, size: Array) -> tuple[Array, Array]:
        """Return a (n, N) and W (N, n, nu), from controls of a size (nu,)."""
        nu, trials = self.plant.nu, x.shape[1]
        by_block = np.zeros((nu, nu + 1, trials))
        for j in range(nu):
            by_block[j, j + 1] = size[j]
        u = by_block.reshape(nu, -1)
        states = np.tile(x, nu + 1)
        after = self.kernels.step(states, u, self._blocks)
        change = (after - states)[self.rates] / self.plant.dt
        blocks = change.reshape(len(self.rates), nu + 1, trials)
        drift = blocks[:, 0]
        W = (blocks[:, 1:] - blocks[:, :1]) / size[:, None]
        return drift, W.transpose(2, 0, 1)

    def _check(self, x: Array) -> None:
        """Raise UnsuitableError unless the plant is of second order at states x."""
        size = self.plant.typical_control
        _, W = self._accelerations(x, size)
        _, doubled = self._accelerations(x, 2 * size)
        if np.abs(doubled - W).max() > TOLERANCE * np.abs(W).max():
            raise UnsuitableError(
                f"the accelerations of {self.plant.name} are not affine in its controls"
            )
        if not np.linalg.cond(W).max() < WORST_CONDITION:
            raise UnsuitableError(
                f"the controls of {self.plant.name} do not move every position"
            )

        # The positions must move by their rates.
        moving = x.copy()
        moving[self.rates] = self.plant.typical_state[self.rates, None]
        nothing = np.zeros((self.plant.nu, x.shape[1]))
        dt = self.plant.dt
        after = self.kernels.step(moving, nothing, self._params)
        mean_rates = (after + moving)[self.rates] / 2
        moved = (after - moving)[self.positions] / dt
        allowed = np.abs(after - moving)[self.rates] + TOLERANCE * np.abs(mean_rates)
        if (np.abs(moved - mean_rates) > allowed).any():
            raise UnsuitableError(
                f"the rates of {self.plant.name} are not the derivatives of its "
                "positions"
            )
