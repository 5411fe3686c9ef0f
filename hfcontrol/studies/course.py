"""One training as the studies need it: a network in continuous time, an optimizer, and what was evaluated on the way."""

import time
from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator, Evaluations
from hfcontrol.errors import TrainingError
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import make_wiring
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.task import Task, TaskOptions
from hfcontrol.training.holds import Hold

ADAPTIVE = Estimator("ctpg", 1e-3, 1e-6)  # the tolerances of the source's trainings
JUDGE = Estimator(
    "ctpg", 1e-6, 1e-8
)  # with which held-out costs are found, whatever trained
GROWTH = (1 / 8, 1 / 4, 1 / 2)  # of the horizon, where it grows
TRIED = 100  # steps of Euler's method with which its price is found
HELD_OUT = 64  # starts that no training sees ...
HELD_OUT_SEED = 90210  # ... and where they come from, the same for all


@dataclass(frozen=True)
class Problem:
    """A plant, its task over so many seconds, and the hidden units of a policy without memory, at a scale of its first weights."""

    plant: str
    task: str | None
    seconds: float
    hidden: tuple
    scale: float = 0.1
    cell: str = "tanh"

    def __post_init__(self):
        plant = load_plant(self.plant)
        options = TaskOptions(steps=round(self.seconds / plant.dt))
        task = Task(plant, compile_plant(plant), self.task, options)
        network = Network(
            Architecture(self.hidden, self.cell, (), ()),
            task.n_target + plant.ny,
            plant.nu,
        )
        wiring = make_wiring(Settings(plant=self.plant, task=self.task), plant)
        for name, value in (
            ("_plant", plant),
            ("_task", task),
            ("network", network),
            ("_wiring", wiring),
        ):
            object.__setattr__(self, name, value)

    def over(self, part):
        """The same over a part of the time."""
        return self if part == 1.0 else replace(self, seconds=part * self.seconds)

    def loop(self, estimator, rng, trials, split="training"):
        """The closed loop on so many trials drawn from rng."""
        scenario = self._task.draw(rng, split, trials)
        return ContinuousLoop(
            self._plant,
            self._task.kernels,
            self.network,
            scenario,
            self._wiring,
            estimator,
        )

    def held_out(self, theta, trials=HELD_OUT):
        """The mean cost of weights theta (P,) on held-out starts; infinite where the solver gives up."""
        return (
            self.loop(JUDGE, np.random.default_rng(HELD_OUT_SEED), trials, "held_out")
            .rollout(theta)
            .loss
        )

    def initial(self, seed):
        """Random weights (P,) as this project's trainings start from, `Network.initial`, but without the plant's trim, which the source's lack too."""
        return self.network.initial(np.random.default_rng([seed, 0]))

    def start(self, seed):
        """Random weights (P,) as the source's trainings start from: Glorot's uniform ones times the scale, and no biases."""
        rng, theta = np.random.default_rng([seed, 0]), np.zeros(self.network.size)
        for W in self.network.matrices(theta):
            edge = self.scale * np.sqrt(6 / (W.shape[0] + W.shape[1] - 1))
            W[:, :-1] = rng.uniform(-edge, edge, (W.shape[0], W.shape[1] - 1))
        return theta


@dataclass(frozen=True)
class Method:
    """An optimizer on the gradients of an estimator: on how many fresh trials, for how many updates on each draw of them, for
    how many updates first on an eighth, a quarter and half of the horizon each, and above which least damping.

    `then`, as (updates, method), is what takes its place after so many updates."""

    name: str
    estimator: Estimator
    optimizer: object
    trials: int
    batches: int = 1
    grow: int = 0
    least: float = 0.0
    then: tuple = ()

    def at(self, done):
        """The method after so many updates."""
        return self.then[1].at(done) if self.then and done >= self.then[0] else self


def second_order(
    name, estimator, trials=64, cap=10, batches=1, grow=6, damping=1.0, least=0.0
):
    """The Hessian-free method of the studies: a few conjugate gradients an update, each on fresh trials, over a horizon that grows."""
    return Method(
        name,
        estimator,
        HessianFree("cg", damping=damping, cap=cap),
        trials,
        batches,
        grow,
        least,
    )


@dataclass
class Course:
    """What one training went through, a place in each list for every mark: updates, evaluations by kind, seconds, the training
    loss, the mean held-out cost, and the weights."""

    method: str
    seed: int
    updates: list
    counts: list
    seconds: list
    losses: list
    held_out: list
    thetas: list
    stopped: str | None = None

    def tree(self):
        """For JSON, without the weights."""
        return {
            "method": self.method,
            "seed": self.seed,
            "updates": self.updates,
            "seconds": self.seconds,
            "loss": self.losses,
            "held_out": self.held_out,
            "evaluations": [c.total for c in self.counts],
            "counts": [list(c) for c in self.counts],
            "stopped": self.stopped,
        }


