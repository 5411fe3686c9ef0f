"""Trainings in continuous time, as the studies of the CTPG paper need them.

A `Problem` is a plant, a task and a network in continuous time; a `Method` is an
optimizer on the gradients of an estimator; `run` trains and returns a `Course`. These
trainings draw fresh trials for every update and count evaluations by kind, which the
trainer of control steps does not do.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator, Evaluations
from hfcontrol.errors import TrainingError
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.modifiers import with_engine
from hfcontrol.plant.registry import load_plant, plants_folder
from hfcontrol.runs.factory import make_wiring
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.task import Task
from hfcontrol.training.holds import Hold

Report = Callable[[str], None]

# Tolerances of the paper's trainings.
ADAPTIVE = Estimator("ctpg", 1e-3, 1e-6)

# Held-out costs are found with tight tolerances, whatever trained.
SCORING = Estimator("ctpg", 1e-6, 1e-8)

# A simulator takes a hundred times longer for a rate than compiled dynamics, and the
# ends of its rail are stiff.
ENGINE_SCORING = ADAPTIVE
ENGINE_TRIALS = 8

# Parts of the horizon on which a curriculum starts.
GROWTH = (1 / 8, 1 / 4, 1 / 2)

# Steps of Euler's method with which its price is found.
PROBE_STEPS = 100

# Held-out trials, the same for all methods and seeds.
HELD_OUT_TRIALS = 64
HELD_OUT_SEED = 90210

# Trials that choose the weights to keep; they are neither trained on nor held out.
VALIDATION_SEED = 90211

# States that were visited are kept of so many rollouts of the first seed, at so many
# times.
VISITED_ROLLOUTS = 200
VISITED_TIMES = 16

# The training loss of a point is the mean over this many updates at most.
AVERAGED_UPDATES = 64


@dataclass(frozen=True)
class Problem:
    """A plant, its task for some seconds, and the hidden units of a memoryless policy.

    `scale` multiplies the paper's initial weights. With `engine`, an MJCF file beside
    the shipped plants, MuJoCo moves the plant.
    """

    plant: str
    task: str | None
    seconds: float
    hidden: tuple[int, ...]
    scale: float = 0.1
    cell: str = "tanh"
    engine: str | None = None

    # Loaded when first used: the table of settings names plants that may never train.
    @cached_property
    def _plant(self) -> Plant:
        plant = load_plant(self.plant)
        if self.engine is None:
            return plant
        return with_engine(plant, load_plant(str(plants_folder() / self.engine)))

    @cached_property
    def _task(self) -> Task:
        options = TaskOptions(steps=round(self.seconds / self._plant.dt))
        return Task(self._plant, compile_plant(self._plant), self.task, options)

    @cached_property
    def _wiring(self) -> Any:
        return make_wiring(Settings(plant=self.plant, task=self.task), self._plant)

    @cached_property
    def network(self) -> Network:
        """The network: no skip, no recurrence."""
        architecture = Architecture(self.hidden, self.cell, (), ())
        n_input = self._task.n_target + self._plant.ny
        return Network(architecture, n_input, self._plant.nu)

    @property
    def scoring(self) -> Estimator:
        """What finds held-out costs and paths."""
        return ENGINE_SCORING if self.engine else SCORING

    def shortened(self, part: float) -> "Problem":
        """Return the problem on a part of its time."""
        return self if part == 1.0 else replace(self, seconds=part * self.seconds)

    def loop(
        self,
        estimator: Estimator,
        rng: np.random.Generator,
        trials: int,
        split: str = "training",
    ) -> ContinuousLoop:
        """Return the closed loop on trials drawn from rng."""
        scenario = self._task.draw(rng, split, trials)
        kernels = self._task.kernels
        return ContinuousLoop(
            self._plant, kernels, self.network, scenario, self._wiring, estimator
        )

    def held_out(
        self, theta: Array, trials: int | None = None, seed: int = HELD_OUT_SEED
    ) -> float:
        """Return the mean cost of theta (P,) on held-out trials, drawn by a seed.

        It is infinite if the solver fails.
        """
        rng = np.random.default_rng(seed)
        trials = trials or (ENGINE_TRIALS if self.engine else HELD_OUT_TRIALS)
        loop = self.loop(self.scoring, rng, trials, "held_out")
        return loop.rollout(theta).loss

    def own_weights(self, seed: int) -> Array:
        """Return initial weights (P,) as hfcontrol draws them.

        The plant's trim is left out, as in the paper.
        """
        return self.network.initial(np.random.default_rng([seed, 0]))

    def paper_weights(self, seed: int) -> Array:
        """Return initial weights (P,) as the paper draws them.

        They are Glorot's uniform ones times the scale, with biases of zero.
        """
        rng = np.random.default_rng([seed, 0])
        theta = np.zeros(self.network.size)
        for W in self.network.matrices(theta):
            # The last column is the bias.
            edge = self.scale * np.sqrt(6 / (W.shape[0] + W.shape[1] - 1))
            W[:, :-1] = rng.uniform(-edge, edge, (W.shape[0], W.shape[1] - 1))
        return theta


@dataclass(frozen=True)
class Method:
    """An optimizer on the gradients of an estimator.

    `trials` fresh trials are drawn for every `batches` updates. `grow` updates are made
    on each of the parts GROWTH of the horizon first. The damping stays above
    `least_damping`. `then` is a pair (updates, method): the method that takes over
    after this many updates.
    """

    name: str
    estimator: Estimator
    optimizer: Any
    trials: int
    batches: int = 1
    grow: int = 0
    least_damping: float = 0.0
    then: tuple[int, "Method"] | None = None

    def at(self, done: int) -> "Method":
        """Return the method that is used after `done` updates."""
        if self.then is None or done < self.then[0]:
            return self
        return self.then[1].at(done)

    @property
    def is_first_order(self) -> bool:
        """Whether the optimizer needs a gradient only."""
        return isinstance(self.optimizer, Adam | Momentum)


def second_order(
    name: str,
    estimator: Estimator,
    trials: int = 64,
    cap: int = 10,
    grow: int = 6,
) -> Method:
    """Return the Hessian-free method of the studies.

    It makes a few conjugate-gradient iterations per update, each on fresh trials, on a
    growing horizon.
    """
    optimizer = HessianFree("cg", damping=1.0, cap=cap)
    return Method(name, estimator, optimizer, trials, grow=grow)


@dataclass
class Course:
    """How one training went: a list entry for every recorded point.

    Updates, evaluations by kind, seconds, training loss, mean held-out cost, weights.
    Cost and weights are those that validation trials chose among all points so far, if
    the training keeps them; `latest` are the costs of the weights that were trained.
    `visited` are states (time, state, trial) on which the first seed trained.
    """

    method: str
    seed: int
    updates: list[int] = field(default_factory=list)
    counts: list[Evaluations] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: list[float | None] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    thetas: list[Array] = field(default_factory=list)
    stopped: str | None = None
    latest: list[float] = field(default_factory=list)
    visited: list[Array] = field(default_factory=list)

    def tree(self) -> dict[str, Any]:
        """Return the course for JSON, without the weights."""
        return {
            "method": self.method,
            "seed": self.seed,
            "updates": self.updates,
            "seconds": self.seconds,
            "loss": self.losses,
            "held_out": self.held_out,
            "latest": self.latest,
            "evaluations": [counts.total for counts in self.counts],
            "counts": [list(counts) for counts in self.counts],
            "stopped": self.stopped,
        }


@dataclass
class _Spent:
    """What a training has spent, and the losses of its last updates."""

    updates: int = 0
    counts: Evaluations = field(default_factory=Evaluations)
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    keeps_best: bool = False
    validated: float = np.inf

    def add(self, losses: list[float], counts: Evaluations, seconds: float) -> None:
        """Add the losses and the cost of some updates."""
        self.updates += len(losses)
        self.counts = self.counts + counts
        self.seconds += seconds
        self.losses = [*self.losses, *losses][-AVERAGED_UPDATES:]

    def record(self, course: Course, problem: Problem, theta: Array) -> None:
        """Add a point to a course."""
        course.updates.append(self.updates)
        course.counts.append(self.counts)
        course.seconds.append(self.seconds)
        mean = float(np.mean(self.losses)) if self.losses else None
        course.losses.append(mean)
        latest = problem.held_out(theta)
        course.latest.append(latest)
        kept = latest
        if self.keeps_best:
            cost = problem.held_out(theta, seed=VALIDATION_SEED)
            if cost < self.validated:
                self.validated = cost
            elif course.thetas:
                kept, theta = course.held_out[-1], course.thetas[-1]
        course.held_out.append(kept)
        course.thetas.append(theta.copy())


def _compile(stages: Sequence[Problem], method: Method, theta: Array) -> None:
    """Call every operation once, so that nothing compiles while the clock runs.

    The stages are those of a growing horizon; methods that take over count too.
    """
    for stage in stages:
        loop = stage.loop(method.estimator, np.random.default_rng(0), method.trials)
        rollout = loop.rollout(theta)
        # Initial weights may be too far out for some part of the horizon.
        if not rollout.failure:
            linear = loop.linearise(rollout)
            linear.jvp(linear.vjp(linear.jvp(linear.gradient)))
    if method.then:
        _compile(stages, method.then[1], theta)


@dataclass(frozen=True)
class Budget:
    """How long a training is: updates, recorded points (about), and seconds."""

    updates: int
    points: int = 40
    seconds: float = np.inf


def run(
    problem: Problem,
    method: Method,
    seed: int,
    budget: Budget,
    report: Report | None = None,
    start: Array | None = None,
    keeps_best: bool = False,
) -> Course:
    """Train from weights `start` (P,), by default the paper's; return the course.

    With `keeps_best`, validation trials choose among the weights of the points. Seconds
    are those of the training alone, without compiling and scoring.
    """
    course = Course(method.name, seed)
    rng = np.random.default_rng([seed, 1])
    theta = problem.paper_weights(seed) if start is None else start
    state = method.optimizer.init(theta)
    spent = _Spent(keeps_best=keeps_best)
    # Fewer updates than points: every update is a point.
    every = max(1, budget.updates // budget.points)
    visits = max(1, budget.updates // VISITED_ROLLOUTS)
    stages = [problem.shortened(size) for size in (*GROWTH, 1.0)]
    stage = stages[-1]
    part: int | None = None

    _compile(stages if method.grow else stages[-1:], method, theta)
    spent.record(course, problem, state.theta)
    while spent.updates < budget.updates and spent.seconds < budget.seconds:
        begin = time.perf_counter()
        method = method.at(spent.updates)
        if method.grow:
            now = min(spent.updates // method.grow, len(GROWTH))
            # From the last part on, the horizon is whole.
            if now != part:
                part = now
                stage = stages[part]
                # Another horizon is another function.
                state = method.optimizer.init(state.theta)

        loop = stage.loop(method.estimator, rng, method.trials)
        is_visited = seed == 0 and spent.updates % visits == 0
        try:
            current = _roll_out(loop, state.theta)
            state, losses, counts = _update(
                method, state, loop, current, budget.updates - spent.updates
            )
        except TrainingError as error:
            course.stopped = str(error)
            return course

        spent.add(losses, counts, time.perf_counter() - begin)
        if is_visited:
            course.visited.append(_states_of(loop, current))
        done = spent.updates
        if done // every > course.updates[-1] // every or done >= budget.updates:
            spent.record(course, problem, state.theta)
            if report:
                report(
                    f"{method.name}, seed {seed}: update {done} of {budget.updates}, "
                    f"cost {course.held_out[-1]:.4g}"
                )
    # The budget of seconds may end between two points.
    if spent.updates > course.updates[-1]:
        spent.record(course, problem, state.theta)
    return course


def _roll_out(loop: ContinuousLoop, theta: Array) -> Any:
    """Return the rollout; raises TrainingError if the solver fails."""
    current = loop.rollout(theta)
    if current.failure:
        raise TrainingError(current.failure)
    return current


def _states_of(loop: ContinuousLoop, rollout: Any) -> Array:
    """Return the states of the plant (VISITED_TIMES, nx, N) over the horizon."""
    times = np.linspace(0, loop.horizon, VISITED_TIMES)
    states: Array = rollout.at(times)[:, : loop.plant.nx]
    return states


def _update(
    method: Method, state: Any, loop: ContinuousLoop, current: Any, most: int
) -> tuple[Any, list[float], Evaluations]:
    """Make the updates on one draw of trials, from the rollout `current`.

    Returns the state, the loss before or after each update, and the evaluations.
    """
    # First order does not look where a step leads, so the rollout is not made.
    if method.is_first_order:
        linear = loop.linearise(current)
        state = method.optimizer.update(state, linear.gradient)
        return state, [current.loss], current.evaluations + linear.evaluations

    hold = _EvaluatedHold(loop, current)
    losses = []
    for _ in range(min(method.batches, most)):
        state = replace(state, damping=max(state.damping, method.least_damping))
        state, current, step = method.optimizer.step(state, current, hold)
        losses.append(current.loss)
        # Other trials may have a descent that these lack.
        if not step.accepted:
            break
    return state, losses, hold.evaluations


class _EvaluatedHold(Hold):
    """The hold `scenario` in continuous time, which adds up its evaluations."""

    def __init__(self, loop: ContinuousLoop, start: Any) -> None:
        super().__init__(loop, start)
        self._rollouts = start.evaluations
        self._linearised: list[Any] = []

    def rollout(self, theta: Array) -> Any:
        """Roll out theta (P,) and count the evaluations."""
        rollout = super().rollout(theta)
        self._rollouts = self._rollouts + rollout.evaluations
        return rollout

    def linearise(self, rollout: Any) -> Any:
        """Linearise about a rollout; its evaluations are counted at the end."""
        linear = super().linearise(rollout)
        self._linearised.append(linear)
        return linear

    @property
    def evaluations(self) -> Evaluations:
        """Evaluations of all rollouts and linearisations, including the start's."""
        evaluations = (linear.evaluations for linear in self._linearised)
        return sum(evaluations, self._rollouts)


