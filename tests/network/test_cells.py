"""Cells with a state: exact solutions, orders of convergence, bounds and counts."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import central_difference, flat, like, loop_of, relative, weights_of

from hfcontrol.network.activations import activation_of
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import (
    CELLS,
    cfc,
    count_states,
    count_sums,
    has_synapses,
    is_continuous,
    is_staged,
    ltc,
    ltc_tanh,
)
from hfcontrol.network.network import Network
from hfcontrol.network.stages import (
    STABILITY_LIMITS,
    Stages,
    parameter_slopes,
    parameter_values,
)

STAGED = [name for name in CELLS if is_staged(name)]
CONTINUOUS = [name for name in CELLS if is_continuous(name)]
GOLDEN = Path(__file__).parent / "ltc_golden.json"
ORDERS = {"euler": 1, "fused": 1, "rk4": 4}
SOLVED = [
    *((cell, "fused", 1) for cell in CELLS),
    # Eight unfoldings keep the explicit schemes stable for random weights.
    *((cell, scheme, 8) for cell in CONTINUOUS for scheme in ORDERS),
]
FORMULAS = ("field", "field_slopes", "fused", "fused_slopes")


def parameters(cell, rng, units=4):
    """Positive rates and reversals of either sign (n_p, units, 1)."""
    return np.array(
        [
            rng.uniform(0.2, 1.0, (units, 1))
            if positive
            else rng.uniform(-1, 1, (units, 1))
            for positive in CELLS[cell].PARAMETERS.values()
        ]
    )


def activities(cell, rng):
    """Random activities, of the sign that the cell's have: (..., 4, 3)."""
    if has_synapses(cell):
        return np.array([rng.standard_normal((4, 3)), rng.exponential(1.0, (4, 3))])
    if count_sums(cell) > 1:
        return activation_of(CELLS[cell].ACTIVATION).function(
            rng.standard_normal((count_sums(cell), 4, 3))
        )
    f = np.tanh(rng.standard_normal((4, 3)))
    return np.abs(f) if CELLS[cell].ACTIVATION == "logistic" else f


def exact(cell, p, x, f, time):
    """The state after some time under constant activities.

    Every field is linear in x then.
    """
    slope, _, _ = CELLS[cell].field_slopes(x, f, p)
    rate, drive = -slope + 0 * x, CELLS[cell].field(0 * x, f, p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            rate != 0,
            drive / rate + (x - drive / rate) * np.exp(-rate * time),
            x + time * drive,
        )


@pytest.mark.parametrize("cell, scheme, unfold", SOLVED)
def test_compiled_cells_equal_their_definition(cell, scheme, unfold, rng):
    """Every cell: compiled code takes an unknown code for that of dx/dt = f.

    To 1e-12 as in tests/closed_loop/test_loop.py, which has more networks.
    """
    architecture = Architecture((4, 3), cell=cell, scheme=scheme, unfold=unfold)
    compiled, plain = (
        loop_of(architecture=architecture, fused=fused) for fused in (True, False)
    )
    theta = weights_of(compiled)
    a, b = compiled.rollout(theta), plain.rollout(theta)
    network = compiled.network
    assert relative(a.u, b.u) < 1e-12
    assert relative(a.hidden(network), b.hidden(network)) < 1e-12

    # From the same states: differences of the plant enlarge a rounding.
    c = compiled.linearise(a)
    d = plain.linearise(replace(a, activations=b.activations))
    v, w = rng.standard_normal(network.size), like(c.cost.residuals, rng)
    assert relative(flat(c.jvp(v)), flat(d.jvp(v))) < 1e-12
    assert relative(c.vjp(w), d.vjp(w)) < 1e-12


@pytest.mark.parametrize("cell", CONTINUOUS)
@pytest.mark.parametrize("scheme", ORDERS)
def test_schemes_converge_to_the_exact_solution_by_their_order(cell, scheme, rng):
    p, x, f = parameters(cell, rng), rng.standard_normal((4, 3)), activities(cell, rng)
    errors = [
        relative(
            Stages(CELLS[cell], scheme, n).forward(p, x, lambda _: f)[0][-1],
            exact(cell, p, x, f, 1.0),
        )
        for n in (16, 32, 64)
    ]
    # Every scheme integrates a constant field exactly.
    if max(errors) < 1e-12:
        assert cell in ("rnn_ode", "input_flow", "neural_ode")
        return
    for coarse, fine in pairwise(errors):
        assert np.log2(coarse / fine) == pytest.approx(ORDERS[scheme], abs=0.25)


