"""Scenarios, what is fixed for every trial before a rollout, and the tasks that generate them.

A plant file's TASKS give numbers to the generators named here (`reach`, `angles`, `anywhere`), or a function of their own:
`draw(rng, trials, split)` returning start states (nx, N) and targets (nx, N) or (T+1, nx, N). `split` is "training" or
"held_out". A generator draws from a `numpy.random.Generator` that is passed in, so a scenario is a function of it.
"""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.cost import Cost, Residuals
from hfcontrol.errors import TaskError, UsageError

SPLITS = ("training", "held_out")
# What a task may hold, and what its success may ask for.
ENTRIES = ("generator", "draw", "start", "radius", "targets", "range", "random", "trials", "steps", "final", "running",
           "effort", "effort_about", "residual", "residuals", "residual_weight", "success")
SUCCESS = ("hand", "rates", "state")


@dataclass(frozen=True)
class Scenario:
    """Start state x0 (nx, N), target seen by the network (T, nt, N), plant parameters (np, N), draws of noise and
    disturbance (T, ., N), the cost, and the goal: the state (T+1, nx, N) and output (T+1, nz, N) to be at."""

    x0: np.ndarray
    target: np.ndarray
    params: np.ndarray
    sensory_noise: np.ndarray
    motor_noise: np.ndarray
    motor_gain: np.ndarray
    disturbance: np.ndarray
    cost: Cost
    goal: np.ndarray
    goal_output: np.ndarray

    @property
    def trials(self):
        """Number of trials, N."""
        return self.x0.shape[1]

    @property
    def steps(self):
        """Horizon in control steps, T."""
        return self.target.shape[0]


