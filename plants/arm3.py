"""arm3: a planar arm of three links in the horizontal plane, with joint torques.

There is no gravity. The links are uniform rods of human size: upper arm, forearm and
hand. Let a = (q1, q1 + q2, q1 + q2 + q3) be the directions of the links. Written in a,
Lagrange's equations contain no product of two different rates:

    sum_j H_ij cos(a_i - a_j) a_j''
        = F_i - F_i+1 + sum_j sin(a_i - a_j) (curl l_i l_j a_j' - H_ij a_j'^2)

    H_ii = (m_i / 3 + M_i) l_i^2
    H_ij = (m_j / 2 + M_j) l_i l_j    for i < j
    M_i  = load + the masses of the links beyond link i
    F    = u - friction q' at the joints, and zero beyond the last

The load is a point mass in the hand. A curl field pushes the hand with the force
curl (-y', x') [N], perpendicular to its velocity (x', y'). Friction, curl and load are
zero by default.

Source: stands in for the larger three-link arm of "Deep learning for control using
augmented Hessian-free optimization" (blog post) and has its start posture.
Velocity-dependent force fields: Shadmehr and Mussa-Ivaldi (Journal of Neuroscience
1994).
"""

import math

import numpy as np

STATE = ("shoulder", "elbow", "wrist", "shoulder_rate", "elbow_rate", "wrist_rate")
CONTROL = ("shoulder_torque", "elbow_torque", "wrist_torque")
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("rad",) * 3 + ("rad/s",) * 3,
    "control": ("N m",) * 3,
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "upper_mass": 1.93,  # [kg]
    "lower_mass": 1.32,  # [kg]
    "hand_mass": 0.35,  # [kg]
    "upper_length": 0.31,  # [m]
    "lower_length": 0.27,  # [m]
    "hand_length": 0.15,  # [m]
    "friction": 0.0,  # [N m s], at every joint
    "curl": 0.0,  # [N s/m], counter-clockwise
    "load": 0.0,  # [kg]
}
# Indices of the parameters in p, in the order of PARAMS.
M1, M2, M3, L1, L2, L3, FRICTION, CURL, LOAD = range(9)

DT = 0.01  # [s]
INTEGRATOR = "semi_implicit"
# The hand is light: the wrist needs a tenth of the other joints' torque.
TYPICAL = {"state": 1.0, "control": (1.0, 1.0, 0.1)}
TAPER = (2 * math.pi,) * 3 + (8 * math.pi,) * 3  # [rad], [rad/s]


def solve(h11, h22, h33, h12, h13, h23, f1, f2, f3):
    """Return the solution a (3,) of H a = f for a symmetric positive definite H (3, 3).

    The system is solved by the factors H = L D L'.
    """
    l21 = h12 / h11
    l31 = h13 / h11
    d2 = h22 - l21 * h12
    rest = h23 - l21 * h13
    l32 = rest / d2
    d3 = h33 - l31 * h13 - l32 * rest
    y2 = f2 - l21 * f1
    y3 = f3 - l31 * f1 - l32 * y2
    a3 = y3 / d3
    a2 = y2 / d2 - l32 * a3
    return f1 / h11 - l21 * a2 - l31 * a3, a2, a3


