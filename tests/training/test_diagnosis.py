"""What a diagnosis measures: sizes and growth, where they are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.training.diagnosis import (
    CONSTANT,
    PEAK_PART,
    _growth,
    measure_sizes,
    typical,
)


def test_a_rare_peak_has_a_third_of_its_distance():
    """One of 200 samples is far away: the rms alone would be too small."""
    signals = np.zeros((100, 1, 2))
    signals[3, 0, 1] = 200.0
    found = typical(signals, 1.0)
    assert found.mean == pytest.approx(1.0)
    assert found.size == pytest.approx(PEAK_PART * 199.0)


@pytest.mark.parametrize("least, size", [(0.5, 1.0), (2.0, 2.0)])
def test_a_size_has_a_least_value(least, size):
    signals = np.array([1.0, -1.0])[:, None, None]
    assert typical(signals, 9.0, least).size == [size]


@pytest.mark.parametrize("part, size", [(0.5, 3.0), (2.0, 2.0 * CONSTANT * 5.0)])
def test_a_signal_that_varies_by_rounding_is_constant(part, size):
    change = part * CONSTANT * 5.0
    signals = np.array([5.0 - change, 5.0 + change])[:, None, None]
    assert typical(signals, 3.0).size == pytest.approx(size, rel=1e-5)


def test_growth_is_the_largest_entry_of_the_product_in_typical_sizes(rng):
    A = rng.standard_normal((6, 3, 2, 2))
    size = np.array([0.1, 20.0])
    products = np.eye(2)
    for A_t in A:
        products = A_t @ products
    scaled = products / size[:, None] * size
    assert _growth(A, size) == pytest.approx(np.abs(scaled).max(), rel=1e-12)


@pytest.mark.parametrize(
    "factor, steps, growth",
    [(2.0, 10, 1024.0), (0.5, 3, 0.125), (0.0, 3, 0.0), (np.inf, 3, np.inf)],
)
def test_growth_of_a_scalar_is_a_power(factor, steps, growth):
    A = np.full((steps, 1, 1, 1), factor)
    assert _growth(A, np.ones(1)) == pytest.approx(growth)


def test_growth_beyond_all_numbers_stays_a_number():
    found = _growth(np.full((1000, 1, 1, 1), 10.0), np.ones(1))
    assert np.isfinite(found) and found > 1e300


def test_without_any_optimum_sizes_are_those_of_the_plant_file():
    """Three states, one control, two observations, and two targets."""
    plant = SimpleNamespace(
        nx=3, nu=1, ny=2, typical_state=(1.0, 2.0, 3.0), typical_control=(4.0,)
    )
    scenario = SimpleNamespace(target=np.zeros((5, 2, 6)))
    optima = SimpleNamespace(losses=np.array([np.inf, np.nan]))
    sizes = measure_sizes(plant, None, scenario, None, optima)
    assert all((part.mean == 0).all() for part in sizes)
    found = [part.size.tolist() for part in sizes]
    assert found == [[1.0, 2.0, 3.0], [4.0], [4.0], [1.0, 1.0], [1.0, 1.0]]
    assert len(sizes.inputs.size) == 4
