"""CUDA kernels compile for an H200 (sm_90), and none of a shipped plant spills.

This needs no GPU. The simulator accepts code that the compiler refuses.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from hfcontrol.arrays import device as backend
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.passes import cuda as cuda_passes
from hfcontrol.closed_loop.passes import cuda_layout
from hfcontrol.kernels import LinearLaw, Perturbations, compile_plant
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.runs import factory as building
from hfcontrol.runs.settings import Settings

# Nothing fills the results of kernels that are not launched.
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")

COMPILED = [name for name in plant_names() if load_plant(name).compiled]


class Card:
    """What a compilation reads from a device."""

    compute_capability = (9, 0)


@pytest.fixture
def compiled(monkeypatch):
    """Compile and assemble kernels instead of launching them.

    Returns the report of ptxas by name of the kernel.
    """
    numba_cuda = pytest.importorskip(
        "numba_cuda",
        reason="the compiler for CUDA is not installed: pip install -e '.[gpu-test]'",
    )
    nvidia = Path(pytest.importorskip("nvidia").__path__[0])
    assembler = next(nvidia.rglob("ptxas"), None) or pytest.skip(
        "ptxas is not installed: pip install -e '.[gpu-test]'"
    )
    from numba import cuda, typeof

    assert cuda.implementation == "NVIDIA" and numba_cuda
    from numba.cuda import dispatcher

    from hfcontrol.kernels.cuda import device as kernels

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Card)
    monkeypatch.setattr(backend, "_cupy", lambda: np)
    monkeypatch.setattr(cuda_passes, "require_memory", lambda needed, what: None)
    reports = {}

    def compile_only(kernel, *arguments):
        text, _ = cuda.compile_ptx(
            kernel.py_func, tuple(map(typeof, arguments)), cc=Card.compute_capability
        )
        done = subprocess.run(
            [assembler, "-v", "--gpu-name", "sm_90", "-o", "/dev/null", "-"],
            input=text,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        reports[kernel.py_func.__name__] = done.stderr

    monkeypatch.setattr(
        kernels,
        "launch",
        lambda kernel, threads, *arguments: compile_only(kernel, *arguments),
    )
    monkeypatch.setattr(
        kernels,
        "launch_blocks",
        lambda kernel, blocks, threads, shared, *arguments: compile_only(
            kernel, *arguments
        ),
    )
    return reports


def every_kernel(plant, trials, dtype="float64", **options):
    """Launch each kind of kernel that a training with a plant uses."""
    trainer = building.make_trainer(
        Settings(plant=plant, trials=trials, steps=3, **options)
    )
    scenario, theta = (
        trainer.task.draw(np.random.default_rng(0)),
        trainer.network.initial(np.random.default_rng(1)),
    )
    loop = ClosedLoop(
        trainer.plant,
        compile_plant(trainer.plant, "gpu"),
        trainer.network,
        scenario,
        trainer.wiring,
        PassOptions(dtype=dtype),
    )
    linear = loop.linearise(loop.rollout(theta))
    linear.jvp(theta)
    linear.vjp(linear.cost.residuals)
    v, (nx, nu) = scenario.motor_noise, (trainer.plant.nx, trainer.plant.nu)
    loop.kernels.simulate(
        scenario.x0, v, scenario.params, scenario.disturbance, trainer.wiring.taper
    )
    gains = np.zeros((3, trials, nu, nx))
    law = LinearLaw(v, gains, np.zeros((4, nx, trials)), np.ones((2, nu)))
    perturbations = Perturbations(scenario.motor_gain, v, scenario.disturbance)
    loop.kernels.regulate(
        scenario.x0, law, scenario.params, perturbations, trainer.wiring.taper
    )
    return loop.passes


def assert_no_spills(reports):
    for name, text in reports.items():
        assert "spill stores" in text and all(
            "0 bytes spill stores, 0 bytes spill loads" in line
            for line in text.splitlines()
            if "spill" in line
        ), f"{name}: {text}"


@pytest.mark.parametrize("plant", COMPILED)
def test_kernels_of_every_plant_compile_without_spills(compiled, monkeypatch, plant):
    monkeypatch.setattr(cuda_layout, "processor_count", lambda: 132)
    every_kernel(plant, 8)
    assert {
        "rollout",
        "tangent",
        "adjoint",
        "map_slopes",
        "simulate",
        "regulate",
    } <= set(compiled)
    assert_no_spills(compiled)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kernels_of_many_trials_and_units_compile_without_spills(
    compiled, monkeypatch, dtype
):
    """Eight trials and four units per thread; shared memory stays in its limit."""
    monkeypatch.setattr(cuda_layout, "processor_count", lambda: 1)
    passes = every_kernel("arm2", 32, dtype, hidden=(128, 128))
    assert passes.layout[1:3] == (8, 4) and passes.layout.shared_bytes <= 48 * 1024
    assert_no_spills(compiled)


def test_the_backward_pass_of_ilqr_compiles(compiled):
    from hfcontrol.optim import ilqr

    matrices = [
        np.zeros((2, 3, *shape)) for shape in ((4, 4), (4, 2), (4, 4), (2, 2), (2, 4))
    ]
    vectors = [np.zeros((2, 3, n)) for n in (4, 2, 2, 2)]
    ilqr.riccati_on_gpu(4, 2)(
        ilqr.Expansion(*matrices, *vectors),
        np.zeros(3),
        np.zeros((2, 3, 2)),
        np.zeros((2, 3, 2, 4)),
        np.zeros(3),
    )
    assert "backward" in compiled
