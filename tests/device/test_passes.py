"""Passes on a GPU compute the same numbers as those on the CPU."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from hfcontrol.arrays.device import to_device, to_host
from hfcontrol.closed_loop.loop import NOTHING_FIXED, ClosedLoop, PassOptions
from hfcontrol.closed_loop.passes import cuda_layout
from hfcontrol.errors import DeviceError
from hfcontrol.kernels import compile_plant
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.runs import factory as building
from hfcontrol.runs.settings import Settings

SMALL = {
    "plant": "arm2",
    "trials": 3,
    "steps": 4,
    "hidden": (3, 2),
    "running": 0.1,
    "effort": 1e-3,
}
EVERYTHING = {
    "feedback_delay": 1,
    "command_delay": 1,
    "motor_noise": "5%",
    "sensory_noise": 0.01,
    "learn_start": True,
    "control_limit": ((-1.0, 3.0), (0.5, None)),
    **SMALL,
}


def loops(dtype="float64", fused=True, **options):
    """The same closed loop on the CPU and on the GPU, and weights for it."""
    trainer = building.make_trainer(Settings(**options))
    theta = trainer.network.initial(
        np.random.default_rng(0)
    ) + 0.1 * np.random.default_rng(1).standard_normal(trainer.network.size)
    parts = trainer.network, trainer.task.draw(np.random.default_rng(2)), trainer.wiring
    return (
        ClosedLoop(trainer.plant, trainer.kernels, *parts, PassOptions(fused=fused)),
        ClosedLoop(
            trainer.plant,
            compile_plant(trainer.plant, "gpu"),
            *parts,
            PassOptions(dtype=dtype),
        ),
        theta,
    )


def close(a, b, tolerance=1e-12):
    b = to_host(b)
    assert a.shape == b.shape and b.dtype == float
    assert np.abs(a - b).max() <= tolerance * max(np.abs(a).max(), 1e-300)


def linearised(cpu, gpu, theta, a=NOTHING_FIXED, b=NOTHING_FIXED):
    """Both loops linearised, with the same Jacobians.

    A difference over 6e-6 turns a rounding of a state into 1e-11.
    """
    a, b = cpu.rollout(theta, a), gpu.rollout(to_device(theta), b)
    for name in ("x", "u", "command", "y", "losses"):
        close(getattr(a, name), getattr(b, name))
    a, b = cpu.linearise(a), gpu.linearise(b)
    on_host = a.plant_jacobians
    jacobians = on_host._replace(
        A=to_device(on_host.A),
        B=to_device(on_host.B),
        C=to_device(on_host.C),
        slope=to_device(on_host.slope),
    )
    output = None if a.cost.output is None else to_device(a.cost.output)
    return a, replace(b, plant_jacobians=jacobians, cost=replace(b.cost, output=output))


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        EVERYTHING,
        {**SMALL, "hidden": (5,), "recurrent": (), "space": "hand"},
        {**SMALL, "running": (0.1, 0.2, 0.03, 0.04), "effort": (1e-3, 5e-3)},
    ],
    ids=["plain", "everything", "one layer", "weights by component"],
)
def test_every_pass_equals_that_of_the_cpu(options):
    cpu, gpu, theta = loops(**options)
    a, b = linearised(cpu, gpu, theta)
    close(a.rollout.hidden(cpu.network), b.rollout.hidden(cpu.network))
    v = np.random.default_rng(3).standard_normal(theta.size)
    for x, y in zip(a.jvp(v), b.jvp(to_device(v)), strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            close(x, y)
    close(a.gradient, b.gradient)
    close(GaussNewton(a) @ v, GaussNewton(b) @ to_device(v))
    close(a.structural_product(v), b.structural_product(to_device(v)))
    indices = cpu.active_residuals()[-3:]
    close(a.rows(indices), b.rows(indices))
    close(GaussNewton(a.subset(2)) @ v, GaussNewton(b.subset(2)) @ to_device(v))


@pytest.mark.parametrize(
    "multiprocessors, warp, most_threads",
    [(1, 4, 256), (1, 2, 256), (99, 4, 256), (1, 2, 4), (99, 4, 3)],
    ids=[
        "shared units",
        "many units per thread",
        "one trial per block",
        "few threads",
        "few threads for one trial",
    ],
)
def test_every_block_layout_computes_the_same(
    monkeypatch, multiprocessors, warp, most_threads
):
    """Many trials and units per thread, one trial per block, few threads.

    The last block and the last thread have trials and units that do not exist.
    """
    monkeypatch.setattr(cuda_layout, "MOST_THREADS", most_threads)
    monkeypatch.setattr(cuda_layout, "processor_count", lambda: multiprocessors)
    monkeypatch.setattr(cuda_layout, "WARP", warp)
    monkeypatch.setattr(cuda_layout, "TRIALS_PER_BLOCK", (4, 2, 1))
    monkeypatch.setattr(cuda_layout, "MOST_TRIALS_PER_THREAD", 2)
    cpu, gpu, theta = loops(**{**SMALL, "hidden": (9, 5), "trials": 5, "steps": 3})
    a, b = linearised(cpu, gpu, theta)
    v = np.random.default_rng(3).standard_normal(theta.size)
    close(GaussNewton(a) @ v, GaussNewton(b) @ to_device(v))


@pytest.mark.parametrize("kind", ["model", "inputs"])
def test_holds_keep_the_same_things_fixed(kind):
    cpu, gpu, theta = loops(**SMALL)
    start = cpu.rollout(theta)
    linear_model = (
        cpu.linear_model(start)
        if kind == "model"
        else NOTHING_FIXED._replace(recorded=start.y, replays_inputs=True)
    )
    there = type(linear_model)(
        *map(to_device, linear_model.arrays()),
        linear_model.replaces_plant,
        linear_model.replays_inputs,
    )
    moved = theta + 0.1 * np.random.default_rng(4).standard_normal(theta.size)
    a, b = linearised(cpu, gpu, moved, linear_model, there)
    close(a.gradient, b.gradient)


def test_exploration_is_added_to_the_commands():
    cpu, gpu, theta = loops(**SMALL)
    exploration = 0.1 * np.random.default_rng(5).standard_normal(
        cpu.scenario.motor_noise.shape
    )
    close(
        cpu.rollout(theta, exploration=exploration).x,
        gpu.rollout(to_device(theta), exploration=to_device(exploration)).x,
    )


def test_a_float32_network_differs_by_its_rounding():
    """Products differ by some hundred roundings of 6e-8, so they are not float64."""
    cpu, gpu, theta = loops("float32", **SMALL)
    a, b = (
        cpu.linearise(cpu.rollout(theta)),
        gpu.linearise(gpu.rollout(to_device(theta))),
    )
    v = np.random.default_rng(3).standard_normal(theta.size)
    close(a.rollout.x, b.rollout.x, 1e-5)
    close(GaussNewton(a) @ v, GaussNewton(b) @ to_device(v), 1e-4)
    assert (
        np.abs(a.gradient - to_host(b.gradient)).max()
        > 1e-10 * np.abs(a.gradient).max()
    )
    assert b.rollout.activations.flat.dtype == np.float32


@pytest.mark.parametrize("cell", ["ltc", "cfc", "gru", "lstm"])
def test_time_continuous_cells_use_plain_passes(cell):
    cpu, gpu, theta = loops(fused=False, **{**SMALL, "cell": cell, "hidden": (3,)})
    assert type(gpu.passes).__name__ == "PlainPasses"
    a, b = linearised(cpu, gpu, theta)
    v = np.random.default_rng(3).standard_normal(theta.size)
    close(GaussNewton(a) @ v, GaussNewton(b) @ to_device(v))


def test_a_network_too_large_for_shared_memory_is_refused():
    with pytest.raises(DeviceError, match="use fewer units, or `device` cpu"):
        loops(**{**SMALL, "hidden": (2000, 2000)})


def test_trials_that_do_not_fit_on_the_gpu_are_refused(monkeypatch, device):
    monkeypatch.setattr(
        sys.modules["cupy"].cuda.runtime, "memGetInfo", lambda: (1000, 1000)
    )
    with pytest.raises(
        DeviceError,
        match=r"3 trials of 4 steps need .* GB, and 1e-06 GB are free on the GPU; "
        "use fewer `trials`",
    ):
        loops(**SMALL)
