"""pendulum: a mass on a rod that a motor at the hinge turns; angle 0 hangs down, pi stands upright.

    m l^2 angle'' = torque - friction angle' - m g l sin(angle)

The motor's limit is half the torque that gravity has on a level rod: to come up the pendulum must be swung to and fro.

One step of 0.05 s is exact to 1e-4 of a typical size, in the median, after 5 s of random torques.

Source: the pendulum in the code of Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021).
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
M, L, G, FRICTION = range(4)  # places of the parameters in p

DT, INTEGRATOR = 0.05, "rk4"  # [s]
LIMIT = 4.9  # [N m]
TYPICAL = {"state": (1.0, 5.0), "control": (5.0,)}


def dynamics(x, u, p, dx):
    """Rates of the state (2,) [rad/s, rad/s^2] under the torque u (1,) [N m]."""
    dx[0] = x[1]
    dx[1] = (u[0] - p[FRICTION] * x[1]) / (p[M] * p[L] ** 2) - p[G] / p[L] * math.sin(
        x[0]
    )


def observe(x, p, y):
    """The angle by sine and cosine, its rate by 5 rad/s."""
    y[0] = math.sin(x[0])
    y[1] = math.cos(x[0])
    y[2] = x[1] / 5


def output(x, p, z):
    """Position of the mass [m]; y points up."""
    z[0] = p[L] * math.sin(x[0])
    z[1] = -p[L] * math.cos(x[0])


def links(x, p):
    """Hinge and mass (2, 2) [m]."""
    return np.array([[0.0, 0.0], [p[L] * np.sin(x[0]), -p[L] * np.cos(x[0])]])


def lean(x, u, target, p, r):
    """Distance of the mass from the top, in lengths of the rod, and the rate: the same whichever way it came up."""
    r[0] = math.sin(x[0])
    r[1] = 1 + math.cos(x[0])
    r[2] = x[1]


def stands(x, goal):
    """Which trials (N,) end upright, whichever way they came up, and at rest, to 0.1 [rad, rad/s]."""
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
        # Integral of 2 (1 + cos angle) + 0.03 rate^2 + 0.05 u^2; the source has (|angle| - pi)^2, alike near the top,
        # 0.1 rate^2, which makes hanging still a local optimum, and 0.001 u^2, a torque that leaps between its limits.
        "residual_weight": (2 * DT, 2 * DT, 0.06 * DT),
        "final": 0.0,
        "effort": 0.1 * DT,
        "success": stands,
        "train": {
            "guide": 32,
            "cg_cap": 40,
            "recurrent": (),
        },  # all of the state is seen: memory only adds ways to go wrong
    },
    "balance": {
        "generator": "around",
        "start": (math.pi, 0.0),
        "spread": (0.3, 0.3),  # [rad, rad/s]; from pi / 6 on the motor cannot hold it
        "target": (math.pi, 0.0),
        "trials": 64,
        "steps": 100,
        "final": 1.0,
        "running": 2 * DT,  # integral of (angle - pi)^2 + 0.001 u^2
        "effort": 0.002 * DT,
        "success": {"state": 0.1},  # [rad, rad/s]
        "train": {"grow": 12},
    },
}