@pytest.mark.parametrize("cell", CONTINUOUS)
def test_runge_kutta_agrees_with_scipy_under_recurrence(cell, rng):
    """SciPy's DOP853 has tolerances of 1e-12."""
    from scipy.integrate import solve_ivp

    p, x, W = (
        parameters(cell, rng, 3),
        rng.standard_normal((3, 1)),
        rng.standard_normal((3, 3)),
    )
    b, phi = (
        rng.standard_normal((3, 1)),
        {"logistic": lambda z: 1 / (1 + np.exp(-z))}.get(
            CELLS[cell].ACTIVATION, np.tanh
        ),
    )

    def activity(x):
        f = phi(W @ x + b)
        return np.array([f, f * f]) if has_synapses(cell) else f

    def field(_, x):
        return CELLS[cell].field(x[:, None], activity(x[:, None]), p)[:, 0]

    reference = solve_ivp(
        field, (0, 1), x[:, 0], method="DOP853", rtol=1e-12, atol=1e-12
    ).y[:, -1:]
    states, _ = Stages(CELLS[cell], "rk4", 64).forward(p, x, activity)
    assert relative(states[-1], reference) < 1e-8


def logistic(z):
    return 1 / (1 + np.exp(-z))


# dx/dt as the sources write it: of the state x, the input I, the named weights w and
# the rate constants a = 1/tau. Then what the output layer reads of x.
EQUATIONS = {
    "ltc_signed": (
        lambda x, I, w, a: (
            -x * a
            + np.tanh(w["W_in_1"] @ I + w["W_1_1"] @ x + w["b_1"])
            * (w["reversal_1"] - x)
        ),
        lambda x: x,
    ),
    "ctrnn_rates": (
        lambda x, I, w, a: (
            -x * a + w["W_1_1"] @ logistic(x) + (w["W_in_1"] @ I + w["b_1"])
        ),
        logistic,
    ),
    "input_flow": (lambda x, I, w, a: np.tanh(w["W_in_1"] @ I + w["b_1"]), lambda x: x),
}


@pytest.mark.parametrize("cell", EQUATIONS)
def test_networks_follow_the_equations_of_the_sources(cell, rng):
    """Over steps of several lengths, with the input of a step held.

    SciPy's DOP853 has tolerances of 1e-12.
    """
    from scipy.integrate import solve_ivp

    network = Network(
        Architecture(
            (4,), cell=cell, skip=(), recurrent=(1,), scheme="rk4", unfold=128
        ),
        3,
        2,
    )
    theta = network.initial(rng) + 0.3 * rng.standard_normal(network.size)
    w, (field, output) = network.views(theta), EQUATIONS[cell]
    rates = np.logaddexp(0, w["rate_1"]) if "rate_1" in w else np.zeros(4)
    activations, x = np.zeros((network.n_activations, 1)), np.zeros(4)
    for elapsed in (1.0, 0.3, 2.0):
        inputs = rng.standard_normal(3)
        activations = network.step(theta, activations, inputs[:, None], elapsed)
        x = solve_ivp(
            lambda _, x, I=inputs: field(x, I, w, rates),
            (0, elapsed),
            x,
            method="DOP853",
            rtol=1e-12,
            atol=1e-12,
        ).y[:, -1]
        np.testing.assert_allclose(
            activations[network.hidden][:, 0], x, rtol=1e-8, atol=1e-8
        )
        np.testing.assert_allclose(
            activations[network.outputs][:, 0],
            w["W_1_out"] @ output(x) + w["b_out"],
            rtol=1e-8,
            atol=1e-8,
        )


def test_signed_gate_grows_where_the_guarded_one_decays():
    """The growth of the equation itself: exp((1 - a) t) for a gate of -1."""
    x, f, p = np.ones((1, 1)), -np.ones((1, 1)), np.array([[[0.1]], [[0.0]]])
    grown, decayed = (
        Stages(CELLS[cell], "rk4", 16).forward(p, x, lambda _: f)[0][-1, 0, 0]
        for cell in ("ltc_signed", "ltc_tanh")
    )
    assert grown == pytest.approx(np.exp(0.9), rel=1e-6)
    assert decayed == pytest.approx(np.exp(-1.1), rel=1e-6)


