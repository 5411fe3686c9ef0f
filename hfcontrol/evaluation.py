"""How good a controller is: its cost against the best any controller could do, on trained and held-out scenarios."""

from dataclasses import dataclass

import numpy as np

from hfcontrol.optimal import optimum
from hfcontrol.runs import Run
from hfcontrol.scenario import SPLITS

ZERO = 1e-12  # an optimal loss below this part of the initial one is an optimum of zero


@dataclass(frozen=True)
class Judgement:
    """One set of scenarios run by the controller: the loop, its rollout and the optimum of every trial."""

    run: Run
    loop: object
    rollout: object
    optimum: object

    @property
    def scenario(self):
        """The scenarios."""
        return self.loop.scenario

    def outputs(self, x=None):
        """Plant outputs (T+1, nz, N) along the rollout, or along other states x."""
        return self.loop.kernels.output(self.rollout.x if x is None else x, self.scenario.params)

    def paths(self, x=None):
        """Hand paths (T+1, 2, N) [m]; None for a plant without a hand."""
        hand = self.run.plant.hand
        return None if hand is None else self.outputs(x)[:, hand]


def judge(run, split="training", settings=None, trials=None):
    """The controller of a run on a set of scenarios, "training" or "held_out", with the optimum beside it."""
    loop = run.closed_loop(split, settings, trials=trials)
    rollout = loop.rollout(run.theta)
    commands = np.zeros_like(rollout.command)
    delay = loop.wiring.command_delay
    commands[delay:] = rollout.command[:loop.scenario.steps - delay]
    return Judgement(run, loop, rollout, optimum(loop.kernels, run.plant, loop.scenario, loop.wiring, commands))


def hand_errors(loop, rollout):
    """Distance of the hand from its goal at the end (N,) [m]; None for a plant without a hand."""
    hand = loop.plant.hand
    if hand is None:
        return None
    ends = loop.kernels.output(rollout.x[-1:], loop.scenario.params)[0, hand]
    return np.linalg.norm(ends - loop.scenario.goal_output[-1, hand], axis=0)


def path_deviation(paths, goal):
    """Largest distance of each hand path (T+1, 2, N) from the straight line to its goal (2, N), as a fraction of the
    line's length (N,)."""
    start = paths[0]
    line = goal - start
    length = np.linalg.norm(line, axis=0)
    along = paths - start
    across = along[:, 0] * line[1] - along[:, 1] * line[0]
    return np.abs(across).max(axis=0) / np.maximum(length, 1e-12) ** 2


def summary(judged):
    """The numbers of one set: losses, ratio to optimal, errors, speeds, controls, paths and successes; a dict."""
    rollout, scenario, plant = judged.rollout, judged.scenario, judged.run.plant
    loss, optimal = float(np.mean(rollout.losses)), float(np.mean(judged.optimum.losses))
    zero = judged.run.trainer.task.optimum_is_zero or optimal <= ZERO * loss
    ratios = rollout.losses / np.maximum(judged.optimum.losses, 1e-300)
    final_error = np.nan_to_num(rollout.x[-1] - scenario.goal[-1])
    paths = judged.paths()
    if paths is None:
        error, unit = np.linalg.norm(final_error, axis=0), ""
        speed, speed_unit, deviation = np.linalg.norm(np.delete(final_error, plant.positions, axis=0), axis=0), "", None
    else:
        error, unit = 100 * hand_errors(judged.loop, rollout), "cm"
        speed, speed_unit = 100 * np.linalg.norm(paths[-1] - paths[-2], axis=0) / plant.dt, "cm/s"
        deviation = path_deviation(paths, scenario.goal_output[-1, plant.hand])
    return {
        "trials": scenario.trials, "loss": loss, "optimal_loss": optimal, "ratio": None if zero else loss / optimal,
        "ratio_quantiles": None if zero else {q: float(np.quantile(ratios, float(q))) for q in ("0.5", "0.9", "0.99")},
        "error": {"mean": float(error.mean()), "max": float(error.max()), "unit": unit},
        "final_speed": {"mean": float(speed.mean()), "max": float(speed.max()), "unit": speed_unit},
        "peak_control": np.abs(rollout.u).max(axis=(0, 2)).tolist(),
        "path_deviation": None if deviation is None else {"mean": float(deviation.mean()), "max": float(deviation.max())},
        "success": float(np.mean(judged.run.trainer.task.success(rollout, scenario))),
    }


def evaluate(run=None, settings=None, trials=None):
    """The judgement of a run (a `Run`, its path, or None for the newest): a dict with `run`, `plant`, `task` and `sets`.

    `settings` may differ from the run's, to test under other delays, noise or costs than it was trained with.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    sets = {split: summary(judge(run, split, settings, trials)) for split in SPLITS}
    return {"run": str(run.path), "plant": run.settings.plant, "task": run.trainer.task.name, "sets": sets}
