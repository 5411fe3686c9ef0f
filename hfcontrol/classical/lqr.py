"""LQR: the linear-quadratic regulator about the goal.

    u = u_g - K (x - x_g)             K = (R + B'PB)^-1 B'PA
    P = Q + A'PA - A'PB (R + B'PB)^-1 B'PA

A and B are the derivatives of the plant's step at the goal x_g and its trim u_g, the
controls that keep the plant there as far as controls can. A state without a goal is
free: its goal is the value with which the plant stays there best. The law minimises
the sum over all future steps of

    1/2 (x - x_g)'Q(x - x_g) + 1/2 (u - u_g)'R(u - u_g),

which is 1/2 (x - x_g)'P(x - x_g), if the plant is linear. With the typical sizes s of
states and controls Q = w / s^2, where w is one weight for positions and another one for
all other states, and R = 1 / s^2 (Bryson's rule).

Source: Bryson and Ho, "Applied Optimal Control" (1975), chapter 5.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_discrete_are

from hfcontrol.arrays.types import Array
from hfcontrol.classical.problem import Problem, UnsuitableError
from hfcontrol.optim.trim import Trim, find_trim
from hfcontrol.plant.limits import ControlLimits

# Part of the slowest mode that a settled movement has left.
LEFT = 0.02

# Weights of positions that are tried for the rule.
WEIGHTS = [10.0**k for k in range(-3, 8)]

# A goal that stands still less often than this has no state to linearise about.
MOST_GOALS = 4


class Solution(NamedTuple):
    """P (N, nx, nx), K (N, nu, nx) and the size of the slowest eigenvalue (N,)."""

    P: Array
    K: Array
    slowest: Array


class Regulator:
    """The law for the weights w of positions and of all other states.

    Raises UnsuitableError if the goal moves, or if the plant cannot be stabilised there
    by linear feedback.
    """

    def __init__(self, problem: Problem, weights: tuple[float, float]) -> None:
        self.plant, self.kernels = problem.plant, problem.kernels
        self.params = problem.params
        self.Q, self.R = self._weights(weights)
        changes = np.diff(problem.goal, axis=0).any(axis=(1, 2))
        first_steps = [0, *(np.flatnonzero(changes) + 1).tolist()]
        if len(first_steps) > MOST_GOALS:
            raise UnsuitableError("the goal moves, so there is no state to regulate to")

        # Goals, trims, solutions and gains of each period in which the goal stays.
        self.period = np.concatenate([[0], np.cumsum(changes)])
        wanted = problem.scenario.goal[1:][first_steps]
        trims = [self._trim(goal, problem.scenario.x0) for goal in wanted]
        self.goals = np.stack([trim.x for trim in trims])
        self.trims = np.stack([trim.u for trim in trims])
        pairs = zip(self.goals, self.trims, strict=True)
        solved = [self._solve(*pair) for pair in pairs]
        self.P = np.stack([solution.P for solution in solved])
        self.K = np.stack([solution.K for solution in solved])
        self.slowest = max(float(solution.slowest.max()) for solution in solved)

    def __call__(self, t: int, x: Array) -> Array:
        """Return the controls (nu, N) in step t, for states x (nx, N)."""
        k = self.period[t]
        feedback = np.einsum("nij,jn->in", self.K[k], x - self.goals[k])
        controls: Array = self.trims[k] - feedback
        return controls

    def _weights(self, weights: tuple[float, float]) -> tuple[Array, Array]:
        """Return Q (nx, nx) and R (nu, nu)."""
        w = np.full(self.plant.nx, weights[1])
        w[self.plant.positions] = weights[0]
        Q = np.diag(w / self.plant.typical_state**2)
        R = np.diag(1 / self.plant.typical_control**2)
        return Q, R

    def _trim(self, goal: Array, start: Array) -> Trim:
        """Return where the goal (nx, N) is held best; NaN in it is free.

        Free states are searched from those of the start (nx, N).
        """
        # limits are the controller's part, whatever the law asks for
        unlimited = ControlLimits.symmetric(np.full(self.plant.nu, np.inf))
        return find_trim(self.kernels, goal, start, self.params, unlimited)

    def _solve(self, goal: Array, trim: Array) -> Solution:
        """Return the solution of every trial, for goal (nx, N) and trim (nu, N)."""
        A, B = self.kernels.jacobians(goal[None], trim[None], self.params)
        pairs = zip(A[0].transpose(2, 0, 1), B[0].transpose(2, 0, 1), strict=True)
        solved = [self._riccati(*pair) for pair in pairs]
        return Solution(*(np.stack(arrays) for arrays in zip(*solved, strict=True)))

    def _riccati(self, A: Array, B: Array) -> Solution:
        """Return the solution of one trial; UnsuitableError if there is none."""
        failure = UnsuitableError(
            f"{self.plant.name} cannot be stabilised at the goal by linear feedback"
        )
        try:
            P = solve_discrete_are(A, B, self.Q, self.R)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise failure from error
        K = np.linalg.solve(self.R + B.T @ P @ B, B.T @ P @ A)
        slowest = np.abs(np.linalg.eigvals(A - B @ K)).max()
        # Asked this way round, NaN is refused too.
        if not slowest < 1:
            raise failure
        return Solution(P, K, slowest)


def settling_weights(problem: Problem) -> tuple[float, float]:
    """Return the weights of a regulator that settles at the first arrival.

    An error counts as much as a rate that removes it in half of the time constant that
    this needs. The weight of positions is the smallest power of ten with which less
    than 2 % of the slowest mode is left, or the largest that was tried.
    """
    steps = problem.scenario.arrivals[0]
    seconds = 1 / (2 * problem.settling_frequency)
    sizes, is_position = problem.plant.typical_state, np.zeros(problem.plant.nx, bool)
    is_position[problem.plant.positions] = True
    rate_size = sizes[~is_position].mean() if not is_position.all() else 1.0
    relative = float(seconds * rate_size / sizes[is_position].mean()) ** 2

    for weight in WEIGHTS:
        weights = (weight, relative * weight)
        if Regulator(problem, weights).slowest ** steps < LEFT:
            break
    return weights
