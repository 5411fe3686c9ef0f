"""Trials of a plant and task, step by step, under whoever acts on them: the closed loop of sweeps/plain.py without a network.

    y_t = observe(x_{t-d_y}) + sensory noise        u_t = limit(c_{t-d_u}) (1 + gain_t) + motor noise
    c_t = trim + scale a_t                          x_{t+1} = step(x_t, u_t, params) + disturbance_t
    reward_t = -cost_t(x_t, u_t), of the last step t = T-1 also -cost_T(x_T)

Who acts sees [target_t, y_t] and gives a_t, within +-1; the sum of the rewards is minus the loss of the trial.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.random import Stream
from hfcontrol.errors import UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.runs.factory import make_plant, make_task, make_wiring
from hfcontrol.runs.settings import settings_for
from hfcontrol.tasks.cost import at_times
from hfcontrol.tasks.generators import RANDOM_GENERATORS
from hfcontrol.tasks.scenario import SPLITS, replace_trials, select_trials

CONDITIONS = (
    "trials",
    "steps",
    "effort",
    "running",
    "space",
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "motor_noise",
    "push",
    "param",
    "vary",
    "curl_field",
    "actuators",
    "observe",
    "control_limit",
)
SATURATING = 3.0  # an action of 1 in limits: tanh(3) = 0.995 of them
PLENTY = 15.0  # an action of 1 in typical controls, where there is no limit: on every shipped task the optimum stays within
FAR = 1e6  # typical sizes beyond which a state is lost, while numbers are still fit for an agent that works in float32
LOST = 1e6  # minus the reward of the step in which a trial is lost
MANY = 512  # trials whose steps are shared among the cores
STREAMS = dict(zip(SPLITS, (Stream.SCENARIOS, Stream.HELD_OUT)))


@dataclass(frozen=True)
class _End:
    """As much of a rollout as says whether it succeeded: its final states, x (1, nx, N)."""

    x: np.ndarray


class Trials:
    """N trials, each at a time index t (N,) of its own; `scenario` is theirs, `size` how many numbers are seen in each.

    `conditions` are settings of those names, and `scale` what an action of 1 commands, in control units (nu,). Scenarios
    come from a stock, as many as the task has trials, in random order. Used up, it is drawn anew; a fixed list of targets
    is gone through again, in another order. Raises kinds of HFControlError.
    """

    def __init__(self, number, plant, task=None, scale=None, **conditions):
        for name in conditions:
            if name not in CONDITIONS:
                raise UsageError(
                    f"{name}={conditions[name]!r}: an environment has no such condition; known are "
                    f"{', '.join(CONDITIONS)}"
                )
        if number < 1:
            raise UsageError(f"{number} trials: at least 1 is needed")
        settings = settings_for(plant=str(plant), task=task, **conditions)
        self.plant = make_plant(settings)
        self.kernels = compile_plant(self.plant)
        self.task = make_task(settings, self.plant, self.kernels)
        self.wiring = make_wiring(settings, self.plant, taper=False)
        self.wiring.check(self.task.steps)
        self.number, self.size = number, self.task.n_target + self.plant.ny
        self.trim = np.broadcast_to(self.plant.trim, (self.plant.nu,))[:, None]
        self.scale = self._scale(scale)
        self.scenario, self._stock, self._split = None, None, SPLITS[0]
        self._fixed = not (
            self.task.random
            or {"draw", *RANDOM_GENERATORS}
            & {*self.task.numbers, self.task.numbers.get("generator")}
        )

    def _scale(self, scale):
        """The change of the commands (nu, 1) for an action of 1: as told, or the rule's."""
        limit = self.wiring.limit
        rule = np.where(
            np.isfinite(limit), SATURATING * limit, PLENTY * self.plant.typical_control
        )
        try:
            scales = np.broadcast_to(
                np.asarray(rule if scale is None else scale, dtype=float), limit.shape
            )
        except (TypeError, ValueError):
            scales = np.zeros(1)
        if not ((scales > 0) & np.isfinite(scales)).all():
            raise UsageError(
                f"scale {scale}: a positive number is needed, or one for each of {', '.join(self.plant.control)}"
            )
        return scales[:, None]

    def begin_all(self, rng, split=SPLITS[0], anew=False):
        """Begins all trials; `anew`, or of another split than before, with a new stock."""
        if split not in SPLITS:
            raise UsageError(f"split {split!r}: {' or '.join(SPLITS)}")
        if anew or split != self._split:
            self._stock = None
        self._split = split
        self.begin(np.arange(self.number), rng)

    def begin(self, trials, rng):
        """Begins some trials, given by their numbers, in the next scenarios of the stock."""
        rest = trials
        while rest.size:
            if self._stock is None or not self._order.size:
                self._restock(rng, rest.size)
            taken, self._order = np.split(self._order, [rest.size])
            replace_trials(
                self.scenario, rest[: taken.size], select_trials(self._stock, taken)
            )
            rest = rest[taken.size :]
        self._t[trials], self._losses[trials] = 0, 0.0
        self._states[..., trials] = self.scenario.x0[:, trials]
        self._commands[..., trials] = 0.0
        self._seen[trials] = self._see()[trials]

    def _restock(self, rng, wanted):
        if self._stock is None or not self._fixed:
            own = np.random.default_rng(
                [int(rng.integers(2**63)), STREAMS[self._split]]
            )
            self._stock = self.task.draw(own, self._split)
        trials = self._stock.trials
        times = -(-wanted // trials) if self._fixed else 1
        self._order = np.concatenate([rng.permutation(trials) for _ in range(times)])
        if self.scenario is None:
            self._allocate()

    def _allocate(self):
        number, wiring, plant = self.number, self.wiring, self.plant
        self.scenario = select_trials(self._stock, np.zeros(number, dtype=int))
        self._t, self._losses = np.zeros(number, dtype=int), np.zeros(number)
        self._states = np.zeros(
            (wiring.feedback_delay + 1, plant.nx, number)
        )  # x_{t-d_y} to x_t
        self._commands = np.zeros(
            (wiring.command_delay + 1, plant.nu, number)
        )  # c_{t-d_u} to c_t
        self._seen = np.zeros((number, self.size))

    @property
    def seen(self):
        """What is seen of every trial now (N, size), as a copy."""
        return self._seen.copy()

    def _time(self):
        """The time index of the step to come, or one for each trial; a trial that has ended waits in its last step."""
        t = np.minimum(self._t, self.task.steps - 1)
        return t[0] if (t == t[0]).all() else t

    def _see(self):
        """Target and observation of every trial (N, size); at the end of the horizon the last target, and no noise."""
        s, t = self.scenario, self._time()
        y = self.kernels.observe(self._states[:1], s.params)[0]
        y = y + np.where(self._t < self.task.steps, at_times(s.sensory_noise, t), 0.0)
        return np.concatenate([at_times(s.target, t), y]).T

    def advance(self, actions):
        """One control step of all trials under actions (N, nu); rewards (N,) and which trials ended (N,).

        A trial that gets FAR away, or where a number is not finite, is lost: it ends with a reward of -LOST, and neither its
        state nor what is seen of it moves in that step.
        """
        s, t, x = self.scenario, self._time(), self._states[-1]
        command = self.trim + self.scale * self._checked(actions).T
        self._commands = np.concatenate([self._commands[1:], command[None]])
        u = self.wiring.apply_limit(self._commands[0])
        u = u * (1.0 + at_times(s.motor_gain, t)) + at_times(s.motor_noise, t)
        with np.errstate(all="ignore"):
            cost = s.cost.losses_at(t, x, u)
            after = self._move(x, u, at_times(s.disturbance, t))
            self._t += 1
            ended = self._t >= self.task.steps
            if ended.any():
                cost += np.where(
                    ended, s.cost.losses_at(self.task.steps, after, None), 0.0
                )
            self._states = np.concatenate([self._states[1:], after[None]])
            seen = self._see()
            near = (np.abs(after) <= FAR * self.plant.typical_state[:, None]).all(
                axis=0
            )
        fine = near & np.isfinite(cost) & np.isfinite(seen).all(axis=1)
        self._states[-1] = np.where(fine, after, x)
        self._seen = np.where(fine[:, None], seen, self._seen)
        self._losses += np.where(fine, cost, np.inf)
        return np.where(fine, -cost, -LOST), ended | ~fine

    def _move(self, x, u, disturbance):
        """The next states (nx, N): by simulate, which works on all cores, where that is worth waking them."""
        if self.number < MANY:
            return (
                self.kernels.step(x, u, self.scenario.params) + disturbance
            )  # the same, as there is no taper
        return self.kernels.simulate(
            x, u[None], self.scenario.params, disturbance[None], self.wiring.taper
        )[1]

    def _checked(self, actions):
        """The actions as an array (N, nu); UsageError for another shape, or numbers that are not finite."""
        shape = (self.number, self.plant.nu)
        try:
            given = np.asarray(actions, dtype=float)
        except (TypeError, ValueError):
            given = np.full(shape, np.nan)
        if given.shape != shape or not np.isfinite(given).all():
            raise UsageError(
                f"actions of shape {np.shape(given)}: needed are finite numbers of shape {shape}, by trial and "
                f"control ({', '.join(self.plant.control)})"
            )
        return given

    def results(self):
        """The loss of every trial so far, and whether it would succeed if it ended here: two arrays (N,)."""
        success = self.task.success(_End(self._states[-1:]), self.scenario)
        return {
            "loss": self._losses.copy(),
            "success": success & np.isfinite(self._losses),
        }