def matched_steps(problem: Problem, course: Course, method: Method) -> float:
    """Return the steps with which Euler's method takes as many evaluations as a course.

    The number is a fraction; both make as many updates. A first-order update takes
    three evaluations per step. What second-order updates take is measured by a training
    from the same weights.
    """
    if method.is_first_order:
        # Per step: one evaluation forward, and one by state and by weights backward.
        per_update = course.counts[-1].total / course.updates[-1]
        return per_update / method.trials / 3

    euler = Estimator("euler", step=problem.seconds / PROBE_STEPS)
    budget = Budget(course.updates[-1], points=1)
    start = course.thetas[0]
    probe = run(
        problem, replace(method, estimator=euler), course.seed, budget, start=start
    )
    return PROBE_STEPS * course.counts[-1].total / probe.counts[-1].total


def reach(course: Course, cost: float, after: float = np.inf) -> dict[str, Any] | None:
    """Return what was spent at the first point after which costs stay at most `cost`.

    They are the held-out costs of that point and of all later ones within `after`
    updates. None if the last is above.
    """
    is_counted = np.array(course.updates) <= after
    costs = np.array(course.held_out)[is_counted]
    above = np.flatnonzero(~(costs <= cost))
    first = int(above[-1]) + 1 if above.size else 0
    if first == len(costs):
        return None
    counts = course.counts[first]
    return {
        "evaluations": counts.total,
        "without products": counts.f + counts.dx + counts.dtheta,
        "seconds": course.seconds[first],
        "updates": course.updates[first],
        "held_out": course.held_out[first],
    }
