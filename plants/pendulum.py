"""pendulum: a mass on a rod, turned by a motor at the hinge.

At angle 0 the mass hangs down, at pi it stands upright.

    m l^2 angle'' = torque - friction angle' - m g l sin(angle)

The limit of the motor is half the torque of gravity on a level rod. The pendulum has to
swing back and forth to come up.

After 5 s of random torques, the median error of steps of 0.05 s is 1e-4 of a typical
size.

Source: the pendulum in the code of Ainsworth et al., "Faster Policy Learning with
Continuous-Time Gradients" (L4DC 2021).
"""

import math

import numpy as np

STATE = ("angle", "angle_rate")
CONTROL = ("torque",)
OBSERVATION = ("sin_angle", "cos_angle", "angle_rate")
OUTPUT = ("tip_x", "tip_y")
UNITS = {
    "state": ("rad", "rad/s"),
    "control": ("N m",),
    "observation": ("", "", "5 rad/s"),
    "output": ("m", "m"),
}

PARAMS = {
    "mass": 1.0,  # [kg]
    "length": 1.0,  # [m]
    "gravity": 9.8,  # [m/s^2]
    "friction": 0.0,  # [N m s]
}
# Indices of the parameters in p, in the order of PARAMS.
M, L, G, FRICTION = range(4)

DT = 0.05  # [s]
INTEGRATOR = "rk4"
LIMIT = 4.9  # [N m]
TYPICAL = {"state": (1.0, 5.0), "control": (5.0,)}


def dynamics(x, u, p, dx):
    """Write the time derivative dx (2,) [rad/s, rad/s^2]; u (1,) is a torque [N m]."""
    dx[0] = x[1]
    dx[1] = (u[0] - p[FRICTION] * x[1]) / (p[M] * p[L] ** 2) - p[G] / p[L] * math.sin(
        x[0]
    )


def observe(x, p, y):
    """Write sine and cosine of the angle, and its rate in 5 rad/s, y (3,)."""
    y[0] = math.sin(x[0])
    y[1] = math.cos(x[0])
    y[2] = x[1] / 5


def output(x, p, z):
    """Write the position [m] of the mass, z (2,); y points up."""
    z[0] = p[L] * math.sin(x[0])
    z[1] = -p[L] * math.cos(x[0])


def links(x, p):
    """Return the positions of hinge and mass (2, 2) [m]."""
    mass = [p[L] * np.sin(x[0]), -p[L] * np.cos(x[0])]
    return np.array([[0.0, 0.0], mass])


def lean(x, u, target, p, r):
    """Write the distance from the top, in rod lengths, and the rate, r (3,).

    The values do not depend on the direction in which the mass was swung up.
    """
    r[0] = math.sin(x[0])
    r[1] = 1 + math.cos(x[0])
    r[2] = x[1]


def stands(x, goal):
    """Return which trials (N,) end upright and at rest, to 0.1 [rad, rad/s].

    Any number of turns on the way up is allowed.
    """
    return np.linalg.norm([2 * np.cos(x[0] / 2), x[1]], axis=0) < 0.1


TASKS = {
    "swing_up": {
        "generator": "around",
        "start": (0.0, 0.0),
        "spread": (0.5, 0.5),  # [rad, rad/s]
        "target": (math.pi, 0.0),
        "trials": 64,
        "steps": 100,  # 5 s
        "residual": lean,
        "residuals": ("tip_x", "tip_y", "angle_rate"),
        # Integral of 2 (1 + cos angle) + 0.03 rate^2 + 0.05 u^2.
        # The source has (|angle| - pi)^2, which is the same near the top; 0.1 rate^2,
        # which makes hanging still a local optimum; and 0.001 u^2, which makes the
        # torque jump between its limits.
        "residual_weight": (2 * DT, 2 * DT, 0.06 * DT),
        "final": 0.0,
        "effort": 0.1 * DT,
        "success": stands,
        "train": {
            # No law is near the optimum of a swing-up.
            "strategy": "plain",
            "guide": 32,
            "cg_cap": 40,
            # The network observes the whole state.
            "recurrent": (),
        },
    },
    "balance": {
        "generator": "around",
        "start": (math.pi, 0.0),
        # [rad, rad/s]. Beyond pi / 6 the motor is too weak to balance the mass.
        "spread": (0.3, 0.3),
        "target": (math.pi, 0.0),
        "trials": 64,
        "steps": 100,
        "final": 1.0,
        # Integral of (angle - pi)^2 + 0.001 u^2.
        "running": 2 * DT,
        "effort": 0.002 * DT,
        "success": {"state": 0.1},  # [rad, rad/s]
    },
}
