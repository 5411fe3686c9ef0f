"""Which positions a MuJoCo model allows: joint ranges, and equality constraints.

MuJoCo keeps both by soft forces. A trial that starts outside of them begins with a jerk
that no controller can undo.
"""

import copy
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from hfcontrol.arrays.types import Array

# Largest violation [m, rad] of an equality constraint that counts as kept.
KEPT = 1e-10
ITERATIONS = 50

# Shortest part of a step that is tried: shorter ones bring nothing.
SHORTEST_PART = 1e-4

# Largest change of a position in a step towards a point, which is valid locally only.
LARGEST_CHANGE = 0.3  # [rad, m]
ARRIVED = 1e-9  # [m]

# An arm at the edge of its reach moves outwards by the square of its change.
POOR_CONDITION = 1e8


class Postures:
    """The positions (nq,) that a model with hinges and slides allows.

    low, high: ranges of the joints (nq,), infinite for joints without one
    """

    def __init__(self, model: Any) -> None:
        limited = model.jnt_limited.astype(bool)
        self.low = np.where(limited, model.jnt_range[:, 0], -np.inf)
        self.high = np.where(limited, model.jnt_range[:, 1], np.inf)

        self.constrained = bool(model.neq and model.eq_active0.any())
        if self.constrained:
            self.model = copy.deepcopy(model)
            self.data = mujoco.MjData(self.model)
            # Contacts, limits and friction would fill the tables for nothing.
            flags = mujoco.mjtDisableBit
            for flag in (flags.mjDSBL_CONTACT, flags.mjDSBL_LIMIT):
                self.model.opt.disableflags |= flag.value
            self.model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE

    def clip(self, q: Array) -> Array:
        """Return the positions (nq,) within the ranges."""
        return np.clip(q, self.low, self.high)

    def settle(self, q: Array) -> Array:
        """Return the nearest allowed positions (nq,), as far as they are found.

        Gauss-Newton on the violations of the equality constraints. A joint at the end
        of its range stays there if the step would move it out.
        """
        q = self.clip(q)
        if not self.constrained:
            return q

        violation, jacobian = self._linearise(q)
        for _ in range(ITERATIONS):
            if np.abs(violation).max(initial=0.0) < KEPT:
                break
            change = -self._solve(jacobian, violation, q)
            part = 1.0
            while part >= SHORTEST_PART:
                tried = self.clip(q + part * change)
                after, jacobian_after = self._linearise(tried)
                if np.linalg.norm(after) < np.linalg.norm(violation):
                    break
                part /= 2
            else:
                # No step helps: constraints that contradict each other, or a range.
                break
            q, violation, jacobian = tried, after, jacobian_after
        return q

    def reach(
        self, hand: Callable[[Array], tuple[Array, Array]], point: Array, q: Array
    ) -> Array | None:
        """Return positions (nq,) that bring the hand to a point (2,) [m], or None.

        `hand` returns the hand (2,) and its Jacobian (2, nq) at positions. The
        iteration is that of the generator `reach` (tasks/inverse_kinematics.py), from
        positions q; a posture outside of the ranges counts as None.
        """
        for _ in range(ITERATIONS):
            position, jacobian = hand(q)
            error = point - position
            if np.abs(error).max() < ARRIVED:
                within = (self.low <= q) & (q <= self.high)
                return q if within.all() else None
            singular = np.linalg.cond(jacobian) > POOR_CONDITION
            if singular:
                return None
            change = np.linalg.pinv(jacobian) @ error
            q = q + np.clip(change, -LARGEST_CHANGE, LARGEST_CHANGE)
        return None

    def _linearise(self, q: Array) -> tuple[Array, Array]:
        """Return violations (k,) and Jacobian (k, nq) of the equality constraints."""
        model = self.model
        data = self.data
        data.qpos[:] = q
        mujoco.mj_fwdPosition(model, data)
        is_equality = data.efc_type == mujoco.mjtConstraint.mjCNSTR_EQUALITY
        jacobian = data.efc_J.reshape(-1, model.nv)
        return data.efc_pos[is_equality], jacobian[is_equality]

    def _solve(self, jacobian: Array, violation: Array, q: Array) -> Array:
        """Return the shortest change (nq,) of the violation that keeps the ranges."""
        free = np.ones(len(q), dtype=bool)
        change = np.zeros(len(q))
        for _ in range(len(q)):
            change[:] = 0.0
            change[free] = np.linalg.pinv(jacobian[:, free]) @ violation
            moved = q - change
            leaves = free & ((moved < self.low) | (moved > self.high))
            at_end = leaves & ((q <= self.low) | (q >= self.high))
            if not at_end.any():
                break
            free &= ~at_end
        return change
