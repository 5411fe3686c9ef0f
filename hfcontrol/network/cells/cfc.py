"""The closed-form continuous-time cell: x+ = (1 - s) early + s late.

The gate is s = logistic(speed elapsed + shift). Hasani et al., "Closed-form
continuous-time neural networks" (Nature Machine Intelligence 4, 2022), in the form of
ncps's CfCCell without a backbone, which calls the four sums ff1, ff2, time_a and
time_b. Each sums all that a unit reads, the state of its own layer included, and the
first two go through tanh. There is no differential equation: the cell has one fused
step per control step. Its activities are early, late and s (3, k, N); its connections
are `Matrices` (connections.py).
"""

from hfcontrol.network.cells.protocol import ALL, Slopes, Value

ACTIVATION = "tanh, tanh, logistic"
PARAMETERS: dict[str, bool] = {}
MATRICES = ("early", "late", "speed", "shift")
SUMS = (("early", ALL),), (("late", ALL),), (("speed", ALL), ("shift", ALL))
TIMED = ("speed",)


def fused(x: Value, f: Value, p: Value, h: float) -> Value:
    """Return the state after the step; x and h matter only through f (3, k, N)."""
    return f[0] + f[2] * (f[1] - f[0])


def fused_slopes(x: Value, f: Value, p: Value, h: float) -> Slopes:
    """Return the derivatives of the fused step by x and the activities (3, k, N)."""
    return 0.0, (1 - f[2], f[2], f[1] - f[0]), ()
