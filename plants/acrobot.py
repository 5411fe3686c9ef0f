"""acrobot: two links that hang from a hinge, driven at the elbow alone.

At shoulder angle 0 the upper link hangs down; at elbow angle 0 the arm is straight.
The equations of motion are M(q) q'' + h(q, q') + g(q) = (0, torque). The links' centres
of mass are at s1 and s2 along the links, with the inertias i1 and i2 about them.

    M = [[i1 + m1 s1^2 + m2 l1^2 + I2 + 2 c cos q2, I2 + c cos q2],
         [I2 + c cos q2,                            I2]]
    h = (-c sin(q2) (2 q1' + q2') q2',  c sin(q2) q1'^2)
    g = G ((m1 s1 + m2 l1) sin q1 + m2 s2 sin(q1 + q2),  m2 s2 sin(q1 + q2))

    c = m2 l1 s2      I2 = i2 + m2 s2^2

The task of the source is to bring the tip one length above the hinge with a motor of
1 N m. Here a motor of 10 N m brings the tip upright in 5 s.

After 5 s of random torques, the median error of steps of 0.05 s is 1e-3 of a typical
size.

Source: Sutton and Barto, "Reinforcement Learning" (1998), section 11.3, with its
numbers. The robot is that of Spong, "The swing up control problem for the acrobot"
(IEEE Control Systems 1995).
"""

import math

import numpy as np

STATE = ("shoulder", "elbow", "shoulder_rate", "elbow_rate")
CONTROL = ("elbow_torque",)
OBSERVATION = (
    "sin_shoulder",
    "cos_shoulder",
    "sin_elbow",
    "cos_elbow",
    "shoulder_rate",
    "elbow_rate",
)
OUTPUT = ("tip_x", "tip_y")
UNITS = {
    "state": ("rad", "rad", "rad/s", "rad/s"),
    "control": ("N m",),
    "observation": ("", "", "", "", "5 rad/s", "5 rad/s"),
    "output": ("m", "m"),
}

PARAMS = {
    "upper_mass": 1.0,  # [kg]
    "lower_mass": 1.0,  # [kg]
    "upper_length": 1.0,  # [m]
    "lower_length": 1.0,  # [m]
    "upper_centre": 0.5,  # [m], from the hinge
    "lower_centre": 0.5,  # [m], from the elbow
    "upper_inertia": 1.0,  # [kg m^2], about the centre of mass
    "lower_inertia": 1.0,  # [kg m^2], about the centre of mass
    "gravity": 9.8,  # [m/s^2]
}
# Indices of the parameters in p, in the order of PARAMS.
M1, M2, L1, L2, S1, S2, I1, I2, G = range(9)

DT = 0.05  # [s]
INTEGRATOR = "rk4"
LIMIT = 10.0  # [N m]
TYPICAL = {"state": (1.0, 1.0, 5.0, 5.0), "control": (10.0,)}


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,) [rad/s, rad/s^2]; u (1,) is a torque [N m]."""
    coupling = p[M2] * p[L1] * p[S2]
    lower = p[I2] + p[M2] * p[S2] ** 2
    cosine = math.cos(x[1])
    sine = math.sin(x[1])
    m11 = (
        p[I1] + p[M1] * p[S1] ** 2 + p[M2] * p[L1] ** 2 + lower + 2 * coupling * cosine
    )
    m12 = lower + coupling * cosine
    m22 = lower
    g2 = p[G] * p[M2] * p[S2] * math.sin(x[0] + x[1])
    g1 = p[G] * (p[M1] * p[S1] + p[M2] * p[L1]) * math.sin(x[0]) + g2
    f1 = coupling * sine * (2 * x[2] + x[3]) * x[3] - g1
    f2 = u[0] - coupling * sine * x[2] ** 2 - g2
    # M is positive definite, so det > 0 in every posture.
    det = m11 * m22 - m12 * m12
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = (m22 * f1 - m12 * f2) / det
    dx[3] = (m11 * f2 - m12 * f1) / det


def observe(x, p, y):
    """Write sine and cosine of the angles, and the rates in 5 rad/s, y (6,)."""
    for i in range(2):
        y[2 * i] = math.sin(x[i])
        y[2 * i + 1] = math.cos(x[i])
        y[4 + i] = x[2 + i] / 5


def output(x, p, z):
    """Write the position [m] of the lower link's tip, z (2,); y points up."""
    z[0] = p[L1] * math.sin(x[0]) + p[L2] * math.sin(x[0] + x[1])
    z[1] = -p[L1] * math.cos(x[0]) - p[L2] * math.cos(x[0] + x[1])


def links(x, p):
    """Return the positions of hinge, elbow and tip (3, 2) [m]."""
    angles = np.cumsum(x[:2])
    directions = np.column_stack([np.sin(angles), -np.cos(angles)])
    steps = np.array([p[L1], p[L2]])[:, None] * directions
    return np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])


def lean(x, u, target, p, r):
    """Write each link's distance from upright, in its lengths, and the rates, r (6,).

    The values do not depend on the direction in which the links were swung up.
    """
    both = x[0] + x[1]
    r[0] = math.sin(x[0])
    r[1] = 1 + math.cos(x[0])
    r[2] = math.sin(both)
    r[3] = 1 + math.cos(both)
    r[4] = x[2]
    r[5] = x[3]


def stands(x, goal):
    """Return which trials (N,) end upright and at rest, to 0.2 [rad, rad/s].

    Any number of turns on the way up is allowed.
    """
    upper = 2 * np.cos(x[0] / 2)
    lower = 2 * np.cos((x[0] + x[1]) / 2)
    return np.linalg.norm([upper, lower, x[2], x[3]], axis=0) < 0.2


TASKS = {
    "swing_up": {
        "generator": "around",
        "start": (0.0, 0.0, 0.0, 0.0),
        "spread": (0.5, 0.5, 0.0, 0.0),  # [rad]
        "target": (math.pi, 0.0, 0.0, 0.0),
        "trials": 64,
        "steps": 160,  # 8 s
        "residual": lean,
        "residuals": (
            "upper_x",
            "upper_y",
            "lower_x",
            "lower_y",
            "shoulder_rate",
            "elbow_rate",
        ),
        # Integral of 2 (1 + cos) of each link + 0.1 of the squared rates + 0.02 u^2.
        "residual_weight": (2 * DT, 2 * DT, 2 * DT, 2 * DT, 0.2 * DT, 0.2 * DT),
        "final": 0.0,
        "effort": 0.04 * DT,
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
        "start": (math.pi, 0.0, 0.0, 0.0),
        # [rad, rad/s]. With twice this spread the motor is sometimes too weak.
        "spread": (0.05, 0.05, 0.05, 0.05),
        "target": (math.pi, 0.0, 0.0, 0.0),
        "trials": 64,
        "steps": 100,
        "final": 1.0,
        # Integral of the squared deviation from upright + 0.01 u^2.
        "running": 2 * DT,
        "effort": 0.02 * DT,
        "success": {"state": 0.2},  # [rad, rad/s]
    },
}
