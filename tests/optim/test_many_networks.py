"""Several networks in one batch do what each does alone: a step, and whole trainings.

Loops of the CPU stand in for those of a GPU.
"""

import signal
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import loop_of, weights_of
from linear_problems import close, spd

import hfcontrol as hf
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.optim import many_networks
from hfcontrol.optim.curvature import Operator
from hfcontrol.optim.hessian_free import HessianFree, HFState
from hfcontrol.optim.linear_solvers import conjugate_gradients
from hfcontrol.runs import seeds
from hfcontrol.runs import training as runs
from hfcontrol.runs.settings import settings_for
from hfcontrol.tasks.cost import Residuals
from hfcontrol.tasks.scenario import concatenate_scenarios
from hfcontrol.training import many_networks as training_batch
from hfcontrol.training.holds import Hold
from hfcontrol.training.stop import StopToken


class JoinedLoops:
    """Closed loops of one network each, as one loop of several networks."""

    def __init__(self, loops):
        self.loops, self.network, self.plant, self.trials = (
            loops,
            loops[0].network,
            loops[0].plant,
            loops[0].trials,
        )
        self.scenario, self.active_residuals = (
            concatenate_scenarios([loop.scenario for loop in loops]),
            loops[0].active_residuals,
        )
        self.passes = SimpleNamespace(gram=lambda J: J @ J.swapaxes(-1, -2))

    def rollout(self, theta):
        rollouts = [
            loop.rollout(t.copy()) for loop, t in zip(self.loops, theta, strict=True)
        ]
        return SimpleNamespace(
            theta=theta, loss=np.array([r.loss for r in rollouts]), all=rollouts
        )

    def linearise(self, rollout):
        return Linearised(
            self,
            [
                loop.linearise(r)
                for loop, r in zip(self.loops, rollout.all, strict=True)
            ],
        )


class Linearised:
    """`JoinedLoops`, linearised: vectors have an axis for the networks."""

    def __init__(self, loop, linears):
        self.loop, self.linears, self.trials = loop, linears, loop.trials
        self.gradient = np.stack([linear.gradient for linear in linears])
        costs = [linear.cost for linear in linears]
        self.cost = SimpleNamespace(
            weights=join_trials([c.weights for c in costs]),
            scaled_residuals=lambda channels: np.concatenate(
                [c.scaled_residuals(channels) for c in costs], axis=1
            ),
        )

    def subset(self, trials):
        parts = [linear.subset(trials) for linear in self.linears]
        return (
            self
            if trials >= self.trials
            else Linearised(JoinedLoops([part.loop for part in parts]), parts)
        )

    def jvp(self, v):
        return join_trials(
            [linear.jvp(row) for linear, row in zip(self.linears, v, strict=True)]
        )

    def vjp(self, w):
        split = zip(
            *(
                len(self.linears) * [None]
                if a is None
                else np.split(a, len(self.linears), axis=2)
                for a in w
            ),
            strict=True,
        )
        return np.stack(
            [
                linear.vjp(Residuals(*parts))
                for linear, parts in zip(self.linears, split, strict=True)
            ]
        )

    def rows(self, channels):
        return np.stack([linear.rows(channels) for linear in self.linears])


def join_trials(residuals):
    """Join the residuals of several networks along the axis of trials."""
    return Residuals(
        *(
            None if parts[0] is None else np.concatenate(parts, axis=2)
            for parts in zip(*residuals, strict=True)
        )
    )


