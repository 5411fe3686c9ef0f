"""States between the steps of the solver, where they are known in closed form."""

import numpy as np
import pytest

from hfcontrol.closed_loop.continuous.paths import Path, states_at
from hfcontrol.closed_loop.continuous.tableaus import TSIT5

# Steps of different length, and times in each of them, on their ends and at both ends.
STEPS = np.array([0.5, 0.7, 1.2, 1.25, 2.0])
TIMES = np.array([0.5, 0.55, 0.7, 0.9, 1.15, 1.2, 1.22, 1.25, 1.6, 1.99, 2.0])

# A quartic of two states in two trials: its rates do not depend on the state.
QUARTIC = np.random.default_rng(0).standard_normal((5, 2, 2))
CUBIC = np.arange(1, 5)[:, None, None] * QUARTIC[1:]


def values(coefficients, times):
    """A polynomial, lowest power first, at times of any shape."""
    powers = np.asarray(times)[..., None] ** np.arange(len(coefficients))
    return np.tensordot(powers, coefficients, axes=1)


def test_the_interpolant_is_exact_for_quartics():
    """It has order 4, so each step must be interpolated by its own rates."""
    lengths = np.diff(STEPS)[:, None]
    rates = values(CUBIC, STEPS[:-1, None] + lengths * TSIT5[2])
    path = Path(STEPS, values(QUARTIC, STEPS), rates)
    found = states_at(path, TIMES, fixed=False)
    np.testing.assert_allclose(found, values(QUARTIC, TIMES), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("times", [TIMES, TIMES[::-1], TIMES[3:4]])
def test_fixed_steps_are_joined_by_lines(times):
    path = Path(STEPS, values(QUARTIC, STEPS), np.zeros((4, 1, 2, 2)))
    found = states_at(path, times, fixed=True)
    for state in np.ndindex(2, 2):
        line = np.interp(times, STEPS, path.states[(slice(None), *state)])
        np.testing.assert_allclose(found[(slice(None), *state)], line, rtol=1e-12)
