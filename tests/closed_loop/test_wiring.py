"""Control limits and their inverse."""

import numpy as np

from hfcontrol.closed_loop.wiring import Wiring

WIRING = Wiring(0, 0, np.array([2.0, np.inf]), np.full(3, np.inf))


def test_the_inverse_of_the_limit_gives_the_commands_back():
    command = np.array([[-5.0, 0.0, 0.3, 4.0], [-9.0, 0.0, 1.0, 50.0]])
    control = WIRING.apply_limit(command)
    np.testing.assert_allclose(WIRING.invert_limit(control), command, rtol=1e-9)


def test_a_control_at_or_beyond_its_limit_has_a_finite_command():
    command = WIRING.invert_limit(np.array([[2.0, -3.0], [7.0, -7.0]]))
    np.testing.assert_array_equal(command[1], [7.0, -7.0])
    assert np.isfinite(command).all()
    control = WIRING.apply_limit(command)
    np.testing.assert_allclose(control[0], [2.0, -2.0], rtol=1e-8)
