"""Finite differences wider than usual, for plants that are rough at a small scale.

A step of a millionth of a typical size is best for smooth functions. A quantised input
has the derivative zero by it, almost everywhere. Wider steps give the mean slope, which
is what a network can use.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from hfcontrol.arrays.device import to_device_of, to_host
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.counts import NO_COUNTS, Counts
from hfcontrol.closed_loop.loop import ClosedLoop, Rollout
from hfcontrol.closed_loop.protocol import Loop
from hfcontrol.kernels import STEP, compile_plant
from hfcontrol.kernels.base import Kernels

# Difference steps grow by this factor, to at most this part of a typical size.
WIDER = 10.0
WIDEST = 0.03

# Derivatives are compared with changes of the plant's step by this part of the typical
# sizes, in as many trials at most.
REACH = 0.1
TRIALS = 8

# An error is compared with that of the usual differences at each point; errors below
# this part of the change itself are the same. Half of the points must gain this factor:
# a few of them on a kink are exceptions. The narrowest differences are taken that are
# as good as the best ones, up to this factor.
SMALL = 0.01
GOOD = 1.2


def next_widening(widening: float) -> float | None:
    """Return the next larger factor of the difference steps, or None."""
    widest = WIDEST / STEP
    return min(WIDER * widening, widest) if widening < widest else None


def widened_kernels(loop: ClosedLoop, widening: float) -> Kernels:
    """Return the kernels of a loop's plant with difference steps longer by a factor."""
    plant = loop.plant
    # the steps are a fixed part of the kernels' typical sizes
    wide = replace(
        plant,
        typical_state=widening * np.asarray(plant.typical_state),
        typical_control=widening * np.asarray(plant.typical_control),
    )
    return compile_plant(wide, loop.kernels.device)


def widen(loop: Loop, widening: float) -> Loop:
    """Return the loop with difference steps longer by a factor.

    A trajectory in continuous time has none.
    """
    if widening == 1.0 or not isinstance(loop, ClosedLoop):
        return loop
    kernels = widened_kernels(loop, widening)
    cost = replace(loop.scenario.cost, kernels=kernels)
    scenario = replace(loop.scenario, cost=cost)
    return loop.with_scenario(scenario, kernels)


def choose_widening(loop: Any, start: Rollout) -> tuple[float, Counts]:
    """Return the factor of the difference steps that a plant needs, and what it cost.

    It is the least one whose derivatives predict, nearly as well as the best, how a
    step of the plant along a rollout changes with changes of 0.1 of the typical sizes.
    """
    plant = loop.plant
    indices = loop.trial_indices(min(TRIALS, loop.trials))
    x = loop.gather(start.x[:-1], indices)
    u = loop.gather(start.u, indices)
    p = loop.scenario.params[:, to_device_of(indices, x)].copy()

    rng = np.random.default_rng(0)
    size_x = np.asarray(plant.typical_state)[:, None]
    size_u = np.asarray(plant.typical_control)[:, None]
    dx = to_device_of(REACH * size_x * rng.standard_normal(x.shape), x)
    du = to_device_of(REACH * size_u * rng.standard_normal(u.shape), u)
    changed = _steps(loop.kernels, x + dx, u + du, p) - _steps(loop.kernels, x, u, p)

    errors: dict[float, Array] = {}
    widening: float | None = 1.0
    counts = NO_COUNTS
    while widening is not None:
        A, B = widened_kernels(loop, widening).jacobians(x, u, p)
        predicted = np.einsum("tijn,tjn->tin", A, dx)
        predicted = predicted + np.einsum("tijn,tjn->tin", B, du)
        errors[widening] = _error(changed - predicted, size_x)
        columns = plant.nx + plant.nu
        steps = 2 * columns * len(u) * len(indices)
        counts = counts + Counts(jacobian_steps=steps)
        widening = next_widening(widening)
    small = SMALL * _error(changed, size_x)
    usual = errors[1.0] + small
    ratios = {w: float(np.median((e + small) / usual)) for w, e in errors.items()}
    least = min(ratios.values())
    # not `>`: a plant that fails here has no finite ratio
    if not GOOD * least < ratios[1.0]:
        return 1.0, counts
    return next(w for w, ratio in ratios.items() if ratio <= GOOD * least), counts


def _steps(kernels: Kernels, x: Array, u: Array, p: Array) -> Array:
    """Return the states after one step from x (T, nx, N) with controls u (T, nu, N)."""
    after = [kernels.step(x_t, u_t, p) for x_t, u_t in zip(x, u, strict=True)]
    return np.stack(after)


def _error(difference: Array, size: Array) -> Array:
    """Return the largest entry of a difference (T, nx, N) at each point (T, N).

    It is in typical sizes (nx, 1).
    """
    return np.abs(to_host(difference) / size).max(axis=1)
