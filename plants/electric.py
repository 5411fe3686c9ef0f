"""electric: a charged particle in the plane, pushed about by the charges u of eight electrodes at the edge of a square.

    x'' = K sum_i u_i (x - p_i) / max(|x - p_i|, c)^3 - drag x'

Source: DiffTaichi's example of that name (Hu et al., ICLR 2020) as Ainsworth et al., "Faster Policy Learning with
Continuous-Time Gradients" (L4DC 2021), have it, lengths taken as metres. Their drag is an oversight: DiffTaichi's own
velocities keep a part exp(-0.006) every 0.03 s, which is a drag of 0.1994 1/s, 6.7 times this one.

The source's baseline steps by 0.03 s. One step here takes 0.06 s and is exact to 1e-3 of a typical size over 15.36 s of
random charges, and to 1e-7 where the particle crosses no electrode's core.
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
    "core": 0.1,  # [m], radius of an electrode: inside, the field falls off towards its middle
}
STRENGTH, DRAG, CORE = range(3)  # places of the parameters in p
ELECTRODES = (
    (0.1, 0.1),
    (0.1, 0.9),
    (0.9, 0.9),
    (0.9, 0.1),
    (0.5, 0.9),
    (0.5, 0.1),
    (0.1, 0.5),
    (0.9, 0.5),
)  # [m]

DT, INTEGRATOR, STEPS = (
    0.06,
    "rk4",
    256,
)  # [s]; 15.36 s in steps, whose half is a whole number
LIMIT = 1.0
MIDDLE, SEEN_LENGTH, SEEN_SPEED = (
    0.5,
    0.1,
    0.025,
)  # [m], [m], [m/s]: of what the network sees
PREVIEW = (STEPS // 8, STEPS // 4, STEPS // 2)  # steps ahead: 1.92, 3.84 and 7.68 s
TYPICAL = {"state": (0.5, 0.5, 0.1, 0.1), "control": 1.0}


def dynamics(x, u, p, dx):
    """Rates of the state (4,) under the charges u (8,)."""
    push_x = push_y = 0.0
    for i in range(8):
        away_x, away_y = x[0] - ELECTRODES[i][0], x[1] - ELECTRODES[i][1]
        field = u[i] / max(math.hypot(away_x, away_y), p[CORE]) ** 3
        push_x += field * away_x
        push_y += field * away_y
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = p[STRENGTH] * push_x - p[DRAG] * x[2]
    dx[3] = p[STRENGTH] * push_y - p[DRAG] * x[3]


def observe(x, p, y):
    """Position from the middle by 0.1 m, and velocity by 0.025 m/s: what a few cm change is to be seen."""
    y[0] = (x[0] - MIDDLE) / SEEN_LENGTH
    y[1] = (x[1] - MIDDLE) / SEEN_LENGTH
    y[2] = x[2] / SEEN_SPEED
    y[3] = x[3] / SEEN_SPEED


def output(x, p, z):
    """Position [m] and velocity [m/s] of the particle."""
    for i in range(4):
        z[i] = x[i]


def links(x, p):
    """The particle (1, 2) [m]."""
    return np.array([x[:2]])


def marks(x, u, p):
    """The electrodes [m] and their charges (8, 3)."""
    return np.column_stack([ELECTRODES, np.clip(u, -1.0, 1.0)])


def draw(rng, trials, split):
    """From rest at the first of three random points along straight lines to the others, each in half of the time.

    The velocity at every time is that of the step which ends there.
    """
    points = rng.uniform(0.2, 0.8, (3, 2, trials))
    half = STEPS // 2
    part = np.arange(half + 1)[:, None, None] / half
    first, second = (a + (b - a) * part for a, b in zip(points, points[1:]))
    path = np.concatenate([first, second[1:]])
    velocity = np.diff(path, axis=0) / DT
    goal = np.concatenate([path, np.concatenate([velocity[:1], velocity])], axis=1)
    return np.concatenate([points[0], np.zeros((2, trials))]), goal


def sees(goal):
    """Where the goal is and how fast, on the scales of the observation, and how far on it will be after each PREVIEW.

    The force is so weak that a turn has to begin seconds before the goal's. Who learns of it only then, and does the best
    from there, has 1.4 times the cost of the best.
    """
    step = np.arange(1, len(goal))
    now = goal[step]
    ahead = [
        goal[np.minimum(step + k, len(goal) - 1), :2] - now[:, :2] for k in PREVIEW
    ]
    seen = (
        (now[:, :2] - MIDDLE) / SEEN_LENGTH,
        now[:, 2:4] / SEEN_SPEED,
        *(a / (2 * SEEN_LENGTH) for a in ahead),
    )
    return np.concatenate(seen, axis=1)


TASKS = {
    "follow": {  # the source's cost: integral of the squared distance
        "draw": draw,
        "sees": sees,
        "random": True,
        "trials": 128,
        "judged": 16,  # the optimum of one takes seconds
        "steps": STEPS,
        "final": 0.0,
        "running": 2 * DT,
        "effort": 0.0,
        # What it sees is all that it needs to know.
        "train": {
            "grow": 30,
            "batches": 8,
            "average": 8,
            "curvature_trials": 32,
            "recurrent": (),
        },
        "success": {"hand": 0.02},  # [m]
    },
}
