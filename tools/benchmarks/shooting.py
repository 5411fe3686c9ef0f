"""A judge of the yardstick without CasADi: L-BFGS-B on the controls of one trial.

The gradient is the exact discrete adjoint of the rollout. Plants that are unstable over
the horizon are out of its reach: their gradients overflow. There IPOPT is needed.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize

from hfcontrol.optim.ilqr import OpenLoop

MOST_ITERATIONS = 2000
OPTIONS = {"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "ftol": 1e-15}

# What a trajectory that is not finite costs: the line search turns back there.
LOST = 1e30


class Shooting:
    """L-BFGS-B on the trials of a scenario."""

    def __init__(self, system: OpenLoop) -> None:
        self.system = system

    def solve(self, n: int, x: Any, v: Any) -> Any:
        """Return the controls (T, nu) of trial n from controls v; x does not matter."""
        alone = self.system.subset([n])
        low, high = np.tile(self.system.wiring.limits.bounds, len(v))
        found = minimize(
            lambda flat: loss_and_gradient(alone, flat.reshape(v.shape)),
            np.clip(v.ravel(), low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options=OPTIONS,
        )
        return found.x.reshape(v.shape)


def loss_and_gradient(alone: OpenLoop, v: Any) -> tuple[float, Any]:
    """Return the loss of controls v (T, nu) in the only trial, and its gradient.

    lambda_t = l_x + A' lambda_{t+1};  dL/dv_t = l_u + B' lambda_{t+1}
    """
    with np.errstate(all="ignore"):
        found = alone.simulate(v[:, :, None].copy())
        if not np.isfinite(found.losses[0]):
            return LOST, np.zeros(v.size)
        expansion = alone.expand(found.x, found.v, found.u)
        gradient = np.zeros_like(v)
        adjoint = expansion.l_x[-1, 0]
        for t in reversed(range(len(v))):
            gradient[t] = expansion.l_u[t, 0] + expansion.B[t, 0].T @ adjoint
            adjoint = expansion.l_x[t, 0] + expansion.A[t, 0].T @ adjoint
    return float(found.losses[0]), np.nan_to_num(gradient).ravel()
