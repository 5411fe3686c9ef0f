"""Study: every cell on balancing the cart's pole and on reaching, with as many units and with as many weights; and what three ways
back through a cell's own time make of its gradient."""

from functools import partial

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.continuous import ContinuousLoop, Estimator
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import TrainingError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS
from hfcontrol.network.network import Network
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.studies.course import Problem
from hfcontrol.training.curriculum import run_curriculum

TASKS = (("cartpole", "balance"), ("arm2", "reach"))
UNITS, MODEL = (
    16,
    "ctrnn",
)  # units in each of two layers, and the cell whose number of weights the others are given
WAYS = {
    "BPTT": Estimator("rk4", step=0.01),
    "stored-state adjoint": Estimator("ctpg", 1e-8, 1e-10),
    "backsolve": Estimator("backsolve", 1e-8, 1e-10),
}
TIMES = (1.0, 0.2, 0.1, 0.05)  # time constants [s]
SECONDS = 2.0  # of the trajectory whose gradient is asked for


def study(seeds=5, seconds=10.0, tell=None):
    """Held-out ratio, updates and seconds of every cell, seed by seed, and the gradients' errors by time constant; after every
    training what there is."""
    tell = tell or (lambda text: None)
    result = {
        "study": "cells",
        "seeds": seeds,
        "seconds": seconds,
        "gradients": gradients(tell),
        "trainings": [],
    }
    yield result
    for plant, task in TASKS:
        for sizing in ("units", "weights"):
            for cell in (name for name in CELLS if name != "linear"):
                units = UNITS if sizing == "units" else _units(plant, task, cell)
                for seed in range(seeds):
                    tell(
                        f"{plant} {task}, {cell}, {units} + {units} units, seed {seed}"
                    )
                    training = {
                        "plant": plant,
                        "task": task,
                        "same": sizing,
                        "cell": cell,
                        "units": units,
                        "seed": seed,
                    }
                    result["trainings"].append(
                        training | _trained(plant, task, cell, units, seed, seconds)
                    )
                    yield result


def _settings(plant, task, cell, units, **more):
    return settings_for(
        plant=plant, task=task, cell=cell, hidden=(units, units), **more
    )


def _units(plant, task, cell):
    """The units of two layers that have about as many weights as the model cell's UNITS."""
    size = partial(_size, plant, task)
    wanted = size(MODEL, UNITS)
    return min(range(2, 4 * UNITS), key=lambda units: abs(size(cell, units) - wanted))


def _size(plant, task, cell, units):
    return make_trainer(_settings(plant, task, cell, units)).network.size


def _trained(plant, task, cell, units, seed, seconds):
    """What a training of so many seconds reaches on the held-out set."""
    settings = _settings(plant, task, cell, units, seed=seed, max_seconds=seconds)
    trainer = make_trainer(settings)
    theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    linear = loop.linearise(loop.rollout(theta))  # compiles before the clock starts
    linear.jvp(linear.gradient)
    linear.rows(loop.active_residuals()[-1:])
    *_, last = trainer.run(run_curriculum(trainer, settings))
    held_out = trainer.task.draw(stream(settings.seed, Stream.HELD_OUT), "held_out")
    judged = ClosedLoop(loop.plant, loop.kernels, loop.network, held_out, loop.wiring)
    rollout = judged.rollout(last.state.theta)
    best = optimum(judged.kernels, judged.plant, judged.scenario, judged.wiring).losses
    return {
        "weights": int(theta.size),
        "ratio": float(rollout.loss / best.mean()),
        "updates": last.state.updates,
        "seconds": last.state.seconds,
        "success": float(np.mean(trainer.task.success(rollout, judged.scenario))),
    }


def gradients(tell):
    """The relative error of each way by time constant: a running cost on the regulator's plant, 16 units of ctrnn."""
    found = {}
    for tau in TIMES:
        tell(f"gradients through a time constant of {tau} s")
        exact = _gradient(tau, Estimator("ctpg", 1e-13, 1e-13))
        found[str(tau)] = {}
        for name, estimator in WAYS.items():
            try:
                error = float(
                    np.linalg.norm(_gradient(tau, estimator) - exact)
                    / np.linalg.norm(exact)
                )
            except TrainingError:
                error = None
            found[str(tau)][name] = error
    return found


def _gradient(tau, estimator):
    problem = Problem("linear", None, SECONDS, (16,))
    loop = problem.loop(estimator, np.random.default_rng(0), 8)
    architecture = Architecture(
        (16,), MODEL, (), (1,), time_constants=(tau / loop.plant.dt,) * 2
    )
    network = Network(architecture, problem.network.n_input, loop.plant.nu)
    loop = ContinuousLoop(
        loop.plant, loop.kernels, network, loop.scenario, loop.wiring, estimator
    )
    return loop.gradient(loop.rollout(network.initial(np.random.default_rng(1)))).theta
