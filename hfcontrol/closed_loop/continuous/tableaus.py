"""Runge-Kutta tableaus: stage coefficients a (s, s), weights b (s,) and times c (s,).

The adaptive one also has error weights e (s,) and the polynomials of its interpolant
(s, 4), b_i(p) = p (d_i0 + d_i1 p + d_i2 p^2 + d_i3 p^3).
"""

from typing import TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array

# Plain tuples, as compiled code takes them.
Tableau: TypeAlias = tuple[Array, Array, Array]
AdaptiveTableau: TypeAlias = tuple[Array, Array, Array, Array, Array]

EULER: Tableau = (np.zeros((1, 1)), np.ones(1), np.zeros(1))

RK4: Tableau = (
    np.array([[0, 0, 0, 0], [0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1.0, 0]]),
    np.array([1, 2, 2, 1]) / 6,
    np.array([0, 0.5, 0.5, 1.0]),
)

MIDPOINT: Tableau = (
    np.array([[0, 0], [0.5, 0]]),
    np.array([0, 1.0]),
    np.array([0, 0.5]),
)

# Rows of a after the first, which is zero; the last one is b, since the last stage is
# the first one of the next step.
_TSIT5_STAGES = (
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (
        5.325864828439257,
        -11.748883564062828,
        7.4955393428898365,
        -0.09249506636175525,
    ),
    (
        5.86145544294642,
        -12.92096931784711,
        8.159367898576159,
        -0.071584973281401,
        -0.028269050394068383,
    ),
    (
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
    ),
)

_TSIT5_TIMES = (0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0)

_TSIT5_ERROR = (
    -0.00178001105222577714,
    -0.0008164344596567469,
    0.007880878010261995,
    -0.1447110071732629,
    0.5823571654525552,
    -0.45808210592918697,
    1 / 66,
)

_TSIT5_INTERPOLANT = (
    (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
    (0, 0.1317, -0.2234, 0.1017),
    (0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
    (0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
    (0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
    (0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
    (0, 1.5, -4.0, 2.5),
)


def _make_tsit5() -> AdaptiveTableau:
    """Return the tableau of Tsit5, of order 5, with an error estimate of order 4.

    Tsitouras, "Runge-Kutta pairs of order 5(4) satisfying only the first column
    simplifying assumption" (2011), with its free interpolant of order 4.
    """
    a = np.zeros((7, 7))
    for i, row in enumerate(_TSIT5_STAGES, 1):
        a[i, :i] = row
    times = np.array(_TSIT5_TIMES)
    error = np.array(_TSIT5_ERROR)
    return a, a[6].copy(), times, error, np.array(_TSIT5_INTERPOLANT)


TSIT5 = _make_tsit5()


def _step_alone(tableau: AdaptiveTableau) -> Tableau:
    """Return a tableau without its last stage, which only the error estimate needs."""
    a, b, c, _, _ = tableau
    return a[:-1, :-1].copy(), b[:-1].copy(), c[:-1].copy()


STEP5 = _step_alone(TSIT5)
