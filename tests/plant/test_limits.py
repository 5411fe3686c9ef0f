"""Limits of the controls: bounds, the smooth map from commands, and mistakes."""

import math

import numpy as np
import pytest
from helpers import central_difference

from hfcontrol.kernels import scalar_steps
from hfcontrol.plant.limits import ControlLimits, read_bounds, rest_within

INF = math.inf
TYPICAL = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 1.0])
BOUNDS = ((0, 5), (-1, 2), (0.2, None), (None, -4), None, 1.5)


def limits_of(bounds=BOUNDS, typical=TYPICAL):
    low, high = read_bounds(bounds, len(typical))
    return ControlLimits(low, high, np.array(typical))


def commands(rng, size=3.0, trials=9):
    return size * rng.standard_normal((4, len(TYPICAL), trials))


def test_bounds_are_read_for_each_control():
    expected = [[0, -1, 0.2, -INF, -INF, -1.5], [5, 2, INF, -4, INF, 1.5]]
    np.testing.assert_array_equal(read_bounds(BOUNDS, 6), expected)
    np.testing.assert_array_equal(read_bounds(2, 3), [[-2] * 3, [2] * 3])
    np.testing.assert_array_equal(read_bounds(((0, INF),), 1), [[0], [INF]])


@pytest.mark.parametrize(
    "array, same",
    [
        (np.array(2.0), 2.0),
        (np.array([2, 3]), (2, 3)),
        (np.array([[0, 5], [-1, 2]]), ((0, 5), (-1, 2))),
        ((np.array(2), np.array([0, 5])), (2, (0, 5))),
    ],
)
def test_bounds_may_be_arrays(array, same):
    np.testing.assert_array_equal(read_bounds(array, 2), read_bounds(same, 2))


@pytest.mark.parametrize(
    "value, words",
    [
        ((1, 2, 3), "holds 3 entries"),
        (0.0, "numbers above zero"),
        (math.nan, "numbers above zero"),
        (True, "numbers above zero"),
        (np.array(-1.0), "numbers above zero"),
        (np.array("5"), "numbers above zero"),
        ((np.array([[1, 2]]), 1), "pairs (lower, upper)"),
        ("5", "numbers above zero"),
        (((5, 0), 1), "a lower and a larger upper bound"),
        (((math.nan, 0), 1), "a lower and a larger upper bound"),
        (((INF, None), 1), "a lower and a larger upper bound"),
        (((0, 1, 2), 1), "pairs (lower, upper)"),
    ],
)
def test_wrong_bounds_are_named(value, words):
    with pytest.raises(ValueError) as caught:
        read_bounds(value, 2)
    assert words in str(caught.value)


def test_controls_stay_within_their_bounds(rng):
    limits = limits_of()
    u = limits.apply(commands(rng, 100.0))
    low, high = limits.bounds[:, :, None]
    assert (low <= u).all() and (u <= high).all()
    np.testing.assert_array_equal(limits.clip(u), u)


def test_a_range_about_zero_is_the_scaled_hyperbolic_tangent(rng):
    limits = limits_of((2.0, None), [1.0, 1.0])
    c = rng.standard_normal((3, 2, 5))
    u = limits.apply(c)
    np.testing.assert_array_equal(u[:, 0], 2.0 * np.tanh(c[:, 0] / 2.0))
    np.testing.assert_array_equal(u[:, 1], c[:, 1])


def test_far_from_the_bounds_a_control_is_its_command():
    limits = limits_of()
    c = np.array([2.5, 0.5, 100.0, -200.0, 7.0, 0.0])[:, None]
    np.testing.assert_allclose(limits.apply(c), c, rtol=1e-12)
    np.testing.assert_allclose(limits.slope(c), 1.0, rtol=1e-12)


def test_slope_is_the_derivative(rng):
    """The dot product test: <w, S v> = <S w, v> with S v from differences."""
    limits = limits_of()
    c, v, w = commands(rng), commands(rng, 1.0), commands(rng, 1.0)
    forward = central_difference(limits.apply, c, v)
    assert (w * forward).sum() == pytest.approx(((limits.slope(c) * w) * v).sum(), 1e-8)


def test_commands_invert_the_smooth_limits(rng):
    limits = limits_of()
    c = commands(rng, 1.0)
    np.testing.assert_allclose(limits.commands_of(limits.apply(c)), c, 1e-9, 1e-9)


def test_saturated_controls_have_finite_commands():
    """Within a thousandth of half a range, or of the softness."""
    limits = limits_of()
    has_bound = np.isfinite(limits.bounds)[:, :, None]
    at_bounds = np.where(has_bound, limits.bounds[:, :, None], 0.0)
    c = limits.commands_of(at_bounds)
    assert np.isfinite(c).all()
    near = np.abs(limits.apply(c) - at_bounds)[has_bound]
    np.testing.assert_allclose(near[:3], [2.5e-3, 1.5e-3, 0.5e-3], 1e-9)
    assert near.max() < 3.0e-3 + 1e-12
    np.testing.assert_array_equal(limits.is_saturated(at_bounds)[has_bound], True)
    inside = np.array([2.5, 0.5, 0.3, -4.1, 9.0, 0.0])[:, None]
    assert not limits.is_saturated(inside).any()


def test_smaller_limits_lie_inside():
    small = limits_of().shrink(0.9)
    expected = [
        [0.25, -0.85, 0.25, -INF, -INF, -1.35],
        [4.75, 1.85, INF, -4.3, INF, 1.35],
    ]
    np.testing.assert_allclose(small.bounds, expected, rtol=1e-14)


def test_formulas_of_kernels_equal_those_of_arrays(rng):
    """The scalar formulas of CPU and CUDA kernels; 800 would overflow e^z."""
    limits = limits_of()
    c = np.concatenate([commands(rng).reshape(6, -1), np.full((6, 1), 800.0)], axis=1)
    u, slope = limits.apply(c), limits.slope(c)
    for k, row in enumerate(limits.table.T):
        for n in range(c.shape[1]):
            value = scalar_steps.limit_command(c[k, n], *row)
            assert value == pytest.approx(u[k, n], rel=1e-14)
            found = scalar_steps.limit_slope(value, *row)
            assert found == pytest.approx(slope[k, n], rel=1e-12, abs=1e-15)


def test_rest_is_zero_or_inside():
    bounds = read_bounds(((0, 5), (1, 2), (3, None), (None, -4), None, 1), 6)
    rest = rest_within(bounds, TYPICAL)
    np.testing.assert_array_equal(rest, [0, 1.5, 3.5, -7, 0, 0])
    np.testing.assert_array_equal(rest_within(None, TYPICAL), np.zeros(6))
