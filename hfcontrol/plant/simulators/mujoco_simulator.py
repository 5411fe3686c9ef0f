"""A MuJoCo model that steps many trials at once, on all cores, and says where its hand and its links are."""

from contextlib import contextmanager
from typing import NamedTuple

import mujoco
import numpy as np
from mujoco.rollout import Rollout
from numba import get_num_threads

BLOCK = (
    2**22
)  # numbers that one call of MuJoCo may give back: the states of all time steps, 32 MiB
SMALL = 1000  # trials x time steps x joints that one thread has done before others are awake
HUGE = 1e10  # what MuJoCo calls unstable (mjMAXVAL)
START = 1.0  # [s], on the clock of every trial: one that MuJoCo calls unstable is reset to 0 s
HANDS = ("hand", "fingertip")


@contextmanager
def quiet():
    """Keeps MuJoCo from writing its warnings, which are told by numbers that are not finite, into the working folder."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


class Hand(NamedTuple):
    """The site or body that is the hand: its place (3,) [m], its body, and what writes its Jacobian (3, nv)."""

    place: np.ndarray
    body: int
    jacobian: object


class Simulator:
    """One model, whose control step is so many time steps; a state (n,) is its qpos, qvel and act.

    Controls are deviations from the middle of their ranges, `middle` (nu,). `home` (n,) is at the positions (nq,) given, or
    else at those of the keyframe `home`, or else at the model's own first ones.
    """

    def __init__(self, model, substeps, positions=None):
        model.opt.disableflags |= (
            mujoco.mjtDisableBit.mjDSBL_SENSOR.value
        )  # nobody reads them
        self.model, self.substeps = model, substeps
        limited = model.actuator_ctrllimited.astype(bool)
        self.middle = np.where(limited, model.actuator_ctrlrange.mean(axis=1), 0.0)
        self.half_range = np.where(
            limited, np.ptp(model.actuator_ctrlrange, axis=1) / 2, np.inf
        )
        self.typical_control = np.where(limited, self.half_range, 1.0)
        self.data = mujoco.MjData(model)
        self.workers = [mujoco.MjData(model) for _ in range(get_num_threads())]
        self.alone = Rollout(nthread=0)
        self.pool = (
            Rollout(nthread=len(self.workers)) if len(self.workers) > 1 else self.alone
        )
        self.home = self._home(positions)
        self.plane = self._plane()
        self.hand = self._hand()
        self._chain()

    def step(self, x, u, p, dt):
        """The states (n, N) after one control step from x (n, N) under u (nu, N); NaN where MuJoCo calls it unstable.

        Every trial starts without the warm start of another one, so that it depends on its own state and control alone.
        """
        after = np.full(x.shape, np.nan)
        with np.errstate(invalid="ignore"):
            sane = np.flatnonzero(
                (np.abs(x) < HUGE).all(axis=0) & (np.abs(u) < HUGE).all(axis=0)
            )
        numbers = 1 + len(x) + self.model.nsensordata
        rows = max(1, BLOCK // (numbers * self.substeps))
        with quiet():
            for first in range(0, len(sane), rows):
                some = sane[first : first + rows]
                after[:, some] = self._stepped(x[:, some].T, u[:, some].T)
        return after

    def _stepped(self, x, u):
        """The states (n, rows) after one control step from x (rows, n) under u (rows, nu)."""
        start = np.column_stack(
            [np.full(len(x), START), x]
        )  # MuJoCo's state begins with the time
        small = len(x) * self.substeps * self.model.nv < SMALL
        pool, workers = (
            (self.alone, self.workers[:1]) if small else (self.pool, self.workers)
        )
        states, _ = pool.rollout(
            self.model, workers, start, (u + self.middle)[:, None], nstep=self.substeps
        )
        ended = (
            np.abs(states[:, -1, 0] - START - self.substeps * self.model.opt.timestep)
            < 1e-9
        )
        return np.where(ended[:, None], states[:, -1, 1:], np.nan).T

    def output(self, x, p, z):
        """Position [m] and velocity [m/s] of the hand in the plane, z (4, N), at the states x (n, N)."""
        jacobian, model, data = np.empty((3, self.model.nv)), self.model, self.data
        for n, state in enumerate(x.T):
            self.place(state)
            mujoco.mj_comPos(model, data)
            self.hand.jacobian(jacobian)
            z[:2, n] = self.hand.place[self.plane]
            z[2:, n] = jacobian[self.plane] @ state[model.nq : model.nq + model.nv]

    def links(self, x, p):
        """The hinges on the way to the hand, or to the end of the last body, and that end (k+1, 2) [m], at the state x."""
        self.place(x)
        return np.array([*self.data.xanchor[self.hinges], self.end])[:, self.plane]

    def place(self, x):
        """Puts bodies and sites where the state x (n, or more) says."""
        self.data.qpos[:] = x[: self.model.nq]
        mujoco.mj_kinematics(self.model, self.data)

    def _home(self, positions):
        """The state (n,) at home, at rest, where the bodies are left."""
        model, data = self.model, self.data
        key = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_KEY, "home")
        if positions is not None:
            data.qpos[:] = positions
        elif key >= 0:
            mujoco.mj_resetDataKeyframe(model, data, key)
        mujoco.mj_kinematics(model, data)
        return np.concatenate([data.qpos, np.zeros(model.nv), data.act])

    def _plane(self):
        """The two axes of the world across which most hinges turn; x and y where there is no hinge."""
        hinges = self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        turns = np.abs(self.data.xaxis[hinges]).sum(axis=0)
        normal = int(np.argmax(turns)) if hinges.any() else 2
        return [axis for axis in range(3) if axis != normal]

    def _hand(self):
        """The first site, or else body, of one of the names of hands, or None."""
        model, data, kinds = self.model, self.data, mujoco.mjtObj
        for kind, places, jacobian in (
            (kinds.mjOBJ_SITE, data.site_xpos, mujoco.mj_jacSite),
            (kinds.mjOBJ_BODY, data.xpos, mujoco.mj_jacBody),
        ):
            for i in (mujoco.mj_name2id(model, kind, name) for name in HANDS):
                if i >= 0:
                    body = int(model.site_bodyid[i]) if kind == kinds.mjOBJ_SITE else i
                    return Hand(
                        places[i], body, lambda out: jacobian(model, data, out, None, i)
                    )
        return None

    def _chain(self):
        """Finds the end that is drawn, the hinges on the way there, and whether a drawing in the plane is to scale."""
        model = self.model
        if self.hand is None:
            body = int(model.jnt_bodyid[-1])
            sites = np.flatnonzero(model.site_bodyid == body)
            self.end = (
                self.data.site_xpos[sites[0]] if len(sites) else self.data.xipos[body]
            )
        else:
            self.end, body = self.hand.place, self.hand.body
        joints = []
        while body:
            first = int(model.body_jntadr[body])
            joints = [*range(first, first + int(model.body_jntnum[body])), *joints]
            body = int(model.body_parentid[body])
        hinged = model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_HINGE
        slides = [place for place, hinge in enumerate(hinged) if not hinge]
        self.hinges = (
            joints[slides[-1] + 1 :] if slides else joints
        )  # what lies before a slide changes its distance
        across = self.data.xaxis[
            [joint for joint, hinge in zip(joints, hinged) if hinge]
        ][:, self.plane]
        self.drawable = bool(self.hinges) and bool(np.allclose(across, 0.0, atol=1e-9))
