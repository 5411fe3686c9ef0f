"""Inverse kinematics: postures that bring a plant's hand to given points.

Gauss-Newton steps solve it almost always. What they miss is solved again by the method
of Levenberg and Marquardt, which never increases the distance to a point: it either
arrives, or ends at the nearest point that the hand reaches.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.calls import draw_links
from hfcontrol.plant.contract import Plant

# `posture` stops at the first error, and counts a target as missed above the second.
POSTURE_ERROR = 1e-12  # [m]
MISSED = 1e-9  # [m]
POSTURE_ITERATIONS = 100

# Largest change of a position in one iteration: Gauss-Newton steps are only valid
# locally, and a longer one may leave the side on which the guess bends the joints.
POSTURE_CHANGE = 0.3

# At the edge of its reach a hand cannot move outwards and convergence is linear.
NEAREST_ITERATIONS = 300
FIRST_DAMPING = 1e-2  # [m^2], relative to the squares of an arm's lengths


class HandMap(NamedTuple):
    """The hand's position as a function of the plant's positions.

    `params` (np, N) are those of the trials.
    """

    plant: Plant
    kernels: Kernels
    params: Array

    def states(self, q: Array) -> Array:
        """Return states at rest (nx, N) with the positions q (n, N)."""
        x = np.zeros((self.plant.nx, q.shape[1]))
        x[self.plant.positions] = q
        return x

    def hand(self, q: Array) -> Array:
        """Return the hand (2, N) [m] at the positions q (n, N)."""
        output = self.kernels.output(self.states(q)[None], self.params)
        hand: Array = output[0, self.plant.hand]
        return hand

    def jacobian(self, q: Array) -> Array:
        """Return its Jacobians (N, 2, n) at the positions q (n, N)."""
        jacobian = self.kernels.output_jacobian(self.states(q)[None], self.params)[0]
        J = jacobian[self.plant.hand][:, self.plant.positions]
        return np.transpose(J, (2, 0, 1))

    def base(self, q: Array) -> Array | None:
        """Return the arm's fixed end (2,) [m] in the first trial, if it draws links."""
        if "links" not in self.plant.functions:
            return None
        points = draw_links(self.plant, self.states(q)[:, 0], self.params[:, 0])
        return points[0, :2]

    def select(self, trials: Array) -> "HandMap":
        """Return the map of some trials."""
        return self._replace(params=self.params[:, trials].copy())


def posture(
    plant: Plant, kernels: Kernels, hand: Array, guess: Array, params: Array
) -> Array:
    """Positions (n, N) that bring the hand to the points `hand` (2, N) [m].

    Iterates from a guess (n,), so the solution nearby is found. Raises TaskError if a
    point is out of reach.
    """
    arm = HandMap(plant, kernels, params)
    start = np.asarray(guess, dtype=float)[:, None]
    q = np.repeat(start, hand.shape[1], axis=1)

    for _ in range(POSTURE_ITERATIONS):
        error = hand - arm.hand(q)
        if np.abs(error).max() < POSTURE_ERROR:
            break
        # Joints may outnumber coordinates, and a straight arm has no inverse.
        inverse = np.linalg.pinv(arm.jacobian(q))
        change = np.einsum("nij,jn->in", inverse, error)
        q += np.clip(change, -POSTURE_CHANGE, POSTURE_CHANGE)

    missed = np.flatnonzero(np.linalg.norm(error, axis=0) > MISSED)
    if missed.size:
        starts = np.repeat(start, missed.size, axis=1)
        q[:, missed] = nearest_posture(arm.select(missed), hand[:, missed], starts)
        _check_reach(arm, hand, q)
    return q


def nearest_posture(arm: HandMap, hand: Array, q: Array) -> Array:
    """Positions (n, N) that bring the hand as near to the points as it gets.

    Levenberg-Marquardt from the positions q (n, N): (J'J + lam I) d = J' e, where e is
    the error of the hand. A step is kept if it reduces |e|.
    """
    trials, size = q.shape[1], q.shape[0]
    damping = np.full(trials, FIRST_DAMPING)
    error = hand - arm.hand(q)

    for _ in range(NEAREST_ITERATIONS):
        J = arm.jacobian(q)
        gradient = np.einsum("nij,in->nj", J, error)
        matrix = np.einsum("nij,nik->njk", J, J)
        damped = matrix + damping[:, None, None] * np.eye(size)
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0].T

        # A longer step could leave the side on which the guess bends the joints.
        tried = q + np.clip(step, -POSTURE_CHANGE, POSTURE_CHANGE)
        tried_error = hand - arm.hand(tried)
        better = (tried_error**2).sum(axis=0) < (error**2).sum(axis=0)
        q = np.where(better, tried, q)
        error = np.where(better, tried_error, error)
        damping = np.where(better, damping / 3, damping * 4)
        # Below, the matrix would become singular in a straight arm.
        damping = np.clip(damping, 1e-14, 1e14)
        if np.abs(error).max() < POSTURE_ERROR:
            break
    return q


def _check_reach(arm: HandMap, hand: Array, q: Array) -> None:
    """Raise TaskError if the hand at the positions q misses a point."""
    reached = arm.hand(q)
    distances = np.linalg.norm(hand - reached, axis=0)
    missed = np.flatnonzero(distances > MISSED)
    if not missed.size:
        return

    worst = int(np.argmax(distances))
    target = hand[:, worst]
    point = ", ".join(f"{value:.3f}" for value in target)
    where = f"the hand comes no closer to it than {100 * distances[worst]:.3g} cm"
    base = arm.base(q)
    if base is not None:
        reach = np.linalg.norm(reached[:, worst] - base)
        distance = np.linalg.norm(target - base)
        where = (
            f"there the hand gets to {reach:.3f} m from the arm's base, and the target "
            f"is {distance:.3f} m from it"
        )
    raise TaskError(
        f"{missed.size} of {hand.shape[1]} targets are out of reach of plant "
        f"{arm.plant.name}, the worst at ({point}) m: {where}; choose a smaller "
        "`target_radius` or another `target_centre`"
    )