@pytest.mark.parametrize("scheme", ["euler", "rk4"])
def test_explicit_schemes_have_a_stability_limit_and_fused_has_none(scheme, rng):
    x, nothing = np.ones((1, 1)), np.zeros((1, 1))
    for rate, stable in (
        (0.95 * STABILITY_LIMITS[scheme], True),
        (1.05 * STABILITY_LIMITS[scheme], False),
    ):
        p = np.full((1, 1, 1), rate)
        last = x
        for _ in range(400):
            last = Stages(CELLS["ctrnn"], scheme, 1).forward(
                p, last, lambda _: nothing
            )[0][-1]
        assert (abs(last[0, 0]) < 1) == stable
    p = np.full((1, 1, 1), 1e6)
    assert (
        abs(
            Stages(CELLS["ctrnn"], "fused", 1).forward(p, x, lambda _: nothing)[0][-1][
                0, 0
            ]
        )
        < 1e-5
    )


def test_fused_liquid_steps_stay_within_their_bounds(rng):
    """For a step of any length.

    min(x, A, 0) <= x+ <= max(x, A, 0) with a gate between 0 and 1, and
    |x+| <= max(|x|, |A|) with tanh.
    """
    x, A = rng.standard_normal((2, 500, 20))
    a, f, h = (
        rng.exponential(1.0, (500, 20)),
        rng.random((500, 20)),
        10 ** rng.uniform(-3, 6, (500, 20)),
    )
    y = ltc.fused(x, f, (a, A), h)
    assert np.all(y >= np.minimum(np.minimum(x, A), 0) - 1e-15) and np.all(
        y <= np.maximum(np.maximum(x, A), 0) + 1e-15
    )
    y = ltc_tanh.fused(x, 2 * f - 1, (a, A), h)
    assert np.all(np.abs(y) <= np.maximum(np.abs(x), np.abs(A)) + 1e-15)


@pytest.mark.parametrize(
    "cell, fused",
    [*((cell, True) for cell in STAGED), *((cell, False) for cell in CONTINUOUS)],
)
def test_slopes_agree_with_differences(cell, fused, rng):
    """The derivatives of every state by states, activities and parameters."""
    p, module = parameters(cell, rng), CELLS[cell]
    states = count_states(cell)
    shape = (states, 4, 3) if states > 1 else (4, 3)
    x, dx = rng.standard_normal((2, *shape))
    f, df = activities(cell, rng), activities(cell, rng)
    dp = rng.standard_normal(p.shape)
    function, slopes = (
        (module.fused, module.fused_slopes)
        if fused
        else (module.field, module.field_slopes)
    )
    more = (0.7,) if fused else ()

    def total(by, d):
        if isinstance(by, tuple):
            return sum(b * part for b, part in zip(by, d, strict=True))
        return by * d

    every = slopes(x, f, p, *more)
    tangents = [
        total(by_x, dx) + total(by_f, df) + total(by_p, dp)
        for by_x, by_f, by_p in (every if states > 1 else [every])
    ]
    difference = central_difference(
        lambda s: np.array(function(x + s * dx, f + s * df, p + s * dp, *more)),
        0.0,
        1.0,
    )
    assert relative(np.array(tangents).reshape(shape), difference) < 1e-8


def test_values_of_positive_parameters_are_positive(rng):
    raw = 5 * rng.standard_normal((2, 6, 1))
    p, slopes = parameter_values(CELLS["ltc"], raw), parameter_slopes(CELLS["ltc"], raw)
    assert (p[0] > 0).all() and (p[1] == raw[1]).all()
    np.testing.assert_allclose(
        slopes,
        central_difference(lambda s: parameter_values(CELLS["ltc"], raw + s), 0.0, 1.0),
        rtol=1e-7,
    )


def test_liquid_network_has_the_size_in_the_report():
    """16 units, 4 inputs, 2 outputs: k (k + n + d) = 352 connections.

    With mu, tau and A these are 400 numbers, and 2 output biases.
    """
    liquid = Network(Architecture((16,), cell="ltc", skip=(), recurrent=(1,)), 4, 2)
    assert liquid.connections == 352 and liquid.size == 352 + 48 + 2
    perceptron = Network(Architecture((16,), skip=(), recurrent=()), 4, 2)
    assert perceptron.connections == 96 and perceptron.size == 114


