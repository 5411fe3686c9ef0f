"""Tasks: what a plant is to do, as numbers for a generator and a cost; a `Task` draws scenarios from them.

A plant file's TASKS give numbers to the generators of generators.py, or a function of their own: `draw(rng, trials, split)`
returning start states (n, N) and goals (n, N) or (T+1, n, N) of the plant's n states. The network sees the goal of the next
step, or what the task's own `sees(goal)` makes of the whole, (T, k, N), and, with a `preview` of times ahead [s], how far on its
positions are by then.
"""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.errors import TaskError, UsageError
from hfcontrol.tasks.cost import Cost, Residuals
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.generators import ENOUGH, GENERATORS
from hfcontrol.tasks.scenario import Scenario

# What a task may hold, and what its success may ask for.
ENTRIES = (
    "generator",
    "draw",
    "sees",
    "preview",
    "start",
    "spread",
    "target",
    "radius",
    "targets",
    "range",
    "random",
    "trials",
    "judged",
    "steps",
    "final",
    "final_at",
    "running",
    "effort",
    "effort_about",
    "residual",
    "residuals",
    "residual_weight",
    "push",
    "success",
    "train",
)
SUCCESS = ("hand", "rates", "state")


@dataclass(frozen=True)
class TaskOptions:
    """What a user may choose over a task's own numbers; None keeps the task's."""

    trials: int | None = None
    steps: int | None = None
    effort: float | None = None
    running: float | None = None
    space: str = "joint"
    disturbances: Disturbances = Disturbances()

    def __post_init__(self):
        for name in ("trials", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least 1 is needed")
        for name in ("effort", "running"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise UsageError(
                    f"--{name} {value}: a finite number, zero or above, is needed"
                )
        if self.space not in ("joint", "hand"):
            raise UsageError(f"--space {self.space}: joint or hand")


class Task:
    """One task of a plant with the user's options: draws scenarios and says which trials succeeded."""

    def __init__(self, plant, kernels, name=None, options=TaskOptions()):
        if not plant.tasks:
            raise TaskError(
                f"plant {plant.name} has no tasks: add TASKS to {plant.path.name}"
            )
        self.name = name or next(iter(plant.tasks))
        if self.name not in plant.tasks:
            raise TaskError(
                f"plant {plant.name} has no task {self.name!r}; it has: {', '.join(plant.tasks)}"
            )
        if options.space == "hand" and plant.hand is None:
            raise TaskError(
                f"--space hand: plant {plant.name} has no hand (hand_x and hand_y among its OUTPUT names)"
            )
        self.plant, self.kernels, self.options = plant, kernels, options
        self.numbers = dict(plant.tasks[self.name])
        for key in ("trials", "steps", "effort", "running"):
            if getattr(options, key) is not None:
                self.numbers[key] = getattr(options, key)
        self._check()
        self.trials, self.steps = self.numbers["trials"], self.numbers["steps"]
        self.arrivals = tuple(
            round(part * self.steps) for part in self.numbers.get("final_at", (1.0,))
        )

    def _check(self):
        """Raises TaskError for entries that are unknown, missing or do not fit the plant."""
        numbers, where = self.numbers, f"task {self.name} of {self.plant.name}"
        for entry in numbers:
            if entry not in ENTRIES:
                raise TaskError(
                    f"{where} has an entry {entry!r}; known are {', '.join(ENTRIES)}"
                )
        for entry in ("trials", "steps"):
            if entry not in numbers:
                raise TaskError(f"{where} has no {entry}: add a whole number")
        if (
            not callable(numbers.get("draw"))
            and numbers.get("generator") not in GENERATORS
        ):
            raise TaskError(
                f"{where} has no draw function and generator {numbers.get('generator')!r}; "
                f"known generators are {', '.join(GENERATORS)}"
            )
        if numbers.get("judged", 1) < 1:
            raise TaskError(
                f"{where}: judged {numbers['judged']}, how many trials it is judged by; at least 1 is needed"
            )
        for entry in (
            () if callable(numbers.get("success")) else numbers.get("success", {})
        ):
            if entry not in SUCCESS or entry == "hand" and self.plant.hand is None:
                raise TaskError(
                    f"{where}: success asks for {entry!r}; it may ask for {', '.join(SUCCESS)}, and hand only of "
                    "a plant with hand_x and hand_y among its OUTPUT names"
                )

    @property
    def noisy(self):
        """Whether anything is drawn that a controller cannot know in advance."""
        return self.options.disturbances.noisy or bool(self._push)

    @property
    def random(self):
        """Whether every scenario is another one."""
        return (
            self.noisy
            or bool(self.options.disturbances.vary)
            or bool(self.numbers.get("random"))
        )

    @property
    def evaluation_trials(self):
        """By how many trials, at most those of a training, controllers are judged, where the optimum of all of these takes too long."""
        return min(self.trials, self.numbers.get("judged", self.trials))

    @property
    def curvature_trials(self):
        """How many trials, evenly spread among all, have the mean curvature of all; None where that is not known.

        Around a circle the curvature of a trial is a smooth periodic function, whose mean over evenly spread angles
        converges faster than any power of their number (trapezoidal rule); tools/NOTES.md has the measurements.
        """
        return None if self.random else ENOUGH.get(self.numbers.get("generator"))

    @property
    def _push(self):
        own, asked = self.numbers.get("push", 0.0), self.options.disturbances.push
        return own if asked is None else asked

    @property
    def n_target(self):
        """Number of components of the goal that the network sees."""
        if self.options.space == "hand":
            return 2
        if not self._shows:
            return self.plant.n_body
        return self._seen(np.zeros((self.steps + 1, self.plant.n_body, 1))).shape[1]

    @property
    def optimum_is_zero(self):
        """Whether the best possible loss is zero: nothing but the final state is asked for, and nothing is random."""
        return not (
            self.numbers.get("effort")
            or self.numbers.get("running")
            or self.numbers.get("residual")
        )

    def shrink(self, steps, trials):
        """The same task over a shorter horizon, with another number of trials; what the arrivals weigh shrinks by the part's cube.

        To move by d within T takes an effort of at least 12 d^2 / T^3, the integral of the square of an acceleration that falls
        from 6 d / T^2 to minus that: weighed as they are, arrivals would be worth forces far beyond those of the whole horizon.
        """
        task = Task(
            self.plant,
            self.kernels,
            self.name,
            replace(self.options, steps=steps, trials=trials),
        )
        task.numbers["final"] = (steps / self.steps) ** 3 * np.asarray(
            task.numbers.get("final", 1.0), dtype=float
        )
        return task

    def with_actuator_states(self, x):
        """States of the plant itself (..., n, N) with those of its actuators, at rest, behind them (..., nx, N)."""
        drives = self.plant.nx - self.plant.n_body
        return (
            np.concatenate([x, np.zeros((*x.shape[:-2], drives, x.shape[-1]))], axis=-2)
            if drives
            else x
        )

    def draw(self, rng, split="training", trials=None):
        """A scenario of this task: deterministic tasks leave rng untouched unless something disturbs them."""
        trials, disturbances, plant = (
            trials or self.trials,
            self.options.disturbances,
            self.plant,
        )
        params = disturbances.params(plant, rng, trials)
        draw = self.numbers.get("draw") or GENERATORS[self.numbers["generator"]](
            self, params
        )
        try:
            x0, goal = draw(rng, trials, split)
        except KeyError as error:
            raise TaskError(
                f"task {self.name} of {plant.name} lacks {error}, which its generator needs"
            ) from None
        drawn = np.asarray(goal, dtype=float)
        x0, goal = self._judged(np.asarray(x0, dtype=float), drawn, trials)
        goal_output = self.kernels.output(np.nan_to_num(goal), params)
        target = seen = (
            goal_output[1:, plant.hand]
            if self.options.space == "hand"
            else np.nan_to_num(goal[1:, : plant.n_body])
        )
        if self._shows:
            seen = self._seen(drawn if drawn.ndim == 3 else goal[:, : plant.n_body])
        noise = disturbances.noise(plant, rng, self.steps, trials)
        pushes = disturbances.pushes(
            plant, rng, self.steps, trials, self.numbers.get("push", 0.0)
        )
        cost = self._cost(goal, goal_output, target, params)
        return Scenario(
            x0,
            np.ascontiguousarray(seen),
            params,
            *noise,
            pushes,
            cost,
            goal,
            goal_output,
            self.arrivals,
        )

    @property
    def _shows(self):
        """Whether the network sees anything else of a goal than the goal itself."""
        return self.options.space != "hand" and bool(
            {"sees", "preview"} & set(self.numbers)
        )

    def _seen(self, goal):
        """What the network sees (T, k, N) of a goal (T+1 or more, n, N): itself, or what the plant file's own function makes of it,
        and how far on its positions are after each time of the task's preview."""
        goal = np.nan_to_num(goal)
        seen, at = (
            self.numbers["sees"](goal) if "sees" in self.numbers else goal[1:],
            np.arange(1, len(goal)),
        )
        for seconds in self.numbers.get("preview", ()):
            later = (
                goal[np.minimum(at + round(seconds / self.plant.dt), len(goal) - 1)]
                - goal[1:]
            )
            seen = np.concatenate([seen, later[:, self.plant.positions]], axis=1)
        seen = np.asarray(seen, dtype=float)
        if (
            seen.ndim != 3
            or len(seen) < self.steps
            or seen.shape[2] != goal.shape[2]
            or not np.isfinite(seen).all()
        ):
            raise TaskError(
                f"task {self.name} of {self.plant.name}: sees gave numbers of shape {seen.shape}; needed are finite "
                f"ones, ({len(goal) - 1}, how many it sees, {goal.shape[2]})"
            )
        return seen[: self.steps]

    def _judged(self, x0, goal, trials):
        """Start (nx, N) and goal (T+1, nx, N) in their shapes, or TaskError for what a draw function got wrong; of a goal
        that moves on beyond the horizon, what lies within."""
        n, steps = self.plant.n_body, self.steps
        if goal.ndim == 2:
            goal = np.tile(goal, (steps + 1, 1, 1))
        goal = goal[: steps + 1]
        if x0.shape != (n, trials) or goal.shape != (steps + 1, n, trials):
            raise TaskError(
                f"task {self.name}: draw gave starts {x0.shape} and targets {goal.shape}; needed are "
                f"({n}, {trials}) and ({n}, {trials}) or ({steps + 1}, {n}, {trials})"
            )
        if not np.isfinite(x0).all() or np.isnan(goal).all(axis=(0, 1)).any():
            raise TaskError(
                f"task {self.name} of {self.plant.name}: a start that is not finite, or a trial without any target"
            )
        return np.ascontiguousarray(
            self.with_actuator_states(x0)
        ), self.with_actuator_states(goal)

    def _cost(self, goal, goal_output, target, params):
        """Final state, running positions and effort as weighted residuals, in joint or hand space (then with the final
        rates kept), and the residuals of the plant file's own."""
        plant, numbers, trials = self.plant, self.numbers, goal.shape[2]
        final, running = np.zeros(plant.nx), numbers.get("running", 0.0)
        final[: plant.n_body] = numbers.get("final", 1.0)
        arrivals = list(self.arrivals)
        state = np.zeros((self.steps + 1, plant.nx, 1))
        control = np.full((self.steps, plant.nu, 1), float(numbers.get("effort", 0.0)))
        output = None
        state[arrivals] = final[:, None]
        if self.options.space == "hand":
            state[:, plant.positions] = 0.0
            output = np.zeros((self.steps + 1, plant.nz, 1))
            output[1:, plant.hand] = running
            output[np.ix_(arrivals, plant.hand)] += np.max(final)
        else:
            state[1:, plant.positions] += running
        about = np.broadcast_to(
            np.asarray(numbers.get("effort_about", 0.0), dtype=float), (plant.nu,)
        )
        parts = [
            (state, goal),
            (control, np.tile(about[:, None], (self.steps, 1, trials))),
            (output, None if output is None else goal_output),
            self._own(trials),
        ]
        weights = [
            None
            if w is None
            else np.ascontiguousarray(np.broadcast_to(w, (*w.shape[:2], trials)))
            for w, _ in parts
        ]
        own, target = numbers.get("residual"), np.concatenate([target[:1], target])
        return Cost(
            Residuals(*weights),
            Residuals(*(r for _, r in parts)),
            self.kernels,
            params,
            own and own.__name__,
            target,
        )

    def _own(self, trials):
        """Weight (T+1, nr, 1) and reference (T+1, nr, N) of the residuals of the plant file's own, None without them."""
        if not self.numbers.get("residual"):
            return None, None
        size = len(self.numbers["residuals"])
        weight = np.broadcast_to(
            np.asarray(self.numbers.get("residual_weight", 1.0), dtype=float), (size,)
        )
        return np.tile(weight[:, None], (self.steps + 1, 1, 1)), np.zeros(
            (self.steps + 1, size, trials)
        )

    def success(self, rollout, scenario):
        """Which trials (N,) ended as the task's `success` asks: hand [m], rates and state as norms, or a function of the
        final state and goal (n, N)."""
        limits = self.numbers.get("success", {"state": 0.1})
        x, goal = (
            rollout.x[-1, : self.plant.n_body],
            scenario.goal[-1, : self.plant.n_body],
        )
        if callable(limits):
            with np.errstate(invalid="ignore"):
                return np.asarray(limits(x, goal), dtype=bool)
        error, sizes = np.where(np.isnan(goal), 0.0, x - goal), {}
        if "hand" in limits:
            hand = self.kernels.output(rollout.x[-1:], scenario.params)[
                0, self.plant.hand
            ]
            sizes["hand"] = hand - scenario.goal_output[-1, self.plant.hand]
        sizes |= {
            "rates": np.delete(error, self.plant.positions, axis=0),
            "state": error,
        }
        return np.all(
            [
                np.linalg.norm(sizes[name], axis=0) < limit
                for name, limit in limits.items()
            ],
            axis=0,
        )
