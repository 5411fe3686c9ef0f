"""arm2_todorov: a planar arm of two links with human segments, with joint torques.

There is no gravity. The equations of motion are M(q) q'' + h(q, q') = u + J'f. The
lower link's centre of mass is s2 from the elbow. i1 and i2 are the links' inertias
about their joints.

    M = [[i1 + I2 + (m2 + load) l1^2 + 2 c cos q2, I2 + c cos q2],
         [I2 + c cos q2,                           I2]]
    h = (-c sin(q2) (2 q1' + q2') q2' + b11 q1' + b12 q2',
         c sin(q2) q1'^2 + b22 q2' + b21 q1')

    c = l1 (m2 s2 + load l2)      I2 = i2 + load l2^2

Friction is zero by default; the published values are b11 = 0.7, b22 = 0.8,
b12 = b21 = 0.08. Load and curl field are zero as well. The load is a point mass in the
hand. The curl field pushes the hand with the force f = curl (-y', x') [N], where
(x', y') is its velocity. At the joints this is J'f = curl l1 l2 sin(q2) (-q2', q1').

The plant uses explicit Euler steps, as the reference does: q += dt q' with the old
rate, then q' += dt q''.

Source: the second arm of "Deep learning for control using augmented Hessian-free
optimization" (blog post), after MATLAB code of E. Todorov.
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
    "lower_mass": 1.1,  # [kg]
    "upper_length": 0.31,  # [m]
    "lower_length": 0.27,  # [m]
    "lower_centre": 0.16,  # [m], from the elbow
    "upper_inertia": 0.025,  # [kg m^2], about the shoulder
    "lower_inertia": 0.045,  # [kg m^2], about the elbow
    "shoulder_friction": 0.0,  # b11 [N m s]
    "elbow_friction": 0.0,  # b22 [N m s]
    "shoulder_by_elbow_friction": 0.0,  # b12 [N m s]
    "elbow_by_shoulder_friction": 0.0,  # b21 [N m s]
    "curl": 0.0,  # [N s/m], counter-clockwise
    "load": 0.0,  # [kg]
}
# Indices of the parameters in p, in the order of PARAMS.
M2, L1, L2, S2, I1, I2, B11, B22, B12, B21, CURL, LOAD = range(12)

DT = 0.01  # [s]
INTEGRATOR = "euler"
TYPICAL = {"state": (1.0, 1.0, 1.0, 1.0), "control": (1.0, 1.0)}
# The source limits the rates to 2 pi as well, but fast reaches exceed that.
TAPER = (2 * math.pi, 2 * math.pi, 8 * math.pi, 8 * math.pi)  # [rad, rad, rad/s, rad/s]


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,) [rad/s, rad/s^2]; u (2,) are torques [N m]."""
    coupling = p[M2] * p[L1] * p[S2] + p[LOAD] * p[L1] * p[L2]
    lower = p[I2] + p[LOAD] * p[L2] ** 2
    cosine = math.cos(x[1])
    sine = math.sin(x[1])
    m11 = p[I1] + lower + (p[M2] + p[LOAD]) * p[L1] ** 2 + 2 * coupling * cosine
    m12 = lower + coupling * cosine
    m22 = lower
    field = p[CURL] * p[L1] * p[L2] * sine
    f1 = (
        u[0]
        + coupling * sine * (2 * x[2] + x[3]) * x[3]
        - p[B11] * x[2]
        - p[B12] * x[3]
        - field * x[3]
    )
    f2 = (
        u[1]
        - coupling * sine * x[2] ** 2
        - p[B22] * x[3]
        - p[B21] * x[2]
        + field * x[2]
    )
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
        # Without this, 20 s of training lead to 1.41 times the optimum, with it to 1.25
        # (`tools/bench entries`, seed 0).
        "train": {"strategy": "plain", "grow": 4},
    },
    "anywhere": {
        **ANYWHERE,
        "random": True,
    },
    "follow": {
        **ANYWHERE,
        "generator": "follow",
        "trials": 256,
        "steps": 150,
        "final": 0.0,
        "running": 1.0,
        "preview": (0.05, 0.1, 0.2),  # [s]
        "success": {"hand": 0.02},  # [m]
    },
    "posture": {
        **ANYWHERE,
        "generator": "stay",
        "trials": 256,
        "steps": 80,
        "push": 1.0,  # [rad/s]
    },
}
