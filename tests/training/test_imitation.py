"""Imitation of optimal laws: against exact excess costs and dense derivatives."""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.closed_loop.loop import PassOptions
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.optim.excess import control_curvature, matrix_root
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.scenario import select_trials
from hfcontrol.training.curriculum import run_curriculum
from hfcontrol.training.diagnosis import diagnose
from hfcontrol.training.imitation import ImitationLoop, ImitationTask


def imitation_of(loop, fused=True):
    """The task of imitating the optima of a loop, and its loop on disturbed states."""
    task = ImitationTask(diagnose(loop))
    scenario = task.draw(np.random.default_rng(0))
    return task, shown(loop, scenario, fused)


def shown(loop, scenario, fused=True):
    """A loop's network on a scenario of imitation."""
    options = PassOptions(fused=fused)
    return ImitationLoop(
        loop.plant, loop.kernels, loop.network, scenario, loop.wiring, options
    )


def theta_of(loop, seed=1):
    return loop.network.initial(np.random.default_rng(seed))


def test_roots_are_those_of_the_matrices():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((5, 4, 3, 3))
    M = half @ half.swapaxes(-1, -2)
    R = matrix_root(M)
    np.testing.assert_allclose(R.swapaxes(-1, -2) @ R, M, rtol=1e-12, atol=1e-12)


def test_curvature_of_the_law_is_that_of_the_regulator():
    """One Riccati recursion by hand, with the inverse of Q_uu."""
    loop = loop_of("linear", trials=1)
    diagnosis = diagnose(loop)
    best = diagnosis.optima
    expansion = diagnosis.system.expand(best.x, best.v, best.u)
    found = control_curvature(expansion, diagnosis.gains)[:, 0]
    A, B = expansion.A[0, 0], expansion.B[0, 0]
    V = expansion.l_xx[-1, 0]
    for t in reversed(range(loop.scenario.steps)):
        Q_uu = expansion.l_uu[t, 0] + B.T @ V @ B
        np.testing.assert_allclose(found[t], Q_uu, rtol=1e-5)
        crossed = A.T @ V @ B
        V = expansion.l_xx[t, 0] + A.T @ V @ A
        V = V - crossed @ np.linalg.solve(Q_uu, crossed.T)


@pytest.mark.parametrize("delays", [(0, 0), (2, 1)])
def test_loss_is_the_excess_cost_of_a_linear_quadratic_plant(delays):
    """In the states that the network visits it is the loss minus the optimum."""
    loop = loop_of("linear", trials=7, delays=delays)
    task = ImitationTask(diagnose(loop))
    theta = theta_of(loop)
    actual = loop.rollout(theta)
    # the first copy of every trial starts where the trial does
    x = np.tile(actual.x, task.trials // 7)
    imitated = shown(loop, task.along(x)).rollout(theta)
    np.testing.assert_allclose(imitated.u[..., :7], actual.u, rtol=1e-10)
    excess = actual.losses - task.optima.losses[:7]
    # the gains are damped by 1e-6, some 1e-5 of Q_uu
    np.testing.assert_allclose(imitated.losses[:7], excess, rtol=5e-5)
    assert excess.min() > 0


@pytest.mark.parametrize("fused", [True, False])
def test_tangent_and_adjoint_are_transposes(fused):
    loop = loop_of("swing", "go", limit=0.8, delays=(1, 2))
    _, imitation = imitation_of(loop, fused)
    theta = theta_of(loop)
    linear = imitation.linearise(imitation.rollout(theta))
    rng = np.random.default_rng(3)
    v = rng.standard_normal(theta.size)
    tangent = linear.jvp(v)
    w = tangent.map(lambda a: rng.standard_normal(a.shape))
    assert tangent.dot(w) == pytest.approx(linear.vjp(w) @ v, rel=1e-9)


def test_gradient_is_that_of_new_rollouts():
    loop = loop_of("swing", "go", limit=0.8, delays=(1, 2))
    _, imitation = imitation_of(loop)
    theta = theta_of(loop)
    gradient = imitation.linearise(imitation.rollout(theta)).gradient
    v = np.random.default_rng(3).standard_normal(theta.size)
    h = 1e-6
    above, below = (imitation.rollout(theta + s * h * v).loss for s in (1, -1))
    assert gradient @ v == pytest.approx((above - below) / (2 * h), rel=1e-5)


def test_subset_of_trials_has_their_losses():
    loop = loop_of("swing", "go", limit=0.8)
    _, imitation = imitation_of(loop)
    theta = theta_of(loop)
    part = imitation.subset(5)
    indices = imitation.trial_indices(5)
    losses = imitation.rollout(theta).losses[indices]
    np.testing.assert_allclose(part.rollout(theta).losses, losses, rtol=1e-12)
    few = imitation.linearise(imitation.rollout(theta)).subset(5)
    alone = part.linearise(part.rollout(theta))
    np.testing.assert_allclose(few.gradient, alone.gradient, rtol=1e-9)


def test_the_teacher_is_undisturbed_in_its_first_copy():
    loop = loop_of("linear", trials=7)
    task, imitation = imitation_of(loop)
    x = imitation.scenario.cost.references.state
    np.testing.assert_allclose(x[..., :7], task.optima.x[..., :7], atol=1e-9)
    assert np.abs(x[0, :, 7:] - task.optima.x[0, :, 7:]).min() > 1e-6
    other = task.draw(np.random.default_rng(1))
    assert not np.array_equal(other.cost.references.state, x)


def test_imitation_needs_no_rollout_and_helps():
    """A plant that a random network loses is held after imitation."""
    settings = Settings(plant="pendulum", task="balance", trials=16, steps=50)
    trainer = make_trainer(settings)
    before = run_curriculum(trainer, settings)
    after = run_curriculum(trainer, settings.changed(imitate=24))
    loop = trainer.loop(np.random.default_rng(0))
    losses = [loop.rollout(state.theta).loss for state in (before, after)]
    assert after.rollouts == 0
    assert losses[1] < 0.1 * losses[0]


def test_imitation_needs_an_optimum():
    diagnosis = diagnose(loop_of("linear"))
    diagnosis.optima.losses[:] = np.inf
    with pytest.raises(TrainingError, match="`imitate`: no controls of finite cost"):
        ImitationTask(diagnosis)


def test_negative_updates_are_refused():
    with pytest.raises(UsageError, match="`imitate` -1: must be a whole number"):
        Settings(imitate=-1)


def test_root_is_selected_with_its_trials():
    _, imitation = imitation_of(loop_of("swing", "go", limit=0.8))
    part = select_trials(imitation.scenario, np.array([3, 1]))
    expected = imitation.scenario.cost.root[..., [3, 1]]
    np.testing.assert_array_equal(part.cost.root, expected)