def run(
    problem, method, seed, updates, marks=40, most_seconds=np.inf, tell=None, start=None
):
    """The `Course` of so many updates from weights `start` (P,), by default the source's, with about so many marks; seconds are those of
    the training alone."""
    course, rng = (
        Course(method.name, seed, [], [], [], [], [], []),
        np.random.default_rng([seed, 1]),
    )
    theta = problem.start(seed) if start is None else start
    state, counts, seconds, done, losses = (
        method.optimizer.init(theta),
        Evaluations(),
        0.0,
        0,
        [],
    )
    every, stage, grown = max(1, updates // marks), problem, None
    linear = problem.loop(method.estimator, np.random.default_rng(0), method.trials)
    linear = linear.linearise(linear.rollout(theta))
    linear.jvp(
        linear.vjp(linear.jvp(linear.gradient))
    )  # compiled before the clock starts
    _mark(course, problem, state.theta, counts, seconds, done, losses)
    while done < updates and seconds < most_seconds:
        begin, method = time.perf_counter(), method.at(done)
        if method.grow and (part := min(done // method.grow, len(GROWTH))) != grown:
            grown, stage = part, problem.over((*GROWTH, 1.0)[part])
            state = method.optimizer.init(
                state.theta
            )  # another horizon is another function
        loop = stage.loop(method.estimator, rng, method.trials)
        try:
            state, found, spent = _updated(method, state, loop, updates - done)
        except TrainingError as error:
            course.stopped = str(error)
            return course
        losses, done = [*losses, *found][-64:], done + len(found)
        counts, seconds = counts + spent, seconds + time.perf_counter() - begin
        if done // every > course.updates[-1] // every or done >= updates:
            _mark(course, problem, state.theta, counts, seconds, done, losses)
            if tell:
                tell(
                    f"{method.name}, seed {seed}: update {done} of {updates}, cost {course.held_out[-1]:.4g}"
                )
    return course


def _updated(method, state, loop, most):
    """The state after the updates on one draw of trials, with the loss before or after each, and the `Evaluations` they took."""
    current = loop.rollout(state.theta)
    if current.failure:
        raise TrainingError(current.failure)
    if isinstance(
        method.optimizer, (Adam, Momentum)
    ):  # who do not look at where they get to
        linear = loop.linearise(current)
        state = method.optimizer.update(state, linear.gradient)
        return state, [current.loss], current.evaluations + linear.evaluations
    hold, losses = _EvaluatedHold(loop, current), []
    for _ in range(min(method.batches, most)):
        state = replace(state, damping=max(state.damping, method.least))
        state, current, report = method.optimizer.step(state, current, hold)
        losses.append(current.loss)
        if not report.accepted:
            break
    return state, losses, hold.evaluations


class _EvaluatedHold(Hold):
    """The hold `scenario` in continuous time, which adds up the evaluations it takes."""

    def __init__(self, loop, start):
        super().__init__(loop, start)
        self._rollouts = start.evaluations
        self._linearised = []

    def rollout(self, theta):
        rollout = super().rollout(theta)
        self._rollouts = self._rollouts + rollout.evaluations
        return rollout

    def linearise(self, rollout):
        linear = super().linearise(rollout)
        self._linearised.append(linear)
        return linear

    @property
    def evaluations(self):
        """Those of all its rollouts and linearisations, the start's included."""
        evaluations = (linear.evaluations for linear in self._linearised)
        return sum(evaluations, self._rollouts)


def _mark(course, problem, theta, counts, seconds, done, losses):
    course.updates.append(done)
    course.counts.append(counts)
    course.seconds.append(seconds)
    course.losses.append(float(np.mean(losses)) if losses else None)
    course.held_out.append(problem.held_out(theta))
    course.thetas.append(theta.copy())


def matched(problem, course, method):
    """In how many steps (a fraction) Euler's method spends as many evaluations as a course did, all told, in as many updates.

    A first-order update takes three for every step; what second-order ones take is tried from the same weights.
    """
    if isinstance(method.optimizer, (Adam, Momentum)):
        return course.counts[-1].total / course.updates[-1] / method.trials / 3
    tried = replace(method, estimator=Estimator("euler", step=problem.seconds / TRIED))
    same = run(
        problem, tried, course.seed, course.updates[-1], 1, start=course.thetas[0]
    )
    return TRIED * course.counts[-1].total / same.counts[-1].total


def reached(course, cost):
    """Evaluations, seconds and updates at the first mark whose held-out cost is no higher; None where there is none."""
    for counts, seconds, updates, held_out in zip(
        course.counts, course.seconds, course.updates, course.held_out
    ):
        if held_out <= cost:
            return {
                "evaluations": counts.total,
                "without products": counts.f + counts.dx + counts.dtheta,
                "seconds": seconds,
                "updates": updates,
                "held_out": held_out,
            }
    return None
