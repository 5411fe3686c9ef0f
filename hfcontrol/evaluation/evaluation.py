"""How good a controller is: its cost against the best any controller could do, on trained and held-out scenarios."""

from dataclasses import dataclass

import numpy as np

from hfcontrol.arrays.device import to_host
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.errors import UsageError
from hfcontrol.optim.yardstick import optimum
from hfcontrol.policy_gradient.samplers import SEED_LIMIT, episode_returns
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.run import Run
from hfcontrol.tasks.scenario import SPLITS

EPISODES = 100  # of an environment
ZERO = 1e-12  # an optimal loss below this part of the initial one is an optimum of zero


@dataclass(frozen=True)
class Comparison:
    """One set of scenarios run by the controller: task, loop, its rollout and the optimum of every trial."""

    run: Run
    task: object
    loop: object
    rollout: object
    optimum: object

    @property
    def scenario(self):
        """The scenarios."""
        return self.loop.scenario

    def outputs(self, x=None):
        """Plant outputs (T+1, nz, N) along the rollout, or along other states x."""
        return self.loop.kernels.output(
            self.rollout.x if x is None else x, self.scenario.params
        )

    def paths(self, x=None):
        """Hand paths (T+1, 2, N) [m]; None for a plant without a hand."""
        hand = self.loop.plant.hand
        return None if hand is None else self.outputs(x)[:, hand]


def compare_with_optimum(run, split="training", settings=None, trials=None):
    """The controller of a run on a set of scenarios, "training" or "held_out", with the optimum beside it; the task says by how many
    `trials` it is judged, unless told otherwise."""
    task = run.task(settings)
    loop = run.closed_loop(
        split, settings, trials=task.evaluation_trials if trials is None else trials
    )
    rollout = loop.rollout(run.theta)
    commands = np.zeros_like(rollout.command)
    delay = loop.wiring.command_delay
    commands[delay:] = rollout.command[: loop.scenario.steps - delay]
    return Comparison(
        run,
        task,
        loop,
        rollout,
        optimum(loop.kernels, loop.plant, loop.scenario, loop.wiring, commands),
    )


def hand_errors(loop, rollout):
    """Distance of the hand from its goal at each arrival (arrivals, N) [m]; None for a plant without a hand."""
    hand, times = loop.plant.hand, list(loop.scenario.arrivals)
    if hand is None:
        return None
    ends = to_host(loop.kernels.output(rollout.x[times], loop.scenario.params))
    return np.linalg.norm(
        ends[:, hand] - to_host(loop.scenario.goal_output[times])[:, hand], axis=1
    )


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
    rollout, scenario = judged.rollout, judged.scenario
    loss, optimal = (
        float(np.mean(rollout.losses)),
        float(np.mean(judged.optimum.losses)),
    )
    zero = judged.run.trainer.task.optimum_is_zero or optimal <= ZERO * loss
    ratios = rollout.losses / np.maximum(judged.optimum.losses, 1e-300)
    return {
        "trials": scenario.trials,
        "loss": loss,
        "optimal_loss": optimal,
        "ratio": None if zero else loss / optimal,
        "ratio_quantiles": None
        if zero
        else {q: float(np.quantile(ratios, float(q))) for q in ("0.5", "0.9", "0.99")},
        **_motion(judged),
        "peak_control": np.abs(rollout.u).max(axis=(0, 2)).tolist(),
        "success": float(np.mean(judged.task.success(rollout, scenario))),
    }


def _motion(judged):
    """How far from the goal at each arrival and how fast at the end, at the hand or, without one, by the state; and how
    straight the hand's paths are where they are to be."""
    rollout, scenario, plant = judged.rollout, judged.scenario, judged.loop.plant
    paths, times = judged.paths(), list(scenario.arrivals)
    if paths is None:
        off = np.where(np.isnan(scenario.goal), 0.0, rollout.x - scenario.goal)[
            :, : plant.n_body
        ]
        errors, unit, speed_unit, deviation = (
            np.linalg.norm(off[times], axis=1),
            "",
            "",
            None,
        )
        speed = np.linalg.norm(np.delete(off[-1], plant.positions, axis=0), axis=0)
    else:
        errors, unit, speed_unit = 100 * hand_errors(judged.loop, rollout), "cm", "cm/s"
        speed = 100 * np.linalg.norm(paths[-1] - paths[-2], axis=0) / plant.dt
        ends = scenario.goal_output[-1, plant.hand]
        reaching = (
            len(times) == 1
            and not np.ptp(scenario.goal, axis=0).any()
            and (paths[0] != ends).any()
        )
        deviation = path_deviation(paths, ends) if reaching else None
    return {
        "errors": [
            {"step": t, **_spread(e), "unit": unit} for t, e in zip(times, errors)
        ],
        "error": {**_spread(errors[-1]), "unit": unit},
        "final_speed": {**_spread(speed), "unit": speed_unit},
        "path_deviation": None if deviation is None else _spread(deviation),
    }


def _spread(values):
    return {"mean": float(values.mean()), "max": float(values.max())}


def _returns(run, sampler, episodes):
    """The returns of a controller of an environment over so many whole episodes, none of them seen in training."""
    if episodes < 1:
        raise UsageError(f"--trials {episodes}: at least 1 is needed")
    seed = int(
        stream(run.settings.seed, Stream.HELD_OUT).integers(SEED_LIMIT - episodes)
    )
    totals = episode_returns(sampler, run.network.weights(run.theta), episodes, seed)
    return {
        "run": str(run.path),
        "plant": run.settings.plant,
        "task": run.trainer.task.name,
        "episodes": episodes,
        "return": {
            "mean": float(totals.mean()),
            "deviation": float(totals.std()),
            "min": float(totals.min()),
            "max": float(totals.max()),
        },
    }


def evaluate(run=None, settings=None, trials=None):
    """The judgement of a run (a `Run`, its path, or None for the newest): a dict with `run`, `plant`, `task` and `sets`.

    `settings` may differ from the run's, to test under other delays, noise or costs than it was trained with; `trials` are as for `judge`.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    if run.plant.environment:
        return _returns(
            run,
            make_trainer(settings or run.settings, run.plant_file).sampler,
            EPISODES if trials is None else trials,
        )
    judged = {
        split: compare_with_optimum(run, split, settings, trials) for split in SPLITS
    }
    task = judged[SPLITS[0]].task
    return {
        "run": str(run.path),
        "plant": run.settings.plant,
        "task": task.name,
        "noisy": task.noisy,
        "sets": {split: summary(j) for split, j in judged.items()},
    }
