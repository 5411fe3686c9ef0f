"""Several networks as one closed loop on a GPU: passes, products, steps and trainings.

Results equal those of each network alone, with the number of calls of one network.
"""

import sys

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol.arrays.device import to_device, to_host
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.passes import cuda as cuda_passes
from hfcontrol.closed_loop.passes import cuda_layout
from hfcontrol.errors import DeviceError
from hfcontrol.kernels import compile_plant
from hfcontrol.optim import many_networks
from hfcontrol.optim.curvature import GaussNewton, ResidualJacobian
from hfcontrol.optim.hessian_free import HessianFree, HFState
from hfcontrol.runs import factory as building
from hfcontrol.runs import seeds
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.scenario import concatenate_scenarios
from hfcontrol.training.holds import Hold

SMALL = {
    "plant": "arm2",
    "trials": 3,
    "steps": 3,
    "hidden": (3, 2),
    "running": 0.1,
    "effort": 1e-3,
    "sensory_noise": 0.01,
}
EVERYTHING = {
    **SMALL,
    "feedback_delay": 1,
    "command_delay": 1,
    "motor_noise": "5%",
    "learn_start": True,
    "control_limit": 3.0,
}


def close(a, b, tolerance=1e-12):
    a, b = to_host(a), to_host(b)
    assert a.shape == b.shape and np.abs(a - b).max() <= tolerance * max(
        np.abs(a).max(), 1e-300
    )


def loops(count=3, **options):
    """Return GPU loops of one network each, one loop of all networks, weights (S, P).

    The scenarios of the loops differ.
    """
    trainer = building.make_trainer(Settings(**options))
    kernels, rng = compile_plant(trainer.plant, "gpu"), np.random.default_rng(0)
    scenarios = [
        trainer.task.draw(np.random.default_rng(seed)) for seed in range(count)
    ]
    alone = [
        ClosedLoop(trainer.plant, kernels, trainer.network, scenario, trainer.wiring)
        for scenario in scenarios
    ]
    both = ClosedLoop(
        trainer.plant,
        kernels,
        trainer.network,
        concatenate_scenarios(scenarios),
        trainer.wiring,
        PassOptions(networks=count),
    )
    return (
        alone,
        both,
        to_device(0.3 * rng.standard_normal((count, trainer.network.size))),
    )


@pytest.mark.parametrize(
    "options, lanes",
    [(EVERYTHING, 4), ({**SMALL, "hidden": (5, 2)}, 2)],
    ids=["everything", "units shared"],
)
def test_passes_of_several_networks_equal_those_of_each(monkeypatch, options, lanes):
    """Blocks have two trials; the last block of a network is not full."""
    monkeypatch.setattr(cuda_layout, "WARP", lanes)
    monkeypatch.setattr(cuda_layout, "TRIALS_PER_BLOCK", (2,))
    alone, both, theta = loops(**options)
    rollout = both.rollout(theta)
    linear, v = (
        both.linearise(rollout),
        to_device(np.random.default_rng(3).standard_normal(theta.shape)),
    )
    part, channels = linear.subset(2), both.active_residuals()[-2:]
    rows = ResidualJacobian(part, channels)
    together = {
        "hidden": rollout.hidden(both.network),
        **{
            name: getattr(rollout, name)
            for name in ("x", "u", "command", "y", "losses")
        },
    }
    of_each = {
        "gradient": linear.gradient,
        "product": GaussNewton(linear) @ v,
        "part": GaussNewton(part) @ v,
        "rows": rows.matrix,
        "residuals": rows.residuals,
        "gram": rows.gram,
    }
    for s, loop in enumerate(alone):
        own, n = loop.rollout(theta[s]), slice(s * loop.trials, (s + 1) * loop.trials)
        for name, a in together.items():
            close(
                own.hidden(loop.network) if name == "hidden" else getattr(own, name),
                a[..., n],
            )
        assert own.loss == pytest.approx(rollout.loss[s], rel=1e-12)
        own = loop.linearise(own)
        part = own.subset(2)
        rows = ResidualJacobian(part, channels)
        expected = {
            "gradient": own.gradient,
            "product": GaussNewton(own) @ v[s],
            "part": GaussNewton(part) @ v[s],
            "rows": rows.matrix,
            "residuals": rows.residuals,
            "gram": rows.gram,
        }
        for name, a in expected.items():
            close(a, of_each[name][s])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_step_of_several_networks_equals_step_of_each():
    """One has an infinite loss and no step; the others are not affected."""
    alone, both, theta = loops(**{**SMALL, "trials": 1, "steps": 2})
    theta[1] = 1e200
    optimizer, directions = HessianFree(solver="cg", cap=4), np.zeros_like(theta)
    done = many_networks.step(
        optimizer, both, both.rollout(theta), [0.1, 0.1, 10.0], directions, [0, 0, 0]
    )
    assert done.accepted.tolist() == [True, False, True]
    for s, lam in ((0, 0.1), (2, 10.0)):
        rollout = alone[s].rollout(theta[s])
        state, new, report = optimizer.step(
            HFState(theta[s], lam, directions[s]), rollout, Hold(alone[s], rollout)
        )
        close(new.theta, done.rollout.theta[s], 1e-9)
        assert (report.iterations, report.tried, state.damping) == (
            done.iterations[s],
            done.tried[s],
            done.damping[s],
        )


