"""One step of every optimizer.

On a problem with a known answer, on a closed loop, and where no step helps.
"""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import hold_of, loop_of, relative, weights_of

from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.errors import UsageError
from hfcontrol.optim import hessian_free as optimizer
from hfcontrol.optim import operations
from hfcontrol.optim.curvature import GaussNewton, Structural
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree, search
from hfcontrol.optim.lbfgs import LBFGS
from hfcontrol.tasks.cost import ResidualIndex

FEW = {"plant": "arm2", "effort": 0.0}
MANY = {"delays": (1, 1), "sensory_noise": 0.1}
SOLVERS = {
    "residual": (FEW, HessianFree("residual")),
    "cg, preconditioned": (MANY, HessianFree("cg")),
    "cg, few residuals": (FEW, HessianFree("cg")),
    "structural": (MANY, HessianFree("cg", structural=0.1)),
    "residual, few trials": (FEW, HessianFree("residual", curvature_trials=4)),
    "cg, few trials": (MANY, HessianFree("cg", structural=0.1, curvature_trials=6)),
}

solvers = pytest.mark.parametrize(
    "options, method", SOLVERS.values(), ids=SOLVERS.keys()
)


class LeastSquares:
    """A hold with residuals J theta - b (m,), linear in theta: one step solves it."""

    def __init__(self, rng, residuals=6, size=10):
        self.J, self.b = (
            rng.standard_normal((residuals, size)),
            rng.standard_normal(residuals),
        )
        self.channels = [ResidualIndex(0, 1, i) for i in range(residuals)]
        self.loop = SimpleNamespace(
            trials=1,
            network=SimpleNamespace(size=size, weight_sizes=None),
            kernels=SimpleNamespace(stored_entries=3),
            scenario=SimpleNamespace(steps=1),
            active_residuals=lambda: self.channels,
            passes=SimpleNamespace(gram=lambda rows: rows @ rows.T),
        )

    def rollout(self, theta):
        r = self.J @ theta - self.b
        loss = 0.5 * float(r @ r)
        return SimpleNamespace(theta=theta, r=r, loss=loss, counts=Counts(rollouts=1))

    def linearise(self, rollout):
        return SimpleNamespace(
            gradient=self.J.T @ rollout.r,
            jvp=lambda v: self.J @ v,
            vjp=lambda w: self.J.T @ w,
            rows=lambda channels: self.J[:, None],
            scaled_residuals=lambda channels: rollout.r[:, None],
            inner=np.dot,
            cost=SimpleNamespace(weights=1.0),
            loop=self.loop,
            trials=1,
            counts=Counts(),
        )


def steps(method, hold, rollout, count):
    """Return states, rollouts and reports of `count` steps, with those of the start."""
    state, found = method.init(rollout.theta), []
    found.append((state, rollout, None))
    for _ in range(count):
        found.append(method.step(found[-1][0], found[-1][1], hold))
    return found


@pytest.mark.parametrize(
    "shape", [(6, 10), (10, 6)], ids=["fewer residuals", "more residuals"]
)
@pytest.mark.parametrize("solver", ["cg", "auto"])
def test_one_undamped_step_solves_a_linear_problem(solver, shape, rng):
    hold = LeastSquares(rng, *shape)
    start = hold.rollout(rng.standard_normal(shape[1]))
    method = HessianFree(solver, damping=1e-10)
    state, new, report = method.step(method.init(start.theta), start, hold)
    best = hold.rollout(np.linalg.lstsq(hold.J, hold.b, rcond=None)[0]).loss
    assert report.accepted and report.solver == (
        "cg" if shape[0] > shape[1] else {"auto": "residual"}.get(solver, "cg")
    )
    assert (
        new.loss == pytest.approx(best, rel=1e-7, abs=1e-12)
        and new.loss < 0.9 * start.loss
    )
    assert report.rho == pytest.approx(1, rel=1e-6) and state.damping == pytest.approx(
        1e-10 / 2
    )
    assert state.updates == report.updates == 1 and report.loss == new.loss
    np.testing.assert_array_equal(state.theta, new.theta)


@solvers
def test_no_step_raises_the_loss(options, method):
    loop = loop_of(**options)
    found = steps(method, *begin(loop), 15)
    losses = [rollout.loss for _, rollout, _ in found]
    assert np.all(np.diff(losses) <= 0) and losses[-1] < 0.7 * losses[0]
    for state, rollout, report in found[1:]:
        assert report.loss == rollout.loss == loop.rollout(state.theta).loss


def begin(loop):
    """The hold `scenario` about random weights, and its first rollout."""
    hold = hold_of("scenario", loop, weights_of(loop))
    return hold, hold.first_rollout()