def closed_form(rng, units=5):
    """A layer of closed-form cells that reads three inputs and itself.

    Returns network, weights, activations before, inputs, and all that the layer reads.
    """
    network = Network(Architecture((units,), cell="cfc", skip=(), recurrent=(1,)), 3, 2)
    theta, before, inputs = (
        rng.standard_normal(shape)
        for shape in (network.size, (network.n_activations, 4), (3, 4))
    )
    return (
        network,
        theta,
        before,
        inputs,
        np.concatenate([inputs, before[network.hidden], np.ones((1, 4))]),
    )


def test_closed_form_agrees_with_its_formula_unit_by_unit(rng):
    """By named weights, for steps of several lengths.

    A connection has a weight in each of the four matrices.
    """
    network, theta, before, inputs, _ = closed_form(rng)
    views = network.views(theta)
    assert network.connections == 5 * 8 + 10 and network.size == 4 * 5 * 9 + 2 * 6
    for elapsed in (0.0, 0.4, 1.0, 3.0):
        expected = np.empty((5, 4))
        for i in range(5):
            for n in range(4):
                early, late, speed, shift = (
                    views["b_1"][q, i]
                    + views[f"{name}_in_1"][i] @ inputs[:, n]
                    + views[f"{name}_1_1"][i] @ before[network.hidden][:, n]
                    for q, name in enumerate(cfc.MATRICES)
                )
                s = 1 / (1 + np.exp(-(speed * elapsed + shift)))
                expected[i, n] = (1 - s) * np.tanh(early) + s * np.tanh(late)
        np.testing.assert_allclose(
            network.step(theta, before, inputs, elapsed)[network.hidden],
            expected,
            rtol=1e-12,
            atol=1e-14,
        )


def test_closed_form_is_a_mean_at_first_and_late_or_early_in_the_end(
    rng,
):
    network, theta, before, inputs, X = closed_form(rng)
    W = network.matrices(theta)[0]
    early, late, speed = np.tanh(W[0] @ X), np.tanh(W[1] @ X), W[2] @ X
    assert (speed > 0).any() and (speed < 0).any()
    np.testing.assert_allclose(
        network.step(theta, before, inputs, elapsed=1e6)[network.hidden],
        np.where(speed > 0, late, early),
        rtol=1e-12,
    )
    W[2:] = 0.0
    for elapsed in (0.1, 1.0, 1e6):
        np.testing.assert_allclose(
            network.step(theta, before, inputs, elapsed)[network.hidden],
            (early + late) / 2,
            rtol=1e-12,
        )


def test_closed_form_agrees_with_ncps(rng):
    """The package itself, with random parameters, over steps of several lengths.

    `pip install -e ".[peers]"` to run it.
    """
    torch, ncps = (
        pytest.importorskip(name, reason="needs the extra peers: ncps and torch")
        for name in ("torch", "ncps.torch")
    )
    network, theta, activations, _, _ = closed_form(rng)
    cell = ncps.CfCCell(3, 5, mode="default", backbone_layers=0).double()
    for name, part in zip(
        ("ff1", "ff2", "time_a", "time_b"), network.matrices(theta)[0], strict=True
    ):
        theirs = getattr(cell, name)
        theirs.weight.data, theirs.bias.data = (
            torch.tensor(part[:, :-1].copy()),
            torch.tensor(part[:, -1].copy()),
        )
    state = torch.tensor(activations[network.hidden].T.copy())
    for elapsed in (1.0, 0.3, 2.0, 1.0, 5.0):
        inputs = rng.standard_normal((3, 4))
        activations = network.step(theta, activations, inputs, elapsed)
        _, state = cell(torch.tensor(inputs.T.copy()), state, elapsed)
        np.testing.assert_allclose(
            activations[network.hidden],
            state.detach().numpy().T,
            rtol=1e-12,
            atol=1e-13,
        )


