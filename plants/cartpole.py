"""cartpole: a pole hinged on a cart that a motor pushes along a rail.

At pole angle 0 the pole stands upright, at pi it hangs down.

With the total mass M = mc + mp, the pole's inertia J about its hinge, and
c = mp l cos(pole), the equations of motion are

    cart'' = (J f - c n) / D      f = gear u + wall - bc cart' + mp l sin(pole) pole'^2
    pole'' = (M n - c f) / D      n = mp g l sin(pole) - bp pole'
    D = M J - c^2

The pole is the capsule of the MuJoCo model: radius 0.045 m, from the hinge to 1 m.

At a depth d beyond the end of the rail, a wall pushes back by k d (1 + h d') (Hunt and
Crossley 1975). This force starts from zero, and the cart bounces back with less than
1/h. MuJoCo has its own model of a soft limit there.

Away from the walls, steps of 0.02 s have an error of 1e-4 of a typical size over 3 s of
random controls.

Source: the cartpole of Ainsworth et al., "Faster Policy Learning with Continuous-Time
Gradients" (L4DC 2021).
"""

import math

import numpy as np

STATE = ("cart", "pole", "cart_rate", "pole_rate")
CONTROL = ("motor",)
OBSERVATION = ("cart", "sin_pole", "cos_pole", "cart_rate", "pole_rate")
OUTPUT = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
UNITS = {
    "state": ("m", "rad", "m/s", "rad/s"),
    "control": ("",),
    "observation": ("m", "", "", "m/s", "5 rad/s"),
    "output": ("m", "m", "m/s", "m/s"),
}

PARAMS = {
    "cart_mass": 1.0,  # [kg]
    "pole_mass": 0.1,  # [kg]
    "pole_centre": 0.5,  # [m], from the hinge; the tip is at twice this distance
    "pole_inertia": 0.0344245928,  # [kg m^2], about the hinge
    "gravity": 9.81,  # [m/s^2]
    "gear": 10.0,  # [N], at control 1
    "cart_damping": 5e-4,  # [N s/m]
    "pole_damping": 2e-6,  # [N m s]
    "rail": 4.8,  # [m], half the length of the rail
    "wall_stiffness": 1000.0,  # [N/m]
    "wall_damping": 0.2,  # [s/m]
}
# Indices of the parameters in p, in the order of PARAMS.
MC, MP, L, J, G, GEAR, BC, BP, RAIL, WALL_K, WALL_H = range(11)

DT = 0.02  # [s]
INTEGRATOR = "rk4"
LIMIT = 1.0
TYPICAL = {"state": (1.0, 1.0, 2.0, 5.0), "control": (1.0,)}


def wall(x, p):
    """Return the force [N] on the cart of the walls at the ends of the rail."""
    side = math.copysign(1.0, x[0])
    depth = max(side * x[0] - p[RAIL], 0.0)
    return -side * p[WALL_K] * depth * (1 + p[WALL_H] * side * x[2])


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,); u (1,) is the motor command."""
    sine = math.sin(x[1])
    total = p[MC] + p[MP]
    coupling = p[MP] * p[L] * math.cos(x[1])
    force = p[GEAR] * u[0] + wall(x, p) - p[BC] * x[2] + p[MP] * p[L] * sine * x[3] ** 2
    torque = p[MP] * p[G] * p[L] * sine - p[BP] * x[3]
    # The mass matrix is positive definite, so det > 0 at every angle.
    det = total * p[J] - coupling**2
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = (p[J] * force - coupling * torque) / det
    dx[3] = (total * torque - coupling * force) / det


def observe(x, p, y):
    """Write the observation, y (5,).

    The angle is given by sine and cosine, the pole's rate in units of 5 rad/s.
    """
    y[0] = x[0]
    y[1] = math.sin(x[1])
    y[2] = math.cos(x[1])
    y[3] = x[2]
    y[4] = x[3] / 5


def output(x, p, z):
    """Write position [m] and velocity [m/s] of the pole's tip, z (4,)."""
    length = 2 * p[L]
    z[0] = x[0] + length * math.sin(x[1])
    z[1] = length * math.cos(x[1])
    z[2] = x[2] + length * math.cos(x[1]) * x[3]
    z[3] = -length * math.sin(x[1]) * x[3]


