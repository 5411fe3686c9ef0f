"""How good a controller is: its cost against the lowest cost that any controls reach.

Both are computed on the scenarios of the training and on held-out ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.finiteness import describe_not_finite
from hfcontrol.evaluation.judging import check_judge, choose_judged, training_operations
from hfcontrol.evaluation.result import Evaluation
from hfcontrol.optim.yardstick import Optimum, Pilots, optimum
from hfcontrol.policy_gradient.samplers import (
    EnvironmentSampler,
    episode_returns,
)
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.policy_gradient.workers import SEED_LIMIT
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.run import Run
from hfcontrol.runs.settings import ConditionKeywords, Settings
from hfcontrol.schema import whole_number
from hfcontrol.tasks.scenario import SPLITS, Scenario, select_trials
from hfcontrol.tasks.task import Task, Trajectory

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEFAULT_EPISODES = 100  # in which a controller of an environment is evaluated

# An optimal loss below this fraction of the controller's counts as zero: their ratio
# would only show rounding errors.
ZERO_FRACTION = 1e-12

# A mean ratio below this means that the controller is better than the optimum: iLQR has
# not found the best controls.
LEAST_RATIO = 0.999

SMALLEST_LOSS = 1e-300  # avoids division by zero in the ratio of a single trial
SHORTEST_LINE = 1e-12  # [m], likewise for a hand that starts at its goal
QUANTILES = ("0.5", "0.9", "0.99")  # of the trials' ratios to optimal


@dataclass(frozen=True)
class Comparison:
    """The rollout of a controller on some scenarios, and the optimum of every trial.

    `optimum` is None where only the controller's movements are shown, and that of the
    trials `judged` (n,) alone if these are given.
    """

    run: Run
    task: Task
    loop: ClosedLoop
    rollout: Rollout
    optimum: Optimum | None
    judged: Array | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenarios of all trials."""
        return self.loop.scenario

    def outputs(self, x: Array | None = None) -> Array:
        """Plant outputs (T+1, nz, N) at states x (T+1, nx, N), or at the rollout's."""
        states = self.rollout.x if x is None else x
        return self.loop.kernels.output(states, self.scenario.params)

    def paths(self, x: Array | None = None) -> Array | None:
        """Hand paths (T+1, 2, N) [m]; None for a plant without a hand."""
        hand = self.loop.plant.hand
        return None if hand is None else self.outputs(x)[:, hand]


@np.errstate(all="ignore")
def compare_with_optimum(
    run: Run,
    split: str = "training",
    settings: Settings | None = None,
    trials: int | None = None,
    judge: str = "all",
    pilots: Pilots | None = None,
) -> Comparison:
    """Run a controller on the scenarios of a split, and find the optimum of each.

    split: "training" or "held_out".
    settings: other conditions than those of the training, default the run's.
    trials: number of trials, default the task's own number for evaluation.
    judge: of which trials the optimum is found, "all", "none", or "auto" for as many as
        judging.py plans.
    pilots: what is known of the optimum, from the diagnosis of the training.
    """
    task = run.task(settings)
    if trials is None:
        trials = task.evaluation_trials
    loop = run.closed_loop(split, settings, trials=trials)
    rollout = loop.rollout(run.theta)

    trained = training_operations(loop, run.trained_counts, run.trained_task.trials)
    judged = choose_judged(loop, judge, trained, len(SPLITS))
    if not judged.size:
        return Comparison(run, task, loop, rollout, None)

    # The controller's own controls, as they arrive, are one of the optimum's starts.
    arriving = loop.wiring.arriving_controls(rollout.command)
    scenario = loop.scenario
    if judged.size < loop.trials:
        scenario = select_trials(scenario, judged)
        arriving = arriving[..., judged].copy()
    best = optimum(loop.kernels, scenario, loop.wiring, arriving, pilots)
    return Comparison(run, task, loop, rollout, best, judged)


def hand_errors(loop: Loop, rollout: Trajectory) -> Array | None:
    """Distance of the hand from its goal at each arrival (arrivals, N) [m].

    None for a plant without a hand.
    """
    hand = loop.plant.hand
    if hand is None:
        return None
    # Only at the arrivals: this is called at every update while training.
    times = list(loop.scenario.arrivals)
    outputs = to_host(loop.kernels.output(rollout.x[times], loop.scenario.params))
    goals = to_host(loop.scenario.goal_output[times])
    return np.linalg.norm(outputs[:, hand] - goals[:, hand], axis=1)


def state_errors(loop: Loop, rollout: Trajectory) -> Array:
    """Error of the body's states at each arrival (arrivals, n, N).

    Entries without a goal count as zero.
    """
    times = list(loop.scenario.arrivals)
    goal = to_host(loop.scenario.goal[times])
    error = np.where(np.isnan(goal), 0.0, to_host(rollout.x[times]) - goal)
    # Actuators and other inner states after the body's have no goal.
    return error[:, : loop.plant.n_body]


