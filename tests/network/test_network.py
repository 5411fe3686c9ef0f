"""The network: a flat weight vector, named views that cover it, and a step.

Derivatives of the step are compared with differences.
"""

from dataclasses import replace

import numpy as np
import pytest
from helpers import central_difference, relative

from hfcontrol.errors import UsageError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS, matrix_names
from hfcontrol.network.initialisation import INCOMING
from hfcontrol.network.network import Network
from hfcontrol.network.tables import KINDS

ARCHITECTURES = {
    "one layer": Architecture((6,), skip=(), recurrent=(1,)),
    "one layer, no memory": Architecture((6,), skip=(), recurrent=()),
    "default shape": Architecture((5, 4)),
    "linear": Architecture((5, 4), cell="linear"),
    "learned start": Architecture((5, 4), learn_start=True),
    "no skip": Architecture((5, 4), skip=()),
    "three layers": Architecture(
        (3, 5, 4), skip=(2, 3), recurrent=(1, 3), learn_start=True
    ),
    "three layers, top skip": Architecture((3, 5, 4), skip=(3,), recurrent=(2,)),
    "ctrnn": Architecture((5, 4), cell="ctrnn"),
    "ctrnn, Euler": Architecture(
        (5, 4), cell="ctrnn", scheme="euler", unfold=2, recurrent=(2,), learn_start=True
    ),
    "ctrnn, Runge-Kutta": Architecture(
        (5,), cell="ctrnn", scheme="rk4", unfold=2, skip=(), recurrent=(1,)
    ),
    "ltc": Architecture((5, 4), cell="ltc", unfold=6),
    "ltc, Runge-Kutta": Architecture(
        (5, 4), cell="ltc", scheme="rk4", skip=(), recurrent=(1,)
    ),
    "ltc, Euler": Architecture((5,), cell="ltc", scheme="euler", skip=(), recurrent=()),
    "ltc_tanh": Architecture((5, 4), cell="ltc_tanh", unfold=3),
    "ltc_tanh, Euler": Architecture(
        (4,), cell="ltc_tanh", scheme="euler", skip=(), recurrent=(1,)
    ),
    "conductance": Architecture((5, 4), cell="ltc_conductance", unfold=3),
    "conductance, Runge-Kutta": Architecture(
        (4,),
        cell="ltc_conductance",
        scheme="rk4",
        unfold=8,
        skip=(),
        recurrent=(1,),
        learn_start=True,
    ),
    "conductance, Euler": Architecture(
        (5, 4), cell="ltc_conductance", scheme="euler", unfold=8, recurrent=(2,)
    ),
    "rnn_ode": Architecture((5, 4), cell="rnn_ode", scheme="rk4"),
    "rnn_ode, fused": Architecture((5, 4), cell="rnn_ode", unfold=2),
    "neural_ode": Architecture((5, 4), cell="neural_ode", scheme="rk4", unfold=2),
    "neural_ode, Euler": Architecture(
        (5,), cell="neural_ode", scheme="euler", unfold=4, skip=(), recurrent=(1,)
    ),
    "closed form": Architecture((5, 4), cell="cfc", learn_start=True),
    "closed form, second layer": Architecture(
        (5, 4), cell="cfc", skip=(), recurrent=(2,)
    ),
}
# Every other cell, whatever it is.
COVERED = {architecture.cell for architecture in ARCHITECTURES.values()}
for name in CELLS:
    if name not in COVERED:
        ARCHITECTURES[name] = Architecture((5, 4), cell=name, learn_start=True)
        ARCHITECTURES[f"{name}, second layer"] = Architecture(
            (5, 4), cell=name, skip=(), recurrent=(2,)
        )
N_INPUT = 7
N_OUTPUT = 2
TRIALS = 3

architectures = pytest.mark.parametrize(
    "architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys()
)
plain_cells = pytest.mark.parametrize(
    "architecture",
    [t for t in ARCHITECTURES.values() if t.cell in ("tanh", "linear")],
    ids=[name for name, t in ARCHITECTURES.items() if t.cell in ("tanh", "linear")],
)


def network_of(architecture):
    return Network(architecture, N_INPUT, N_OUTPUT)


def point(network, rng):
    """Random weights, activations before and inputs.

    They are small enough for differences: units are not too fast.
    """
    return (
        0.5 * rng.standard_normal(network.size),
        rng.standard_normal((network.n_activations, TRIALS)),
        rng.standard_normal((N_INPUT, TRIALS)),
    )


@architectures
def test_views_cover_theta_exactly_once(architecture):
    network = network_of(architecture)
    theta = np.zeros(network.size)
    for view in network.views(theta).values():
        view += 1
    np.testing.assert_array_equal(theta, 1)


