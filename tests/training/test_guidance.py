"""Guidance: families of similar trajectories, and networks that follow them."""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.optim.families import family
from hfcontrol.optim.ilqr import OpenLoop, Trajectories
from hfcontrol.optim.sharing import SAME, follow_laws
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.training import curriculum as curriculum_module
from hfcontrol.training import guidance as guide

SMALL = {"plant": "arm2", "trials": 8, "steps": 16, "hidden": (6, 5), "effort": 1e-3}


def problem(loop):
    return loop.kernels, loop.scenario, loop.wiring


@pytest.fixture(scope="module")
def swing_up():
    """A pole to swing up from either side of hanging: it has optima on both sides."""
    return loop_of("cartpole", "swing_up", trials=8, steps=100)


def test_family_equals_optimum_of_one_kind():
    loop = loop_of("arm2", effort=1e-3, running=0.05)
    np.testing.assert_allclose(
        family(*problem(loop)).losses, optimum(*problem(loop)).losses, rtol=1e-6
    )


@pytest.mark.slow
def test_family_swings_to_one_side(swing_up):
    found = family(*problem(swing_up))
    assert np.abs(np.sin(found.x[-1, 1] / 2)).max() < 0.1  # all of them upright
    assert np.ptp(np.round(found.x[-1, 1] / np.pi)) == 0
    s = swing_up.scenario
    np.testing.assert_allclose(
        s.cost.losses(found.x, found.u), found.losses, rtol=1e-12
    )
    x = swing_up.kernels.simulate(
        s.x0, found.u, s.params, s.disturbance, swing_up.wiring.taper
    )
    np.testing.assert_array_equal(x, found.x)


@pytest.mark.slow
def test_no_law_of_another_trial_beats_optimum(swing_up):
    best, system = (
        optimum(*problem(swing_up)),
        OpenLoop(swing_up.kernels, swing_up.scenario, swing_up.wiring),
    )
    alone = [
        optimum(
            swing_up.kernels,
            swing_up.subset(1).scenario,
            swing_up.wiring,
        ).losses[0]
    ]
    assert best.losses[0] <= alone[0] * (1 + SAME)
    found = Trajectories(best.x, best.u, best.u, best.losses)
    for followed in follow_laws(system, system, found):
        assert (followed.losses > best.losses * (1 - 10 * SAME)).all()


@pytest.fixture(scope="module")
def guided():
    """Return a guide, its trainer and its settings."""
    settings = Settings(**SMALL, guide=40)
    trainer = make_trainer(settings)
    rng = stream(settings.seed, Stream.SCENARIOS)
    return (
        guide.Guide(trainer.plant, trainer.kernels, trainer.task, trainer.wiring, rng),
        trainer,
        settings,
    )


@pytest.mark.parametrize("part, steps", [(1 / 8, 2), (5 / 8, 10), (1, 16)])
def test_following_task_costs_nothing_on_the_trajectories(guided, part, steps):
    following, plant = guided[0].task_for(part), guided[1].plant
    x, u = guided[0].trajectories.x[: steps + 1], guided[0].trajectories.u[:steps]
    scenario = following.scenario
    cost = scenario.cost
    assert scenario.steps == steps and len(scenario.goal) == steps + 1
    np.testing.assert_array_equal(cost.losses(x, u), 0)
    beside = x + guide.CLOSE * plant.typical_state[:, None]
    np.testing.assert_allclose(
        cost.losses(beside, u), following.target_loss, rtol=1e-12
    )


def test_each_hold_draws_other_trajectories(guided, rng):
    following, trials = guided[0].task_for(1), SMALL["trials"]
    assert following.random and following.scenario.trials == guide.POOL * trials
    first, second = following.draw(rng), following.draw(rng)
    for drawn in (first, second):
        assert drawn.trials == trials
        chosen = [
            np.flatnonzero(
                (following.scenario.goal == drawn.goal[..., k : k + 1]).all(axis=(0, 1))
            )
            for k in range(trials)
        ]
        assert (
            np.ptp([c.size for c in chosen]) == 0
            and chosen[0].size == 1
            and len(np.unique(chosen)) == trials
        )
        x, u = (
            guided[0].trajectories.x[..., np.ravel(chosen)],
            guided[0].trajectories.u[..., np.ravel(chosen)],
        )
        np.testing.assert_array_equal(drawn.cost.losses(x, u), 0)
    assert (first.goal != second.goal).any()


def test_guided_network_follows(guided):
    """From initial weights to within ten times the target loss, near the optimum."""
    the, trainer, settings = guided
    state = curriculum_module.run_curriculum(trainer, settings)
    following = the.task_for(1)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    loops = [
        type(loop)(
            loop.plant, loop.kernels, loop.network, following.scenario, loop.wiring
        ),
        loop,
    ]
    losses = [each.rollout(state.optimizer.theta).loss for each in loops]
    best = optimum(*problem(loop)).losses.mean()
    assert losses[0] < 10 * following.target_loss and losses[1] < 1.5 * best
    assert state.rollouts > 0 and state.seconds > 0 and state.updates == 0
