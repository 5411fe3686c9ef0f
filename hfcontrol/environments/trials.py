"""Trials of a plant and task, stepped under the actions of an agent.

This is the closed loop of closed_loop/passes/plain.py with an agent as the network:

    y_t = observe(x_{t-d_y}) + sensory noise
    c_t = trim + scale a_t
    u_t = limit(c_{t-d_u}) (1 + gain_t) + motor noise
    x_{t+1} = step(x_t, u_t, params) + disturbance_t
    reward_t = -cost_t(x_t, u_t), and in the last step t = T-1 also -cost_T(x_T)

The agent observes [target_t, y_t] and returns the action a_t, within +-1. The sum of
the rewards is minus the loss of the trial.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.random import Stream
from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.runs.factory import make_plant, make_task, make_wiring
from hfcontrol.runs.settings import settings_for
from hfcontrol.tasks.cost import at_times
from hfcontrol.tasks.generators import RANDOM_GENERATORS
from hfcontrol.tasks.scenario import SPLITS, Scenario, replace_trials, select_trials

# Settings that an environment can have.
CONDITIONS = (
    "trials",
    "steps",
    "effort",
    "running",
    "final",
    "space",
    "target_centre",
    "target_radius",
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "motor_noise",
    "push",
    "jitter",
    "param",
    "vary",
    "curl_field",
    "actuators",
    "observe",
    "control_limit",
)

# Command of an action of 1, in limits: the control is tanh(3) = 0.995 of its limit.
SATURATING_COMMAND = 3.0

# Command of an action of 1 without a limit, in typical controls: on every shipped task
# the optimal controls stay below.
LARGEST_COMMAND = 15.0

# A trial is lost if a state exceeds this multiple of its typical size. The numbers are
# then still small enough for an agent that computes in float32.
LOST_STATE = 1e6

# Reward of the step in which a trial is lost.
LOST_REWARD = -1e6

# From this number of trials on it pays to start the other cores.
PARALLEL_TRIALS = 512

STREAMS = dict(zip(SPLITS, (Stream.SCENARIOS, Stream.HELD_OUT), strict=True))


# Attributes of `Trials` that are built from its arguments, and those that need kernels.
BUILT = ("plant", "kernels", "task", "wiring")
SCENARIOS = ("_scenario", "_stock")


def _with_kernels(scenario: Scenario | None, kernels: Any) -> Scenario | None:
    """Return a scenario whose cost has these kernels, or none if there is none."""
    if scenario is None:
        return None
    return replace(scenario, cost=replace(scenario.cost, kernels=kernels))


@dataclass(frozen=True)
class FinalStates:
    """The part of a rollout that decides success: its final states x (1, nx, N)."""

    x: Array


class Trials:
    """N trials of a plant and task, each at its own time index.

    `conditions` are settings, by the names in CONDITIONS. `scale` is the command of an
    action of 1, in control units, one number or (nu,). `n_observed` is the size of an
    observation.

    Scenarios come from a stock of as many as the task has trials, in random order. When
    it is used up, a random task draws a new stock; a fixed list of targets is used
    again in another order. Raises HFControlError for settings that are not possible.
    """

    def __init__(
        self,
        number: int,
        plant: str | Path,
        task: str | None = None,
        scale: npt.ArrayLike | None = None,
        **conditions: Any,
    ) -> None:
        for name, value in conditions.items():
            if name not in CONDITIONS:
                raise UsageError(
                    f"`{name}` {value!r}: an environment has no such setting; it has: "
                    f"{', '.join(CONDITIONS)}"
                )
        if number < 1:
            raise UsageError(f"{number} trials: at least 1 is needed")

        settings = settings_for(plant=str(plant), task=task, **conditions)
        # A copy is built from these.
        self._arguments = (number, plant, task, scale), conditions
        self.plant = make_plant(settings)
        self.kernels = compile_plant(self.plant)
        self.task = make_task(settings, self.plant, self.kernels)
        self.wiring = make_wiring(settings, self.plant, taper=False)
        self.wiring.check(self.task.steps)

        self.number = number
        self.n_observed = self.task.n_target + self.plant.ny + self.plant.irregular
        self.trim = np.broadcast_to(self.plant.trim, (self.plant.nu,))[:, None]
        self.scale = self._check_scale(scale)

        self._scenario: Scenario | None = None
        self._stock: Scenario | None = None
        # Indices of the scenarios in the stock that are not used yet.
        self._order = np.zeros(0, dtype=int)
        self._split = SPLITS[0]

        numbers = self.task.numbers
        draws = {*numbers, numbers.get("generator")} & {"draw", *RANDOM_GENERATORS}
        self._is_fixed_list = not (self.task.random or draws)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, also in another process: no compiled code."""
        state = {name: a for name, a in vars(self).items() if name not in BUILT}
        for name in SCENARIOS:
            state[name] = _with_kernels(state[name], None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build plant, task and kernels again, and go on from the state of the copy."""
        arguments, conditions = state["_arguments"]
        built = type(self)(*arguments, **conditions)
        vars(self).update(vars(built) | state)
        for name in SCENARIOS:
            setattr(self, name, _with_kernels(state[name], self.kernels))

    @property
    def scenario(self) -> Scenario:
        """The scenario of all trials; UsageError before the first reset."""
        if self._scenario is None:
            raise UsageError("no trials yet: call reset() first")
        return self._scenario

    def _check_scale(self, scale: npt.ArrayLike | None) -> Array:
        """Return the command (nu, 1) of an action of 1: as given, or the default."""
        if scale is None:
            scale = self._default_scale()
        try:
            scales = np.broadcast_to(np.asarray(scale, dtype=float), (self.plant.nu,))
        except (TypeError, ValueError):
            # No numbers, or not one for each control: refused below.
            scales = np.zeros(1)
        if not ((scales > 0) & np.isfinite(scales)).all():
            raise UsageError(
                f"scale {scale}: a positive number is needed, or one for each of "
                f"{', '.join(self.plant.control)}"
            )
        return scales[:, None]

    def _default_scale(self) -> Array:
        """Return the command (nu,) of an action of 1 that reaches all controls."""
        limits = self.wiring.limits
        # A range that is not about zero is reached from the trim, which may be outside.
        away = np.abs(self.trim[:, 0] - limits.centre)
        away = np.where(limits.centre == 0.0, 0.0, away)
        saturating = SATURATING_COMMAND * limits.width + away
        typical = LARGEST_COMMAND * self.plant.typical_control
        return np.where(limits.has_range, saturating, typical)

    def start_all(
        self, rng: np.random.Generator, split: str = SPLITS[0], restock: bool = False
    ) -> None:
        """Start all trials, in scenarios of a split.

        A new stock of scenarios is drawn with `restock`, or if the split changed.
        """
        if split not in SPLITS:
            raise UsageError(f"split {split!r}: {' or '.join(SPLITS)}")
        if restock or split != self._split:
            self._stock = None
        self._split = split
        self.start(np.arange(self.number), rng)

    def start(self, trials: Array, rng: np.random.Generator) -> None:
        """Start some trials, given by their indices, in the next scenarios."""
        waiting = trials
        while waiting.size:
            scenarios = self._take(waiting.size, rng)
            indices = waiting[: scenarios.trials]
            replace_trials(self.scenario, indices, scenarios)
            waiting = waiting[scenarios.trials :]

        self._t[trials] = 0
        self._losses[trials] = 0.0
        self._states[..., trials] = self.scenario.x0[:, trials]
        self._commands[..., trials] = 0.0
        self._observations[trials] = self._observe()[trials]

    def _take(self, count: int, rng: np.random.Generator) -> Scenario:
        """Return the next scenarios, `count` or as many as the stock still has."""
        stock = self._stock
        if stock is None or not self._order.size:
            stock = self._restock(rng, count)
        taken, self._order = np.split(self._order, [count])
        return select_trials(stock, taken)

    def _restock(self, rng: np.random.Generator, count: int) -> Scenario:
        """Return the stock in a new order; unless it is a fixed list, draw it again."""
        stock = self._stock
        if stock is None or not self._is_fixed_list:
            seed = [int(rng.integers(2**63)), STREAMS[self._split]]
            stock = self.task.draw(np.random.default_rng(seed), self._split)
            self._stock = stock

        repeats = -(-count // stock.trials) if self._is_fixed_list else 1
        orders = [rng.permutation(stock.trials) for _ in range(repeats)]
        self._order = np.concatenate(orders)
        if self._scenario is None:
            self._allocate(stock)
        return stock

    def _allocate(self, stock: Scenario) -> None:
        """Allocate the state of all trials, with arrays like those of the stock."""
        number, wiring, plant = self.number, self.wiring, self.plant
        self._scenario = select_trials(stock, np.zeros(number, dtype=int))
        self._t = np.zeros(number, dtype=int)
        self._losses = np.zeros(number)
        # Delay lines: states x_{t-d_y} to x_t, and commands c_{t-d_u} to c_t.
        self._states = np.zeros((wiring.feedback_delay + 1, plant.nx, number))
        self._commands = np.zeros((wiring.command_delay + 1, plant.nu, number))
        self._observations = np.zeros((number, self.n_observed))

    @property
    def observations(self) -> Array:
        """The present observations (N, n_observed), as a copy."""
        return self._observations.copy()

    def _time(self) -> int | Array:
        """Return the time index of the next step: one, or (N,) if trials differ.

        A trial that has ended stays at its last step.
        """
        t = np.minimum(self._t, self.task.steps - 1)
        return t[0] if (t == t[0]).all() else t

    def _observe(self) -> Array:
        """Return target and observation of all trials (N, n_observed).

        With steps of different lengths, the time since the last step follows, in
        control steps. At the end of the horizon the target is the last one and there is
        no noise.
        """
        scenario, t = self.scenario, self._time()
        y = self.kernels.observe(self._states[:1], scenario.params)[0]
        noise = at_times(scenario.sensory_noise, t)
        y = y + np.where(self._t < self.task.steps, noise, 0.0)
        seen = [at_times(scenario.target, t), y]
        if self.plant.irregular:
            seen.append(at_times(scenario.elapsed[:, None], t))
        return np.concatenate(seen).T

    def step(self, actions: npt.ArrayLike) -> tuple[Array, Array]:
        """Step all trials under actions (N, nu).

        Returns the rewards (N,) and whether each trial has ended (N,).

        A trial is lost if a state exceeds LOST_STATE typical sizes or a number is not
        finite. It ends with LOST_REWARD; its state and observation stay as they were.
        """
        scenario, t = self.scenario, self._time()
        x = self._states[-1]
        command = self.trim + self.scale * self._check_actions(actions).T
        self._commands = np.concatenate([self._commands[1:], command[None]])
        u = self.wiring.limits.apply(self._commands[0])
        has_command = self._t >= self.wiring.command_delay
        u = np.where(has_command, u, self.wiring.limits.clip(np.zeros_like(u)))
        u = u * (1.0 + at_times(scenario.motor_gain, t))
        u = u + at_times(scenario.motor_noise, t)

        # A diverging trial may overflow; it is found below.
        with np.errstate(all="ignore"):
            cost = scenario.cost.losses_at(t, x, u)
            x_next = self._move(x, u, at_times(scenario.disturbance, t))
            self._t += 1
            ended = self._t >= self.task.steps
            if ended.any():
                final = scenario.cost.losses_at(self.task.steps, x_next, None)
                cost += np.where(ended, final, 0.0)
            self._states = np.concatenate([self._states[1:], x_next[None]])
            observations = self._observe()
            bound = LOST_STATE * self.plant.typical_state[:, None]
            is_near = (np.abs(x_next) <= bound).all(axis=0)

        is_finite = np.isfinite(cost) & np.isfinite(observations).all(axis=1)
        is_valid = is_near & is_finite
        self._states[-1] = np.where(is_valid, x_next, x)
        self._observations = np.where(
            is_valid[:, None], observations, self._observations
        )
        self._losses += np.where(is_valid, cost, np.inf)
        return np.where(is_valid, -cost, LOST_REWARD), ended | ~is_valid

    def _move(self, x: Array, u: Array, disturbance: Array) -> Array:
        """Return the next states (nx, N)."""
        params = self.scenario.params
        if self.number < PARALLEL_TRIALS:
            return self.kernels.step(x, u, params) + disturbance

        # The same numbers: without a taper, `simulate` is a loop of steps on all cores.
        states = self.kernels.simulate(
            x, u[None], params, disturbance[None], self.wiring.taper
        )
        return states[1]

    def _check_actions(self, actions: npt.ArrayLike) -> Array:
        """Return the actions as an array (N, nu) of finite numbers."""
        shape = (self.number, self.plant.nu)
        try:
            array = np.asarray(actions, dtype=float)
        except (TypeError, ValueError):
            # No numbers: refused below.
            array = np.full(shape, np.nan)
        if array.shape != shape or not np.isfinite(array).all():
            raise UsageError(
                f"actions of shape {np.shape(array)}: needed are finite numbers of "
                f"shape {shape}, by trial and control ({', '.join(self.plant.control)})"
            )
        return array

    def results(self) -> dict[str, Array]:
        """Return `loss` (N,) so far and `success` (N,) if the trials ended now."""
        final = FinalStates(self._states[-1:])
        success = self.task.success(final, self.scenario)
        is_valid = np.isfinite(self._losses)
        return {"loss": self._losses.copy(), "success": success & is_valid}