@plain_cells
def test_views_and_matrices_share_the_weights(architecture, rng):
    """The summed input of each layer is the same by matrices and by named views."""
    network = network_of(architecture)
    theta, before, inputs = point(network, rng)
    views = network.views(theta)
    now = network.step(theta, before, inputs)
    activations = {"in": now[network.inputs]} | {
        layer.name: now[layer.units] for layer in network.layers
    }
    for layer in network.layers:
        total = views[f"b_{layer.name}"][:, None] + np.zeros((1, TRIALS))
        for source in ["in", *(other.name for other in network.layers)]:
            if f"W_{source}_{layer.name}" in views:
                read = (
                    before[layer.units] if source == layer.name else activations[source]
                )
                total = total + views[f"W_{source}_{layer.name}"] @ read
        expected = np.tanh(total) if layer.cell == "tanh" else total
        np.testing.assert_allclose(
            activations[layer.name], expected, rtol=1e-12, atol=1e-14
        )


@plain_cells
def test_views_have_the_shapes_of_the_architecture(architecture):
    network = network_of(architecture)
    sizes = dict(
        zip(
            ["in", *map(str, range(1, 9))],
            [N_INPUT, *architecture.hidden],
            strict=False,
        ),
        out=N_OUTPUT,
    )
    last = str(len(architecture.hidden))
    expected = {f"W_{k - 1 or 'in'}_{k}" for k in range(1, int(last) + 1)} | {
        f"W_{last}_out"
    }
    expected |= {f"W_in_{k}" for k in architecture.skip} | {
        f"W_{k}_{k}" for k in architecture.recurrent
    }
    views = network.views(np.zeros(network.size))
    weights = {
        name: view.shape for name, view in views.items() if name.startswith("W_")
    }
    assert weights == {
        name: (sizes[name.split("_")[2]], sizes[name.split("_")[1]])
        for name in expected
    }
    biases = {name: view.shape for name, view in views.items() if name.startswith("b_")}
    assert biases == {
        f"b_{name}": (size,) for name, size in sizes.items() if name != "in"
    }
    assert ("h0" in views) == architecture.learn_start
    if architecture.learn_start:
        assert views["h0"].shape == (sum(architecture.hidden),)