def test_cg_of_several_problems_equals_cg_of_each(rng):
    """One converges early, one does not, one has negative curvature, one is frozen.

    Iterations are few, because rounding errors grow with them.
    """
    problems = [spd(rng, 40, condition) for condition in (3.0, 100.0, 10.0, 10.0)]
    matrices = [A for A, _ in problems]
    matrices[2] = -matrices[2]
    start = np.stack([np.zeros(40), *rng.standard_normal((3, 40))])
    A, b = np.stack(matrices), np.stack([b for _, b in problems])
    live = np.array([True, True, True, False])
    found = many_networks.conjugate_gradients(
        Operator(lambda v: (A @ v[:, :, None])[:, :, 0]), b, start, live, cap=15
    )
    for s in range(4):
        alone = (
            conjugate_gradients(matrices[s], b[s], start[s], cap=15)
            if live[s]
            else None
        )
        assert found.iterations[s] == (alone.iterations if alone else 0)
        own = [(d[s], values[s]) for d, values, whose in found.candidates() if whose[s]]
        assert len(own) == (len(alone.directions) if alone else 0)
        for (d, value), expected, model in zip(
            own,
            *((alone.directions, alone.values) if alone else ((), ())),
            strict=True,
        ):
            assert close(d, expected, 1e-9) and value == pytest.approx(model, rel=1e-9)
    assert found.iterations[0] < found.iterations[1] and found.iterations[2] == 0
    assert (found.directions[3] == start[3]).all()


def loops_of(**options):
    return [
        loop_of(
            "arm2", hidden=(5, 4), trials=8, seed=seed, sensory_noise=0.01, **options
        )
        for seed in range(3)
    ]


@pytest.mark.parametrize(
    "cost, options",
    [
        (
            {"effort": 1e-2, "running": 0.1},
            {"solver": "cg", "curvature_trials": 4, "cap": 20},
        ),
        ({"effort": 1e-2, "running": 0.1}, {"solver": "cg"}),
        ({"effort": 1e-2, "running": 0.1, "space": "hand"}, {"solver": "cg", "cap": 6}),
        ({"effort": 0.0}, {"solver": "residual"}),
        ({"effort": 0.0}, {"solver": "residual", "curvature_trials": 4}),
    ],
    ids=[
        "cg of some trials",
        "cg",
        "cg in hand space",
        "residual",
        "residual of some trials",
    ],
)
def test_step_of_several_networks_equals_step_of_each(cost, options):
    """Three steps in a row, with the same counts.

    Damping is small enough for some steps to be cut, and large enough to keep rounding
    errors small.
    """
    loops, optimizer, both = (
        loops_of(**cost),
        HessianFree(**options),
        JoinedLoops(loops_of(**cost)),
    )
    rollout, damping, tried = (
        both.rollout(np.stack([weights_of(loops[0], seed, 0.5) for seed in range(3)])),
        [0.01, 0.1, 10.0],
        [],
    )
    directions = np.zeros_like(rollout.theta)
    for updates in range(3):
        done = many_networks.step(
            optimizer, both, rollout, damping, directions, [updates] * 3
        )
        for s, loop in enumerate(loops):
            own = loop.rollout(rollout.theta[s])
            alone, new, report = optimizer.step(
                HFState(own.theta, damping[s], directions[s], updates),
                own,
                Hold(loop, own),
            )
            assert (done.accepted[s], done.iterations[s], done.tried[s]) == (
                report.accepted,
                report.iterations,
                report.tried,
            )
            assert done.solver == report.solver
            products = loop.scenario.steps * done.products[s] * done.curvature_trials
            assert report.counts == Counts(
                done.rollouts[s],
                loop.jacobian_counts(own).jacobian_steps,
                products,
                products + loop.scenario.steps * (loop.trials + done.rows),
            )
            assert close(done.rollout.theta[s], alone.theta, 1e-6) and close(
                done.directions[s], alone.direction, 1e-6
            )
            assert (done.losses[s], done.rho[s]) == pytest.approx(
                (new.loss, report.rho), rel=1e-6
            )
            assert done.damping[s] == pytest.approx(
                alone.damping
            ) and done.rollout.loss[s] == pytest.approx(done.losses[s], rel=1e-12)
            tried.append(report.tried)
        rollout, damping, directions = done.rollout, done.damping, done.directions
    assert max(tried) > min(tried)


