"""The benchmark: trained and classical controllers in the same scenarios.

Every controller makes the task's movements, and the same movements with the way back
after them, nominally, with noise and with a load. All of them have the same delays,
noise draws and control limits, and see the same observations. The classical ones know
the nominal plant and the goal. Their gains are tuned on the nominal training trials;
everything is measured on held-out trials.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.classical.conditions import Condition, make_conditions
from hfcontrol.classical.controller import ClassicalController, Movement, simulate
from hfcontrol.classical.laws import LAWS
from hfcontrol.classical.observer import Observer
from hfcontrol.classical.problem import Problem, UnsuitableError, make_nominal
from hfcontrol.classical.timing import median_microseconds
from hfcontrol.classical.tuning import Gains, tune
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.deploy.controller import Controller
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.evaluation.evaluation import (
    Comparison,
    hand_errors,
    ratio_to_optimal,
    state_errors,
)
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_wiring
from hfcontrol.runs.run import Run
from hfcontrol.schema import whole_number
from hfcontrol.tasks.returning import out_and_back
from hfcontrol.tasks.scenario import Scenario
from hfcontrol.tasks.task import Task
from hfcontrol.texts import one_line

# The movements of the task, and the same with the way back.
OUT = "out"
BACK = "out and back"

# A law without gains gets these, and does not look at them.
NO_GAINS = (1.0, 1.0)


@dataclass(frozen=True)
class Case:
    """All controllers in one motion and condition.

    `comparison` is that of the first run, with the optimum; `movements` are those of
    every controller by its name.
    """

    motion: str
    condition: str
    comparison: Comparison
    movements: dict[str, Movement]

    def row(self, name: str) -> dict[str, Any]:
        """Return the numbers of one controller."""
        comparison, movement = self.comparison, self.movements[name]
        assert comparison.optimum is not None
        loss = float(np.mean(movement.losses))
        optimal_loss = float(np.mean(comparison.optimum.losses))
        ratio: float | None = np.inf
        if np.isfinite(loss):
            ratio = ratio_to_optimal(loss, optimal_loss, comparison.task)
        errors, unit = _final_errors(comparison, movement)
        success = comparison.task.success(movement, comparison.scenario)
        finite = np.isfinite(movement.losses)
        return {
            "motion": self.motion,
            "condition": self.condition,
            "controller": name,
            "loss": loss,
            "optimal_loss": optimal_loss,
            "ratio": ratio,
            "error": {
                "mean": float(errors.mean()),
                "max": float(errors.max()),
                "unit": unit,
            },
            "success": float(np.mean(success & finite)),
        }


@dataclass(frozen=True)
class Benchmark:
    """All cases, in the order motion, condition.

    nominal: the training trials without noise and load, on which gains are tuned
    titles: of the controllers by their names, trained ones first
    microseconds: median time of one control step by controller
    gains: of the tuned laws
    left_out: why a law, condition or motion is missing
    """

    runs: Sequence[Run]
    conditions: list[Condition]
    nominal: Problem
    cases: list[Case] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    microseconds: dict[str, float] = field(default_factory=dict)
    gains: dict[str, Gains | None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def numbers(self) -> dict[str, Any]:
        """Return all numbers, with a row for each case and controller."""
        first = self.cases[0].comparison
        rows = [
            {**case.row(name), "microseconds": self.microseconds[name]}
            for case in self.cases
            for name in case.movements
        ]
        tuned = {name: gains for name, gains in self.gains.items() if gains}
        return {
            "runs": [str(run.path) for run in self.runs],
            "plant": self.runs[0].settings.plant,
            "task": first.task.name,
            "trials": first.scenario.trials,
            "conditions": {each.name: each.changes for each in self.conditions},
            "controllers": self.titles,
            "gains": {name: gains._asdict() for name, gains in tuned.items()},
            "left_out": self.left_out,
            "rows": rows,
        }


@np.errstate(all="ignore")
def compare_controllers(
    runs: Sequence[Run],
    controllers: Sequence[str] | None = None,
    given: Mapping[str, Any] | None = None,
    trials: int | None = None,
    set_status: Callable[[str], object] = lambda text: None,
) -> Benchmark:
    """Run trained and classical controllers in the same scenarios.

    runs: at least one; the task and its conditions are those of the first.
    controllers: names of classical laws, default all that the plant allows.
    given: settings of the conditions, see `make_conditions`.
    trials: number of held-out trials, default the task's own for an evaluation.
    set_status: called with what is being done.

    Raises UsageError for runs of different plants, for unknown laws, and for a law that
    was asked for by name and that plant or task do not allow.
    """
    names = _check_names(controllers)
    _check_runs(runs)
    first = runs[0]
    trials = None if trials is None else whole_number("trials", trials)
    conditions, left_out = make_conditions(first, given or {})
    # A condition that the plant does not have is refused before the work begins.
    for condition in conditions:
        first.task(condition.settings)
    nominal = _nominal_problem(first, conditions[0])
    result = Benchmark(runs, conditions, nominal, left_out=left_out)
    result.titles.update(_run_titles(runs))

    for name in names:
        set_status(f"tuning {LAWS[name].title}")
        try:
            Observer(nominal)
            result.gains[name] = tune(LAWS[name], nominal)
        except UnsuitableError as error:
            if controllers is not None:
                raise UsageError(f"`controllers` {one_line(name)}: {error}") from error
            result.left_out[name] = str(error)
    result.titles.update({name: LAWS[name].title for name in result.gains})

    for motion in (OUT, BACK):
        for condition in conditions:
            set_status(f"running {motion}, {condition.name}")
            try:
                task, scenario = _draw_case(first, motion, condition, trials)
            except TaskError as error:
                if motion == OUT:
                    raise
                result.left_out[motion] = str(error)
                break
            case = _run_case(result, task, scenario, motion, condition)
            result.cases.append(case)

    set_status("measuring times")
    _measure_times(result)
    return result


def _check_names(controllers: Sequence[str] | None) -> list[str]:
    """Return the names of the laws; UsageError for unknown ones."""
    if controllers is None:
        return list(LAWS)
    if isinstance(controllers, str) or not isinstance(controllers, Sequence):
        raise UsageError(f"`controllers` {controllers!r}: must be a list of names")
    names = list(controllers)
    for name in names:
        if name not in LAWS:
            raise UsageError(
                f"`controllers` {one_line(name)}: unknown; there are {', '.join(LAWS)}"
            )
    return names


def _check_runs(runs: Sequence[Run]) -> None:
    """Raise UsageError unless all runs are of one plant."""
    first = runs[0]
    # Raises if the run was trained on an environment, which has no tasks.
    first.task()
    for run in runs[1:]:
        if run.settings.plant != first.settings.plant:
            raise UsageError(
                f"{run.path} controls {run.settings.plant}, and {first.path} controls "
                f"{first.settings.plant}; a benchmark compares runs of one plant"
            )


def _run_titles(runs: Sequence[Run]) -> dict[str, str]:
    """Return names of the runs, which are also their titles."""
    titles: dict[str, str] = {}
    for run in runs:
        name = run.path.resolve().name
        # Folders may have the same name, and a run may be called like a law.
        if name in titles or name in LAWS:
            name = str(run.path)
        titles[name] = name
    return titles


def _nominal_problem(run: Run, condition: Condition) -> Problem:
    """Return the nominal training trials, on which gains are tuned."""
    task = run.task(condition.settings)
    seed = run.settings.seed
    scenario = task.draw(stream(seed, Stream.SCENARIOS), "training")
    wiring = make_wiring(condition.settings, task.plant, taper=False)
    wiring.check(task.steps)
    nominal = make_nominal(scenario, task.plant)
    return Problem(task.plant, task.kernels, nominal, wiring)


def _draw_case(
    run: Run, motion: str, condition: Condition, trials: int | None
) -> tuple[Task, Scenario]:
    """Return the task of a motion and its held-out trials.

    Raises TaskError if there is no way back.
    """
    task = run.task(condition.settings)
    if trials is None:
        trials = task.evaluation_trials
    if motion == BACK:
        task = out_and_back(task)
    rng = stream(condition.settings.seed, Stream.HELD_OUT)
    return task, task.draw(rng, "held_out", trials)


def _run_case(
    result: Benchmark,
    task: Task,
    scenario: Scenario,
    motion: str,
    condition: Condition,
) -> Case:
    """Run all controllers in one motion and condition."""
    settings = condition.settings
    wiring = make_wiring(settings, task.plant, taper=False)
    loops = []
    for run in result.runs:
        # Raises if the run's network does not fit the task.
        run.task(settings)
        limits = replace(wiring.limits, softness=run.interface.typical_control)
        own = replace(wiring, limits=limits)
        network = run.network
        loops.append(ClosedLoop(task.plant, task.kernels, network, scenario, own))
    pairs = zip(loops, result.runs, strict=True)
    rollouts = [loop.rollout(run.theta) for loop, run in pairs]
    movements = {
        name: _trained_movement(rollout, loop.wiring)
        for name, rollout, loop in zip(result.titles, rollouts, loops, strict=False)
    }
    controls = loops[0].wiring.arriving_controls(rollouts[0].command)
    best = optimum(task.kernels, scenario, wiring, controls)
    first = result.runs[0]
    comparison = Comparison(first, task, loops[0], rollouts[0], best)

    # The laws know the nominal plant, whatever the condition.
    plant, kernels = result.nominal.plant, result.nominal.kernels
    problem = Problem(plant, kernels, make_nominal(scenario, plant), wiring)
    for name in result.gains:
        try:
            controller = _make_classical(result, problem, name)
        except UnsuitableError as error:
            result.left_out[f"{name}, {motion}"] = str(error)
            continue
        movements[name] = simulate(controller, task.kernels, scenario, wiring)
    return Case(motion, condition.name, comparison, movements)


def _make_classical(
    result: Benchmark, problem: Problem, name: str
) -> ClassicalController:
    """Return a classical controller with its tuned gains."""
    gains = result.gains[name]
    law = LAWS[name].make(problem, gains.chosen if gains else NO_GAINS)
    return ClassicalController(problem, law)


def _trained_movement(rollout: Rollout, wiring: Wiring) -> Movement:
    """Return the movement of a trained controller."""
    arriving = wiring.arriving_controls(rollout.command)
    finite = np.isfinite(rollout.x).all(axis=(0, 1)) & np.isfinite(rollout.losses)
    losses = np.where(finite, rollout.losses, np.inf)
    return Movement(rollout.x, rollout.u, arriving, rollout.y, losses)


def _final_errors(comparison: Comparison, movement: Movement) -> tuple[Array, str]:
    """Return the final error of every trial (N,), and its unit.

    It is the distance of the hand [cm] or, for a plant without a hand, of the states
    that the cost weighs at the end.
    """
    loop = comparison.loop
    hand = hand_errors(loop, movement)
    if hand is not None:
        return 100 * hand[-1], "cm"
    errors = state_errors(loop, movement)[-1, comparison.task.final_states]
    return np.linalg.norm(errors, axis=0), ""


def _measure_times(result: Benchmark) -> None:
    """Measure the control step of every controller, on the first trial of a case."""
    case = result.cases[0]
    loop = case.comparison.loop
    for name, run in zip(result.titles, result.runs, strict=False):
        controller = Controller(run.network, run.theta, run.interface)
        y = case.movements[name].y[:, :, 0].copy()
        result.microseconds[name] = _time_trained(controller, loop, y)

    single = result.nominal.subset(np.arange(1))
    for name in result.gains:
        y = case.movements[name].y[:, :, :1].copy()
        classical = _make_classical(result, single, name)
        result.microseconds[name] = _time_classical(classical, y)


def _time_trained(controller: Controller, loop: ClosedLoop, y: Array) -> float:
    """Return the median time [us] of `Controller.act` for observations y (T, ny)."""
    target = loop.scenario.target[:, :, 0].copy()

    def act(t: int) -> object:
        return controller.act(target[t], y[t])

    return median_microseconds(act, controller.reset, len(y))


def _time_classical(controller: ClassicalController, y: Array) -> float:
    """Return the median time [us] of a law's `act` for observations y (T, ny, 1)."""

    def act(t: int) -> object:
        return controller.act(y[t])

    return median_microseconds(act, controller.reset, len(y))


def benchmark(
    runs: Run | Path | str | Sequence[Run | Path | str] | None = None,
    controllers: Sequence[str] | None = None,
    trials: int | None = None,
    plant: Path | str | None = None,
    **conditions: Any,
) -> dict[str, Any]:
    """Compare trained controllers with classical ones, and return all numbers.

        hf.benchmark("weights/arm2-reach", motor_noise="10%")

    runs: one or several of a `Run` or its path; default the newest run.
    controllers: names of classical laws (pd, operational_space, lqr, ilqr), default all
        that the plant allows.
    trials: number of held-out trials.
    plant: the plant to use in place of the one that the runs name, which you trust.
    conditions: settings such as `motor_noise` or `vary`, see `make_conditions`.

    Returns a dict with `rows`, one for each motion, condition and controller: `loss`,
    `ratio`, `error`, `success` and `microseconds`. `gains` has the gains of the laws,
    and `left_out` says what is missing and why. Raises as `compare_controllers`.
    """
    several = (
        runs if isinstance(runs, Sequence) and not isinstance(runs, str) else [runs]
    )
    loaded = [Run.load(run, plant=plant) for run in several]
    return compare_controllers(loaded, controllers, conditions, trials).numbers()