def test_waits_and_launches_do_not_grow_with_networks(device, monkeypatch):
    """An iteration of CG costs as much for three networks as for one.

    It waits for two arrays of numbers, launches a tangent and an adjoint, and calls as
    many functions of CuPy.
    """
    launches, calls, launch, wrapped = (
        [],
        [],
        cuda_passes.device.launch_blocks,
        sys.modules["stand_in"].wrap,
    )
    monkeypatch.setattr(
        cuda_passes.device,
        "launch_blocks",
        lambda *arguments: launches.append(1) or launch(*arguments),
    )
    monkeypatch.setattr(
        "stand_in.wrap", lambda result: calls.append(1) or wrapped(result)
    )
    spent = []
    for count in (1, 3):
        _, both, theta = loops(count, **{**SMALL, "trials": 1, "steps": 2})
        linear = both.linearise(both.rollout(theta))
        g = -linear.gradient
        for cap in (1, 2):
            before = device.waits, len(launches), len(calls)
            found = many_networks.conjugate_gradients(
                GaussNewton(linear),
                g,
                np.zeros_like(theta),
                np.ones(count, bool),
                cap=cap,
            )
            assert found.iterations.tolist() == count * [cap]
            spent.append(
                [
                    b - a
                    for a, b in zip(
                        before, (device.waits, len(launches), len(calls)), strict=True
                    )
                ]
            )
    assert spent[:2] == spent[2:] and [b - a for a, b in zip(*spent[:2], strict=True)][
        :2
    ] == [2, 2]


TINY = {
    "plant": "arm2",
    "trials": 2,
    "steps": 2,
    "hidden": (2, 2),
    "batches": 2,
    "rollouts": 3,
    "effort": 1e-2,
    "running": 0.1,
}


def test_seeds_on_gpu_equal_single_runs_on_cpu(tmp_path):
    """And they can be resumed on the CPU."""
    said = []
    outcomes = seeds.train_seeds(
        Settings(device="gpu", cg_cap=3, solver="cg", **TINY),
        [0, 1, 2],
        tmp_path / "many",
        on_message=said.append,
    )
    assert not said and [o.loss for o in outcomes] == sorted(o.loss for o in outcomes)
    for outcome in outcomes:
        alone = hf.train(
            out=tmp_path / "alone", seed=outcome.seed, cg_cap=3, solver="cg", **TINY
        )
        assert (
            outcome.loss == pytest.approx(alone.state.loss, rel=1e-6)
            and outcome.updates == alone.state.updates > 0
        )
        assert outcome.rollouts == alone.state.rollouts
        assert hf.Run.load(outcome.path).theta == pytest.approx(
            alone.theta, rel=1e-3, abs=1e-5
        )
    ended = hf.resume(outcomes[0].path, rollouts=6, device="cpu")
    assert ended.state.rollouts >= 6


def test_seeds_that_exceed_memory_are_refused(monkeypatch, device, tmp_path):
    settings = Settings(device="gpu", **TINY)
    trainer = building.make_trainer(settings)
    loop = trainer.loop(np.random.default_rng(0))
    free = int(2.5 * seeds.many_networks.bytes_needed(loop, trainer.optimizer))
    monkeypatch.setattr(
        sys.modules["cupy"].cuda.runtime, "memGetInfo", lambda: (free, free)
    )
    with pytest.raises(
        DeviceError,
        match=r"3 seeds at once need about .* GB, and .* GB are free on the GPU, "
        r"enough for 2; use fewer",
    ):
        seeds.train_seeds(settings, [0, 1, 2], tmp_path)


def test_seeds_that_cannot_share_a_batch_run_in_turn(monkeypatch, tmp_path):
    said = []

    def run_jobs(jobs, processes, results):
        results.add(seeds.SeedResult(0, fault=f"{processes} at a time"))

    monkeypatch.setattr(seeds, "_run_jobs", run_jobs)
    with pytest.raises(hf.HFControlError, match="1 at a time"):
        seeds.train_seeds(
            Settings(device="gpu", hold="model", **TINY),
            [0, 1],
            tmp_path,
            on_message=said.append,
        )
    assert said == [
        "training the seeds on the GPU in 1 process, not in one batch: "
        "`hold=model` keeps model fixed"
    ]