@solvers
def test_tiny_steps_change_the_loss_as_predicted(options, method):
    """The reduction ratio tends to 1 with the step, in proportion to it."""
    loop = loop_of(**options)
    hold, rollout = begin(loop)
    gaps = []
    for damping in (1e3, 1e4, 1e5):
        tight = replace(method, damping=damping)
        _, _, report = tight.step(tight.init(rollout.theta), rollout, hold)
        gaps.append(abs(report.rho - 1))
    assert gaps[0] < 0.1 and gaps[1] < 0.2 * gaps[0] and gaps[2] < 0.2 * gaps[1]


@solvers
def test_damping_follows_reduction_ratio_of_undamped_model(options, method):
    """With so little initial damping that the first steps go too far."""
    hold, rollout = begin(loop_of(**options))
    found = steps(replace(method, damping=1e-3), hold, rollout, 12)
    factors = set()
    for (state, rollout, _), (after, new, report) in pairwise(found):
        linear = hold.linearise(rollout)
        step = after.theta - state.theta
        curved = linear.subset(method.curvature_trials or hold.loop.trials)
        predicted = linear.gradient @ step + 0.5 * step @ (GaussNewton(curved) @ step)
        assert report.rho == pytest.approx(
            (new.loss - rollout.loss) / predicted, rel=1e-5
        )
        factor = 0.5 if report.rho > 0.75 else 2.0 if report.rho < 0.25 else 1.0
        assert after.damping == pytest.approx(state.damping * factor, rel=1e-12)
        factors.add(factor)
    assert len(factors) > 1


@solvers
def test_direction_solves_damped_system(options, method):
    """Exactly in residual space; CG leaves a part of the model's value by its rule."""
    loop = loop_of(**options)
    hold, rollout = begin(loop)
    linear = hold.linearise(rollout)
    state, _, _ = method.step(method.init(rollout.theta), rollout, hold)
    curved = linear.subset(method.curvature_trials or loop.trials)
    curvature = GaussNewton(curved) + method.damping * method.structural * Structural(
        curved
    )
    A = np.array(
        [curvature @ e for e in np.eye(rollout.theta.size)]
    ) + method.damping * np.eye(rollout.theta.size)
    exact = np.linalg.solve(A, -linear.gradient)

    def model(d):
        return linear.gradient @ d + 0.5 * d @ A @ d

    assert model(state.direction) == pytest.approx(
        model(exact), rel=1e-9 if method.solver == "residual" else 1e-2
    )


def test_warm_start_decays(monkeypatch):
    loop, starts = loop_of(**MANY), []
    original = optimizer.conjugate_gradients

    def watched(A, b, start, *more, **named):
        starts.append(start.copy())
        return original(A, b, start, *more, **named)

    monkeypatch.setattr(optimizer, "conjugate_gradients", watched)
    found = steps(HessianFree("cg"), *begin(loop), 3)
    for (state, _, _), start in zip(found, starts, strict=False):
        np.testing.assert_array_equal(start, 0.95 * state.direction)
    assert starts[1].any()


@pytest.mark.parametrize("solver", ["cg", "auto"])
def test_weights_stay_if_no_loss_is_finite(solver, rng):
    hold = LeastSquares(rng)
    start = hold.rollout(rng.standard_normal(10))
    hold.rollout = lambda theta: SimpleNamespace(
        theta=theta, loss=np.inf, counts=Counts(rollouts=1)
    )
    method = HessianFree(solver)
    before = method.init(start.theta)
    state, rollout, report = method.step(before, start, hold)
    assert (
        not report.accepted
        and report.updates == 0
        and report.loss == start.loss
        and rollout is start
    )
    assert (
        state.theta is before.theta and state.updates == 0 and not state.direction.any()
    )
    assert state.damping == 4.0**9 * before.damping


def test_damping_stays_in_its_range(rng):
    hold = LeastSquares(rng)
    start = hold.rollout(rng.standard_normal(10))
    least = HessianFree(damping=1e-12)
    assert least.step(least.init(start.theta), start, hold)[0].damping == 1e-12
    hold.rollout = lambda theta: SimpleNamespace(
        theta=theta, loss=np.inf, counts=Counts(rollouts=1)
    )
    most = HessianFree(damping=1e11)
    assert most.step(most.init(start.theta), start, hold)[0].damping == 1e12


# The line search, on the loss (theta - 1)^2 / 2 of one weight.


def search_line(*candidates, loss=lambda theta: 0.5 * float((theta[0] - 1) ** 2)):
    hold = SimpleNamespace(
        rollout=lambda theta: SimpleNamespace(theta=theta, loss=loss(theta))
    )
    pairs = [(np.array([d]), -d + 0.5 * d * d) for d in candidates]
    return search(hold, hold.rollout(np.zeros(1)), pairs, np.array([-1.0]))


