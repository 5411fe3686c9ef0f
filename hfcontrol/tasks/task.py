"""Tasks: what a plant has to do, as numbers for a generator and for a cost.

A plant file's TASKS give numbers to the generators of generators.py, or a function
`draw(rng, trials, split)` that returns start states (n, N) and goals (n, N) or
(T+1, n, N) of the n states of the plant's body. The network sees the goal of the next
step. A task can show it something else: a function `sees(goal)` of the whole goal,
which returns (T, k, N), and a `preview`, times ahead [s] at which the network sees how
far the goal's positions will have moved by then.
"""

from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator

from hfcontrol.arrays.types import Array
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.contract import HAND, Plant
from hfcontrol.schema import format_value
from hfcontrol.tasks.cost import Cost, Residuals, make_residuals
from hfcontrol.tasks.entries import check_entries
from hfcontrol.tasks.functions import (
    TaskFunction,
    check_target_size,
    draw_trials,
    find_successes,
    see_goal,
)
from hfcontrol.tasks.generators import (
    CIRCLE_GENERATORS,
    CURVATURE_TRIALS,
    GENERATORS,
    RANDOM_GENERATORS,
)
from hfcontrol.tasks.options import (
    REPLACEABLE,
    TARGET_OPTIONS,
    TaskOptions,
)
from hfcontrol.tasks.scenario import SPLITS, Scenario
from hfcontrol.tasks.weights import (
    WEIGHTS,
    describe_bad_weight,
    weight_entries,
    weights_by_component,
)

# Error in typical sizes up to which a trial succeeds, if the task says nothing else.
DEFAULT_SUCCESS = 0.1


class Trajectory(Protocol):
    """What `Task.success` reads of a rollout: the states (T+1, nx, N)."""

    @property
    def x(self) -> Array:
        """States (T+1, nx, N)."""
        ...


