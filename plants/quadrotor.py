"""quadrotor: a rigid body in space that its rotors lift along its own axis and turn; x ahead, y to the right, z down.

With R = Rz(yaw) Ry(pitch) Rx(roll) from the body to the world, the spin w in the body and its inertias I,

    (x, y, z)'' = g e3 - thrust / m R e3     R' = R [w]x     I w' = torque - w x I w

Pitch must stay off 90 degrees, where yaw and roll are not told apart. Hovering takes a thrust of m g = 29.4 N, where
networks start from.

One step of 0.05 s is exact to 1e-4 of a typical size over 5 s about hovering.

Source: the quadrotor of Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021), whose y''
has the other sign: this plant in a mirror, where its starts and costs are the same.
"""

import math

import numpy as np

STATE = (
    "x",
    "y",
    "z",
    "yaw",
    "pitch",
    "roll",
    "x_rate",
    "y_rate",
    "z_rate",
    "spin_x",
    "spin_y",
    "spin_z",
)
CONTROL = ("thrust", "torque_x", "torque_y", "torque_z")
OBSERVATION = (
    "x",
    "y",
    "z",
    "sin_yaw",
    "sin_pitch",
    "sin_roll",
    "cos_yaw",
    "cos_pitch",
    "cos_roll",
    "x_rate",
    "y_rate",
    "z_rate",
    "spin_x",
    "spin_y",
    "spin_z",
)
OUTPUT = ("place_x", "place_y", "place_z")
UNITS = {
    "state": ("m",) * 3 + ("rad",) * 3 + ("m/s",) * 3 + ("rad/s",) * 3,
    "control": ("N", "N m", "N m", "N m"),
    "observation": ("m",) * 3 + ("",) * 6 + ("m/s",) * 3 + ("rad/s",) * 3,
    "output": ("m",) * 3,
}

PARAMS = {
    "mass": 3.0,  # [kg]
    "gravity": 9.8,  # [m/s^2]
    "inertia_x": 1.0,  # [kg m^2]
    "inertia_y": 1.0,  # [kg m^2]
    "inertia_z": 1.0,  # [kg m^2]
}
M, G, IX, IY, IZ = range(5)  # places of the parameters in p
ARM = 0.4  # [m], for the eye alone

DT, INTEGRATOR = 0.05, "rk4"  # [s]
TYPICAL = {"state": 1.0, "control": (30.0, 3.0, 3.0, 3.0)}
TRIM = (PARAMS["mass"] * PARAMS["gravity"], 0.0, 0.0, 0.0)  # hovering


def dynamics(x, u, p, dx):
    """Rates of the state (12,) under thrust [N] and torques [N m], u (4,)."""
    cos_yaw, cos_pitch, cos_roll = math.cos(x[3]), math.cos(x[4]), math.cos(x[5])
    sin_yaw, sin_pitch, sin_roll = math.sin(x[3]), math.sin(x[4]), math.sin(x[5])
    lift = u[0] / p[M]
    turn = x[10] * sin_roll + x[11] * cos_roll
    dx[0] = x[6]
    dx[1] = x[7]
    dx[2] = x[8]
    dx[3] = turn / cos_pitch
    dx[4] = x[10] * cos_roll - x[11] * sin_roll
    dx[5] = x[9] + turn * sin_pitch / cos_pitch
    dx[6] = -lift * (sin_roll * sin_yaw + cos_roll * cos_yaw * sin_pitch)
    dx[7] = -lift * (cos_roll * sin_yaw * sin_pitch - cos_yaw * sin_roll)
    dx[8] = p[G] - lift * cos_roll * cos_pitch
    dx[9] = ((p[IY] - p[IZ]) * x[10] * x[11] + u[1]) / p[IX]
    dx[10] = ((p[IZ] - p[IX]) * x[9] * x[11] + u[2]) / p[IY]
    dx[11] = ((p[IX] - p[IY]) * x[9] * x[10] + u[3]) / p[IZ]


def observe(x, p, y):
    """The state, its angles by sine and cosine."""
    for i in range(3):
        y[i] = x[i]
        y[3 + i] = math.sin(x[3 + i])
        y[6 + i] = math.cos(x[3 + i])
        y[9 + i] = x[6 + i]
        y[12 + i] = x[9 + i]


def output(x, p, z):
    """Position as it is drawn [m]: x ahead, y to the left, z up."""
    z[0] = x[0]
    z[1] = -x[1]
    z[2] = -x[2]


def links(x, p):
    """The ends of both arms and, last, their middle (6, 3) [m], as they are drawn."""
    (cos_yaw, cos_pitch, cos_roll), (sin_yaw, sin_pitch, sin_roll) = (
        np.cos(x[3:6]),
        np.sin(x[3:6]),
    )
    ahead = ARM * np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, -sin_pitch])
    right = ARM * np.array(
        [
            sin_roll * sin_pitch * cos_yaw - cos_roll * sin_yaw,
            sin_roll * sin_pitch * sin_yaw + cos_roll * cos_yaw,
            sin_roll * cos_pitch,
        ]
    )
    points = x[:3] + np.array(
        [-ahead, ahead, np.full(3, np.nan), -right, right, np.zeros(3)]
    )
    return points * (1.0, -1.0, -1.0)


def away(x, u, target, p, r):
    """Position and velocity, which are to vanish."""
    for i in range(3):
        r[i] = x[i]
        r[3 + i] = x[6 + i]


def draw(rng, trials, split):
    """From rest anywhere within 2.5 m of the origin along each axis, nearly upright and nearly without spin.

    Attitude and spin are free at the end.
    """
    x0, goal = np.zeros((2, len(STATE), trials))
    x0[:3] = rng.uniform(-2.5, 2.5, (3, trials))
    x0[3:6], x0[9:] = 0.1 * rng.standard_normal((2, 3, trials))
    goal[3:6] = goal[9:] = np.nan
    return x0, goal


def arrived(x, goal):
    """Which trials (N,) end within 25 cm of the origin and slower than 0.5 m/s."""
    return (np.linalg.norm(x[:3], axis=0) < 0.25) & (
        np.linalg.norm(x[6:9], axis=0) < 0.5
    )


def near(x, goal):
    """Which trials (N,) end within 1 m of the origin."""
    return np.linalg.norm(x[:3], axis=0) < 1.0


STABILISE = {
    "draw": draw,
    "trials": 256,
    "judged": 64,
    "steps": 100,  # 5 s
    "residual": away,
    "residuals": ("x", "y", "z", "x_rate", "y_rate", "z_rate"),
    # integral of the squares of position, velocity and, by 0.01, of the controls' distance from hovering
    "residual_weight": 2 * DT,
    "final": 0.0,
    "effort": 0.02 * DT,
    "effort_about": TRIM,
    "success": arrived,
    "train": {"grow": 12, "curvature_trials": 64},
}
TASKS = {
    "stabilise": STABILISE,
    # The source's cost, of the controls themselves: hovering costs 43.2, and in the last second it pays to let go.
    "poster": {
        **STABILISE,
        "trials": 128,
        "effort_about": 0.0,
        "success": near,
        "train": {"guide": 12, "cg_cap": 40, "curvature_trials": 64},
    },
}
