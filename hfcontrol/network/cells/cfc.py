"""The closed-form continuous-time cell: x+ = (1 - s) early + s late, s = logistic(speed elapsed + shift).

Hasani et al., "Closed-form continuous-time neural networks" (Nature Machine Intelligence 4, 2022), in the form of ncps's CfCCell
without a backbone, where the four are ff1, ff2, time_a and time_b. Each is a sum of all that a unit reads, its layer's own state
included, and the first two go through tanh. There is no differential equation: one fused step is all. The activities are early,
late and s (3, k, N), for connections that know how long the step is (connections.py).
"""

import numpy as np

ACTIVATION, CODE, PARAMETERS = "tanh, tanh, logistic", 7, {}
MATRICES = ("early", "late", "speed", "shift")


def fused(x, f, p, h):
    """The state after the step; that of before and its length play no part but in f."""
    return f[0] + f[2] * (f[1] - f[0])


def fused_slopes(x, f, p, h):
    """Derivatives of the fused step by x and the three activities (3, k, N)."""
    return 0.0 * x, np.stack([1 - f[2], f[2], f[1] - f[0]]), ()
