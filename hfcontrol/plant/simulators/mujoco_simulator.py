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

from hfcontrol.arrays.threads import run_in_parallel
from hfcontrol.arrays.types import Array
from hfcontrol.plant.simulators.mujoco_postures import Postures

# Most numbers that one call of MuJoCo returns (the states of all time steps): 32 MiB.
BLOCK = 2**22

# Fewest trials x time steps x joints for a thread: waking one for less takes longer
# than doing its work.
SMALL = 500

# MuJoCo calls larger values unstable (mjMAXVAL).
HUGE = 1e10

# Time [s] at which every step starts. MuJoCo resets an unstable trial to 0 s, so its
# time afterwards tells it apart.
START = 1.0
TIME_TOLERANCE = 1e-9  # [s]

# Largest part of its half range that a control has at rest. At the end of a range a
# network's commands would have no effect.
MOST_TRIM = 0.9

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


class Worker(NamedTuple):
    """What a thread steps trials with: MuJoCo's data, and a rollout without threads."""

    data: Any
    rollout: Rollout


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
    positions of the keyframe `home`, or else the first positions of the model, moved
    to the nearest ones that the model allows. `trim` (nu,) is the control there: that
    of the keyframe, or else 0.
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
        # One for each thread that steps, made when it is needed.
        self.workers: list[Worker] = []
        self.trim = np.zeros(model.nu)
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
        controls = (u + self.middle)[:, None]
        after = np.empty(start.shape)

        def step_trials(first: int, end: int) -> None:
            trials = slice(first, end)
            after[trials] = self._roll_out(start[trials], controls[trials])

        # Our own threads rather than MuJoCo's: they exist again in a forked process.
        least = max(1, SMALL // (self.substeps * self.model.nv))
        run_in_parallel(len(x), step_trials, least=least)
        duration = self.substeps * self.model.opt.timestep
        stable = np.abs(after[:, 0] - START - duration) < TIME_TOLERANCE
        return np.where(stable[:, None], after[:, 1:], np.nan).T

    def _roll_out(self, start: Array, controls: Array) -> Array:
        """Return the full states (B, 1 + n) a step after `start`, in this thread."""
        with self._worker() as worker:
            states, _ = worker.rollout.rollout(
                self.model, [worker.data], start, controls, nstep=self.substeps
            )
        return states[:, -1]

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        """Lend a worker to this thread."""
        # A list is shared by threads without a lock: pop and append are atomic.
        try:
            worker = self.workers.pop()
        except IndexError:
            worker = Worker(mujoco.MjData(self.model), Rollout(nthread=0))
        try:
            yield worker
        finally:
            self.workers.append(worker)

    def rates(self, x: Array, u: Array) -> Array:
        """Return dx/dt (n, N) of states x (n, N) under u (nu, N), by `mj_forward`.

        The integrator of the model plays no part. A trial that MuJoCo would call
        unstable becomes NaN.
        """
        model = self.model
        rates = np.full(x.shape, np.nan)
        positions, speeds, activations = np.split(x, [model.nq, model.nq + model.nv])
        with np.errstate(invalid="ignore"):
            valid = (np.abs(x) < HUGE).all(axis=0) & (np.abs(u) < HUGE).all(axis=0)
        with quiet(), self._worker() as worker:
            data = worker.data
            for n in np.flatnonzero(valid):
                data.qpos[:] = positions[:, n]
                data.qvel[:] = speeds[:, n]
                data.act[:] = activations[:, n]
                data.ctrl[:] = u[:, n] + self.middle
                # Without it, a trial would depend on the one before.
                data.qacc_warmstart[:] = 0.0
                mujoco.mj_forward(model, data)
                # Hinges and slides: positions change by their speeds.
                rates[:, n] = np.concatenate([data.qvel, data.qacc, data.act_dot])
        return rates

    def settle(self, x: Array) -> Array:
        """Return the allowed states (..., n, N) nearest to x; NaN stays NaN."""
        nq = self.model.nq
        settled = x.copy()
        free = np.isnan(x)
        # Moved to the front, so that each column is a trial.
        columns = np.moveaxis(settled, -2, -1).reshape(-1, x.shape[-2])
        with quiet():
            for state in columns:
                known = np.where(np.isnan(state), self.home, state)[:nq]
                state[:nq] = self.postures.settle(known)
        back = columns.reshape(*x.shape[:-2], x.shape[-1], x.shape[-2])
        return np.where(free, np.nan, np.moveaxis(back, -1, -2))

    def output(self, x: Array, p: Any, z: Array) -> None:
        """Write the hand's position [m] and velocity [m/s] in the plane into z (4, N).

        The states are x (n, N).
        """
        model = self.model
        for n, state in enumerate(x.T):
            position, jacobian = self.hand_at(state)
            z[:2, n] = position
            z[2:, n] = jacobian @ state[model.nq : model.nq + model.nv]

    def hand_at(self, q: Array) -> tuple[Array, Array]:
        """Return the hand (2,) [m] at positions q (nq,), and its Jacobian (2, nv)."""
        assert self.hand is not None
        self.set_positions(q)
        mujoco.mj_comPos(self.model, self.data)
        jacobian = np.empty((3, self.model.nv))
        self.hand.write_jacobian(jacobian)
        return self.hand.position[self.plane], jacobian[self.plane]

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
            self._move_mocap_bodies()
            # Without numbers in the keyframe its controls are 0, which says nothing.
            if data.ctrl.any():
                inside = MOST_TRIM * self.half_range
                self.trim = np.clip(data.ctrl - self.middle, -inside, inside)
        self.postures = Postures(model)
        if positions is None:
            data.qpos[:] = self.postures.settle(data.qpos.copy())
        mujoco.mj_kinematics(model, data)
        return np.concatenate([data.qpos, np.zeros(model.nv), data.act])

    def _move_mocap_bodies(self) -> None:
        """Move the model's mocap bodies to where they are in the data.

        Every rollout starts with the bodies where the model has them.
        """
        bodies = np.flatnonzero(self.model.body_mocapid >= 0)
        mocap = self.model.body_mocapid[bodies]
        self.model.body_pos[bodies] = self.data.mocap_pos[mocap]
        self.model.body_quat[bodies] = self.data.mocap_quat[mocap]

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