@architectures
def test_initial_weights_are_sparse_and_follow_the_generator(architecture):
    wide = Network(
        replace(architecture, hidden=tuple(8 * size for size in architecture.hidden)),
        40,
        N_OUTPUT,
    )
    theta, again, other = (
        wide.initial(np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(theta, again)
    assert (theta != other).any()
    for name, view in wide.views(theta).items():
        if name.startswith("rate_"):
            tau = 1 / np.log1p(np.exp(view))
            assert np.all((tau >= 1) & (tau <= 20)) and len(np.unique(tau)) == tau.size
        elif architecture.cell == "ltc_conductance" and not name.startswith(
            ("W_", "b_", "h0")
        ):
            assert np.isfinite(view).all() and len(np.unique(view)) > 1
        elif name.startswith("reversal_"):
            assert set(view) <= {-1.0, 1.0}
        elif name.startswith(
            ("W_", *(f"{matrix}_" for matrix in matrix_names(architecture.cell)))
        ):
            np.testing.assert_array_equal(
                (view != 0).sum(axis=1), min(INCOMING, view.shape[1]), name
            )
        else:
            np.testing.assert_array_equal(view, 0, name)


def test_summed_input_has_unit_variance_initially(rng):
    network = Network(Architecture((200,), skip=(), recurrent=(1,)), 40, N_OUTPUT)
    views = network.views(network.initial(rng))
    summed = views["W_in_1"] @ rng.standard_normal((40, 500)) + views[
        "W_1_1"
    ] @ rng.standard_normal((200, 500))
    assert summed.var() == pytest.approx(1, rel=0.1)


def test_initial_outputs_have_their_typical_sizes(rng):
    """The same draws, times the sizes; biases are the output at rest."""
    architecture = Architecture((5, 4))
    plain = Network(architecture, 3, 2, rest=(7.0, 8.0))
    sized = Network(architecture, 3, 2, rest=(7.0, 8.0), output_sizes=(0.1, 1.0))
    views = plain.views(plain.initial(np.random.default_rng(1)))
    scaled = sized.views(sized.initial(np.random.default_rng(1)))
    for name, view in views.items():
        factor = [[0.1], [1.0]] if name.endswith("_out") and view.ndim == 2 else 1.0
        np.testing.assert_array_equal(scaled[name], factor * view)
    assert plain.weight_sizes is None


def test_weights_of_an_output_have_its_size():
    """The bias too; all other weights have the size one."""
    network = Network(Architecture((5, 4)), 3, 2, output_sizes=(0.1, 1.0))
    sizes = network.views(network.weight_sizes)
    for name, view in sizes.items():
        expected = np.ones(view.shape)
        if name.endswith("_out"):
            expected[0] = 0.1
        np.testing.assert_array_equal(view, expected)


@architectures
def test_tangent_equals_central_differences(architecture, rng):
    network = network_of(architecture)
    (theta, before, inputs), (v, d_before, d_inputs) = (
        point(network, rng),
        point(network, rng),
    )

    def step(s):
        return network.step(theta + s * v, before + s * d_before, inputs + s * d_inputs)

    tangent = network.step_jvp(theta, v, before, step(0.0), d_before, d_inputs)
    assert relative(tangent, central_difference(step, 0.0, 1.0)) < 1e-8


@architectures
def test_adjoint_is_the_transpose_of_the_tangent(architecture, rng):
    network = network_of(architecture)
    (theta, before, inputs), (_, d_before, d_inputs) = (
        point(network, rng),
        point(network, rng),
    )
    now, v = network.step(theta, before, inputs), rng.standard_normal(network.size)
    w = rng.standard_normal(now.shape)
    w[network.outputs.stop :] = 0.0
    tangent = network.step_jvp(theta, v, before, now, d_before, d_inputs)
    delta, before_bar = network.step_vjp(theta, before, now, w.copy())
    pulled = np.vdot(before_bar, d_before) + np.vdot(delta[network.inputs], d_inputs)
    for layer, dW, d_raw in zip(
        network.layers, network.matrices(v), network.parameters(v), strict=True
    ):
        W = network.matrices(theta)[network.layers.index(layer)]
        pulled += sum(
            np.sum(layer.summation.weight_vjp(W, X, d) * dW)
            for d, X in layer.weight_products(before, now, delta)
        )
        if layer.work:
            pulled += np.sum(layer.split_work(delta)[2] * d_raw)
    assert abs(pulled - np.vdot(w, tangent)) < 1e-13 * np.linalg.norm(
        w
    ) * np.linalg.norm(tangent)


@plain_cells
def test_tables_agree_with_the_layers(architecture):
    network = network_of(architecture)
    layers, sources = network.tables()
    assert len(layers) == len(architecture.hidden) + 1
    for layer, (first_unit, end_unit, kind, place, first, end) in zip(
        network.layers, layers[:, :6], strict=True
    ):
        assert (first_unit, end_unit, place) == (
            layer.units.start,
            layer.units.stop,
            layer.weights.start,
        )
        assert KINDS[kind] == CELLS[layer.cell].ACTIVATION
        assert sources[first:end].tolist() == [
            [s.units.start, s.units.stop, s.lag, KINDS.index(s.output)]
            for s in layer.sources
        ]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"hidden": ()}, "`hidden` : every layer needs at least one unit"),
        ({"hidden": (4, 0)}, "`hidden` 4,0: every layer needs at least one unit"),
        ({"cell": "elman"}, "`cell` elman: must be one of tanh, "),
        (
            {"skip": (1,)},
            "`skip` 1: a skip goes from the input to layer 2 or above; "
            "there are 2 hidden layers",
        ),
        (
            {"skip": (3,)},
            "`skip` 3: a skip goes from the input to layer 2 or above; "
            "there are 2 hidden layers",
        ),
        ({"recurrent": (0,)}, "`recurrent` 0: there are hidden layers 1 to 2"),
        ({"recurrent": (1, 3)}, "`recurrent` 3: there are hidden layers 1 to 2"),
        ({"scheme": "heun"}, "`scheme` heun: must be one of fused, euler, rk4"),
        ({"unfold": 0}, "`unfold` 0: a control step needs at least 1 solver step"),
        (
            {"cell": "cfc", "unfold": 6},
            "`scheme` fused `unfold` 6 with `cell` cfc: "
            "the step of this cell is one formula",
        ),
        (
            {"cell": "cfc", "scheme": "rk4"},
            "`scheme` rk4 `unfold` 1 with `cell` cfc: "
            "the step of this cell is one formula",
        ),
        (
            {"time_constants": (0.0, 1.0)},
            "`time_constants` 0..1 control steps: give two positive times",
        ),
        (
            {"cell": "ltc", "scheme": "euler", "time_constants": (0.2, 1.0)},
            "`time_constants` from 0.2 control steps: euler with "
            "`unfold` 1 is unstable there; give `unfold` 3 or more",
        ),
    ],
)
def test_invalid_architecture_raises_one_line(options, message):
    with pytest.raises(UsageError) as caught:
        Architecture(**options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
