"""Constraints on the weights: cut ones stay zero, frozen ones stay, signs hold.

Derivatives are compared with differences.
"""

import numpy as np
import pytest
from helpers import loop_of

from hfcontrol.errors import UsageError
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.network import Network
from hfcontrol.optim.curvature import GaussNewton

CASES = {
    "sparse": {"density": 0.4},
    "frozen": {"frozen": ("1",)},
    "signed": {"dale": 0.7},
    "all": {"density": 0.5, "frozen": ("2",), "dale": 0.5},
}
cases = pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())


def constrained(options, **loop):
    """A closed loop with a constrained network, and initial free parameters."""
    loop = loop_of(**loop)
    loop.network.weight_map = Constraint(
        loop.network, np.random.default_rng(3), **options
    )
    return loop, loop.network.initial(np.random.default_rng(4))


@cases
def test_slope_equals_differences(options):
    loop, theta = constrained(options)
    constraint, h = loop.network.weight_map, 1e-6
    difference = (constraint.weights(theta + h) - constraint.weights(theta - h)) / (
        2 * h
    )
    free = ~constraint.frozen
    slope = constraint.jvp(theta, np.ones(theta.size))
    np.testing.assert_allclose(slope[free], difference[free], rtol=1e-6, atol=1e-9)
    assert not slope[~free].any()


@cases
def test_start_keeps_the_sizes_of_free_weights(options):
    loop, _ = constrained(options)
    constraint = loop.network.weight_map
    drawn = np.random.default_rng(5).standard_normal(loop.network.size)
    weights = constraint.weights(constraint.start(drawn))
    free = ~constraint.cut & (np.abs(drawn) > 0.01)
    np.testing.assert_allclose(np.abs(weights[free]), np.abs(drawn[free]), rtol=1e-9)
    assert not weights[constraint.cut].any()


@cases
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_gradient_and_products_are_those_of_the_constrained_function(options, fused):
    loop, theta = constrained(options, fused=fused)
    rng, linear = np.random.default_rng(6), loop.linearise(loop.rollout(theta))
    v = rng.standard_normal(theta.size)
    # The function has a derivative along free parameters only.
    v[loop.network.weight_map.frozen] = 0.0
    h = 1e-5
    difference = (
        loop.rollout(theta + h * v).loss - loop.rollout(theta - h * v).loss
    ) / (2 * h)
    assert linear.gradient @ v == pytest.approx(difference, rel=1e-6)
    w = linear.jvp(rng.standard_normal(theta.size))
    v = rng.standard_normal(theta.size)
    assert linear.jvp(v).dot(w) == pytest.approx(linear.vjp(w) @ v, rel=1e-10)
    J = linear.rows(loop.scenario.cost.active_residuals()).reshape(-1, theta.size)
    np.testing.assert_allclose(
        GaussNewton(linear) @ v, J.T @ (J @ v) / loop.trials, rtol=1e-8, atol=1e-12
    )
    assert not linear.gradient[
        loop.network.weight_map.cut | loop.network.weight_map.frozen
    ].any()


@cases
def test_closed_form_cell_cuts_a_connection_in_all_matrices(options):
    loop, theta = constrained(options, architecture=Architecture((4, 3), cell="cfc"))
    linear = loop.linearise(loop.rollout(theta))
    v, w = np.random.default_rng(6).standard_normal((2, theta.size))
    assert linear.jvp(v).dot(linear.jvp(w)) == pytest.approx(
        linear.vjp(linear.jvp(w)) @ v, rel=1e-10
    )
    assert not linear.gradient[
        loop.network.weight_map.cut | loop.network.weight_map.frozen
    ].any()
    for layer, cut in zip(
        loop.network.layers[:2],
        loop.network.matrices(loop.network.weight_map.cut),
        strict=False,
    ):
        assert (
            cut.shape
            == layer.shape
            == (4, layer.size, layer.connections // layer.size + 1)
        )
        assert (
            (cut == cut[0]).all()
            and not cut[..., -1].any()
            and cut.any() == ("density" in options)
        )


def test_weights_that_leave_a_unit_have_one_sign():
    loop, theta = constrained({"dale": 0.5})
    network = loop.network
    weights = network.weights(
        theta + 0.3 * np.random.default_rng(7).standard_normal(theta.size)
    )
    signs = {}
    for layer, W in zip(network.layers, network.matrices(weights), strict=True):
        for source in layer.sources:
            for unit, column in zip(
                range(source.units.start, source.units.stop),
                W[:, source.columns].T,
                strict=True,
            ):
                signs.setdefault(unit, []).extend(np.sign(column))
    hidden = [
        set(signs[unit]) for unit in range(network.hidden.start, network.hidden.stop)
    ]
    assert all(len(found) == 1 for found in hidden) and {1.0, -1.0} == set.union(
        *hidden
    )


def test_every_unit_has_the_same_number_of_connections():
    loop, _ = constrained({"density": 0.4}, hidden=(10, 10))
    for layer, cut in zip(
        loop.network.layers,
        loop.network.matrices(loop.network.weight_map.cut),
        strict=True,
    ):
        for source in layer.sources:
            size = source.size
            assert (
                (~cut[:, source.columns]).sum(axis=1) == max(1, round(0.4 * size))
            ).all()
        # Biases are not cut.
        assert not cut[:, -1].any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"density": 0.0}, "`density` 0.0: a fraction above 0"),
        ({"dale": 1.5}, "`dale` 1.5: the fraction of the units"),
        ({"frozen": ("7",)}, "`freeze` 7: there are layers 1, 2, out"),
        ({"frozen": ("out", "1", "2")}, "`freeze` 1,2,out: these are all layers"),
    ],
)
def test_invalid_constraint_raises_one_line(options, message):
    with pytest.raises(UsageError) as caught:
        constrained(options)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_frozen_layer_keeps_its_time_constants(rng):
    network = Network(Architecture((4, 3), cell="ltc"), 3, 2)
    views = network.views(Constraint(network, rng, frozen=("1",)).frozen)
    assert all(
        view.all() == name.endswith("_1") and view.any() == name.endswith("_1")
        for name, view in views.items()
    )
    assert views["rate_1"].size == 4 and views["reversal_2"].size == 3