def links(x, p):
    """Return the outline of the cart, then hinge and tip of the pole (8, 2) [m]."""
    cart = np.array(
        [[-0.25, -0.1], [0.25, -0.1], [0.25, 0.1], [-0.25, 0.1], [-0.25, -0.1]]
    )
    gap = np.full((1, 2), np.nan)  # no line from the cart to the pole
    pole = 2 * p[L] * np.array([[0.0, 0.0], [np.sin(x[1]), np.cos(x[1])]])
    return np.array([x[0], 0.0]) + np.vstack([cart, gap, pole])


def poster(x, u, target, p, r):
    """Write the residuals of the source's running cost, r (2,).

    1 - cos(pole) = 2 sin(pole / 2)^2. As a square it has positive curvature
    everywhere; -cos has not.
    """
    r[0] = 2 * math.sin(x[1] / 2)
    r[1] = x[0]


def swing(x, u, target, p, r):
    """Write the residuals of `poster` and the rates, r (4,)."""
    r[0] = 2 * math.sin(x[1] / 2)
    r[1] = x[0]
    r[2] = x[2]
    r[3] = x[3]


def stands(x, goal):
    """Return which trials (N,) end with an upright, slow pole and a centred cart.

    The limits are 0.1 rad, 0.5 rad/s and 0.5 m. Any number of turns is allowed.
    """
    pole_upright = np.abs(2 * np.sin(x[1] / 2)) < 0.1
    pole_slow = np.abs(x[3]) < 0.5
    cart_centred = np.abs(x[0]) < 0.5
    return pole_upright & pole_slow & cart_centred


def upright(x, goal):
    """Return which trials (N,) end with the pole within 0.3 rad of upright.

    Any number of turns on the way up is allowed.
    """
    return np.abs(2 * np.sin(x[1] / 2)) < 0.3


SWING_UP = {
    "generator": "around",
    "start": (0.0, math.pi, 0.0, 0.0),
    "spread": (0.5, 0.5, 0.0, 0.0),  # [m, rad]
    "target": (0.0, 0.0, 0.0, 0.0),
    "trials": 64,
    "steps": 200,  # 4 s
    "residual": swing,
    "residuals": ("lean", "cart", "cart_rate", "pole_rate"),
    # Integral of 1 - cos(pole) + 0.1 cart^2 + 0.01 cart'^2 + 0.01 pole'^2 + 0.1 u^2.
    "residual_weight": (DT, 0.2 * DT, 0.02 * DT, 0.02 * DT),
    "final": 0.0,
    "effort": 0.2 * DT,
    "success": stands,
    "train": {
        # No law is near the optimum of a swing-up.
        "strategy": "plain",
        "guide": 32,
        "cg_cap": 40,
        # The network observes the whole state.
        "recurrent": (),
    },
}
TASKS = {
    "swing_up": SWING_UP,
    "balance": {
        **SWING_UP,
        "start": (0.0, 0.0, 0.0, 0.0),
        "spread": (0.5, 0.3, 0.5, 0.5),  # [m, rad, m/s, rad/s]
        "steps": 100,
        "train": {},
    },
    # The source's cost: integral of 0.01 cart^2 - cos(pole). The constant 1 in
    # 1 - cos(pole) makes the best possible cost zero.
    "poster": {
        **SWING_UP,
        "spread": (0.1, 0.1, 0.0, 0.0),  # [m, rad]
        "steps": 150,  # 3 s
        "residual": poster,
        "residuals": ("lean", "cart"),
        "residual_weight": (DT, 0.02 * DT),
        "effort": 0.0,
        "success": upright,
    },
}
