"""arm1: one link turned by a torque at its joint, with a point mass at its end.

There is no gravity, so that q'' = u / (m l^2). The plant is linear: the
linear-quadratic regulator is its exact solution. The plant uses semi-implicit Euler
steps: q' += dt q'', then q += dt q' with the new rate.

Source: the one-link arm of "Deep learning for control using augmented Hessian-free
optimization" (blog post).
"""

import math

import numpy as np

STATE = ("angle", "rate")
CONTROL = ("torque",)
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("rad", "rad/s"),
    "control": ("N m",),
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "mass": 1.98,  # [kg]
    "length": 0.31,  # [m]
}
# Indices of the parameters in p, in the order of PARAMS.
MASS, LENGTH = range(2)

DT = 0.01  # [s]
INTEGRATOR = "semi_implicit"
TYPICAL = {"state": (1.0, 1.0), "control": (1.0,)}
TAPER = 2 * math.pi  # [rad, rad/s]


def dynamics(x, u, p, dx):
    """Write the time derivative dx (2,) [rad/s, rad/s^2]; u (1,) is a torque [N m]."""
    dx[0] = x[1]
    dx[1] = u[0] / (p[MASS] * p[LENGTH] ** 2)


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the link's end, z (4,)."""
    z[0] = p[LENGTH] * math.cos(x[0])
    z[1] = p[LENGTH] * math.sin(x[0])
    z[2] = -p[LENGTH] * math.sin(x[0]) * x[1]
    z[3] = p[LENGTH] * math.cos(x[0]) * x[1]


def links(x, p):
    """Return the positions of joint and hand (2, 2) [m]."""
    hand = [p[LENGTH] * np.cos(x[0]), p[LENGTH] * np.sin(x[0])]
    return np.array([[0.0, 0.0], hand])


ANGLE = {
    "generator": "angles",
    "start": (0.0,),  # [rad]
    "targets": (-1.0, 1.0),  # [rad], first and last
    "trials": 16,
    "steps": 50,
    # With a weight of 1, the optimum itself misses its target by 0.035 rad.
    "final": 60.0,
    "running": 0.05,
    "effort": 1e-3,
    "success": {"hand": 0.01, "rates": 0.1},  # [m], [rad/s]
}
ANYWHERE = {
    **ANGLE,
    "generator": "anywhere",
    "range": ((-1.0, 1.0),),  # [rad]
    "trials": 64,
    "success": {"hand": 0.02, "rates": 0.2},  # [m], [rad/s]
}
TASKS = {
    "angle": ANGLE,
    "out_and_back": {
        **ANGLE,
        "generator": "angles_and_back",
        "steps": 100,
        "final_at": (0.5, 1.0),
        "final": 1.0,
        "running": 0.0,
        "effort": 1e-5,
    },
    "anywhere": {**ANYWHERE, "random": True},
    "follow": {
        **ANYWHERE,
        "generator": "follow",
        "steps": 150,
        "final": 0.0,
        "running": 1.0,
        # With 1e-3, the optimum itself lags behind fast strokes by more than 2 cm.
        "effort": 1e-4,
        "preview": (0.05, 0.1, 0.2),  # [s]
        "success": {"hand": 0.02},  # [m]
    },
    "posture": {
        **ANYWHERE,
        "generator": "stay",
        "steps": 80,
        "push": 1.0,  # [rad/s]
    },
}
