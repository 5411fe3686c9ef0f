"""The protocol of passes: what runs a network and its plant through all time steps.

`PlainPasses` is the definition. `FusedPasses` (CPU) and `CudaPasses` (GPU) compute the
same numbers up to rounding.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import LinearModel, PlantJacobians
from hfcontrol.closed_loop.shares import HandOver

# Values of all units at the stored steps. Their layout is private to the passes that
# made them: an array of blocks of trials on the CPU, a `CudaActivations` on the GPU.
Activations: TypeAlias = Any


class Trajectories(NamedTuple):
    """What a rollout computes for N trials.

    States x (T+1, nx, N), controls u, commands (T, nu, N), observations y (T, ny, N)
    and activations.
    """

    x: Array
    u: Array
    command: Array
    y: Array
    activations: Activations


class StoredRollout(Protocol):
    """What tangent and adjoint passes read of a rollout."""

    @property
    def x(self) -> Array:
        """States (T+1, nx, N)."""
        ...

    @property
    def u(self) -> Array:
        """Controls (T, nu, N)."""
        ...

    @property
    def y(self) -> Array:
        """Observations (T, ny, N)."""
        ...

    @property
    def activations(self) -> Activations:
        """Activations at the stored steps."""
        ...


class Passes(Protocol):
    """Rollout, tangent and adjoint of one network on one plant and scenario.

    `weights` (P,) are what the network multiplies with, and v (P,) is a direction of
    these.
    """

    def rollout(
        self,
        weights: Array,
        linear_model: LinearModel,
        exploration: Array | None = None,
    ) -> Trajectories:
        """Simulate all trials, with `linear_model` fixed.

        `exploration` (T, nu, N) is added to the commands.
        """
        ...

    def tangent(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        v: Array,
        keep_activations: bool = False,
    ) -> tuple[Array, Array, Activations]:
        """Tangents (dx, du, d_activations) of a rollout in the direction v (P,).

        d_activations covers all steps only with `keep_activations`.
        """
        ...

    def adjoint(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
        activations_bar: Activations | None = None,
    ) -> Array:
        """Cotangents of the weights (block, P) for cotangents of the trajectories.

        One for each block of trials; their sum in this order is that of all trials.
        """
        ...

    def adjoint_rows(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
    ) -> Array:
        """Cotangents of the weights (K, N, P), one per trial and cotangent.

        For K cotangents x_bar (K, T+1, nx, N), u_bar (K, T, nu, N).
        """
        ...

    def hidden_activations(self, weights: Array, rollout: StoredRollout) -> Array:
        """Activations of the hidden units at all steps (T, n_hidden, N)."""
        ...

    def keep_hidden(self, d_activations: Activations) -> Activations:
        """Tangents of the activations, with zeros except for the hidden units.

        The learned start of the hidden units counts as zero too.
        """
        ...

    def select_activations(
        self, activations: Activations, select: HandOver, passes: Any
    ) -> Activations:
        """Activations of the trials that `select` brings to `passes`, in its layout."""
        ...

    def gram(self, J: Array) -> Array:
        """J J' (m, m) of rows J (m, P)."""
        ...
