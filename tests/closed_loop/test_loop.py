"""The closed loop: tangent and adjoint are the exact derivatives of the rollout.

Of the rollout as coded, by fused and by plain passes.
"""

import math
import tracemalloc
from dataclasses import replace

import numba
import numpy as np
import pytest
from helpers import (
    central_difference,
    flat,
    hold_of,
    like,
    loop_of,
    relative,
    residuals_of,
    weights_of,
)
from loop_cases import CASES, cases, hold_and_rollout, kinds

from hfcontrol.arrays.threads import limited_threads
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.network.architecture import Architecture
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.policy_gradient.samplers import initial_activations


@cases
@kinds
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_adjoint_is_the_transpose_of_the_tangent(options, kind, fused, rng):
    loop = loop_of(**options, fused=fused)
    hold, rollout = hold_and_rollout(kind, loop)
    linear = hold.linearise(rollout)
    v = rng.standard_normal(loop.network.size)
    w, Jv = like(linear.cost.residuals, rng), linear.jvp(v)
    size = math.sqrt(w.dot(w) * Jv.dot(Jv))
    assert size > 0
    assert abs(w.dot(Jv) - linear.vjp(w) @ v) < 1e-12 * size


@cases
@kinds
def test_gradient_equals_differences_through_new_rollouts(options, kind, rng):
    """New rollouts of the hold's function, which `linearise` never calls.

    The tolerance 1e-7 covers differences of losses (1e-16 / 1e-5 of a loss that is a
    few times larger than its gradient) and of the plant (about 1e-10).
    """
    loop = loop_of(**options)
    hold, rollout = hold_and_rollout(kind, loop)
    gradient = hold.linearise(rollout).gradient
    size = loop.network.size
    for direction in rng.standard_normal((3, size)) / math.sqrt(size):
        slope = central_difference(
            lambda theta: hold.rollout(theta).loss, rollout.theta, direction
        )
        assert abs(slope - gradient @ direction) < 1e-7 * max(
            np.linalg.norm(gradient), rollout.loss
        )


@cases
@kinds
def test_tangent_equals_differences_of_every_residual(options, kind, rng):
    loop = loop_of(**options)
    hold, rollout = hold_and_rollout(kind, loop)
    v = rng.standard_normal(loop.network.size)
    assert (
        relative(
            flat(hold.linearise(rollout).jvp(v)),
            central_difference(residuals_of(hold), rollout.theta, v),
        )
        < 1e-7
    )


@cases
@kinds
def test_fused_passes_equal_the_plain_ones(options, kind, rng):
    """To 1e-12: both add the same numbers in a different order.

    Twelve stable steps do not amplify these roughly hundred roundings of 1e-16. Both
    get the same Jacobians: differences over 6e-6 turn 1e-16 of a state into 1e-11.
    """
    fused, plain = loop_of(**options), loop_of(**options, fused=False)
    assert type(fused.passes) is not type(plain.passes)
    hold, a = hold_and_rollout(kind, fused)
    b = plain.rollout(a.theta, hold.linear_model)
    for name in ("x", "u", "command", "y", "losses"):
        assert relative(getattr(a, name), getattr(b, name)) < 1e-12, name
    network = fused.network
    assert relative(a.hidden(network), b.hidden(network)) < 1e-12
    c, d = fused.linearise(a), plain.linearise(replace(a, activations=b.activations))
    v, w = rng.standard_normal(network.size), like(c.cost.residuals, rng)
    assert relative(flat(c.jvp(v)), flat(d.jvp(v))) < 1e-12
    assert relative(c.vjp(w), d.vjp(w)) < 1e-12
    assert relative(c.structural_product(v), d.structural_product(v)) < 1e-12
    indices = fused.scenario.cost.active_residuals()[-5:]
    assert relative(c.rows(indices), d.rows(indices)) < 1e-12
    matrix = c.rows(indices).reshape(-1, network.size)
    assert relative(fused.passes.gram(matrix), plain.passes.gram(matrix)) < 1e-12


@cases
def test_rows_are_the_gradients_of_all_residuals(options):
    loop = loop_of(**options)
    linear = loop.linearise(loop.rollout(weights_of(loop)))
    indices = loop.scenario.cost.active_residuals()
    rows, residuals = linear.rows(indices), linear.cost.scaled_residuals(indices)
    assert (
        relative(np.einsum("knp,kn->p", rows, residuals) / loop.trials, linear.gradient)
        < 1e-12
    )


