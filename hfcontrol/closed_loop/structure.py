"""Finding out which states of a plant depend on which, by probing its step.

The plant is stepped from the starts of a task with random controls, and points of these
trajectories are sampled. At half of them every state and control is moved, by the step
of differences and by its typical size: what moves with it is the pattern. At the other
half, Jacobians by groups are compared with Jacobians column by column. If they differ,
the plant has dependencies that the first half did not show, and keeps no structure.
"""

from typing import Protocol

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import STEP, Kernels
from hfcontrol.kernels.structure import Pattern, make_structure
from hfcontrol.tasks.scenario import Scenario

# Fewer states and controls are not worth it.
LEAST_COLUMNS = 16

# Sampled points, of the pattern and of the comparison together.
POINTS = 24

# Random controls, in typical sizes.
NOISE = 0.3

# A structure has to save at least this part of the steps of a Jacobian.
SAVED = 0.5

# Relative difference up to which two Jacobians are the same.
SAME = 1e-6


class DrawsTrials(Protocol):
    """A task."""

    def draw(
        self, rng: np.random.Generator, split: str = ..., trials: int | None = ...
    ) -> Scenario:
        """Draw a scenario of a number of trials."""
        ...


def learn_structure(kernels: Kernels, task: DrawsTrials, wiring: Wiring) -> None:
    """Set the structure of the kernels, from points of a task; None if there is none.

    The generator is fixed: whatever the seed of a training, and whether it is resumed,
    the same task gives the same structure.
    """
    kernels.structure = None
    plant = kernels.plant
    columns = plant.nx + plant.nu
    if kernels.device != "cpu" or columns < LEAST_COLUMNS:
        return
    scenario = task.draw(np.random.default_rng(0), trials=POINTS)
    with np.errstate(all="ignore"):
        x, u, p = _sample_points(kernels, scenario, wiring)
        half = x.shape[1] // 2
        if half == 0:
            return
        pattern = find_pattern(kernels, x[:, :half], u[:, :half], p[:, :half])
        structure = make_structure(pattern, plant.nx)
        if len(structure.groups) > (1 - SAVED) * columns:
            return
        points = (x[None, :, half:], u[None, :, half:], p[:, half:])
        by_column = kernels.jacobians(*points)
        kernels.structure = structure
        by_group = kernels.jacobians(*points)
    if not _agree(by_column, by_group):
        kernels.structure = None


def find_pattern(kernels: Kernels, x: Array, u: Array, p: Array) -> Pattern:
    """Return which entries of [A B] (nx, nx + nu) are not zero at M points.

    Shapes: x (nx, M), u (nu, M), p (np, M).
    """
    plant = kernels.plant
    typical = np.concatenate([plant.typical_state, plant.typical_control])
    xu = np.concatenate([x, u])
    reference = kernels.step(x, u, p)
    pattern = np.zeros((plant.nx, len(typical)), dtype=bool)
    for j, size in enumerate(typical):
        for step in (STEP * size, -STEP * size, size, -size):
            moved = xu.copy()
            moved[j] += step
            after = kernels.step(moved[: plant.nx], moved[plant.nx :], p)
            # a number that is not finite depends on everything
            pattern[:, j] |= ~(after == reference).all(axis=1)
    return pattern


def _sample_points(
    kernels: Kernels, scenario: Scenario, wiring: Wiring
) -> tuple[Array, Array, Array]:
    """Return states (nx, M), controls (nu, M) and parameters (np, M) of M points."""
    plant, s = kernels.plant, scenario
    rng = np.random.default_rng(0)
    typical = np.asarray(plant.typical_control, dtype=float)[:, None]
    trim = np.reshape(np.broadcast_to(plant.trim, (plant.nu,)), (-1, 1))
    noise = NOISE * typical * rng.standard_normal(s.motor_noise.shape)
    u = wiring.limits.clip(trim + noise)
    x = kernels.simulate(s.x0, u, s.params, s.disturbance, wiring.taper)

    times = rng.integers(s.steps, size=POINTS)
    trials = rng.integers(s.trials, size=POINTS)
    spread = np.asarray(plant.typical_state, dtype=float)[:, None]
    states = x[times, :, trials].T
    # states that are zero together hide how they depend on each other
    states = states + NOISE * spread * rng.standard_normal(states.shape)
    controls = u[times, :, trials].T
    params = s.params[:, trials]
    after = kernels.step(states, controls, params)
    finite = np.isfinite(states).all(axis=0) & np.isfinite(after).all(axis=0)
    return states[:, finite], controls[:, finite], params[:, finite]


def _agree(a: tuple[Array, Array], b: tuple[Array, Array]) -> bool:
    """Whether two pairs of Jacobians are the same up to rounding."""
    for one, other in zip(a, b, strict=True):
        scale = np.abs(one).max(initial=0.0)
        if not np.abs(one - other).max(initial=0.0) <= SAME * scale:
            return False
    return True