def dynamics(x, u, p, dx):
    """Write the time derivative dx (6,) [rad/s, rad/s^2]; u (3,) are torques [N m]."""
    # Inertias H_ij, without the factor cos(a_i - a_j).
    beyond = p[M3] + p[LOAD]
    h11 = (p[M1] / 3 + p[M2] + beyond) * p[L1] ** 2
    h22 = (p[M2] / 3 + beyond) * p[L2] ** 2
    h33 = (p[M3] / 3 + p[LOAD]) * p[L3] ** 2
    h12 = (p[M2] / 2 + beyond) * p[L1] * p[L2]
    h13 = (p[M3] / 2 + p[LOAD]) * p[L1] * p[L3]
    h23 = (p[M3] / 2 + p[LOAD]) * p[L2] * p[L3]

    # Curl field.
    c12 = p[CURL] * p[L1] * p[L2]
    c13 = p[CURL] * p[L1] * p[L3]
    c23 = p[CURL] * p[L2] * p[L3]

    # Rates of the directions, and torques at the joints less friction.
    sin2 = math.sin(x[1])
    sin3 = math.sin(x[2])
    both = math.sin(x[1] + x[2])
    w1 = x[3]
    w2 = x[3] + x[4]
    w3 = x[3] + x[4] + x[5]
    t1 = u[0] - p[FRICTION] * x[3]
    t2 = u[1] - p[FRICTION] * x[4]
    t3 = u[2] - p[FRICTION] * x[5]

    f1 = t1 - t2 + sin2 * w2 * (h12 * w2 - c12) + both * w3 * (h13 * w3 - c13)
    f2 = t2 - t3 - sin2 * w1 * (h12 * w1 - c12) + sin3 * w3 * (h23 * w3 - c23)
    f3 = t3 - both * w1 * (h13 * w1 - c13) - sin3 * w2 * (h23 * w2 - c23)

    h12 = h12 * math.cos(x[1])
    h13 = h13 * math.cos(x[1] + x[2])
    h23 = h23 * math.cos(x[2])
    a1, a2, a3 = solve(h11, h22, h33, h12, h13, h23, f1, f2, f3)
    dx[0] = x[3]
    dx[1] = x[4]
    dx[2] = x[5]
    dx[3] = a1
    dx[4] = a2 - a1
    dx[5] = a3 - a2


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the hand's tip, z (4,)."""
    a2 = x[0] + x[1]
    a3 = a2 + x[2]
    w2 = x[3] + x[4]
    w3 = w2 + x[5]
    z[0] = p[L1] * math.cos(x[0]) + p[L2] * math.cos(a2) + p[L3] * math.cos(a3)
    z[1] = p[L1] * math.sin(x[0]) + p[L2] * math.sin(a2) + p[L3] * math.sin(a3)
    z[2] = (
        -p[L1] * math.sin(x[0]) * x[3]
        - p[L2] * math.sin(a2) * w2
        - p[L3] * math.sin(a3) * w3
    )
    z[3] = (
        p[L1] * math.cos(x[0]) * x[3]
        + p[L2] * math.cos(a2) * w2
        + p[L3] * math.cos(a3) * w3
    )


def links(x, p):
    """Return the positions of shoulder, elbow, wrist and tip of the hand (4, 2) [m]."""
    angles = np.cumsum(x[:3])
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    steps = np.array([p[L1], p[L2], p[L3]])[:, None] * directions
    return np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])


# With equal weights of the torques, the optimum spins the light hand up to the limit of
# the taper to drive the arm by its reaction.
REACH = {
    "generator": "reach",
    "start": (math.pi / 5.5, math.pi / 1.7, math.pi / 6),  # [rad]
    "radius": 0.09125,  # [m], an eighth of the arm's length
    "trials": 64,
    "steps": 40,
    "final": 1.0,
    "running": 0.0,
    "effort": (1e-5, 1e-5, 1e-3),  # shoulder, elbow, wrist
    "success": {"hand": 0.01, "rates": 0.1},  # [m], [rad/s]
}
ANYWHERE = {
    "generator": "anywhere",
    "range": ((0.0, 1.8), (0.4, 2.3), (-0.6, 1.0)),  # [rad], of each joint
    "trials": 256,
    "steps": 80,
    "final": 60.0,
    "running": 0.05,
    "effort": (1e-3, 1e-3, 0.1),
    "success": {"hand": 0.02, "rates": 0.2},  # [m], [rad/s]
}
TASKS = {
    "reach": REACH,
    "out_and_back": {
        **REACH,
        "generator": "reach_and_back",
        "steps": 80,
        "final_at": (0.5, 1.0),
    },
    "anywhere": {**ANYWHERE, "random": True},
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
