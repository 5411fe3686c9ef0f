"""The state that a classical law acts on, from what a network would observe.

    y = observe(x_{t-d}) + noise

An observation that holds a state as it is gives it directly. A rate that is not
observed is the backward difference of its observed position. A plant file's own
`observe` is inverted by Gauss-Newton steps from the last state. There is no filter and
no prediction: delays and noise reach a law as they reach the network.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.classical.mechanics import rates_of_positions
from hfcontrol.classical.problem import Problem, UnsuitableError

# Gauss-Newton steps for each observation: the last state is near.
ITERATIONS = 6

# Largest error of an observation at which they stop.
ACCURACY = 1e-12

# Smallest singular value of the derivative of `observe` that still gives the state.
SMALLEST_SLOPE = 1e-6


class Observer:
    """Turns observations into states, one step after another.

    Raises UnsuitableError if the observations do not determine the state.
    """

    def __init__(self, problem: Problem) -> None:
        plant = problem.plant
        self.kernels, self.params, self.dt = problem.kernels, problem.params, plant.dt
        self.x0 = problem.scenario.x0
        self.inverts = "observe" in plant.functions
        self.seen = np.zeros(0, dtype=int)
        self.positions = self.rates = self.seen
        if self.inverts:
            self._check_slopes(plant.name)
        else:
            self.seen = plant.state_indices("observe")
            self._find_rates(problem)
        self.reset()

    def reset(self) -> None:
        """Forget all observations; the next one is that of the start state."""
        self.x = self.x0.copy()
        self.is_first = True

    def __call__(self, y: Array) -> Array:
        """Return the states (nx, N) for the next observations y (ny, N)."""
        x = self._invert(y) if self.inverts else self._read(y)
        self.x = x
        self.is_first = False
        return x

    def _read(self, y: Array) -> Array:
        """Return the states from observations that hold some of them."""
        x = self.x.copy()
        x[self.seen] = y
        # Before the first difference the rates are those of the start.
        if self.rates.size and not self.is_first:
            change = x[self.positions] - self.x[self.positions]
            x[self.rates] = change / self.dt
        return x

    def _invert(self, y: Array) -> Array:
        """Return the states whose observations are y, near the last ones."""
        x = self.x.copy()
        for _ in range(ITERATIONS):
            error = y - self.kernels.observe(x[None], self.params)[0]
            if np.abs(error).max() < ACCURACY:
                break
            C = self.kernels.observe_jacobian(x[None], self.params)[0]
            inverse = np.linalg.pinv(C.transpose(2, 0, 1))
            x = x + np.einsum("nij,jn->in", inverse, error)
        return x

    def _check_slopes(self, name: str) -> None:
        """Raise UnsuitableError if `observe` cannot be inverted at the start."""
        C = self.kernels.observe_jacobian(self.x0[None], self.params)[0]
        nx = len(self.x0)
        slopes = np.linalg.svd(C.transpose(2, 0, 1), compute_uv=False)
        if slopes.shape[1] < nx or slopes.min() < SMALLEST_SLOPE:
            raise UnsuitableError(f"the observations of {name} do not give its state")

    def _find_rates(self, problem: Problem) -> None:
        """Find the rates that differences of positions stand in for."""
        plant = problem.plant
        missing = np.setdiff1d(np.arange(plant.nx), self.seen)
        if not missing.size:
            return
        rates = rates_of_positions(plant)
        is_missing = np.isin(rates, missing) & np.isin(plant.positions, self.seen)
        self.positions, self.rates = plant.positions[is_missing], rates[is_missing]
        hidden = np.setdiff1d(missing, self.rates)
        if hidden.size:
            names = ", ".join(plant.state[i] for i in hidden)
            raise UnsuitableError(f"nothing observes {names}")