@dataclass(frozen=True)
class TaskOptions:
    """What a user may choose over a task's own numbers; None keeps the task's.

    Noise has the unit of what it is added to; `motor_fraction` multiplies the control by 1 + fraction x normal.
    """

    trials: int | None = None
    steps: int | None = None
    effort: float | None = None
    running: float | None = None
    space: str = "joint"
    sensory_noise: float = 0.0
    motor_noise: float = 0.0
    motor_fraction: float = 0.0

    def __post_init__(self):
        for name in ("trials", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least 1 is needed")
        for name in ("effort", "running", "sensory_noise", "motor_noise", "motor_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise UsageError(f"--{name.replace('_fraction', '_noise').replace('_', '-')} {value}: "
                                 "a finite number, zero or above, is needed")
        if self.space not in ("joint", "hand"):
            raise UsageError(f"--space {self.space}: joint or hand")


class Task:
    """One task of a plant with the user's options: draws scenarios and says which trials succeeded."""

    def __init__(self, plant, kernels, name=None, options=TaskOptions()):
        if not plant.tasks:
            raise TaskError(f"plant {plant.name} has no tasks: add TASKS to {plant.path.name}")
        self.name = name or next(iter(plant.tasks))
        if self.name not in plant.tasks:
            raise TaskError(f"plant {plant.name} has no task {self.name!r}; it has: {', '.join(plant.tasks)}")
        if options.space == "hand" and plant.hand is None:
            raise TaskError(f"--space hand: plant {plant.name} has no hand (hand_x and hand_y among its OUTPUT names)")
        self.plant, self.kernels, self.options = plant, kernels, options
        self.numbers = dict(plant.tasks[self.name])
        for key in ("trials", "steps", "effort", "running"):
            if getattr(options, key) is not None:
                self.numbers[key] = getattr(options, key)
        self._check()
        self.trials, self.steps = self.numbers["trials"], self.numbers["steps"]
        self.random = self.noisy or bool(self.numbers.get("random"))

    def _check(self):
        """Raises TaskError for entries that are unknown, missing or do not fit the plant."""
        numbers, where = self.numbers, f"task {self.name} of {self.plant.name}"
        for entry in numbers:
            if entry not in ENTRIES:
                raise TaskError(f"{where} has an entry {entry!r}; known are {', '.join(ENTRIES)}")
        for entry in ("trials", "steps"):
            if entry not in numbers:
                raise TaskError(f"{where} has no {entry}: add a whole number")
        if not callable(numbers.get("draw")) and numbers.get("generator") not in GENERATORS:
            raise TaskError(f"{where} has no draw function and generator {numbers.get('generator')!r}; "
                            f"known generators are {', '.join(GENERATORS)}")
        for entry in numbers.get("success", {}):
            if entry not in SUCCESS or entry == "hand" and self.plant.hand is None:
                raise TaskError(f"{where}: success asks for {entry!r}; it may ask for {', '.join(SUCCESS)}, and hand only of "
                                "a plant with hand_x and hand_y among its OUTPUT names")

    @property
    def noisy(self):
        """Whether any noise is drawn."""
        o = self.options
        return max(o.sensory_noise, o.motor_noise, o.motor_fraction) > 0

    @property
    def n_target(self):
        """Number of target components that the network sees."""
        return 2 if self.options.space == "hand" else self.plant.nx

    @property
    def optimum_is_zero(self):
        """Whether the best possible loss is zero: nothing but the final state is asked for, and nothing is random."""
        return not (self.numbers.get("effort") or self.numbers.get("running") or self.numbers.get("residual"))

    def draw(self, rng, split="training", trials=None):
        """A scenario of this task: deterministic tasks leave rng untouched unless there is noise."""
        trials = trials or self.trials
        params = np.tile(np.array(list(self.plant.params.values()), dtype=float)[:, None], trials)
        draw = self.numbers.get("draw") or GENERATORS[self.numbers["generator"]](self, params)
        try:
            x0, goal = draw(rng, trials, split)
        except KeyError as error:
            raise TaskError(f"task {self.name} of {self.plant.name} lacks {error}, which its generator needs") from None
        x0 = np.ascontiguousarray(x0, dtype=float)
        goal = np.asarray(goal, dtype=float)
        if goal.ndim == 2:
            goal = np.tile(goal, (self.steps + 1, 1, 1))
        if x0.shape != (self.plant.nx, trials) or goal.shape != (self.steps + 1, *x0.shape):
            raise TaskError(f"task {self.name}: draw gave starts {x0.shape} and targets {goal.shape}; needed are "
                            f"({self.plant.nx}, {trials}) and ({self.plant.nx}, {trials}) or "
                            f"({self.steps + 1}, {self.plant.nx}, {trials})")
        if not np.isfinite(x0).all() or np.isnan(goal).all(axis=(0, 1)).any():
            raise TaskError(f"task {self.name} of {self.plant.name}: a start that is not finite, or a trial without any target")
        goal_output = self.kernels.output(np.nan_to_num(goal), params)
        hand = self.options.space == "hand"
        seen = goal_output[1:, self.plant.hand] if hand else np.nan_to_num(goal[1:])
        cost = self._cost(goal, goal_output, seen, params)
        return Scenario(x0, np.ascontiguousarray(seen), params, *self._noise(rng, trials), cost, goal, goal_output)

    def _noise(self, rng, trials):
        """Draws (sensory, motor, gain, disturbance), one normal number per dimension, trial and step where noise is on."""
        plant, o, T = self.plant, self.options, self.steps

        def normal(size, scale):
            return scale * rng.standard_normal((T, size, trials)) if scale else np.zeros((T, size, trials))

        return (normal(plant.ny, o.sensory_noise), normal(plant.nu, o.motor_noise), normal(plant.nu, o.motor_fraction),
                np.zeros((T, plant.nx, trials)))

    def _cost(self, goal, goal_output, seen, params):
        """Final state, running positions and effort as weighted residuals, in joint or hand space (then with the final
        rates kept), and the residuals of the plant file's own."""
        plant, numbers = self.plant, self.numbers
        nx, trials = goal.shape[1:]
        final, running = numbers.get("final", 1.0), numbers.get("running", 0.0)
        state = np.zeros((self.steps + 1, nx, 1))
        control = np.full((self.steps, plant.nu, 1), float(numbers.get("effort", 0.0)))
        output = None
        state[-1] = np.broadcast_to(np.asarray(final, dtype=float), (nx,))[:, None]
        if self.options.space == "hand":
            state[-1, plant.positions] = 0.0
            output = np.zeros((self.steps + 1, plant.nz, 1))
            output[1:, plant.hand] = running
            output[-1, plant.hand] += np.max(final)
        else:
            state[1:, plant.positions] += running
        weights = [np.ascontiguousarray(np.broadcast_to(w, (*w.shape[:2], trials))) for w in (state, control)]
        about = np.broadcast_to(np.asarray(numbers.get("effort_about", 0.0), dtype=float), (plant.nu,))
        references = [goal, np.tile(about[:, None], (self.steps, 1, trials))]
        weights.append(None if output is None else np.ascontiguousarray(np.broadcast_to(
            output, (*output.shape[:2], trials))))
        references.append(None if output is None else goal_output)
        own = numbers.get("residual")
        if own:
            size = len(numbers["residuals"])
            weight = np.broadcast_to(np.asarray(numbers.get("residual_weight", 1.0), dtype=float), (size,))
            weights.append(np.tile(weight[:, None], (self.steps + 1, 1, trials)))
            references.append(np.zeros((self.steps + 1, size, trials)))
        target = np.concatenate([seen[:1], seen])
        return Cost(Residuals(*weights), Residuals(*references), self.kernels, params, own and own.__name__, target)

    def success(self, rollout, scenario):
        """Which trials (N,) ended as the task's `success` numbers ask: hand [m], rates and state as norms."""
        limits = self.numbers.get("success", {"state": 0.1})
        done = np.ones(scenario.trials, dtype=bool)
        error = np.nan_to_num(rollout.x[-1] - scenario.goal[-1])
        if "hand" in limits:
            hand = self.kernels.output(rollout.x[-1:], scenario.params)[0, self.plant.hand]
            done &= np.linalg.norm(hand - scenario.goal_output[-1, self.plant.hand], axis=0) < limits["hand"]
        if "rates" in limits:
            done &= np.linalg.norm(np.delete(error, self.plant.positions, axis=0), axis=0) < limits["rates"]
        if "state" in limits:
            done &= np.linalg.norm(error, axis=0) < limits["state"]
        return done


def posture(plant, kernels, hand, guess, params):
    """Positions (n, N) that bring the hand to given points (2, N) [m], nearest to a guess (n,), by Gauss-Newton steps.

    Raises TaskError for a point out of reach.
    """
    x = np.zeros((plant.nx, hand.shape[1]))
    x[plant.positions] = np.asarray(guess, dtype=float)[:, None]
    for _ in range(100):
        error = hand - kernels.output(x[None], params)[0, plant.hand]
        if np.abs(error).max() < 1e-12:
            break
        J = kernels.output_jacobian(x[None], params)[0][plant.hand][:, plant.positions]
        change = np.einsum("nij,jn->in", np.linalg.pinv(J.transpose(2, 0, 1)), error)
        x[plant.positions] += np.clip(change, -0.3, 0.3)
    missed = np.flatnonzero(np.linalg.norm(error, axis=0) > 1e-9)
    if missed.size:
        point = ", ".join(f"{v:.3f}" for v in hand[:, missed[0]])
        raise TaskError(f"{missed.size} of {hand.shape[1]} targets are out of reach of plant {plant.name}, the first at "
                        f"({point}) m: make the task's radius smaller")
    return x[plant.positions]


def reach(task, params):
    """Centre-out: N targets evenly on a circle around the start hand; the held-out ones lie between the trained ones."""
    plant, kernels, numbers = task.plant, task.kernels, task.numbers
    if plant.hand is None:
        raise TaskError(f"task {task.name}: the generator reach needs a hand, and plant {plant.name} has no hand_x and "
                        "hand_y among its OUTPUT names; use the generator angles or a draw function")

    def draw(rng, trials, split):
        x0 = np.zeros((plant.nx, trials))
        x0[plant.positions] = np.asarray(numbers["start"], dtype=float)[:, None]
        angle = 2 * np.pi * (np.arange(trials) + (0.5 if split == "held_out" else 0.0)) / trials
        centre = kernels.output(x0[None], params)[0, plant.hand]
        hand = centre + numbers["radius"] * np.array([np.cos(angle), np.sin(angle)])
        goal = np.zeros_like(x0)
        goal[plant.positions] = posture(plant, kernels, hand, numbers["start"], params)
        return x0, goal

    return draw


def angles(task, params):
    """Go to N positions spread evenly over a span per position state; the held-out ones lie between the trained ones."""
    plant, numbers = task.plant, task.numbers

    def draw(rng, trials, split):
        x0, goal = np.zeros((plant.nx, trials)), np.zeros((plant.nx, trials))
        x0[plant.positions] = np.asarray(numbers["start"], dtype=float)[:, None]
        place = (np.arange(trials) + (0.5 if split == "held_out" else 0.0)) / trials
        low, high = (np.reshape(np.asarray(edge, dtype=float), (-1, 1)) for edge in numbers["targets"])
        goal[plant.positions] = low + (high - low) * place
        return x0, goal

    return draw


def anywhere(task, params):
    """From any posture to any other: start and target positions drawn evenly from a range (low, high) for each."""
    plant, numbers = task.plant, task.numbers

    def draw(rng, trials, split):
        low, high = np.array(numbers["range"], dtype=float).T[:, :, None]
        x0, goal = np.zeros((2, plant.nx, trials))
        for x in (x0, goal):
            x[plant.positions] = rng.uniform(low, high, (len(plant.positions), trials))
        return x0, goal

    return draw


GENERATORS = {"reach": reach, "angles": angles, "anywhere": anywhere}


def picked(scenario, trials):
    """The scenario of some of its trials, given by their numbers in any order and as often as wanted."""
    def pick(a):
        return np.ascontiguousarray(a[..., trials]) if isinstance(a, np.ndarray) else a
    cost = scenario.cost
    parts = {name: Residuals(*(None if a is None else pick(a) for a in getattr(cost, name)))
             for name in ("weights", "references")}
    cost = replace(cost, **parts, params=pick(cost.params), target=pick(cost.target))
    names = ("x0", "target", "params", "sensory_noise", "motor_noise", "motor_gain", "disturbance", "goal", "goal_output")
    return replace(scenario, cost=cost, **{name: pick(getattr(scenario, name)) for name in names})
