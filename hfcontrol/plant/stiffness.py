"""Stiffness: modes of a plant that its integrator cannot follow.

About a point the plant is x' = F x. A mode with the eigenvalue lambda of F is
multiplied by R(lambda h) in an integrator's step h, where for Euler's method and the
classical Runge-Kutta method (Hairer and Wanner, Solving Ordinary Differential Equations
II, section IV.2)

    R(z) = 1 + z                 R(z) = 1 + z + z^2/2 + z^3/6 + z^4/24

A fast mode that decays, |lambda| h > 1, has to decay in the integrator too; otherwise
the simulated plant is an artefact of its step. More substeps make h smaller.

At a jump, as that of dry friction at rest, the slope over a distance d is the jump
divided by d. It is no mode, however steep: no substep follows it.

The semi-implicit method moves the rates v first, and the positions q by the new rates.
Its matrix is formed as it is, and its largest eigenvalue is compared with that of the
plant.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.plant.contract import Plant

# What is left of a fast mode after a step, at most.
REMAINS = 0.9

# Growth of an eigenvalue that counts as rounding.
ROUNDING = 1e-6

# Most substeps: a plant that needs more is too stiff for an explicit integrator.
MOST_SUBSTEPS = 1000

# Step of the differences, in typical sizes: it balances truncation and rounding.
STEP = np.cbrt(np.finfo(float).eps)

# A slope that is smaller by more than `JUMP` over a distance longer by `WIDER` is that
# of a jump, and not of a mode.
WIDER = 1000.0
JUMP = 10.0


def stable_substeps(plant: Plant, x: Array, u: Array, params: Array) -> int:
    """Return the substeps per control step that the fast modes need, at most 1000.

    They are looked for at states x (n_body, N), controls u (nu, N) and parameters
    (np, N). The result is at least the plant's own number. Plants without `dynamics`
    keep theirs.
    """
    if "dynamics" not in plant.functions or plant.integrator == "none":
        return plant.substeps
    needed = plant.substeps
    for trial in range(x.shape[1]):
        point = (x[:, trial], u[:, trial], params[:, trial])
        F = rate_jacobian(plant, *point)
        wide = rate_jacobian(plant, *point, step=WIDER * STEP)
        F = np.where(np.abs(F) > JUMP * np.abs(wide), 0.0, F)
        if np.isfinite(F).all():
            while needed < MOST_SUBSTEPS and not _is_stable(plant, F, needed):
                needed += 1
    return needed


def rate_jacobian(
    plant: Plant, x: Array, u: Array, p: Array, step: float = STEP
) -> Array:
    """Return F (n, n), the derivative of the rates by the state x (n,).

    Its differences have a step in typical sizes. Entries that cannot be computed are
    not finite.
    """
    n = len(x)
    F = np.empty((n, n))
    for i, size in enumerate(plant.typical_state[:n]):
        change = np.zeros(n)
        change[i] = step * size
        up, down = (_rates(plant, x + s * change, u, p) for s in (1, -1))
        F[:, i] = (up - down) / (2 * step * size)
    return F


def _rates(plant: Plant, x: Array, u: Array, p: Array) -> Array:
    """Return the rates (n,), not finite where the plant's function fails."""
    dx = [np.nan] * len(x)
    arguments = (a.tolist() for a in (x, u, p))
    try:
        plant.functions["dynamics"](*arguments, dx)
    except (ArithmeticError, ValueError):
        # compiled code returns inf or nan instead
        return np.full(len(x), np.nan)
    return np.array(dx, dtype=float)


def _is_stable(plant: Plant, F: Array, substeps: int) -> bool:
    """Whether an integrator with this number of substeps follows the fast modes."""
    h = plant.dt / substeps
    modes = np.linalg.eigvals(F)
    is_fast = (modes.real < 0) & (np.abs(modes) * h > 1)
    if not is_fast.any():
        return True
    if plant.integrator == "semi_implicit":
        largest = np.abs(np.linalg.eigvals(_semi_implicit_matrix(F, h))).max()
        plant_growth = np.exp(modes.real.max() * h)
        return bool(largest <= max(1.0, plant_growth) + ROUNDING)
    z = modes[is_fast] * h
    R = 1 + z
    if plant.integrator == "rk4":
        R = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    return bool((np.abs(R) <= REMAINS).all())


def _semi_implicit_matrix(F: Array, h: float) -> Array:
    """Return the matrix (n, n) of a semi-implicit step of x' = F x."""
    n = len(F)
    half = n // 2
    A = np.eye(n)
    A[half:] += h * F[half:]
    # the positions take the new rates
    A[:half] += h * A[half:]
    return A
