"""Random states and controls of a plant, at which its contract tests look at it."""

from collections.abc import Iterator

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.contract import Plant

TRIALS = 16
SPREAD = 0.3  # standard deviation of states and controls, in typical sizes


class Sample:
    """A plant with random states x (nx, N) and controls u (nu, N).

    The parameters p (np, N) are the plant's own, for every trial. All random numbers
    come from `seed`.
    """

    def __init__(self, plant: Plant, seed: int = 0) -> None:
        self.plant = plant
        self.kernels = compile_plant(plant)
        self.rng = np.random.default_rng(seed)
        sizes = SPREAD * plant.typical_state[:, None]
        self.x = sizes * self.rng.standard_normal((plant.nx, TRIALS))
        self.u = self.draw_controls()
        self.p = repeat_params(plant, TRIALS)

    def draw_controls(self) -> Array:
        """Draw random controls (nu, N) within the limits."""
        plant = self.plant
        sizes = SPREAD * plant.typical_control[:, None]
        u = sizes * self.rng.standard_normal((plant.nu, TRIALS))
        if plant.limit is None:
            return u
        low, high = plant.limit[:, :, None]
        return np.clip(u, low, high)

    def step(self) -> Array:
        """The states (nx, N) after one step."""
        return self.kernels.step(self.x, self.u, self.p)

    def single_states(self) -> list[str]:
        """Names of the states that the plant computes in single precision.

        Their values after a step, from states in double precision, are all numbers of
        float32. Compiled plants compute in float64.
        """
        if self.plant.compiled:
            return []
        after = self.step()
        is_single = (after == after.astype(np.float32)).all(axis=1)
        # A constant may be such a number by chance.
        varies = np.ptp(after, axis=1) > 0
        return [self.plant.state[i] for i in np.flatnonzero(is_single & varies)]

    def maps(self) -> Iterator[tuple[tuple[str, ...], Array]]:
        """Names and values (n, N) of the observation, then of the output."""
        x = self.x[None]  # the kernels expect a time axis
        yield self.plant.observation, self.kernels.observe(x, self.p)[0]
        yield self.plant.output, self.kernels.output(x, self.p)[0]


def repeat_params(plant: Plant, trials: int) -> Array:
    """The plant's own parameters for every trial (np, N)."""
    values = np.array(list(plant.params.values()))
    return np.repeat(values.reshape(-1, 1), trials, axis=1)