def path_deviation(paths: Array, goal: Array) -> Array:
    """Largest distance of each path from the straight line to its goal (N,).

    The distance is a fraction of the line's length. Paths are (T+1, 2, N), goals are
    (2, N).
    """
    start = paths[0]
    line = goal - start
    length = np.linalg.norm(line, axis=0)
    along = paths - start
    # The cross product with the line is its length times the distance from it.
    across = along[:, 0] * line[1] - along[:, 1] * line[0]
    return np.abs(across).max(axis=0) / np.maximum(length, SHORTEST_LINE) ** 2


@np.errstate(all="ignore")
def summarise(comparison: Comparison) -> dict[str, Any]:
    """The numbers of a comparison: losses, ratio to optimal, errors, success etc.

    `not_finite` says in words which trials are not, and where.
    """
    rollout, scenario = comparison.rollout, comparison.scenario
    success = comparison.task.success(rollout, scenario)
    return {
        "trials": scenario.trials,
        **_summarise_losses(comparison),
        **_summarise_motion(comparison),
        "peak_control": np.abs(rollout.u).max(axis=(0, 2)).tolist(),
        "saturated": _saturation(comparison),
        "success": float(np.mean(success)),
        "not_finite": describe_not_finite(comparison),
    }


def _saturation(comparison: Comparison) -> float | None:
    """Part of the optimal controls that are at a limit; None without an optimum."""
    if comparison.optimum is None:
        return None
    limits = comparison.loop.wiring.limits
    return float(np.mean(limits.is_saturated(comparison.optimum.u)))


def ratio_to_optimal(loss: float, optimal_loss: float, task: Task) -> float | None:
    """Mean loss divided by the mean optimal loss.

    None if the optimum is zero, or if one of them is not finite.
    """
    if not np.isfinite(loss) or not np.isfinite(optimal_loss):
        return None
    if task.optimum_is_zero or optimal_loss <= ZERO_FRACTION * loss:
        return None
    return loss / optimal_loss


def is_beaten(ratio: float | None) -> bool:
    """Whether a ratio shows that the optimum is not the best known."""
    return ratio is not None and ratio < LEAST_RATIO


def _summarise_losses(comparison: Comparison) -> dict[str, Any]:
    """Losses and their ratios.

    The optimal loss and the ratios are those of the judged trials. The ratios are None
    if the optimum is zero, all are None if no trial is judged. If the optimum is
    beaten, it is not the best known, and ratios may be too low.
    """
    losses = comparison.rollout.losses
    mean = float(np.mean(losses))
    if comparison.optimum is None:
        nothing = dict.fromkeys(("optimal_loss", "ratio", "ratio_quantiles"))
        return {"loss": mean, "judged": 0, **nothing, "optimum_is_beaten": False}

    best = comparison.optimum.losses
    if comparison.judged is not None:
        losses = losses[comparison.judged]
    trained_task = comparison.run.trained_task
    assert isinstance(trained_task, Task)  # episodes have no optimum
    loss = float(np.mean(losses))
    optimal_loss = float(np.mean(best))
    ratio = ratio_to_optimal(loss, optimal_loss, trained_task)
    quantiles: dict[str, float] | None = None
    if ratio is not None:
        ratios = losses / np.maximum(best, SMALLEST_LOSS)
        quantiles = {q: float(np.quantile(ratios, float(q))) for q in QUANTILES}
    return {
        "loss": mean,
        "judged": best.size,
        "optimal_loss": optimal_loss,
        "ratio": ratio,
        "ratio_quantiles": quantiles,
        "optimum_is_beaten": is_beaten(ratio),
    }


def _summarise_motion(comparison: Comparison) -> dict[str, Any]:
    """Errors at each arrival, final speed and path deviation.

    They are those of the hand or, for a plant without a hand, of the state. Final speed
    and path deviation are None where they mean nothing.
    """
    paths = comparison.paths()
    speed: Array | None
    if paths is None:
        errors, speed = _state_motion(comparison)
        unit = speed_unit = ""
        deviation = None
    else:
        errors, speed = _hand_motion(comparison, paths)
        unit, speed_unit = "cm", "cm/s"
        deviation = _reach_deviation(comparison, paths)

    arrivals = [
        {"step": time, **_mean_and_max(values), "unit": unit}
        for time, values in zip(comparison.scenario.arrivals, errors, strict=True)
    ]
    final_speed = None
    if speed is not None:
        final_speed = {**_mean_and_max(speed), "unit": speed_unit}
    return {
        "errors": arrivals,
        "error": {**_mean_and_max(errors[-1]), "unit": unit},
        "final_speed": final_speed,
        "path_deviation": None if deviation is None else _mean_and_max(deviation),
    }


def _state_motion(comparison: Comparison) -> tuple[Array, Array | None]:
    """Distance of the state from its goal (arrivals, N), and final speed (N,).

    The distance counts the states that the cost weighs at the end. The speed is the
    distance of the rates; None for a plant without rates, or without goals for them.
    """
    plant = comparison.loop.plant
    errors = state_errors(comparison.loop, comparison.rollout)
    counted = errors[:, comparison.task.final_states]
    distances = np.linalg.norm(counted, axis=1)

    goal = to_host(comparison.scenario.goal[-1])
    rates = [k for k in plant.rates if not np.isnan(goal[k]).all()]
    if not rates:
        return distances, None
    return distances, np.linalg.norm(errors[-1, rates], axis=0)


