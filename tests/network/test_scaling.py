"""Networks in typical sizes equal ordinary networks on scaled signals."""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.network.architecture import Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.input_scaling import Typical
from hfcontrol.network.network import Network
from hfcontrol.network.scaling import Scaling
from hfcontrol.optim.curvature import GaussNewton

CELLS = ("tanh", "gru", "lstm", "cfc", "ltc_conductance", "neural_ode")


def scaled(architecture, n_input=3, n_output=2, constraint=False):
    """A network, its scaling and a random theta."""
    rng = np.random.default_rng(0)
    network = Network(architecture, n_input, n_output)
    inner = None
    if constraint:
        inner = Constraint(network, np.random.default_rng(1), 0.6, ("1",), 0.5)
    inputs = Typical(100 * rng.standard_normal(n_input), rng.uniform(0.01, 50, n_input))
    outputs = Typical(rng.standard_normal(n_output), rng.uniform(0.1, 9, n_output))
    network.weight_map = Scaling(network, inputs, outputs, inner)
    theta = network.initial(rng) + 0.1 * rng.standard_normal(network.size)
    return network, network.weight_map, theta


def outputs_of(network, weights, signals):
    """Outputs (T, n, N) of a network with weights (P,) on signals (T, n, N)."""
    activations = np.zeros((network.n_activations, signals.shape[2]))
    found = []
    for signal in signals:
        activations = network.step(weights, activations, signal)
        found.append(activations[network.outputs])
    return np.array(found)


@pytest.mark.parametrize("linear_path", [False, True], ids=["plain", "linear-path"])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_are_those_of_the_network_on_scaled_signals(cell, linear_path):
    network, scaling, theta = scaled(
        Architecture((5, 4), cell, linear_path=linear_path)
    )
    signals = np.random.default_rng(2).standard_normal((6, 3, 4))
    raw = scaling.inputs.mean[:, None] + scaling.inputs.size[:, None] * signals
    expected = outputs_of(network, theta, signals) * scaling.outputs.size[:, None]
    expected += scaling.outputs.mean[:, None]
    got = outputs_of(network, network.weights(theta), raw)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("constraint", [False, True], ids=["free", "constraint"])
@pytest.mark.parametrize("cell", ("tanh", "gru", "ltc_conductance"))
def test_tangent_and_cotangent_are_those_of_the_weights(cell, constraint):
    if constraint and cell == "ltc_conductance":
        pytest.skip("synapses have no constraints")
    network, scaling, theta = scaled(
        Architecture((5, 4), cell, linear_path=True), constraint=constraint
    )
    v, w = np.random.default_rng(3).standard_normal((2, theta.size))
    if constraint:
        v[scaling.inner.frozen] = 0.0
    h = 1e-6
    difference = (network.weights(theta + h * v) - network.weights(theta - h * v)) / (
        2 * h
    )
    tangent = network.weights_jvp(theta, v)
    scale = np.abs(tangent).max()
    np.testing.assert_allclose(tangent, difference, rtol=1e-6, atol=1e-8 * scale)
    assert w @ tangent == pytest.approx(network.weights_vjp(theta, w) @ v, rel=1e-12)
    rows = np.stack([w, 2 * w]).reshape(2, 1, -1)
    np.testing.assert_array_equal(
        network.weights_vjp(theta, rows)[1, 0], network.weights_vjp(theta, 2 * w)
    )


@pytest.mark.parametrize("cell", CELLS)
def test_unscale_inverts_the_map(cell):
    network, scaling, theta = scaled(Architecture((5, 4), cell, linear_path=True))
    again = scaling.unscale(network.weights(theta))
    np.testing.assert_allclose(again, theta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_gradient_products_and_rows_are_those_of_the_scaled_function(fused):
    architecture = Architecture((5, 4), linear_path=True)
    loop = loop_of(architecture=architecture, fused=fused)
    network = loop.network
    rng = np.random.default_rng(4)
    network.weight_map = Scaling(
        network,
        Typical(rng.standard_normal(network.n_input), np.full(network.n_input, 3.0)),
        Typical(np.zeros(network.n_output), np.full(network.n_output, 0.5)),
    )
    theta = network.initial(rng)
    linear = loop.linearise(loop.rollout(theta))
    v = rng.standard_normal(theta.size)
    h = 1e-5
    up, down = (loop.rollout(theta + s * h * v).loss for s in (1, -1))
    assert linear.gradient @ v == pytest.approx((up - down) / (2 * h), rel=1e-6)
    J = linear.rows(loop.scenario.cost.active_residuals()).reshape(-1, theta.size)
    np.testing.assert_allclose(
        GaussNewton(linear) @ v, J.T @ (J @ v) / loop.trials, rtol=1e-8, atol=1e-12
    )


def test_untrained_network_is_the_same_with_a_linear_path():
    signals = np.random.default_rng(5).standard_normal((4, 3, 2))
    found = []
    for linear_path in (False, True):
        network = Network(Architecture((5, 4), linear_path=linear_path), 3, 2)
        theta = network.initial(np.random.default_rng(6))
        found.append(outputs_of(network, theta, signals))
    np.testing.assert_array_equal(found[0], found[1])
