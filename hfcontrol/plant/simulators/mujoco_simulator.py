"""A MuJoCo model that steps many trials at once on all cores.

It also knows where its hand and its links are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import mujoco
import numpy as np
from mujoco.rollout import Rollout
from numba import get_num_threads

from hfcontrol.arrays.types import Array

# Most numbers that one call of MuJoCo returns (the states of all time steps): 32 MiB.
BLOCK = 2**22

# Below this many trials x time steps x joints, waking other threads takes longer than
# doing the work on one.
SMALL = 1000

# MuJoCo calls larger values unstable (mjMAXVAL).
HUGE = 1e10

# Time [s] at which every step starts. MuJoCo resets an unstable trial to 0 s, so its
# time afterwards tells it apart.
START = 1.0
TIME_TOLERANCE = 1e-9  # [s]

# Names of the site or body that is the hand.
HANDS = ("hand", "fingertip")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MuJoCo from writing its warnings into a file in the working folder.

    Unstable trials are reported by NaN instead.
    """
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


class Hand(NamedTuple):
    """The site or body that is the hand.

    position: a view of its position (3,) [m] in the model's data
    body: index of its body
    write_jacobian: writes the derivatives of the position by the rates (3, nv)
    """

    position: Array
    body: int
    write_jacobian: Callable[[Array], None]