@pytest.mark.parametrize("solver", ["cg", "residual"])
def test_network_without_descent_is_rejected_alone(solver):
    """Weights with an infinite loss have no step, at any damping that is tried."""
    loops, optimizer = loops_of(effort=0.0), HessianFree(solver=solver)
    theta = np.stack([weights_of(loop, seed, 0.5) for seed, loop in enumerate(loops)])
    theta[1] = 1e200
    both = JoinedLoops(loops)
    done = many_networks.step(
        optimizer, both, both.rollout(theta), [0.1] * 3, np.zeros_like(theta), [0] * 3
    )
    assert done.accepted.tolist() == [True, False, True]
    for s, loop in enumerate(loops):
        rollout = loop.rollout(theta[s])
        state, new, report = optimizer.step(
            HFState(theta[s], 0.1, np.zeros_like(theta[s])),
            rollout,
            Hold(loop, rollout),
        )
        assert (
            done.rollout.theta[s] == pytest.approx(new.theta, rel=1e-6, abs=1e-9)
            and report.accepted == done.accepted[s]
        )
        assert (
            done.damping[s] == pytest.approx(state.damping)
            and done.iterations[s] == report.iterations
        )


@pytest.fixture
def batch_on_cpu(monkeypatch):
    """Train seeds in one batch without a GPU; return the lists of joined loops."""

    class Loop(JoinedLoops):
        def __init__(self, plant, kernels, network, scenario, wiring, options):
            super().__init__(
                [
                    ClosedLoop(plant, kernels, network, loop.scenario, wiring)
                    for loop in gathered[-1]
                ]
            )

    gathered = []
    gather = training_batch.Batch._join

    def remembering(self, loops):
        gathered.append(loops)
        gather(self, loops)

    monkeypatch.setattr(training_batch.Batch, "_join", remembering)
    monkeypatch.setattr(training_batch, "ClosedLoop", Loop)
    monkeypatch.setattr(seeds, "resolve_device", lambda word: "gpu")
    monkeypatch.setattr(
        training_batch, "check_memory", lambda loop, optimizer, count: None
    )
    return gathered


SMALL = {"plant": "arm2", "trials": 8, "steps": 12, "hidden": (5, 4), "batches": 3}


@pytest.mark.parametrize(
    "options, apart",
    [
        ({"effort": 1e-3, "rollouts": 12}, False),
        ({"effort": 0.0, "target_loss": 0.02}, True),
        ({"task": "anywhere", "rollouts": 9, "grow": 0}, True),
        ({"effort": 1e-3, "target_ratio": 3.0}, True),
    ],
    ids=["cg", "residual", "random", "ratio"],
)
def test_seeds_in_one_batch_equal_single_runs(tmp_path, batch_on_cpu, options, apart):
    """To rounding, with the same counts; the others continue when one ends."""
    asked = settings_for(**{**SMALL, **options})
    came = []
    outcomes = seeds.train_seeds(
        asked,
        [0, 1, 2],
        tmp_path / "batch_on_cpu",
        None,
        "hfcontrol train",
        came.append,
    )
    assert sorted(o.seed for o in came) == [0, 1, 2] and [
        o.loss for o in outcomes
    ] == sorted(o.loss for o in outcomes)
    assert ({len(loops) for loops in batch_on_cpu} > {3}) is apart
    for outcome in outcomes:
        alone = hf.train(
            out=tmp_path / "alone", seed=outcome.seed, **{**SMALL, **options}
        )
        run = hf.Run.load(outcome.path)
        assert (
            outcome.loss == run.state.loss == pytest.approx(alone.state.loss, rel=1e-5)
        )
        assert (
            run.theta == pytest.approx(alone.theta, rel=1e-4, abs=1e-6)
            and run.settings == alone.settings
        )
        assert (
            run.info()["command"] == f"hfcontrol train --seed {outcome.seed}"
            and run.info()["stop"] == alone.info()["stop"]
        )
        for name in (
            "updates",
            "counts",
            "generator",
            "small_gains",
            "rejected_holds",
            "updates_in_hold",
            "holds",
        ):
            assert getattr(run.state, name) == getattr(alone.state, name), name