def test_rows_do_not_depend_on_how_many_are_made_at_once(monkeypatch):
    loop = loop_of(delays=(1, 1))
    linear = loop.linearise(loop.rollout(weights_of(loop)))
    indices = loop.scenario.cost.active_residuals()[-5:]
    together = linear.rows(indices)
    monkeypatch.setattr("hfcontrol.closed_loop.loop.MOST_COTANGENTS", 1)
    np.testing.assert_array_equal(linear.rows(indices), together)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
@kinds
def test_results_do_not_depend_on_the_number_of_threads(kind, rng):
    loop = loop_of(trials=70, delays=(1, 1), sensory_noise=0.1)
    v = rng.standard_normal(loop.network.size)

    def results():
        hold, rollout = hold_and_rollout(kind, loop)
        linear = hold.linearise(rollout)
        rows = linear.rows(loop.scenario.cost.active_residuals()[-3:])
        return [
            rollout.x,
            rollout.u,
            rollout.activations,
            linear.gradient,
            flat(linear.jvp(v)),
            linear.structural_product(v),
            rows,
            loop.passes.gram(rows.reshape(-1, v.size)),
        ]

    found = []
    for threads in (1, 2, 2):
        with limited_threads(threads):
            found.append(results())
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@cases
@pytest.mark.parametrize("kind", ["model", "inputs"])
def test_a_hold_at_its_start_repeats_the_start(options, kind):
    loop = loop_of(**options)
    theta = weights_of(loop)
    hold, true = hold_of(kind, loop, theta), loop.rollout(theta)
    again = hold.rollout(theta)
    # The same bits, unless the plant runs in NumPy and its model in compiled code.
    tolerance = 0 if loop.plant.compiled or kind == "inputs" else 1e-12
    for name in ("x", "u", "command", "y", "losses"):
        np.testing.assert_allclose(
            getattr(again, name),
            getattr(true, name),
            tolerance,
            tolerance,
            err_msg=name,
        )
    if kind == "model":
        gradients = hold.linearise(again).gradient, loop.linearise(true).gradient
        np.testing.assert_allclose(
            *gradients, tolerance, tolerance * np.abs(gradients[0]).max()
        )


def test_replayed_observations_hide_the_feedback():
    loop = loop_of()
    theta = weights_of(loop)
    gradients = [
        hold_of(kind, loop, theta).linearise(loop.rollout(theta)).gradient
        for kind in ("scenario", "model")
    ]
    stale = hold_of("inputs", loop, theta)
    np.testing.assert_array_equal(*gradients)
    assert (
        relative(stale.linearise(stale.first_rollout()).gradient, gradients[0]) > 1e-3
    )


def network_by_hand(architecture, views, before, inputs):
    """Activations of every layer after one step, unit by unit from named weights."""
    now = {"in": inputs}
    for name in [*map(str, range(1, len(architecture.hidden) + 1)), "out"]:
        total = list(views[f"b_{name}"])
        for _, source, _ in (
            key.split("_")
            for key in views
            if key.startswith("W_") and key.endswith(f"_{name}")
        ):
            read = before[name] if source == name else now[source]
            for i, weights in enumerate(views[f"W_{source}_{name}"]):
                total[i] += sum(w * a for w, a in zip(weights, read, strict=True))
        now[name] = total if name == "out" else [math.tanh(a) for a in total]
    return now


def limited(c, low, high):
    """The control of a command, for a plant whose controls have a typical size of 1."""
    if math.isfinite(low) and math.isfinite(high):
        middle, half = (low + high) / 2, (high - low) / 2
        return middle + half * math.tanh((c - middle) / half)
    if math.isfinite(low):
        return low + math.log(1 + math.exp(c - low))
    if math.isfinite(high):
        return high - math.log(1 + math.exp(high - c))
    return c