class Simulator:
    """A model whose control step is `substeps` of its time steps.

    A state (n,) is MuJoCo's qpos, qvel and act. Controls are deviations from the
    middle of their ranges, `middle` (nu,).

    `home` (n,) is a state at rest, at `positions` (nq,). By default these are the
    positions of the keyframe `home`, or else the first positions of the model.
    """

    def __init__(
        self, model: Any, substeps: int, positions: Array | None = None
    ) -> None:
        # Nothing reads the sensors.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR.value
        self.model = model
        self.substeps = substeps

        limited = model.actuator_ctrllimited.astype(bool)
        half_range = np.ptp(model.actuator_ctrlrange, axis=1) / 2
        self.middle = np.where(limited, model.actuator_ctrlrange.mean(axis=1), 0.0)
        self.half_range = np.where(limited, half_range, np.inf)
        self.typical_control = np.where(limited, self.half_range, 1.0)

        self.data = mujoco.MjData(model)
        self.workers = [mujoco.MjData(model) for _ in range(get_num_threads())]
        # Rollout without threads, for small batches.
        self.single = Rollout(nthread=0)
        self.pool = self.single
        if len(self.workers) > 1:
            self.pool = Rollout(nthread=len(self.workers))

        self.home = self._read_home(positions)
        self.plane = self._find_plane()
        self.hand = self._find_hand()
        self.end, self.hinges, self.drawable = self._find_chain()

    def step(self, x: Array, u: Array, p: Any, dt: Any) -> Array:
        """Return the states (n, N) after a control step from x (n, N) under u (nu, N).

        A trial that MuJoCo calls unstable becomes NaN. No trial uses the warm start of
        another one, so it depends only on its own state and control.
        """
        after = np.full(x.shape, np.nan)
        with np.errstate(invalid="ignore"):
            small_state = (np.abs(x) < HUGE).all(axis=0)
            small_control = (np.abs(u) < HUGE).all(axis=0)
        valid = np.flatnonzero(small_state & small_control)

        numbers = 1 + len(x) + self.model.nsensordata
        block = max(1, BLOCK // (numbers * self.substeps))
        with quiet():
            for first in range(0, len(valid), block):
                trials = valid[first : first + block]
                after[:, trials] = self._step_block(x[:, trials].T, u[:, trials].T)
        return after

    def _step_block(self, x: Array, u: Array) -> Array:
        """Return the states (n, B) after one step from x (B, n) under u (B, nu)."""
        # MuJoCo's full state begins with the time.
        start = np.column_stack([np.full(len(x), START), x])
        pool = self.pool
        workers = self.workers
        if len(x) * self.substeps * self.model.nv < SMALL:
            pool = self.single
            workers = self.workers[:1]
        controls = (u + self.middle)[:, None]
        states, _ = pool.rollout(
            self.model, workers, start, controls, nstep=self.substeps
        )
        duration = self.substeps * self.model.opt.timestep
        stable = np.abs(states[:, -1, 0] - START - duration) < TIME_TOLERANCE
        return np.where(stable[:, None], states[:, -1, 1:], np.nan).T

    def output(self, x: Array, p: Any, z: Array) -> None:
        """Write the hand's position [m] and velocity [m/s] in the plane into z (4, N).

        The states are x (n, N).
        """
        assert self.hand is not None
        model = self.model
        jacobian = np.empty((3, model.nv))
        for n, state in enumerate(x.T):
            self.set_positions(state)
            mujoco.mj_comPos(model, self.data)
            self.hand.write_jacobian(jacobian)
            rates = state[model.nq : model.nq + model.nv]
            z[:2, n] = self.hand.position[self.plane]
            z[2:, n] = jacobian[self.plane] @ rates

    def links(self, x: Array, p: Any) -> Array:
        """Return the points (k + 1, 2) [m] of the drawing at the state x (n,).

        These are the hinges on the way to the hand, or to the end of the last body, and
        then that end.
        """
        self.set_positions(x)
        points = np.array([*self.data.xanchor[self.hinges], self.end])
        return points[:, self.plane]

    def set_positions(self, x: Array) -> None:
        """Move bodies and sites to the positions of a state x (n,)."""
        self.data.qpos[:] = x[: self.model.nq]
        mujoco.mj_kinematics(self.model, self.data)

    def _read_home(self, positions: Array | None) -> Array:
        """Return the state (n,) at home, at rest, and move the bodies there."""
        model = self.model
        data = self.data
        key = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, "home")
        if positions is not None:
            data.qpos[:] = positions
        elif key >= 0:
            mujoco.mj_resetDataKeyframe(model, data, key)
        mujoco.mj_kinematics(model, data)
        return np.concatenate([data.qpos, np.zeros(model.nv), data.act])

    def _find_plane(self) -> list[int]:
        """Return the two axes of the world perpendicular to most hinges.

        Without a hinge these are x and y.
        """
        is_hinge = self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        turns = np.abs(self.data.xaxis[is_hinge]).sum(axis=0)
        normal = int(np.argmax(turns)) if is_hinge.any() else 2
        return [axis for axis in range(3) if axis != normal]

    def _find_hand(self) -> Hand | None:
        """Return the first site, or else body, with one of the names HANDS, or None."""
        model = self.model
        data = self.data
        for name in HANDS:
            site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name)
            if site >= 0:
                jacobian = partial(_write_site_jacobian, model, data, site)
                return Hand(
                    data.site_xpos[site], int(model.site_bodyid[site]), jacobian
                )
        for name in HANDS:
            body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)
            if body >= 0:
                jacobian = partial(_write_body_jacobian, model, data, body)
                return Hand(data.xpos[body], body, jacobian)
        return None

    def _find_chain(self) -> tuple[Array, list[int], bool]:
        """Return the end of the drawing, its hinges, and whether it can be drawn.

        The end is a view of a position (3,) [m]. The hinges lie on the way to it. A
        drawing in the plane needs hinges that are all perpendicular to the plane.
        """
        model = self.model
        end, body = self._find_end()
        joints: list[int] = []
        while body:
            first = int(model.body_jntadr[body])
            count = int(model.body_jntnum[body])
            joints = [*range(first, first + count), *joints]
            body = int(model.body_parentid[body])

        is_hinge = model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_HINGE
        slides = np.flatnonzero(~is_hinge)
        # A slide changes the distance of the joints before it, so they are no link.
        hinges = joints[slides[-1] + 1 :] if len(slides) else joints

        all_hinges = np.array(joints, dtype=int)[is_hinge]
        in_plane = self.data.xaxis[all_hinges][:, self.plane]
        drawable = bool(hinges) and bool(np.allclose(in_plane, 0.0, atol=1e-9))
        return end, hinges, drawable

    def _find_end(self) -> tuple[Array, int]:
        """Return the position (3,) and the body of the hand, or of the last body."""
        if self.hand is not None:
            return self.hand.position, self.hand.body
        body = int(self.model.jnt_bodyid[-1])
        sites = np.flatnonzero(self.model.site_bodyid == body)
        if len(sites):
            return self.data.site_xpos[sites[0]], body
        return self.data.xipos[body], body


def _write_site_jacobian(model: Any, data: Any, site: int, out: Array) -> None:
    """Write the derivatives of a site's position by the rates (3, nv)."""
    mujoco.mj_jacSite(model, data, out, None, site)


def _write_body_jacobian(model: Any, data: Any, body: int, out: Array) -> None:
    """Write the derivatives of a body's position by the rates (3, nv)."""
    mujoco.mj_jacBody(model, data, out, None, body)
