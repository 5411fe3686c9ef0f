"""linear: two states and two controls, x' = A x + B u; by default x' = u.

The cost is that of the linear-quadratic regulator: the integral of x'Qx + u'Ru with
diagonal Q and R. For A = 0 and B = Q = R = I the optimal control over an infinite time
is u = -x, and its cost is |x(0)|^2.

Source: the linear system of Ainsworth et al., "Faster Policy Learning with
Continuous-Time Gradients" (L4DC 2021).
"""

import math

import numpy as np

STATE = ("first", "second")
CONTROL = ("first_push", "second_push")

PARAMS = {
    # A [1/s].
    "a11": 0.0,
    "a12": 0.0,
    "a21": 0.0,
    "a22": 0.0,
    # B.
    "b11": 1.0,
    "b12": 0.0,
    "b21": 0.0,
    "b22": 1.0,
    # Diagonal of Q, zero or above.
    "q1": 1.0,
    "q2": 1.0,
    # Diagonal of R, zero or above.
    "r1": 1.0,
    "r2": 1.0,
}
# Indices of the parameters in p, in the order of PARAMS.
A11, A12, A21, A22, B11, B12, B21, B22, Q1, Q2, R1, R2 = range(12)

DT = 0.05  # [s]
INTEGRATOR = "rk4"


def dynamics(x, u, p, dx):
    """Write the time derivative dx (2,); u (2,) are the controls."""
    dx[0] = p[A11] * x[0] + p[A12] * x[1] + p[B11] * u[0] + p[B12] * u[1]
    dx[1] = p[A21] * x[0] + p[A22] * x[1] + p[B21] * u[0] + p[B22] * u[1]


def quadratic(x, u, target, p, r):
    """Write state and control, scaled by the square roots of Q and R, r (4,)."""
    r[0] = math.sqrt(p[Q1]) * x[0]
    r[1] = math.sqrt(p[Q2]) * x[1]
    r[2] = math.sqrt(p[R1]) * u[0]
    r[3] = math.sqrt(p[R2]) * u[1]


def draw(rng, trials, split):
    """Draw start states from a normal distribution (2, N); the target is the origin."""
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


TASKS = {
    "stabilise": {
        "draw": draw,
        "random": True,
        "trials": 64,
        "steps": 100,  # 5 s
        "residual": quadratic,
        "residuals": ("first", "second", "first_push", "second_push"),
        # The cost sums weight / 2 times the squared residual over the steps. With the
        # weight 2 DT this sum is the integral.
        "residual_weight": 2 * DT,
        "final": 0.0,
        "running": 0.0,
        "effort": 0.0,
        "success": {"state": 0.1},
    },
}
