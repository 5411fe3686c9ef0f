"""diffdrive: a robot on two driven wheels, side by side, whose accelerations are the controls.

    x' = r/2 (left + right) cos(heading)     y' = r/2 (left + right) sin(heading)     heading' = r/b (right - left)

with wheels of radius r, b apart, that turn at the speeds `left` and `right` and do not slip.

One step of 0.05 s is exact to 1e-6 of a typical size over 5 s of random controls.

Source: the differential drive of Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021).
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
BASE, RADIUS = range(2)  # places of the parameters in p

DT, INTEGRATOR = 0.05, "rk4"  # [s]
TYPICAL = {"state": (5.0, 5.0, 3.0, 5.0, 5.0), "control": (5.0, 5.0)}


def dynamics(x, u, p, dx):
    """Rates of the state (5,) under the wheels' accelerations u (2,) [rad/s^2]."""
    speed = p[RADIUS] / 2 * (x[3] + x[4])
    dx[0] = speed * math.cos(x[2])
    dx[1] = speed * math.sin(x[2])
    dx[2] = p[RADIUS] / p[BASE] * (x[4] - x[3])
    dx[3] = u[0]
    dx[4] = u[1]


def jacobian(x, u, p, A, B):
    """Derivatives A (5, 5) and B (5, 2) of the rates."""
    half, turn = p[RADIUS] / 2, p[RADIUS] / p[BASE]
    along, across = half * math.cos(x[2]), half * math.sin(x[2])
    A[0, 2] = -(x[3] + x[4]) * across
    A[0, 3] = A[0, 4] = along
    A[1, 2] = (x[3] + x[4]) * along
    A[1, 3] = A[1, 4] = across
    A[2, 3] = -turn
    A[2, 4] = turn
    B[3, 0] = B[4, 1] = 1.0


def observe(x, p, y):
    """Position by 5 m, heading by sine and cosine, wheel speeds by 5 rad/s."""
    y[0] = x[0] / 5
    y[1] = x[1] / 5
    y[2] = math.sin(x[2])
    y[3] = math.cos(x[2])
    y[4] = x[3] / 5
    y[5] = x[4] / 5


def observe_jacobian(x, p, C):
    """Derivatives C (6, 5) of what is seen."""
    C[0, 0] = C[1, 1] = C[4, 3] = C[5, 4] = 0.2
    C[2, 2] = math.cos(x[2])
    C[3, 2] = -math.sin(x[2])


def output(x, p, z):
    """Position [m] and velocity [m/s] of the middle between the wheels."""
    speed = p[RADIUS] / 2 * (x[3] + x[4])
    z[0] = x[0]
    z[1] = x[1]
    z[2] = speed * math.cos(x[2])
    z[3] = speed * math.sin(x[2])


def links(x, p):
    """The outline from the middle over the left wheel, the nose and the right wheel back to the middle (5, 2) [m]."""
    ahead = np.array([np.cos(x[2]), np.sin(x[2])])
    left, nose = p[BASE] / 2 * np.array([-ahead[1], ahead[0]]), p[RADIUS] * ahead
    return x[:2] + np.array([0 * left, left, nose, -left, 0 * left])


def away(x, u, target, p, r):
    """Distance from the origin and speeds of the wheels."""
    r[0] = x[0]
    r[1] = x[1]
    r[2] = x[3]
    r[3] = x[4]


TASKS = {
    "stabilise": {  # the source's cost: integral of x^2 + y^2 + 0.1 (left^2 + right^2 + u.u)
        "generator": "around",
        "start": (0.0, 0.0, math.pi, 0.0, 0.0),
        "spread": (5.0, 5.0, math.pi, 0.0, 0.0),  # [m, m, rad]
        "target": (0.0, 0.0, math.nan, 0.0, 0.0),  # whatever the heading
        "trials": 128,
        "steps": 100,  # 5 s
        "residual": away,
        "residuals": ("x", "y", "left", "right"),
        "residual_weight": (2 * DT, 2 * DT, 0.2 * DT, 0.2 * DT),
        "final": 0.0,
        "effort": 0.2 * DT,
        "train": {"grow": 12},
        "success": {"hand": 0.3},  # [m]
    },
}
