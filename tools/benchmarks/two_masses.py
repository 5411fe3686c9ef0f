"""two_masses: two carts that a spring connects, with a force on the first.

    m1 x1'' = force + k (x2 - x1)
    m2 x2'' = -k (x2 - x1)

Source: Wie and Bernstein, "Benchmark problems for robust control design" (1992).
"""

STATE = ("x1", "x2", "x1_rate", "x2_rate")
CONTROL = ("force",)
PARAMS = {"k": 1.0, "m1": 1.0, "m2": 1.0}  # [N/m, kg, kg]
DT, INTEGRATOR = 0.1, "rk4"  # [s]


def dynamics(x, u, p, dx):
    """Write the time derivative dx (4,) [m/s, m/s^2]; u (1,) is a force [N]."""
    pull = p[0] * (x[1] - x[0])
    dx[0] = x[2]
    dx[1] = x[3]
    dx[2] = (pull + u[0]) / p[1]
    dx[3] = -pull / p[2]


TASKS = {
    "rest": {
        "generator": "around",
        "start": (0.0, 0.0, 0.0, 0.0),
        "spread": (1.0, 1.0, 0.5, 0.5),  # [m, m/s]
        "target": (0.0, 0.0, 0.0, 0.0),
        "trials": 64,
        "steps": 150,
        "running": 0.1,
        "final": 1.0,
        "effort": 0.05,
        "success": {"state": 0.1},
    }
}
