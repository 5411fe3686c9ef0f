"""Training on a stand-in for a GPU: the same states and checkpoints as on the CPU."""

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.arrays.device import to_device, to_device_of, to_host
from hfcontrol.errors import DeviceError, UsageError
from hfcontrol.jobs import seeds
from hfcontrol.jobs.seeds import train_seeds
from hfcontrol.jobs.trainings import Followers
from hfcontrol.optim.curvature import GaussNewton, Identity
from hfcontrol.optim.families import family
from hfcontrol.optim.linear_solvers import conjugate_gradients
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs import factory as building
from hfcontrol.runs import run as runs
from hfcontrol.runs.settings import Settings

TINY = {
    "trials": 2,
    "steps": 2,
    "hidden": (2, 2),
    "batches": 2,
    "rollouts": 3,
    "strategy": "plain",
}


def curve(run):
    return [mark.loss for mark in run.state.history]


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "cg", "effort": 1e-2, "running": 0.1, "cg_cap": 3},
        {"solver": "residual", "effort": 0.0},
        {"hold": "model", "solver": "residual", "effort": 0.0},
        {"optimizer": "adam"},
        {"optimizer": "lbfgs"},
        {
            "solver": "residual",
            "effort": 0.0,
            "density": 0.5,
            "dale": 0.5,
            "recurrent": (1,),
        },
    ],
    ids=["cg", "residual", "model", "adam", "lbfgs", "constraint"],
)
def test_training_equals_that_on_cpu(tmp_path, options):
    """To rounding errors, which a few updates amplify."""
    there = hf.train("arm2", out=tmp_path / "gpu", device="gpu", **TINY, **options)
    here = hf.train("arm2", out=tmp_path / "cpu", **TINY, **options)
    assert curve(there) == pytest.approx(curve(here), rel=1e-6)
    assert there.theta == pytest.approx(here.theta, rel=1e-3, abs=1e-5)
    assert there.state.updates == here.state.updates > 0


def test_checkpoints_are_independent_of_device(tmp_path):
    """Training may start on either device and resume on the other."""
    options = {"solver": "residual", "effort": 0.0, **TINY, "rollouts": 2}
    whole = hf.train("arm2", out=tmp_path / "whole", **{**options, "rollouts": 3})
    for first, then in (("gpu", "cpu"), ("cpu", "gpu")):
        begun = hf.train("arm2", out=tmp_path / first, device=first, **options)
        ended = hf.resume(begun.path, rollouts=3, device=then)
        assert curve(ended) == pytest.approx(curve(whole), rel=1e-6)


def test_run_of_gpu_is_evaluated_on_cpu(tmp_path, monkeypatch):
    run = hf.train(
        "arm2", out=tmp_path, device="gpu", solver="residual", effort=0.0, **TINY
    )
    monkeypatch.setattr(
        "hfcontrol.arrays.device._cupy", lambda: pytest.fail("a GPU was asked for")
    )
    run = runs.Run.load(run.path)
    assert np.isfinite(run.closed_loop("held_out", trials=2).rollout(run.theta).loss)


def test_seeds_on_gpu_train_one_after_another(tmp_path):
    """Each equals the single run on the CPU, and can be resumed there."""
    options = {"solver": "residual", "effort": 0.0, **TINY}
    said = []
    outcomes = train_seeds(
        Settings(device="gpu", plant="arm2", **options),
        [0, 1],
        tmp_path / "many",
        follow=Followers(message=said.append),
    ).best_first
    assert said == ["the seeds train on the GPU one after another"]
    assert [o.loss for o in outcomes] == sorted(o.loss for o in outcomes)
    for outcome in outcomes:
        alone = hf.train("arm2", out=tmp_path, seed=outcome.seed, **options)
        assert outcome.loss == pytest.approx(alone.state.loss, rel=1e-6)
        assert outcome.updates == alone.state.updates > 0
        assert outcome.rollouts == alone.state.rollouts
        theta = hf.Run.load(outcome.path).theta
        assert theta == pytest.approx(alone.theta, rel=1e-3, abs=1e-5)
    ended = hf.resume(outcomes[0].path, rollouts=6, device="cpu")
    assert ended.state.rollouts >= 6


