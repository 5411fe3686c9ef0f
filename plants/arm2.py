"""arm2: a planar arm of two links in the horizontal plane, with torques at the joints.

There is no gravity. The links are uniform rods with the equations of motion

    M(q) q'' + h(q, q') = u - friction q' + J'f

    M = [[K1 + K2 cos q2, K3 + K4 cos q2], [K3 + K4 cos q2, K3]]
    h = (-K2 sin(q2) q1' q2' - K4 sin(q2) q2'^2,  K4 sin(q2) q1'^2)

    K1 = (m1/3 + m2 + load) l1^2 + K3      K2 = (m2 + 2 load) l1 l2
    K3 = (m2/3 + load) l2^2                K4 = K2 / 2

The load is a point mass in the hand. A curl field pushes the hand with the force
f = curl (-y', x') [N], perpendicular to its velocity (x', y'). At the joints this is
J'f = curl l1 l2 sin(q2) (-q2', q1'). Friction, curl and load are zero by default.

Source: the arm of "Deep learning for control using augmented Hessian-free
optimization" (blog post). Velocity-dependent force fields: Shadmehr and Mussa-Ivaldi
(Journal of Neuroscience 1994).
"""

import math

import numpy as np

STATE = ("shoulder", "elbow", "shoulder_rate", "elbow_rate")
CONTROL = ("shoulder_torque", "elbow_torque")
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("rad", "rad", "rad/s", "rad/s"),
    "control": ("N m", "N m"),
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "upper_mass": 1.98,  # [kg]
    "lower_mass": 1.32,  # [kg]
    "upper_length": 0.31,  # [m]
    "lower_length": 0.27,  # [m]
    "friction": 0.0,  # [N m s], at each joint
    "curl": 0.0,  # [N s/m], counter-clockwise
    "load": 0.0,  # [kg]
}
# Indices of the parameters in p, in the order of PARAMS.
M1, M2, L1, L2, FRICTION, CURL, LOAD = range(7)

DT = 0.01  # [s]
INTEGRATOR = "semi_implicit"
TYPICAL = {"state": (1.0, 1.0, 1.0, 1.0), "control": (1.0, 1.0)}
# The source limits the rates to 2 pi as well, but fast reaches exceed that.
TAPER = (2 * math.pi, 2 * math.pi, 8 * math.pi, 8 * math.pi)  # [rad, rad, rad/s, rad/s]


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,) [rad/s, rad/s^2]; u (2,) are torques [N m]."""
    k2 = (p[M2] + 2 * p[LOAD]) * p[L1] * p[L2]
    k3 = p[M2] * p[L2] ** 2 / 3 + p[LOAD] * p[L2] ** 2
    k1 = (p[M1] / 3 + p[M2] + p[LOAD]) * p[L1] ** 2 + k3
    k4 = k2 / 2
    cosine = math.cos(x[1])
    sine = math.sin(x[1])
    m11 = k1 + k2 * cosine
    m12 = k3 + k4 * cosine
    m22 = k3
    field = p[CURL] * p[L1] * p[L2] * sine
    f1 = (
        u[0]
        + k2 * sine * x[2] * x[3]
        + k4 * sine * x[3] ** 2
        - p[FRICTION] * x[2]
        - field * x[3]
    )
    f2 = u[1] - k4 * sine * x[2] ** 2 - p[FRICTION] * x[3] + field * x[2]
    # M is positive definite, so det > 0 in every posture.
    det = m11 * m22 - m12 * m12
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = (m22 * f1 - m12 * f2) / det
    dx[3] = (m11 * f2 - m12 * f1) / det


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the hand, z (4,)."""
    both = x[0] + x[1]  # direction of the lower link
    both_rate = x[2] + x[3]
    z[0] = p[L1] * math.cos(x[0]) + p[L2] * math.cos(both)
    z[1] = p[L1] * math.sin(x[0]) + p[L2] * math.sin(both)
    z[2] = -p[L1] * math.sin(x[0]) * x[2] - p[L2] * math.sin(both) * both_rate
    z[3] = p[L1] * math.cos(x[0]) * x[2] + p[L2] * math.cos(both) * both_rate


def links(x, p):
    """Return the positions of shoulder, elbow and hand (3, 2) [m]."""
    angles = np.cumsum(x[:2])
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    steps = np.array([p[L1], p[L2]])[:, None] * directions
    return np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])


REACH = {
    "generator": "reach",
    "start": (0.75613, 1.8553),  # [rad]
    "radius": 0.0725,  # [m]
    "trials": 64,
    "steps": 40,
    "final": 1.0,
    "running": 0.0,
    "effort": 1e-5,
    "success": {"hand": 0.01, "rates": 0.1},  # [m], [rad/s]
}
ANYWHERE = {
    "generator": "anywhere",
    "range": ((0.0, 1.8), (0.4, 2.3)),  # [rad], of each joint
    "trials": 512,
    "steps": 60,
    "final": 30.0,
    "running": 0.05,
    "effort": 1e-3,
    "success": {"hand": 0.02, "rates": 0.2},  # [m], [rad/s]
}
TASKS = {
    "reach": REACH,
    "out_and_back": {
        **REACH,
        "generator": "reach_and_back",
        "steps": 80,
        "final_at": (0.5, 1.0),
        "train": {"grow": 4},
    },
    "anywhere": {**ANYWHERE, "random": True, "train": {"grow": 4, "batches": 4}},
    "follow": {
        **ANYWHERE,
        "generator": "follow",
        "trials": 256,
        "steps": 150,
        "final": 0.0,
        "running": 1.0,
        "preview": (0.05, 0.1, 0.2),  # [s]
        "success": {"hand": 0.02},  # [m]
        "train": {"grow": 12},
    },
    "posture": {
        **ANYWHERE,
        "generator": "stay",
        "trials": 256,
        "steps": 80,
        "push": 1.0,  # [rad/s]
    },
}