def _hand_motion(comparison: Comparison, paths: Array) -> tuple[Array, Array]:
    """Error of the hand at each arrival (arrivals, N) [cm], final speed (N,) [cm/s]."""
    errors = hand_errors(comparison.loop, comparison.rollout)
    assert errors is not None
    # From positions, because not every plant has the hand's velocity as an output.
    last_step = np.linalg.norm(paths[-1] - paths[-2], axis=0)
    return 100 * errors, 100 * last_step / comparison.loop.plant.dt


def _reach_deviation(comparison: Comparison, paths: Array) -> Array | None:
    """The `path_deviation` (N,) of reaches; None if the task is not a reach.

    A reach has one arrival, a goal that stays, and a start away from it.
    """
    scenario = comparison.scenario
    ends = scenario.goal_output[-1, comparison.loop.plant.hand]
    goal_moves = np.ptp(scenario.goal, axis=0).any()
    starts_elsewhere = (paths[0] != ends).any()
    if len(scenario.arrivals) != 1 or goal_moves or not starts_elsewhere:
        return None
    return path_deviation(paths, ends)


def _mean_and_max(values: Array) -> dict[str, float]:
    return {"mean": float(values.mean()), "max": float(values.max())}


def _evaluate_returns(
    run: Run, sampler: EnvironmentSampler, episodes: int
) -> Evaluation:
    """The returns of an environment's controller over whole episodes.

    None of the episodes was seen in training. Raises UsageError if there are none.
    """
    if episodes < 1:
        raise UsageError(f"`trials` {episodes}: must be at least 1")
    rng = stream(run.settings.seed, Stream.HELD_OUT)
    # The episodes get consecutive seeds from this one on.
    seed = int(rng.integers(SEED_LIMIT - episodes))
    weights = run.network.weights(run.theta)
    returns = episode_returns(sampler, weights, episodes, seed)
    spread = {
        "mean": float(returns.mean()),
        "deviation": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
    }
    return Evaluation(
        {
            "run": str(run.path),
            "plant": run.settings.plant,
            "task": run.trained_task.name,
            "episodes": episodes,
            "return": spread,
        }
    )


def _changed_settings(
    run: Run,
    settings: Settings | Mapping[str, Any] | None,
    conditions: Mapping[str, Any],
) -> Settings | None:
    """Return the settings of an evaluation; UsageError for what are none."""
    if settings is None or isinstance(settings, Settings):
        changed = settings
    elif isinstance(settings, Mapping):
        changed = run.settings.changed(**settings)
    else:
        raise UsageError(
            f"`settings` {settings!r}: must be `Settings`, or a dictionary of those "
            "that differ from the run's"
        )
    return (changed or run.settings).changed(**conditions) if conditions else changed


def evaluate(
    run: Run | Path | str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    trials: int | None = None,
    judge: str = "auto",
    pilots: Pilots | None = None,
    plant: Path | str | None = None,
    **conditions: "Unpack[ConditionKeywords]",
) -> Evaluation:
    """Evaluate a controller on the training and the held-out scenarios.

        hf.evaluate(run, motor_noise="5%", feedback_delay="40ms")

    run: a `Run`, its path, or None for the newest.
    settings: other delays, noise or costs than it was trained with, to test it there;
        all settings, or those that differ, by their names.
    trials: number of trials in each set, as for `compare_with_optimum`.
    judge: of which trials the optimum is found: "auto" for as many as take a tenth of
        the operations of the training, or about 10 s if that is more; "all"; "none".
    pilots: what is known of the optimum, from the diagnosis of the training.
    plant: the plant to use in place of the one that the run names, which you trust.
    conditions: settings of the test that differ from those of the training.

    Returns an `Evaluation`, a dict with `run`, `plant`, `task`, `noisy` and `sets`, a
    summary for each split; in an environment, `episodes` and `return` replace the last
    two.
    """
    check_judge(judge)
    run = Run.load(run, plant=plant)
    settings = _changed_settings(run, settings, {**conditions})
    trials = None if trials is None else whole_number("trials", trials)
    if run.plant.environment:
        trainer = make_trainer(
            settings or run.settings, run.plant_file, run.conditioning
        )
        assert isinstance(trainer, PolicyTrainer)
        assert isinstance(trainer.sampler, EnvironmentSampler)
        episodes = DEFAULT_EPISODES if trials is None else trials
        return _evaluate_returns(run, trainer.sampler, episodes)

    comparisons = {
        split: compare_with_optimum(run, split, settings, trials, judge, pilots)
        for split in SPLITS
    }
    task = comparisons[SPLITS[0]].task
    return Evaluation(
        {
            "run": str(run.path),
            "plant": run.settings.plant,
            "task": task.name,
            "noisy": task.noisy,
            "sets": {split: summarise(each) for split, each in comparisons.items()},
        }
    )