def test_neural_ode_has_no_memory(rng):
    network = Network(Architecture((5, 4), cell="neural_ode", unfold=3), 3, 2)
    theta, inputs = rng.standard_normal(network.size), rng.standard_normal((3, 2))
    a, b = (
        network.step(theta, before, inputs)
        for before in rng.standard_normal((2, network.n_activations, 2))
    )
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", [name for name in CONTINUOUS if name != "neural_ode"])
@pytest.mark.parametrize("scheme", ORDERS)
def test_step_of_twice_the_length_equals_two_steps(cell, scheme, rng):
    """For one layer with constant inputs, and twice the unfoldings."""
    one, two = (
        Network(
            Architecture(
                (4,), cell=cell, skip=(), recurrent=(1,), scheme=scheme, unfold=n
            ),
            3,
            2,
        )
        for n in (3, 6)
    )
    theta, inputs = one.initial(rng), rng.standard_normal((3, 5))
    before = rng.standard_normal((two.n_activations, 5))
    expected = one.step(
        theta, one.step(theta, before[: one.n_activations], inputs), inputs
    )
    np.testing.assert_allclose(
        two.step(theta, before, inputs, elapsed=2.0)[one.hidden],
        expected[one.hidden],
        rtol=1e-12,
    )


def test_time_constants_are_in_their_range():
    network = Network(
        Architecture(
            (6,), cell="ctrnn", skip=(), recurrent=(1,), time_constants=(2.0, 8.0)
        ),
        3,
        2,
    )
    tau = network.time_constants(network.initial(np.random.default_rng(0)))
    assert tau.shape == (6,) and (tau >= 2).all() and (tau <= 8).all()


def golden_network(numbers):
    """The network of the golden numbers: 16 conductance units on 4 inputs.

    Its parameters follow the rule in the file. ncps maps its inputs, o -> a o + b,
    before the synapses; here that is part of slope and centre. Its synapses are
    [from, to], ours [to, from]; positive numbers are stored as inverse softplus.
    """
    network = Network(
        Architecture((16,), cell="ltc_conductance", unfold=6, skip=(), recurrent=(1,)),
        4,
        2,
    )
    theta, given = np.zeros(network.size), {}
    for i, (name, shape, low, high) in enumerate(numbers["order"]):
        wave = low + (high - low) * (
            0.5 + 0.5 * np.sin(0.3 * i + 1.7 * np.arange(np.prod(shape)))
        )
        given[name] = (
            np.where(wave > -1 / 3, 1.0, -1.0) if name.endswith("erev") else wave
        ).reshape(shape)
    views = network.views(theta)

    def inverse(value):
        return np.log(np.expm1(value))

    a, b = given["input_w"], given["input_b"]
    for theirs, source in (("", "1"), ("sensory_", "in")):
        slope, centre = given[f"{theirs}sigma"].T, given[f"{theirs}mu"].T
        if theirs:
            slope, centre = slope * a, (centre - b) / a
        views[f"weight_{source}_1"][:] = inverse(given[f"{theirs}w"].T)
        views[f"slope_{source}_1"][:], views[f"centre_{source}_1"][:] = slope, centre
        views[f"reversal_{source}_1"][:] = given[f"{theirs}erev"].T
    return network, theta, given


def set_units(network, theta, given, time):
    """Units that do in a step of one what ncps does in `time`.

    Their capacity is divided by it.
    """
    theta = theta.copy()
    views = network.views(theta)
    views["leak_1"][:], views["rest_1"][:] = (
        np.log(np.expm1(given["gleak"])),
        given["vleak"],
    )
    views["capacity_1"][:] = np.log(np.expm1(given["cm"] / time))
    return theta