class Task:
    """A plant's task with the user's options; draws scenarios and evaluates success.

    Raises TaskError if the plant has no such task, or if the task is not well-formed.
    """

    def __init__(
        self,
        plant: Plant,
        kernels: Kernels,
        name: str | None = None,
        options: TaskOptions | None = None,
    ) -> None:
        options = options or TaskOptions()
        if not plant.tasks:
            raise TaskError(
                f"plant {plant.name} has no tasks: add TASKS to {plant.path.name}"
            )
        # The first task of the file is the default.
        found = plant.find_task(name or None)
        if found not in plant.tasks:
            raise TaskError(
                f"plant {plant.name} has no task {name!r}; "
                f"it has: {', '.join(plant.tasks)}"
            )
        self.name = found
        if options.space == "hand" and plant.hand is None:
            raise TaskError(
                f"`space` hand: plant {plant.name} has no hand (hand_x and hand_y "
                "among its OUTPUT names); use `space` joint"
            )
        self.plant, self.kernels, self.options = plant, kernels, options

        # A copy, because options and `shrink` change it; the plant is shared.
        self.numbers: dict[str, Any] = dict(plant.tasks[self.name])
        self._replace_numbers()
        check_entries(plant, self.name, self.numbers)

        if options.space == "hand" and "residual" in self.numbers:
            names = self.numbers["residuals"]
            check_target_size(self._function("residual"), names, len(HAND))
        self.trials: int = self.numbers["trials"]
        self.steps: int = self.numbers["steps"]
        parts = self.numbers.get("final_at", (1.0,))
        self.arrivals = tuple(round(part * self.steps) for part in parts)
        self._check_targets()

    def _replace_numbers(self) -> None:
        """Replace the task's numbers by the user's; UsageError if one does not fit."""
        plant = self.plant
        for setting, entry in REPLACEABLE.items():
            value = getattr(self.options, setting)
            if value is None:
                continue
            if entry in WEIGHTS:
                fault = describe_bad_weight(plant, entry, value)
                if fault:
                    shown = ",".join(f"{w:g}" for w in weight_entries(value))
                    raise UsageError(f"`{setting}` {shown}: {fault}")
            self.numbers[entry] = value

    @property
    def _chosen_targets(self) -> dict[str, Any]:
        """The options about the circle of targets that the user gave."""
        options = {name: getattr(self.options, name) for name in TARGET_OPTIONS}
        return {name: value for name, value in options.items() if value is not None}

    def _check_targets(self) -> None:
        """Check the targets that the user chose.

        Raises UsageError if the task has no circle of targets, and TaskError if one of
        its targets, held-out ones included, is out of reach.
        """
        if not self._chosen_targets:
            return
        setting, value = next(iter(self._chosen_targets.items()))
        plant = self.plant
        if self.numbers.get("generator") not in CIRCLE_GENERATORS:
            suitable = [
                name
                for name, numbers in plant.tasks.items()
                if numbers.get("generator") in CIRCLE_GENERATORS
            ]
            advice = f", or choose `task` {' or '.join(suitable)}" if suitable else ""
            raise UsageError(
                f"`{setting}` {format_value(value)}: task {self.name} of {plant.name} "
                f"has no circle of hand targets; leave it out{advice}"
            )
        values = np.array(list(plant.params.values()), dtype=float)[:, None]
        params = np.tile(values, self.trials)
        for split in SPLITS:
            # These generators draw nothing at random.
            rng = np.random.default_rng(0)
            self._draw_start_and_goal(rng, params, self.trials, split)

    @property
    def noisy(self) -> bool:
        """Whether anything is drawn that a controller cannot know in advance."""
        return self.options.disturbances.noisy or bool(self._push)

    @property
    def random(self) -> bool:
        """Whether every scenario is different."""
        varies = bool(self.options.disturbances.vary)
        return self.noisy or varies or bool(self.numbers.get("random"))

    @cached_property
    def draws(self) -> bool:
        """Whether starts, goals or parameters are drawn at random."""
        if self.random:
            return True
        # two generators give the same trials only if none is asked
        one, other = (self.draw(np.random.default_rng(i), trials=2) for i in (0, 1))
        return any(
            not np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
            for name in ("x0", "goal", "params")
        )

    @property
    def validates(self) -> bool:
        """Whether validation trials differ from the training trials."""
        # a fixed set of a plant file's own function has nothing between its trials
        return self.draws or "generator" in self.numbers

    @property
    def evaluation_trials(self) -> int:
        """Number of trials that a controller is evaluated on, at most `trials`.

        A task limits it if the optimum of all its trials takes too long to compute.
        """
        return min(self.trials, self.numbers.get("judged", self.trials))

    @property
    def curvature_trials(self) -> int | None:
        """Number of evenly spaced trials with the mean curvature of all, if known.

        Around a circle the curvature of a trial is a smooth periodic function of the
        angle. Its mean over evenly spaced angles converges faster than any power of
        their number (trapezoidal rule); tools/NOTES.md has the measurements. A large
        circle needs more of them, so all count on one that the user chose.
        """
        if self.random or self._chosen_targets:
            return None
        return CURVATURE_TRIALS.get(self.numbers.get("generator", ""))

    @property
    def _push(self) -> float:
        """Standard deviation of the change that a push makes to every rate."""
        requested = self.options.disturbances.push
        return self.numbers.get("push", 0.0) if requested is None else requested

    @property
    def n_target(self) -> int:
        """Number of components of the target that the network sees."""
        if self.options.space == "hand":
            return 2
        if not self._transforms_goal:
            return self.plant.n_body
        goal = np.zeros((self.steps + 1, self.plant.n_body, 1))
        return self._transform_goal(goal).shape[1]

    @property
    def optimum_is_zero(self) -> bool:
        """Whether a loss of zero is possible: only the final state has a cost."""
        costs = ("effort", "running", "residual")
        weighs = [name for name in costs if name in self.numbers]
        return not any(_is_used(self.numbers[name]) for name in weighs)

    @property
    def final_states(self) -> Array:
        """Indices of the states that the final error counts.

        The cost weighs them at the end. If it weighs no state, as with residuals of
        the plant file alone, all states of the body count.
        """
        running = weights_by_component(
            self.plant, "running", self.numbers.get("running", 0.0)
        )
        final = weights_by_component(
            self.plant, "final", self.numbers.get("final", 1.0)
        )
        indices = np.flatnonzero(running + final)
        return indices if indices.size else np.arange(self.plant.n_body)

    def shrink(self, steps: int, trials: int) -> "Task":
        """The task with a shorter horizon and another number of trials.

        The weight of the arrivals shrinks by the cube of the ratio of the horizons. To
        move by d within T takes an effort of at least 12 d^2 / T^3, the integral of
        the square of an acceleration that falls from 6 d / T^2 to minus that. At their
        full weight, arrivals would justify forces far beyond those of the full horizon.
        """
        options = replace(self.options, steps=steps, trials=trials)
        task = Task(self.plant, self.kernels, self.name, options)
        final = np.asarray(task.numbers.get("final", 1.0), dtype=float)
        task.numbers["final"] = (steps / self.steps) ** 3 * final
        return task

    def with_actuator_states(self, x: Array) -> Array:
        """States of the body (..., n, N) followed by those of the actuators, at rest.

        Returns (..., nx, N).
        """
        drives = self.plant.nx - self.plant.n_body
        if not drives:
            return x
        at_rest = np.zeros((*x.shape[:-2], drives, x.shape[-1]))
        return np.concatenate([x, at_rest], axis=-2)

    def draw(
        self,
        rng: Generator,
        split: str = "training",
        trials: int | None = None,
    ) -> Scenario:
        """Draw a scenario of this task.

        A deterministic task without disturbances leaves `rng` untouched. Raises
        TaskError if the task's numbers do not fit its generator, or if its functions
        return arrays of a wrong shape.
        """
        plant, disturbances = self.plant, self.options.disturbances
        trials, n = trials or self.trials, self.plant.n_body

        # This order of the draws is part of what a seed means.
        params = disturbances.params(plant, rng, trials)
        drawn_x0, drawn_goal = self._draw_start_and_goal(rng, params, trials, split)
        x0, goal = self._complete(drawn_x0, drawn_goal)
        goal_output = self.kernels.output(np.nan_to_num(goal), params)
        target = self._target(goal, goal_output)

        seen = target
        if self._transforms_goal:
            # A goal that moves on beyond a shortened horizon is shown as drawn.
            moves = drawn_goal.ndim == 3
            shown = drawn_goal if moves else goal[:, :n]
            seen = self._transform_goal(shown)

        noise = disturbances.noise(plant, rng, self.steps, trials)
        task_push = self.numbers.get("push", 0.0)
        pushes = disturbances.pushes(plant, rng, self.steps, trials, task_push)
        excesses = disturbances.excesses(rng, self.steps, trials)
        elapsed = np.ones_like(excesses)
        elapsed[1:] += excesses[:-1]
        if plant.irregular:
            # The last state is the excess of the next step.
            pushes[:-1, -1] = excesses[1:]
        cost = self._cost(goal, goal_output, target, params)
        if callable(self.numbers.get("success")):
            # A mistake shows here, and not at the end of a training.
            find_successes(self._function("success"), x0[:n], goal[-1, :n])
        return Scenario(
            x0=x0,
            target=np.ascontiguousarray(seen),
            elapsed=elapsed,
            params=params,
            sensory_noise=noise.sensory,
            motor_noise=noise.motor,
            motor_gain=noise.gain,
            disturbance=pushes,
            cost=cost,
            goal=goal,
            goal_output=goal_output,
            arrivals=self.arrivals,
        )

    def _draw_start_and_goal(
        self,
        rng: Generator,
        params: Array,
        trials: int,
        split: str,
    ) -> tuple[Array, Array]:
        """Start states and goals from the task's own function or its generator.

        Those of a simulator's model are moved to where its constraints are kept.
        """
        name = self.numbers.get("generator")
        if split == "validation" and (name is None or name in RANDOM_GENERATORS):
            # random trials are compared with the loss of others drawn alike
            split = "training"
        if "draw" in self.numbers:
            shape = (self.steps + 1, self.plant.n_body)
            drawn = draw_trials(self._function("draw"), rng, trials, split, shape)
        else:
            generator = GENERATORS[self.numbers["generator"]]
            drawn = generator(self, params)(rng, trials, split)
        if self.plant.settle is None:
            return drawn
        x0, goal = drawn
        return self.plant.settle(x0), self.plant.settle(goal)

    def _function(self, name: str) -> TaskFunction:
        """The function of the task's entry `name`."""
        return TaskFunction(self.plant, self.name, name, self.numbers[name])

    def _target(self, goal: Array, goal_output: Array) -> Array:
        """The goal of the next step (T, nt, N), in the space that the user chose."""
        if self.options.space == "hand":
            return goal_output[1:, self.plant.hand]
        return np.nan_to_num(goal[1:, : self.plant.n_body])

    @property
    def _transforms_goal(self) -> bool:
        """Whether the network sees anything else than the goal of the next step."""
        has_function = "sees" in self.numbers or "preview" in self.numbers
        return self.options.space != "hand" and has_function

    def _transform_goal(self, goal: Array) -> Array:
        """What the network sees (T, k, N) of a goal (at least T+1, n, N).

        It sees the goal of the next step or what the task's `sees` makes of the goal,
        then the change of the positions until each time of the task's `preview`.
        """
        goal = np.nan_to_num(goal)
        seen = goal[1:]
        if "sees" in self.numbers:
            seen = see_goal(self._function("sees"), goal, self.steps)

        now = np.arange(1, len(goal))
        # Beyond the end of the goal, its last state is all that is known.
        for seconds in self.numbers.get("preview", ()):
            ahead = round(min(seconds / self.plant.dt, len(goal)))
            later = goal[np.minimum(now + ahead, len(goal) - 1)]
            change = (later - goal[1:])[:, self.plant.positions]
            seen = np.concatenate([seen[: self.steps], change[: self.steps]], axis=1)
        return seen[: self.steps]

    def _complete(self, x0: Array, goal: Array) -> tuple[Array, Array]:
        """Start (nx, N) and goal (T+1, nx, N) with actuator states.

        A goal that moves on beyond the horizon is cut.
        """
        if goal.ndim == 2:
            goal = np.tile(goal, (self.steps + 1, 1, 1))
        goal = goal[: self.steps + 1]
        start = np.ascontiguousarray(self.with_actuator_states(x0))
        return start, self.with_actuator_states(goal)

    def _cost(
        self, goal: Array, goal_output: Array, target: Array, params: Array
    ) -> Cost:
        """The cost of final state, running positions, effort and custom residuals."""
        trials = goal.shape[2]
        state, output = self._state_weights()
        effort = weights_by_component(
            self.plant, "effort", self.numbers.get("effort", 0.0)
        )
        control = np.tile(effort[:, None], (self.steps, 1, 1))
        custom, custom_reference = self._custom_residuals(trials)

        # One weight per trial, so that a single trial can be masked.
        weights = [
            None if w is None else _repeat_trials(w, trials)
            for w in (state, control, output, custom)
        ]
        references = Residuals(
            state=goal,
            control=self._control_reference(trials),
            output=None if output is None else goal_output,
            custom=custom_reference,
        )
        residual = self.numbers.get("residual")
        return Cost(
            make_residuals(weights),
            references,
            self.kernels,
            params,
            custom=residual and residual.__name__,
            # The custom residual of time index 0 gets the first target.
            target=np.concatenate([target[:1], target]),
        )

    def _state_weights(self) -> tuple[Array, Array | None]:
        """Weights of the states (T+1, nx, 1), and of the outputs in hand space.

        In hand space the hand replaces the positions; rates keep their weights.
        """
        plant, numbers = self.plant, self.numbers
        arrivals = list(self.arrivals)
        running = weights_by_component(plant, "running", numbers.get("running", 0.0))
        final = weights_by_component(plant, "final", numbers.get("final", 1.0))

        body = slice(plant.n_body)
        state = np.zeros((self.steps + 1, plant.nx, 1))
        state[arrivals, body] = final[:, None]
        # The start has no running cost: nothing can change it.
        state[1:, body] += running[:, None]
        if self.options.space != "hand":
            return state, None

        assert plant.hand is not None
        state[:, plant.positions] = 0.0
        # The hand gets the largest weight of the positions that it replaces.
        output = np.zeros((self.steps + 1, plant.nz, 1))
        output[1:, plant.hand] = running[plant.positions].max()
        output[np.ix_(arrivals, plant.hand)] += final[plant.positions].max()
        return state, output

    def _control_reference(self, trials: int) -> Array:
        """Controls (T, nu, N) from which the effort is measured."""
        # Such as the thrust that keeps a quadrotor hovering: it costs nothing then.
        about = np.asarray(self.numbers.get("effort_about", 0.0), dtype=float)
        about = np.broadcast_to(about, (self.plant.nu,))
        return np.tile(about[:, None], (self.steps, 1, trials))

    def _custom_residuals(self, trials: int) -> tuple[Array | None, Array | None]:
        """Weights (T+1, nr, 1) and references (T+1, nr, N) of the custom residuals."""
        if not self.numbers.get("residual"):
            return None, None
        size = len(self.numbers["residuals"])
        weight = np.asarray(self.numbers.get("residual_weight", 1.0), dtype=float)
        weight = np.broadcast_to(weight, (size,))
        weights = np.tile(weight[:, None], (self.steps + 1, 1, 1))
        return weights, np.zeros((self.steps + 1, size, trials))

    def success(self, rollout: Trajectory, scenario: Scenario) -> Array:
        """Which trials (N,) succeeded, by the task's `success`.

        That is a limit on the final errors of hand [m], rates or state, as norms, or a
        function of the final state and goal (n, N). The default is a norm of 0.1 of
        the state's error in typical sizes, which counts the `final_states`.
        """
        limits = self.numbers.get("success", {})
        # Actuators may be in any state.
        n = self.plant.n_body
        x, goal = rollout.x[-1, :n], scenario.goal[-1, :n]
        if callable(limits):
            return find_successes(self._function("success"), x, goal)

        error = np.where(np.isnan(goal), 0.0, x - goal)
        errors = {"rates": error[self.plant.rates], "state": error[self.final_states]}
        if "hand" in limits:
            output = self.kernels.output(rollout.x[-1:], scenario.params)[0]
            hand_goal = scenario.goal_output[-1, self.plant.hand]
            errors["hand"] = output[self.plant.hand] - hand_goal
        if not limits:
            sizes = self.plant.typical_state[self.final_states]
            errors = {"state": errors["state"] / sizes[:, None]}
            limits = {"state": DEFAULT_SUCCESS}
        norms = {name: np.linalg.norm(e, axis=0) for name, e in errors.items()}
        return np.all([norms[name] < limit for name, limit in limits.items()], axis=0)


def _repeat_trials(weights: Array, trials: int) -> Array:
    """Weights (T, n, 1) repeated for every trial (T, n, N)."""
    shape = (*weights.shape[:2], trials)
    return np.ascontiguousarray(np.broadcast_to(weights, shape))


def _is_used(value: Any) -> bool:
    """Whether a weight has an entry above zero, or a task has a function."""
    return bool(value) if callable(value) else bool(np.any(value))