def test_search_walks_back_while_the_loss_falls():
    new, step, predicted, full, tried = search_line(0.5, 1.1, 1.5, 3.0)
    assert (new.theta[0], step[0], full[0], tried) == (1.1, 1.1, 3.0, 4)
    assert predicted == pytest.approx(-1.1 + 0.5 * 1.1**2)


def test_search_shortens_a_step_that_is_too_long():
    new, step, predicted, _, tried = search_line(4.0)
    lengths = 0.8 ** np.arange(20)
    enough = 0.5 * (4 * lengths - 1) ** 2 <= 0.5 - 1e-2 * 4 * lengths
    first = int(np.argmax(enough))
    assert (
        new.theta[0] == step[0] == pytest.approx(4 * lengths[first])
        and tried == 1 + first > 2
    )
    assert predicted == pytest.approx(-step[0] + 0.5 * step[0] ** 2)


def test_search_returns_none_uphill():
    assert search_line() is None and search_line(-1.0) is None
    assert search_line(1.0, loss=lambda theta: np.inf if theta.any() else 0.5) is None


# The choice of the solver.


@pytest.mark.parametrize(
    "options, structural, chosen",
    [(FEW, 0.0, "residual"), (FEW, 0.1, "cg"), (MANY, 0.0, "cg")],
)
def test_auto_solver_is_chosen_by_operation_counts(options, structural, chosen):
    loop = loop_of(**options)
    m = len(loop.scenario.cost.active_residuals()) * loop.trials
    solver, sentence = HessianFree(structural=structural).choose_solver(loop)
    assert solver == chosen and sentence.startswith(
        f"{chosen}: {m} residuals, {loop.network.size} weights; an update costs"
    )