def test_stop_token_stops_all_seeds_and_each_can_resume(tmp_path, batch_on_cpu):
    """Within a hold; each resumes as if it had not stopped."""
    options = {**SMALL, "effort": 1e-3, "rollouts": 12}
    trainings = [
        runs.start_training(settings_for(seed=seed, **options), tmp_path)
        for seed in range(3)
    ]
    token = StopToken()
    for _, event in training_batch.train(trainings, token):
        if event.state.updates >= 4:
            token.stop()
    for seed, training in enumerate(trainings):
        run = training.run
        assert (
            run.info()["stop"] == "interrupted"
            and run.state.updates == 4
            and run.state.updates_in_hold == 1
        )
        ended = hf.resume(run.path)
        alone = hf.train(out=tmp_path / "alone", seed=seed, **options)
        assert (
            ended.state.loss == pytest.approx(alone.state.loss, rel=1e-5)
            and ended.state.updates == alone.state.updates
        )


def test_ctrl_c_stops_all_seeds_and_each_can_resume(
    tmp_path, batch_on_cpu, monkeypatch
):
    """After the update in progress; the former signal handler is restored."""
    step, before = many_networks.step, signal.getsignal(signal.SIGINT)

    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(many_networks, "step", interrupted)
    outcomes = seeds.train_seeds(
        settings_for(**SMALL, effort=1e-3, rollouts=12), [0, 1, 2], tmp_path
    )
    assert [(o.stop, o.updates) for o in outcomes] == 3 * [("interrupted", 1)]
    assert signal.getsignal(signal.SIGINT) is before and all(
        hf.Run.load(o.path).state.updates_in_hold == 1 for o in outcomes
    )


def fail_jobs(calls):
    """A `_run_jobs` that records the number of processes and reports a fault."""

    def run_jobs(jobs, processes, results):
        calls.append(processes)
        results.add(seeds.SeedResult(0, fault="none"))

    return run_jobs


@pytest.mark.parametrize(
    "options, line",
    [
        ({"hold": "model"}, "`hold=model` keeps model fixed"),
        ({"hold": "post"}, "`hold=post` keeps inputs fixed"),
        ({"optimizer": "adam"}, "`optimizer=adam` makes no Hessian-free steps"),
        ({"race": 2}, "`race` works for one training at a time only"),
        ({"cell": "ctrnn"}, "`cell=ctrnn` is a cell in continuous time"),
        ({"grow": 1}, "`grow` works for one training at a time only"),
        ({"density": 0.5}, "`density` works for one training at a time only"),
        ({"dale": 0.5}, "`dale` works for one training at a time only"),
    ],
)
def test_seeds_that_cannot_share_a_batch_run_in_turn(
    tmp_path, batch_on_cpu, monkeypatch, options, line
):
    said, processes_used = [], []
    monkeypatch.setattr(seeds, "_run_jobs", fail_jobs(processes_used))
    with pytest.raises(hf.HFControlError, match="none"):
        seeds.train_seeds(
            settings_for(**{**SMALL, **options}),
            [0, 1],
            tmp_path,
            on_message=said.append,
        )
    assert (
        said
        == [f"training the seeds on the GPU in 1 process, not in one batch: {line}"]
        and processes_used == [1]
        and not batch_on_cpu
    )


def test_jobs_requests_separate_processes(tmp_path, batch_on_cpu, monkeypatch):
    said, processes_used = [], []
    monkeypatch.setattr(seeds, "_run_jobs", fail_jobs(processes_used))
    with pytest.raises(hf.HFControlError, match="none"):
        seeds.train_seeds(
            settings_for(**SMALL), [0, 1], tmp_path, 2, on_message=said.append
        )
    assert said == [
        "training the seeds on the GPU in 2 processes, not in one batch: "
        "`jobs` requests separate processes"
    ] and processes_used == [2]


def test_failing_seed_does_not_stop_the_others(tmp_path, batch_on_cpu, monkeypatch):
    """Its first weights have a loss that is not finite."""
    init = runs.Curriculum
    monkeypatch.setattr(
        runs,
        "Curriculum",
        lambda trainer, settings, theta: init(
            trainer,
            settings,
            theta=np.full(trainer.network.size, 1e200) if settings.seed == 1 else theta,
        ),
    )
    outcomes = seeds.train_seeds(
        settings_for(**SMALL, effort=1e-3, rollouts=6), [0, 1, 2], tmp_path
    )
    assert {o.seed for o in outcomes} == {0, 2}