def loop_by_hand(loop, theta, n):
    """Trajectories (x, u, y) of trial n, number by number from the equations."""
    plant, network, s, w = loop.plant, loop.network, loop.scenario, loop.wiring
    views, p = network.views(theta), list(s.params[:, n])
    ends = np.cumsum(network.architecture.hidden)
    layers = {str(k): h0 for k, h0 in enumerate(np.split(views["h0"], ends[:-1]), 1)}
    x, u, y, command = [list(s.x0[:, n])], [], [], []
    for t in range(s.steps):
        y.append([0.0] * plant.ny)
        plant.functions["observe"](x[max(t - w.feedback_delay, 0)], p, y[t])
        y[t] = [a + b for a, b in zip(y[t], s.sensory_noise[t, :, n], strict=True)]
        layers = network_by_hand(
            network.architecture, views, layers, [*s.target[t, :, n], *y[t]]
        )
        command.append(layers["out"])
        bounds = list(zip(w.limits.low, w.limits.high, strict=True))
        c = [min(max(0.0, low), high) for low, high in bounds]
        if t >= w.command_delay:
            sent = command[t - w.command_delay]
            c = [limited(a, *pair) for a, pair in zip(sent, bounds, strict=True)]
        u.append(
            [
                a * (1 + s.motor_gain[t, i, n]) + s.motor_noise[t, i, n]
                for i, a in enumerate(c)
            ]
        )
        dx = [0.0] * plant.nx
        plant.functions["dynamics"](x[t], u[t], p, dx)
        raw = [
            a + plant.dt * rate + s.disturbance[t, i, n]
            for i, (a, rate) in enumerate(zip(x[t], dx, strict=True))
        ]
        x.append(
            [
                math.copysign(limit + math.tanh(abs(a) - limit), a)
                if abs(a) > limit
                else a
                for a, limit in zip(raw, w.taper, strict=True)
            ]
        )
    return np.array(x), np.array(u), np.array(y)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("command_delay", range(4))
@pytest.mark.parametrize("feedback_delay", range(4))
def test_rollout_follows_the_equations(feedback_delay, command_delay, fused):
    architecture = Architecture((5, 4), recurrent=(1,), learn_start=True)
    loop = loop_of(
        delays=(feedback_delay, command_delay),
        architecture=architecture,
        disturbed=True,
        sensory_noise=0.1,
        motor_noise=0.1,
        motor_fraction=0.2,
        fused=fused,
    )
    theta = weights_of(loop, size=0.5)
    rollout = loop.rollout(theta)
    assert (np.abs(rollout.x[1:]) > loop.wiring.taper[:, None]).any(), (
        "no state reaches the taper"
    )
    for n in (0, 6):
        for name, values in zip("xuy", loop_by_hand(loop, theta, n), strict=True):
            np.testing.assert_allclose(
                getattr(rollout, name)[:, :, n],
                values,
                rtol=1e-12,
                atol=1e-14,
                err_msg=name,
            )


def with_scenario(loop, **changes):
    """The same closed loop on a changed scenario."""
    return ClosedLoop(
        loop.plant,
        loop.kernels,
        loop.network,
        replace(loop.scenario, **changes),
        loop.wiring,
    )


@kinds
def test_trials_do_not_affect_each_other(kind):
    """Not even a trial with a start that is not finite."""
    loop = loop_of(trials=35, delays=(1, 1))
    others = np.arange(35) != 33
    x0 = loop.scenario.x0.copy()
    x0[:, others] *= 2
    x0[:, 5] = np.nan
    changed = with_scenario(loop, x0=x0)
    (_, a), (_, b) = hold_and_rollout(kind, loop), hold_and_rollout(kind, changed)
    for name in ("x", "u", "y"):
        first, second = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(first[:, :, 33], second[:, :, 33])
        assert (first[1:, :, others] != second[1:, :, others]).any()
    assert b.loss == np.inf and np.isfinite(a.loss)


def test_a_single_trial_runs_as_it_does_among_others():
    many, alone = loop_of(trials=35), loop_of(trials=1)
    alone = with_scenario(
        alone,
        **{
            name: np.ascontiguousarray(getattr(many.scenario, name)[..., 33:34])
            for name in (
                "x0",
                "target",
                "params",
                "sensory_noise",
                "motor_noise",
                "motor_gain",
                "disturbance",
            )
        },
    )
    theta = weights_of(many)
    assert (
        relative(alone.rollout(theta).x[:, :, 0], many.rollout(theta).x[:, :, 33])
        < 1e-12
    )


