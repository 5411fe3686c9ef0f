"""electric: a charged particle in the plane, pushed by eight electrodes on a square.

The controls are the charges u of the electrodes at the places p_i.

    x'' = K sum_i u_i (x - p_i) / max(|x - p_i|, c)^3 - drag x'

Source: DiffTaichi's example of that name (Hu et al., ICLR 2020), in the version of
Ainsworth et al., "Faster Policy Learning with Continuous-Time Gradients" (L4DC 2021).
Lengths are read as metres. The drag of that version is an oversight: in DiffTaichi the
velocity keeps the part exp(-0.006) every 0.03 s. This is a drag of 0.1994 1/s,
6.7 times the value used here.

The source's baseline uses steps of 0.03 s. Steps of 0.06 s, as here, have an error of
1e-3 of a typical size over 15.36 s of random charges, and of 1e-7 if the particle
crosses no electrode's core.
"""

import math

import numpy as np

STATE = ("x", "y", "x_rate", "y_rate")
CONTROL = tuple(f"charge_{i}" for i in range(8))
OBSERVATION = ("x", "y", "x_rate", "y_rate")
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("m", "m", "m/s", "m/s"),
    "control": ("",) * 8,
    "observation": ("0.1 m", "0.1 m", "0.025 m/s", "0.025 m/s"),
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "strength": 1e-3,  # [m^3/s^2]
    "drag": 0.029910179730323616,  # [1/s]
    # [m], radius of an electrode. Inside, the field falls to zero towards the centre.
    "core": 0.1,
}
# Indices of the parameters in p, in the order of PARAMS.
STRENGTH, DRAG, CORE = range(3)

# Places of the electrodes [m].
ELECTRODES = (
    (0.1, 0.1),
    (0.1, 0.9),
    (0.9, 0.9),
    (0.9, 0.1),
    (0.5, 0.9),
    (0.5, 0.1),
    (0.1, 0.5),
    (0.9, 0.5),
)

DT = 0.06  # [s]
INTEGRATOR = "rk4"
LIMIT = 1.0
STEPS = 256  # 15.36 s; even, because the goal turns at half time

# Origin and units of the observation. The units are small because differences of a few
# centimetres matter.
MIDDLE = 0.5  # [m]
SEEN_LENGTH = 0.1  # [m]
SEEN_SPEED = 0.025  # [m/s]

# The network sees the goal this many steps ahead: 1.92, 3.84 and 7.68 s.
PREVIEW = (STEPS // 8, STEPS // 4, STEPS // 2)
TYPICAL = {"state": (0.5, 0.5, 0.1, 0.1), "control": 1.0}


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,); u (8,) are the charges."""
    push_x = 0.0
    push_y = 0.0
    for i in range(8):
        away_x = x[0] - ELECTRODES[i][0]
        away_y = x[1] - ELECTRODES[i][1]
        field = u[i] / max(math.hypot(away_x, away_y), p[CORE]) ** 3
        push_x += field * away_x
        push_y += field * away_y
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = p[STRENGTH] * push_x - p[DRAG] * x[2]
    dx[3] = p[STRENGTH] * push_y - p[DRAG] * x[3]


def observe(x, p, y):
    """Write position, from the middle, and velocity in the units above, y (4,)."""
    y[0] = (x[0] - MIDDLE) / SEEN_LENGTH
    y[1] = (x[1] - MIDDLE) / SEEN_LENGTH
    y[2] = x[2] / SEEN_SPEED
    y[3] = x[3] / SEEN_SPEED


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the particle, z (4,)."""
    for i in range(4):
        z[i] = x[i]


def links(x, p):
    """Return the position of the particle (1, 2) [m]."""
    return np.array([x[:2]])


def marks(x, u, p):
    """Return the positions of the electrodes [m] and their charges (8, 3)."""
    return np.column_stack([ELECTRODES, np.clip(u, -1.0, 1.0)])


def draw(rng, trials, split):
    """Draw start states (4, N) and goals (T + 1, 4, N).

    Three random points are drawn. The particle starts at rest at the first. The goal
    moves in straight lines to the second and the third, each in half of the time. The
    goal's velocity at a time is that of the step that ends there.
    """
    points = rng.uniform(0.2, 0.8, (3, 2, trials))
    half = STEPS // 2
    part = np.arange(half + 1)[:, None, None] / half
    first = points[0] + (points[1] - points[0]) * part
    second = points[1] + (points[2] - points[1]) * part
    path = np.concatenate([first, second[1:]])

    velocity = np.diff(path, axis=0) / DT
    velocity = np.concatenate([velocity[:1], velocity])
    start = np.concatenate([points[0], np.zeros((2, trials))])
    return start, np.concatenate([path, velocity], axis=1)


def sees(goal):
    """Return what the network sees of goals (T + 1, 4, N): an array (T, 10, N).

    These are the goal's position and velocity, in the units of the observation, and how
    far the goal moves within each PREVIEW.

    The force is so weak that a turn has to begin seconds before the goal turns. A
    controller that learns of the turn only then has at best 1.4 times the optimal cost.
    """
    step = np.arange(1, len(goal))
    now = goal[step]
    position = (now[:, :2] - MIDDLE) / SEEN_LENGTH
    velocity = now[:, 2:4] / SEEN_SPEED

    ahead = []
    for steps in PREVIEW:
        later = goal[np.minimum(step + steps, len(goal) - 1), :2]
        ahead.append((later - now[:, :2]) / (2 * SEEN_LENGTH))
    return np.concatenate([position, velocity, *ahead], axis=1)


TASKS = {
    # The source's cost: integral of the squared distance.
    "follow": {
        "draw": draw,
        "sees": sees,
        "random": True,
        "trials": 128,
        "judged": 16,  # few, because the optimum of each trial takes seconds
        "steps": STEPS,
        "final": 0.0,
        "running": 2 * DT,
        "effort": 0.0,
        # State and goal are all observed, so no recurrent connections are needed.
        # Whether `auto` is as good has not been measured here yet: a training takes
        # twelve minutes.
        "train": {
            "strategy": "plain",
            "grow": 30,
            "batches": 8,
            "average": 8,
            "curvature_trials": 32,
            "recurrent": (),
        },
        "success": {"hand": 0.02},  # [m]
    },
}