def test_processes_that_share_a_gpu_are_announced(tmp_path, monkeypatch):
    said = []

    def run(plans, out, backend, processes, results):
        results.add(seeds.JobResult(0, fault=f"{processes} at a time"))

    monkeypatch.setattr(seeds, "_run", run)
    with pytest.raises(hf.HFControlError, match="2 at a time"):
        train_seeds(
            Settings(device="gpu", plant="arm2", **TINY),
            [0, 1],
            tmp_path,
            jobs=2,
            follow=Followers(message=said.append),
        )
    assert said == ["the seeds train on the GPU in 2 processes"]


def test_cg_waits_for_two_numbers_per_iteration(device):
    trainer = building.make_trainer(
        Settings(
            device="gpu",
            plant="arm2",
            trials=2,
            steps=3,
            hidden=(3, 2),
            effort=1e-2,
            running=0.1,
        )
    )
    loop = trainer.loop(np.random.default_rng(0))
    theta = to_device(trainer.network.initial(np.random.default_rng(1)))
    linear = loop.linearise(loop.rollout(theta))
    A, b = GaussNewton(linear) + 0.1 * Identity(), -linear.gradient
    waits = []
    for cap in (2, 4):
        before = device.waits
        assert (
            conjugate_gradients(A, b, np.zeros_like(theta), cap=cap).iterations == cap
        )
        waits.append(device.waits - before)
    assert waits[1] - waits[0] == 2 * 2


def test_optimum_equals_that_on_cpu(monkeypatch):
    # small numbers, because the stand-in is slow
    monkeypatch.setattr("hfcontrol.optim.sharing.LEADERS", 2)
    monkeypatch.setattr("hfcontrol.optim.starts.GROWING", 2)
    monkeypatch.setattr("hfcontrol.optim.starts.PARTS", 2)
    monkeypatch.setattr("hfcontrol.optim.ilqr.IDLE", 2)
    monkeypatch.setattr("hfcontrol.optim.yardstick.EXPLORERS", 3)
    trainer = building.make_trainer(Settings(plant="linear", trials=2, steps=2))
    gpu = building.make_trainer(
        Settings(plant="linear", trials=2, steps=2, device="gpu")
    )
    scenario = trainer.task.draw(np.random.default_rng(0))
    for find in (optimum, family):
        a = find(trainer.kernels, scenario, trainer.wiring)
        b = find(gpu.kernels, scenario, gpu.wiring)
        assert b.losses == pytest.approx(a.losses, rel=1e-6)


def test_float32_training_is_close_to_float64(tmp_path):
    options = {"solver": "residual", "effort": 0.0, **TINY}
    single, double = (
        hf.train("arm2", out=tmp_path / device, device=device, dtype=dtype, **options)
        for device, dtype in (("gpu", "float32"), ("cpu", "float64"))
    )
    assert curve(single) == pytest.approx(curve(double), rel=1e-2)
    assert curve(single) != pytest.approx(curve(double), rel=1e-9)


@pytest.mark.parametrize(
    "options, line",
    [
        (
            {"optimizer": "ppo"},
            "`device` gpu with `optimizer` ppo: trains on the CPU",
        ),
        (
            {"estimator": "ctpg"},
            "`device` gpu with `estimator` ctpg: trains on the CPU",
        ),
        (
            {"store_every": 2},
            "`store_every` 2 with `device` gpu: a GPU stores every step",
        ),
    ],
)
def test_settings_for_cpu_only_are_refused(options, line):
    with pytest.raises(UsageError, match=line):
        Settings(device="gpu", **options)


def test_plant_that_is_not_compiled_stays_on_cpu(tmp_path):
    file = tmp_path / "batch.py"
    file.write_text(
        '"""A plant of Python\'s."""\n'
        'STATE, CONTROL, DT, INTEGRATOR = ("a",), ("u",), 0.1, "none"\n'
        "def step_batch(x, u, p, dt):\n    return x + dt * u\n"
        'TASKS = {"hold": {"generator": "around", "trials": 2, "steps": 3, '
        '"start": (0.0,), "spread": (1.0,), "target": (1.0,)}}\n'
    )
    with pytest.raises(
        DeviceError, match="stepped by Python, not compiled, and stays on the CPU"
    ):
        building.make_trainer(Settings(plant=str(file), device="gpu"))


def test_stand_in_refuses_implicit_transfers(device):
    """The stand-in refuses what CuPy refuses."""
    a = to_device(np.ones(3))
    for forbidden in (
        lambda: a + np.ones(3),
        lambda: np.asarray(a),
        lambda: a[np.array([0])],
        lambda: np.where(np.ones(3), a, a),
    ):
        with pytest.raises(TypeError):
            forbidden()
    assert (to_host(a + to_device_of(np.ones(3), a)) == 2).all()
