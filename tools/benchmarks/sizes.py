"""Time and memory of one update by the size of a problem: chains of masses.

Every size runs in a process of its own, since the peak of its memory is measured.
"""

import resource
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.report import Row, show, table
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.optim.ilqr import OpenLoop, improve
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import settings_for
from hfcontrol.training.memory import predict_memory
from hfcontrol.training.trainer import Trainer

# States, and steps.
SIZES = ((4, 40), (4, 400), (4, 4000), (16, 400), (64, 400), (256, 40), (256, 400))
SMALLEST = ((4, 5),)

CHAIN = '''"""Masses in a row with springs between; forces on the first and the last."""
N = {masses}
STATE = tuple(f"q{{i}}" for i in range(N)) + tuple(f"q{{i}}_rate" for i in range(N))
CONTROL = ("first", "last")
PARAMS = {{"k": 1.0, "c": 0.01}}
DT, INTEGRATOR = 0.2, "rk4"

def dynamics(x, u, p, dx):
    for i in range(N):
        left = x[i - 1] if i > 0 else 0.0
        right = x[i + 1] if i < N - 1 else 0.0
        force = u[0] if i == 0 else 0.0
        if i == N - 1:
            force = u[1]
        dx[i] = x[N + i]
        dx[N + i] = p[0] * (left - 2 * x[i] + right) - p[1] * x[N + i] + force

TASKS = {{"calm": {{"generator": "around", "start": (0.0,) * {states},
    "spread": (1.0,) * N + (0.5,) * N, "target": (0.0,) * {states}, "trials": 64,
    "steps": {steps}, "final": 1.0, "running": 0.2, "effort": 0.1}}}}
'''


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return a row for every size: seconds of its parts, and memory.

    The parts are the plant's Jacobians, a Gauss-Newton product, the first update with
    its rollout, and an iteration of iLQR. The last memory is with iLQR.
    """
    rows = []
    for states, steps in SMALLEST if smallest else SIZES:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append(pool.submit(measure_one, states, steps, seeds[0]).result())
    columns = (
        "states",
        "steps",
        "groups",
        "jacobian_seconds",
        "product_seconds",
        "update_seconds",
        "ilqr_seconds",
        "predicted_gb",
        "peak_gb",
        "ilqr_gb",
    )
    lines = [[show(row[name]) for name in columns] for row in rows]
    table("chains of masses, 64 trials, 32 + 32 units", columns, lines)
    return rows


def measure_one(states: int, steps: int, seed: int) -> Row:
    """Return the row of one size: CPU seconds, and memory [GB] after an update."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.py"
        numbers = {"masses": states // 2, "states": states, "steps": steps}
        path.write_text(CHAIN.format(**numbers), encoding="utf-8")
        settings = settings_for(plant=str(path), strategy="plain", seed=seed)
        trainer = make_trainer(settings)
        assert isinstance(trainer, Trainer)
        loop = trainer.loop(stream(seed, Stream.SCENARIOS))
        assert isinstance(loop, ClosedLoop)
        theta = trainer.network.initial(stream(seed, Stream.WEIGHTS))
        predicted = predict_memory(loop, trainer.optimizer).total
        # compiled before any clock starts
        rollout = loop.rollout(theta)
        linear = loop.linearise(rollout)
        linear.vjp(linear.jvp(theta))

        begin = time.process_time()
        linear.vjp(linear.jvp(theta))
        product = time.process_time() - begin
        begin = time.process_time()
        loop.plant_jacobians(rollout)
        jacobians = time.process_time() - begin
        state = trainer.init(theta, stream(seed, Stream.SCENARIOS))
        begin = time.process_time()
        for event in trainer.run(state):
            if event.state.updates:
                break
        update = time.process_time() - begin
        peak = peak_memory()
        ilqr = time_ilqr(loop)
    return {
        "states": states,
        "steps": steps,
        "groups": trainer.kernels.step_groups,
        "jacobian_seconds": jacobians,
        "product_seconds": product,
        "update_seconds": update,
        "ilqr_seconds": ilqr,
        "predicted_gb": predicted / 1e9,
        "peak_gb": peak,
        "ilqr_gb": peak_memory(),
    }


def time_ilqr(loop: ClosedLoop) -> float:
    """Return the CPU seconds of one iteration of iLQR for all trials of a loop."""
    system = OpenLoop(loop.kernels, loop.scenario, loop.wiring)
    zero = np.zeros_like(loop.scenario.motor_noise)
    # compiled before the clock starts
    improve(system.subset(np.arange(1)), zero[..., :1], 1)
    begin = time.process_time()
    improve(system, zero, 1)
    return time.process_time() - begin


def peak_memory() -> float:
    """Return the largest memory [GB] of this process until now."""
    # Linux counts in kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