@pytest.mark.parametrize("time", ["1", "0.02"])
def test_conductance_cell_reproduces_stored_numbers_of_ncps(time):
    """One step of the package's cell, and cotangents of state, inputs and parameters.

    The numbers in ltc_golden.json come from its source code, with parameters that
    follow a rule.
    """
    numbers = json.loads(GOLDEN.read_text())
    expected = numbers[f"T={time}"]
    network, theta, given = golden_network(numbers)
    theta = set_units(network, theta, given, float(time))
    layer, inputs = network.layers[0], np.array(numbers["obs"])[:, None]
    activations = np.zeros((network.n_activations, 1))
    activations[layer.units, 0] = 0.5 * np.sin(0.9 + 1.7 * np.arange(16))
    first = network.step(theta, activations, inputs)
    np.testing.assert_allclose(
        first[layer.units, 0], expected["x1"], rtol=1e-12, atol=1e-13
    )
    out = given["output_w"] * first[layer.units][:2, 0] + given["output_b"]
    np.testing.assert_allclose(out, expected["out"], rtol=1e-12)
    bar = np.zeros_like(first)
    bar[layer.units] = 1.0
    delta, before_bar = network.step_vjp(theta, activations, first, bar)
    np.testing.assert_allclose(
        before_bar[layer.units, 0],
        expected["vjp_of_ones"]["x0"],
        rtol=1e-10,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        delta[network.inputs, 0], expected["vjp_of_ones"]["obs"], rtol=1e-10, atol=1e-13
    )
    for name, bar in cotangents(
        network, theta, activations, first, delta, given, float(time)
    ).items():
        assert np.linalg.norm(bar) == pytest.approx(
            expected["vjp_of_ones"]["frob"][name], rel=1e-10
        ), name


@pytest.mark.parametrize("time", [1.0, 0.02])
def test_conductance_cell_agrees_with_ncps(time, rng):
    """The package itself, with random parameters, over several steps.

    `pip install -e ".[peers]"` to run it.
    """
    torch, ncps = (
        pytest.importorskip(name, reason="needs the extra peers: ncps and torch")
        for name in ("torch", "ncps.torch")
    )
    from ncps.wirings import FullyConnected

    network = Network(
        Architecture((5,), cell="ltc_conductance", unfold=6, skip=(), recurrent=(1,)),
        3,
        2,
    )
    theta = network.initial(rng)
    views, positive = (
        network.views(theta),
        {name: np.logaddexp(0, view) for name, view in network.views(theta).items()},
    )
    cell = ncps.LTCCell(FullyConnected(5, 2), in_features=3, ode_unfolds=6).double()
    given = {
        "gleak": positive["leak_1"],
        "cm": time * positive["capacity_1"],
        "vleak": views["rest_1"],
        "input_w": np.ones(3),
        "input_b": np.zeros(3),
    }
    for theirs, source in (("", "1"), ("sensory_", "in")):
        given |= {
            f"{theirs}w": positive[f"weight_{source}_1"].T,
            f"{theirs}erev": views[f"reversal_{source}_1"].T,
            f"{theirs}sigma": views[f"slope_{source}_1"].T,
            f"{theirs}mu": views[f"centre_{source}_1"].T,
        }
    for name, value in given.items():
        cell._params[name].data = torch.tensor(value.copy())
    activations, state = (
        np.zeros((network.n_activations, 4)),
        torch.zeros(4, 5, dtype=torch.float64),
    )
    for _ in range(5):
        inputs = rng.standard_normal((3, 4))
        activations = network.step(theta, activations, inputs)
        _, state = cell(torch.tensor(inputs.T.copy()), state, time)
        np.testing.assert_allclose(
            activations[network.hidden],
            state.detach().numpy().T,
            rtol=1e-12,
            atol=1e-13,
        )


def cotangents(network, theta, activations, first, delta, given, time):
    """Cotangents of the parameters of ncps, from ours by the chain rule."""
    layer, bars = network.layers[0], np.zeros_like(theta)
    for d, X in layer.weight_products(activations, first, delta):
        bars[layer.weights] += layer.summation.weight_vjp(
            network.matrices(theta)[0], X, d
        )[0].ravel()
    bars[layer.parameters] = layer.split_work(delta)[2].ravel()
    views, slopes, a = (
        network.views(bars),
        network.views(1 / (1 + np.exp(-theta))),
        given["input_w"],
    )
    found = {
        "gleak": views["leak_1"] / slopes["leak_1"],
        "vleak": views["rest_1"],
        "cm": views["capacity_1"] / slopes["capacity_1"] / time,
    }
    for theirs, source, scale in (("", "1", 1.0), ("sensory_", "in", a)):
        found[f"{theirs}w"] = views[f"weight_{source}_1"] / slopes[f"weight_{source}_1"]
        found[f"{theirs}erev"] = views[f"reversal_{source}_1"]
        found[f"{theirs}sigma"], found[f"{theirs}mu"] = (
            views[f"slope_{source}_1"] * scale,
            views[f"centre_{source}_1"] / scale,
        )
    return found
