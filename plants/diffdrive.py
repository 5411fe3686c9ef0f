"""diffdrive: a robot on two driven wheels that controls the wheels' accelerations.

    x' = r/2 (left + right) cos(heading)
    y' = r/2 (left + right) sin(heading)
    heading' = r/b (right - left)

The wheels have the radius r and the distance b. They turn at the speeds `left` and
`right` and do not slip.

Steps of 0.05 s have an error of 1e-6 of a typical size over 5 s of random controls.

Source: the differential drive of Ainsworth et al., "Faster Policy Learning with
Continuous-Time Gradients" (L4DC 2021).
"""

import math

import numpy as np

STATE = ("x", "y", "heading", "left", "right")
CONTROL = ("left_acceleration", "right_acceleration")
OBSERVATION = ("x", "y", "sin_heading", "cos_heading", "left", "right")
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("m", "m", "rad", "rad/s", "rad/s"),
    "control": ("rad/s^2", "rad/s^2"),
    "observation": ("5 m", "5 m", "", "", "5 rad/s", "5 rad/s"),
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "wheel_base": 1.0,  # [m]
    "wheel_radius": 0.5,  # [m]
}
# Indices of the parameters in p, in the order of PARAMS.
BASE, RADIUS = range(2)

DT = 0.05  # [s]
INTEGRATOR = "rk4"
TYPICAL = {"state": (5.0, 5.0, 3.0, 5.0, 5.0), "control": (5.0, 5.0)}


def dynamics(x, u, p, dx):
    """Write the time derivative dx (5,); u (2,) are the accelerations [rad/s^2]."""
    speed = p[RADIUS] / 2 * (x[3] + x[4])
    dx[0] = speed * math.cos(x[2])
    dx[1] = speed * math.sin(x[2])
    dx[2] = p[RADIUS] / p[BASE] * (x[4] - x[3])
    dx[3] = u[0]
    dx[4] = u[1]


def jacobian(x, u, p, A, B):
    """Write the derivatives of `dynamics`: A (5, 5) by state, B (5, 2) by control.

    Entries that are not written stay zero.
    """
    half = p[RADIUS] / 2
    turn = p[RADIUS] / p[BASE]
    along = half * math.cos(x[2])
    across = half * math.sin(x[2])
    A[0, 2] = -(x[3] + x[4]) * across
    A[0, 3] = A[0, 4] = along
    A[1, 2] = (x[3] + x[4]) * along
    A[1, 3] = A[1, 4] = across
    A[2, 3] = -turn
    A[2, 4] = turn
    B[3, 0] = B[4, 1] = 1.0


def observe(x, p, y):
    """Write the observation, y (6,).

    Positions are in units of 5 m and wheel speeds in units of 5 rad/s. The heading is
    given by sine and cosine.
    """
    y[0] = x[0] / 5
    y[1] = x[1] / 5
    y[2] = math.sin(x[2])
    y[3] = math.cos(x[2])
    y[4] = x[3] / 5
    y[5] = x[4] / 5


def observe_jacobian(x, p, C):
    """Write the derivatives C (6, 5) of `observe`; other entries stay zero."""
    C[0, 0] = C[1, 1] = C[4, 3] = C[5, 4] = 0.2
    C[2, 2] = math.cos(x[2])
    C[3, 2] = -math.sin(x[2])


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the midpoint of the wheels, z (4,)."""
    speed = p[RADIUS] / 2 * (x[3] + x[4])
    z[0] = x[0]
    z[1] = x[1]
    z[2] = speed * math.cos(x[2])
    z[3] = speed * math.sin(x[2])


def links(x, p):
    """Return the robot's outline (5, 2) [m].

    The outline runs from the midpoint to the left wheel, the nose, the right wheel and
    back.
    """
    ahead = np.array([np.cos(x[2]), np.sin(x[2])])
    left = p[BASE] / 2 * np.array([-ahead[1], ahead[0]])
    nose = p[RADIUS] * ahead
    return x[:2] + np.array([0 * left, left, nose, -left, 0 * left])


def away(x, u, target, p, r):
    """Write the position and the speeds of the wheels, r (4,)."""
    r[0] = x[0]
    r[1] = x[1]
    r[2] = x[3]
    r[3] = x[4]


TASKS = {
    # The source's cost: integral of x^2 + y^2 + 0.1 (left^2 + right^2 + u.u).
    "stabilise": {
        "generator": "around",
        "start": (0.0, 0.0, math.pi, 0.0, 0.0),
        "spread": (5.0, 5.0, math.pi, 0.0, 0.0),  # [m, m, rad]
        "target": (0.0, 0.0, math.nan, 0.0, 0.0),  # any heading
        "trials": 128,
        "steps": 100,  # 5 s
        "residual": away,
        "residuals": ("x", "y", "left", "right"),
        "residual_weight": (2 * DT, 2 * DT, 0.2 * DT, 0.2 * DT),
        "final": 0.0,
        "effort": 0.2 * DT,
        "success": {"hand": 0.3},  # [m]
    },
}