@pytest.mark.parametrize("options, structural", [(MANY, 0.0), (FEW, 0.1)])
def test_residual_space_is_refused_if_it_does_not_fit(options, structural):
    loop = loop_of(**options)
    with pytest.raises(UsageError, match=r"`solver` residual: .* use cg or auto"):
        HessianFree("residual", structural=structural).choose_solver(loop)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: HessianFree(damping=0.0), "`damping` 0.0: must be a positive number"),
        (lambda: HessianFree(damping=np.nan), "`damping` nan"),
        (lambda: HessianFree(structural=-1.0), "`structural` -1.0"),
        (lambda: HessianFree(cap=0), "`cg_cap` 0: must be at least 1"),
        (
            lambda: HessianFree(curvature_trials=0),
            "`curvature_trials` 0: must be at least 1",
        ),
        (lambda: Adam(0.0), "`learning_rate` 0.0: must be a positive number"),
        (lambda: Momentum(np.inf), "`learning_rate` inf"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(make, message):
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


# First-order methods, each against its formula.


def by_adam(gradient, theta, count, rate):
    m = v = np.zeros_like(theta)
    for k in range(1, count + 1):
        g = gradient(theta)
        m, v = m + 0.1 * (g - m), v + 0.001 * (g**2 - v)
        theta = theta - rate * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return theta


def by_momentum(gradient, theta, count, rate):
    velocity = np.zeros_like(theta)
    for _ in range(count):
        velocity = 0.9 * velocity - rate * gradient(theta)
        theta = theta + velocity
    return theta


@pytest.mark.parametrize(
    "method, formula", [(Adam(0.01), by_adam), (Momentum(0.01), by_momentum)]
)
def test_first_order_methods_follow_their_formulas(method, formula):
    loop = loop_of(**MANY)
    hold, start = begin(loop)
    norms = []

    def clipped(theta):
        g = loop.linearise(loop.rollout(theta)).gradient
        norms.append(np.linalg.norm(g))
        return g / max(norms[-1], 1.0)

    found = steps(method, hold, start, 40)
    np.testing.assert_allclose(
        found[-1][0].theta,
        formula(clipped, start.theta, 40, method.rate),
        rtol=1e-9,
        atol=1e-12,
    )
    assert found[-1][1].loss < 0.9 * start.loss and found[-1][0].updates == 40
    assert max(norms) > 1, "the clip must be met"


def test_first_order_methods_reject_infinite_loss(rng):
    hold = LeastSquares(rng)
    start = hold.rollout(rng.standard_normal(10))
    hold.rollout = lambda theta: SimpleNamespace(
        theta=theta, loss=np.nan, counts=Counts(rollouts=1)
    )
    for method in (Adam(), Momentum()):
        before = method.init(start.theta)
        state, rollout, report = method.step(before, start, hold)
        assert (
            state is before
            and rollout is start
            and not report.accepted
            and report.updates == 0
        )


def test_lbfgs_solves_a_linear_problem_within_its_updates(rng):
    hold = LeastSquares(rng, 10, 6)
    start = hold.rollout(rng.standard_normal(6))
    best = hold.rollout(np.linalg.lstsq(hold.J, hold.b, rcond=None)[0]).loss
    few, many = (
        LBFGS().step(LBFGS().init(start.theta), start, hold, left) for left in (2, 60)
    )
    assert few[2].updates == few[0].updates == 2 and best < few[1].loss < start.loss
    assert (
        many[1].loss == pytest.approx(best, rel=1e-9)
        and many[2].tried >= many[2].updates > 2
    )
    np.testing.assert_array_equal(many[0].theta, many[1].theta)


def test_lbfgs_lowers_the_loss_of_a_closed_loop():
    hold, start = begin(loop_of(**MANY))
    state, rollout, report = LBFGS().step(LBFGS().init(start.theta), start, hold, 20)
    assert (
        report.accepted
        and rollout.loss < 0.7 * start.loss
        and hold.rollout(state.theta).loss == rollout.loss
    )


@pytest.mark.parametrize("trials", [7, 3])
def test_preconditioner_uses_as_many_trials_as_fit(monkeypatch, trials):
    """Of 7 trials with 3 final residuals each; CG solves the same system with it."""
    loop = loop_of(**MANY)
    rollout = loop.rollout(weights_of(loop))
    method = HessianFree("cg", cap=400)
    most = operations.rows_memory(operations.measure_problem(loop), 3 * trials)
    monkeypatch.setattr(operations, "ROW_BYTES", most)
    descent = optimizer.Descent(
        method, method.init(rollout.theta), loop.linearise(rollout), loop
    )
    directions = descent.solve(1.0)
    assert descent.rows.trials == trials and directions
    g = descent.linear.gradient
    left = descent.G @ directions[-1][0] + directions[-1][0] + g
    assert np.linalg.norm(left) < 0.05 * np.linalg.norm(g)


@pytest.mark.parametrize("missing, enough", [(1.0, None), (30.0, 4)])
def test_curvature_of_too_few_trials_is_that_of_more(missing, enough):
    """Residuals of every second trial weigh `missing` times as much."""
    loop = loop_of(plant="arm2", effort=0.0, trials=8)
    cost = loop.scenario.cost
    factors = np.where(np.arange(loop.trials) % 2, missing, 1.0)
    weights = cost.weights.map(lambda w: w * factors)
    scenario = replace(loop.scenario, cost=replace(cost, weights=weights))
    loop = ClosedLoop(loop.plant, loop.kernels, loop.network, scenario, loop.wiring)
    method = HessianFree("cg", curvature_trials=2, adds_trials=True)
    theta = weights_of(loop)
    linear = loop.linearise(loop.rollout(theta))
    descent = optimizer.Descent(method, method.init(theta), linear, loop)
    assert descent.enough_trials(descent.gradient) == enough


def test_trials_are_added_after_every_eighth_update(monkeypatch):
    """The state carries their number; the next update has the curvature of as many."""
    monkeypatch.setattr(optimizer, "MISSED", 0.0)
    hold, rollout = begin(loop_of(plant="arm2", effort=0.0, trials=8))
    for adds in (False, True):
        method = HessianFree("cg", curvature_trials=2, adds_trials=adds)
        state, now = method.init(rollout.theta), rollout
        numbers = []
        for _ in range(16):
            state, now, _ = method.step(state, now, hold)
            numbers.append(state.curvature_trials)
        expected = [None] * 7 + [4] * 8 + [8] if adds else [None] * 16
        assert numbers == expected


@solvers
def test_weights_of_outputs_move_in_their_typical_sizes(options, method):
    """The direction d = S phi solves (S G S + lam I) phi = -S g, S the sizes."""
    loop = loop_of(**options)
    rollout = loop.rollout(weights_of(loop))
    network = loop.network
    network.output_sizes = np.linspace(0.1, 0.3, network.n_output)
    sizes = np.ones(network.size)
    network.matrices(sizes)[-1][:] = network.output_sizes[:, None]

    linear = loop.linearise(rollout)
    curved = linear
    if method.curvature_trials:
        curved = linear.subset(method.curvature_trials)
    G = dense(GaussNewton(curved), network.size)
    damping = np.eye(network.size)
    if method.structural:
        S = dense(Structural(curved), network.size)
        damping += method.structural * sizes[:, None] * S * sizes
    A = sizes[:, None] * G * sizes + damping
    expected = sizes * np.linalg.solve(A, -sizes * linear.gradient)

    exact = replace(method, cap=10 * network.size)
    descent = optimizer.Descent(exact, exact.init(rollout.theta), linear, loop)
    direction, predicted = descent.solve(1.0)[-1]
    assert relative(direction, expected) < 0.05
    model = linear.gradient @ direction + 0.5 * direction @ G @ direction
    assert predicted == pytest.approx(model, rel=1e-6)


def dense(A, size):
    """The matrix of an operator."""
    return np.stack([A @ column for column in np.eye(size)], axis=1)
