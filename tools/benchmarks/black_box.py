"""The control steps of a plant that CasADi cannot trace, as a black box.

A plant file may use NumPy, tables or another simulator. CasADi then only calls it:
hfcontrol's kernels make all steps of a trial in one call, and the Jacobian is that of
their central differences. So the judge's derivatives are not independent of ours, but
its method and its starts are.
"""

from typing import Any

import casadi as ca
import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.base import Kernels, taper_slope, taper_value


class Steps(ca.Callback):
    """T steps: states (nx, T), controls (nu, T), parameters (np, T) -> (nx, T)."""

    def __init__(self, kernels: Kernels, taper: Array, steps: int) -> None:
        super().__init__()
        self.kernels = kernels
        self.taper = taper
        plant = kernels.plant
        sizes = (plant.nx, plant.nu, plant.n_params)
        self.shapes = [(size, steps) for size in sizes]
        # CasADi does not keep what `get_jacobian` returns
        self.derivative: Jacobian | None = None
        self.construct("steps")

    def get_n_in(self) -> int:
        """Return the number of inputs."""
        return len(self.shapes)

    def get_sparsity_in(self, i: int) -> Any:
        """Return the shape of an input."""
        return ca.Sparsity.dense(*self.shapes[i])

    def get_sparsity_out(self, i: int) -> Any:
        """Return the shape of the output."""
        return ca.Sparsity.dense(*self.shapes[0])

    def eval(self, arguments: Any) -> list[Any]:
        """Return the states after the steps."""
        x, u, p = (np.array(a) for a in arguments)
        return [taper_value(self.kernels.step(x, u, p), self.taper)]

    def has_jacobian(self) -> bool:
        """Return that there is a Jacobian."""
        return True

    def get_jacobian(self, name: str, *_: Any) -> "Jacobian":
        """Return the Jacobian."""
        self.derivative = Jacobian(name, self)
        return self.derivative


class Jacobian(ca.Callback):
    """The derivatives of `Steps` by its inputs: a diagonal block for each step."""

    def __init__(self, name: str, steps: Steps) -> None:
        super().__init__()
        self.steps = steps
        nx, T = steps.shapes[0]
        self.shapes = [*steps.shapes, steps.shapes[0]]
        block_sizes = [size for size, _ in steps.shapes]
        self.patterns = [
            ca.diagcat(*[ca.Sparsity.dense(nx, size)] * T) for size in block_sizes
        ]
        self.construct(name)

    def get_n_in(self) -> int:
        """Return the number of inputs: those of `Steps`, and its output."""
        return len(self.shapes)

    def get_n_out(self) -> int:
        """Return the number of derivatives."""
        return len(self.patterns)

    def get_sparsity_in(self, i: int) -> Any:
        """Return the shape of an input."""
        return ca.Sparsity.dense(*self.shapes[i])

    def get_sparsity_out(self, i: int) -> Any:
        """Return where a derivative is not zero."""
        return self.patterns[i]

    def eval(self, arguments: Any) -> list[Any]:
        """Return the derivatives; parameters are constant, so theirs are zero."""
        x, u, p, after = (np.array(a) for a in arguments)
        A, B = self.steps.kernels.jacobians(x[None], u[None], p)
        slope = taper_slope(after, self.steps.taper)[:, None]
        by_parameters = np.zeros((len(x), len(p), x.shape[1]))
        blocks = (slope * A[0], slope * B[0], by_parameters)
        # CasADi stores the entries column by column
        return [
            ca.DM(pattern, block.transpose(2, 1, 0).ravel())
            for pattern, block in zip(self.patterns, blocks, strict=True)
        ]
