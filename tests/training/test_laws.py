"""Linear laws by least squares, in closed form."""

import numpy as np
import pytest

from hfcontrol.network.architecture import Architecture
from hfcontrol.network.input_scaling import Typical
from hfcontrol.network.network import Network
from hfcontrol.network.scaling import Scaling
from hfcontrol.training.laws import RIDGE, Law, _flatten, _ridge, start_with_law


def test_samples_follow_each_other_trial_by_trial(rng):
    signals = rng.standard_normal((3, 2, 4))
    flat = _flatten(signals)
    assert flat.shape == (12, 2)
    for time, trial in np.ndindex(3, 4):
        np.testing.assert_array_equal(flat[4 * time + trial], signals[time, :, trial])


def test_a_linear_law_is_found(rng):
    """But for the regularisation, which shrinks gains by a part of about RIDGE."""
    X = [0.1, 5.0, 100.0] * rng.standard_normal((200, 3)) + [3.0, -1.0, 50.0]
    gains, offset = rng.standard_normal((2, 3)), rng.standard_normal(2)
    law = _ridge(X, X @ gains.T + offset)
    # Each gain counts by the spread of its input.
    np.testing.assert_allclose(
        law.gains * X.std(axis=0), gains * X.std(axis=0), rtol=1e-3, atol=1e3 * RIDGE
    )
    np.testing.assert_allclose(X @ law.gains.T + law.offset, X @ gains.T + offset, 1e-3)


def test_the_law_minimises_the_regularised_squares(rng, monkeypatch):
    """The gradient vanishes; gains count in units of the inputs' spread."""
    monkeypatch.setattr("hfcontrol.training.laws.RIDGE", 0.3)
    X, Y = rng.standard_normal((50, 3)) * [1.0, 4.0, 0.2], rng.standard_normal((50, 2))
    law = _ridge(X, Y)
    error = X @ law.gains.T + law.offset - Y
    np.testing.assert_allclose(error.sum(axis=0), 0.0, atol=1e-12)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    scaled = law.gains * X.std(axis=0)
    np.testing.assert_allclose(error.T @ Z, -0.3 * 50 * scaled, rtol=1e-9)


@pytest.mark.parametrize("constant", [0.0, 7.0])
def test_a_constant_input_has_no_gain(constant, rng):
    X = rng.standard_normal((50, 2))
    Y = X @ np.array([[2.0], [3.0]]) + 1.0
    with_constant = np.column_stack([X, np.full(50, constant)])
    law, alone = _ridge(with_constant, Y), _ridge(X, Y)
    assert law.gains[0, 2] == 0.0
    np.testing.assert_allclose(law.gains[:, :2], alone.gains, rtol=1e-12)
    np.testing.assert_allclose(law.offset, alone.offset, rtol=1e-9)


def test_a_network_starts_with_a_law(rng):
    """In the plant's units, whatever the units of the network; from rest, too."""
    network = Network(Architecture((4, 3), linear_path=True), 3, 2)
    inputs = Typical(rng.standard_normal(3), rng.uniform(0.1, 9.0, 3))
    outputs = Typical(rng.standard_normal(2), rng.uniform(0.1, 9.0, 2))
    network.weight_map = Scaling(network, inputs, outputs)
    law = Law(rng.standard_normal((2, 3)), rng.standard_normal(2))
    theta = start_with_law(network, law, network.initial(rng))
    weights, activations = network.weights(theta), np.zeros((network.n_activations, 5))
    for signal in rng.standard_normal((3, 3, 5)):
        activations = network.step(weights, activations, signal)
        np.testing.assert_allclose(
            activations[network.outputs],
            law.gains @ signal + law.offset[:, None],
            rtol=1e-9,
        )


def test_without_samples_there_is_no_law():
    with pytest.raises(np.linalg.LinAlgError):
        _ridge(np.zeros((0, 3)), np.zeros((0, 2)))


def test_an_input_that_is_constant_but_for_rounding_gets_no_weight(rng):
    """Its spread says nothing."""
    X = np.stack([rng.standard_normal(50), np.full(50, 3.0)], axis=1)
    X[::2, 1] = np.nextafter(3.0, 4.0)
    law = _ridge(X, 2.0 * X[:, :1])
    assert law.gains[0, 1] == 0.0
    np.testing.assert_allclose(law.gains[0, 0], 2.0, rtol=1e-3)