def test_rollouts_of_the_true_plant_are_counted():
    loop = loop_of()
    theta = weights_of(loop)
    start = loop.rollout(theta)
    assert start.counts == Counts(rollouts=1)
    assert loop.jacobian_counts(start) == Counts(jacobian_steps=2 * (3 + 2) * 12 * 7)
    of_model = loop.rollout(theta, loop.linear_model(start))
    assert of_model.counts == loop.linearise(of_model).counts == Counts()
    again = loop.rollout(theta)
    assert again.counts == Counts(rollouts=1)
    assert loop.linearise(again).counts == loop.jacobian_counts(start)


def test_the_network_is_told_how_long_each_step_was():
    """One trial after the other, as a controller that is called irregularly."""
    loop = loop_of(**CASES["swing, irregular steps"])
    theta = weights_of(loop)
    rollout, network, s = loop.rollout(theta), loop.network, loop.scenario
    lengths = 1 + rollout.x[:-1, -1]
    assert lengths.std() > 0.1
    np.testing.assert_array_equal(s.elapsed[1:], lengths[:-1])
    for n in (0, 34):
        trial = slice(n, n + 1)
        now = initial_activations(network, network.weights(theta), 1)
        for t in range(s.steps):
            elapsed = lengths[t - 1, n] if t else 1.0
            seen = np.concatenate([s.target[t, :, trial], rollout.y[t, :, trial]])
            now = network.step(network.weights(theta), now, seen, float(elapsed))
            np.testing.assert_allclose(
                now[network.outputs], rollout.command[t, :, trial], rtol=1e-9
            )


@pytest.mark.parametrize("cell", ["tanh", "gru", "neural_ode", "cfc"])
def test_irregular_steps_need_a_cell_that_trains_with_them(cell):
    with pytest.raises(UsageError, match=f"`jitter` with `cell` {cell}: .* ltc"):
        loop_of(jitter=0.3, architecture=Architecture((3,), cell, (), ()))


@pytest.mark.parametrize("delays", [(12, 0), (0, 12)])
def test_a_delay_of_the_full_horizon_is_refused(delays):
    with pytest.raises(TaskError, match=r"_delay` of 12 steps .* horizon of 12 steps"):
        loop_of(delays=delays)


def test_memory_grows_with_trials_times_steps():
    """A linearised rollout takes no more than passes/cpu.py says, whatever its size.

    Per trial and step: activations, trajectories, Jacobians and residuals.
    """

    def bytes_of(trials, steps):
        loop = loop_of("arm2", trials=trials, steps=steps, hidden=(32, 32), effort=1e-3)
        theta = weights_of(loop)
        loop.linearise(loop.rollout(theta))
        tracemalloc.start()
        linear = loop.linearise(loop.rollout(theta))
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return held / (trials * steps), 8 * (
            loop.network.n_activations + 70
        ) if linear else 0

    for size in ((64, 40), (64, 160), (256, 40)):
        held, stated = bytes_of(*size)
        assert 0.5 * stated < held < stated


def test_a_float32_network_differs_by_its_rounding():
    """Only activations and products are float32.

    Trajectories, Jacobians and cotangents of the weights stay float64.
    """
    double = loop_of("arm2", trials=9)
    single = ClosedLoop(
        double.plant,
        double.kernels,
        double.network,
        double.scenario,
        double.wiring,
        PassOptions(dtype="float32"),
    )
    theta, v = weights_of(double), weights_of(double, seed=1)
    a, b = (loop.linearise(loop.rollout(theta)) for loop in (double, single))
    assert (
        b.rollout.activations.dtype == np.float32
        and b.rollout.x.dtype == b.gradient.dtype == float
    )
    for x, y in (
        (a.rollout.x, b.rollout.x),
        (a.gradient, b.gradient),
        (GaussNewton(a) @ v, GaussNewton(b) @ v),
        (a.structural_product(v), b.structural_product(v)),
        (
            a.rows(double.active_residuals()[-2:]),
            b.rows(double.active_residuals()[-2:]),
        ),
    ):
        assert 1e-10 < relative(y, x) < 1e-4
    c = replace(b, rollout=b.rollout).subset(4)
    assert relative(GaussNewton(c) @ v, GaussNewton(a.subset(4)) @ v) < 1e-4
