"""Compiled passes on a GPU: one kernel per pass, with the loop over time inside.

They compute the same numbers as `PlainPasses` up to rounding. A block of threads runs
several trials. Everything that is sequential in time runs in the kernels of
hfcontrol.kernels.cuda. The rest are large matrix products of CuPy over all steps and
trials: the part of a tangent that comes from the weights themselves, and the cotangents
of the weights.

`dtype` is that of the activations, their tangents and cotangents, and the products;
plant, Jacobians, trajectories and weights are float64. A linearised rollout takes
`CudaPasses.bytes_per_step` per trial and step.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.device import array_module, require_memory, to_device
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.linear_model import (
    NOTHING_FIXED,
    LinearModel,
    PlantJacobians,
)
from hfcontrol.closed_loop.passes.cuda_layout import (
    CudaActivations,
    Sections,
    choose_layout,
    make_tables,
)
from hfcontrol.closed_loop.passes.protocol import StoredRollout, Trajectories
from hfcontrol.closed_loop.shares import HandOver
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.cuda import device
from hfcontrol.kernels.cuda.adjoint import make_adjoint
from hfcontrol.kernels.cuda.arguments import (
    Cotangents,
    LoopArrays,
    LoopJacobians,
    RolloutArrays,
    TangentArrays,
    ThreadTile,
)
from hfcontrol.kernels.cuda.plant import device_plant
from hfcontrol.kernels.cuda.rollout import make_rollout
from hfcontrol.kernels.cuda.tangent import make_tangent
from hfcontrol.network.architecture import Layer
from hfcontrol.network.network import Network
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario


class CudaPasses:
    """`Passes` on a GPU, for networks of plain cells on one compiled plant.

    Scenario and wiring hold arrays on the GPU. Raises DeviceError if the activations of
    a trial do not fit into the memory that a block shares, or if all trials do not fit
    on the GPU.
    """

    def __init__(
        self,
        network: Network,
        plant: Plant,
        scenario: Scenario,
        wiring: Wiring,
        dtype: str = "float64",
    ) -> None:
        self.network, self.plant = network, plant
        self.scenario, self.wiring = scenario, wiring
        self.dtype = np.dtype(dtype)

        T, trials = scenario.steps, scenario.trials
        self.sections = Sections(network, T, trials)
        self.layout = choose_layout(network, self.dtype.itemsize, trials)
        needed = T * trials * self.bytes_per_step
        require_memory(needed, f"{trials} trials of {T} steps")

        # Kernels read tables at every step: they are moved once.
        tables = make_tables(network, self.sections)
        self.tables = device.map_arrays(_to_integers, tables)
        self.column_order = to_device(self._column_order(), np.int64)
        self.loop = self._collect_arrays()

        # The weights that were packed last, and what `_pack` made of them.
        self._packed: tuple[Array | None, Any] = (None, None)
        self._nothing_fixed = device.map_arrays(_move_array, NOTHING_FIXED)

    def _column_order(self) -> Array:
        """Indices that order the weights of every matrix column by column."""
        orders = []
        for layer in self.network.layers:
            indices = np.arange(layer.weights.start, layer.weights.stop)
            orders.append(indices.reshape(layer.shape).T.ravel())
        return np.concatenate(orders)

    def _collect_arrays(self) -> LoopArrays:
        """Scenario and wiring as the kernels take them."""
        s, wiring = self.scenario, self.wiring
        return LoopArrays(
            s.target,
            # A row per trial: a plant's functions take a trial's parameters as a row.
            s.params.T.copy(),
            s.sensory_noise,
            s.motor_noise,
            s.motor_gain,
            s.disturbance,
            wiring.limits.table,
            wiring.taper,
            wiring.feedback_delay,
            wiring.command_delay,
        )

    def _loop_jacobians(self, jacobians: PlantJacobians) -> LoopJacobians:
        """The linearised loop as the kernels take it."""
        delays = (self.wiring.feedback_delay, self.wiring.command_delay)
        # on a GPU all matrices are stored whole
        A, B, C, slope, replays_inputs, _, _ = jacobians
        return LoopJacobians(A, B, C, slope, replays_inputs, *delays)

    @property
    def bytes_per_step(self) -> int:
        """Bytes per trial and step of a linearised rollout.

        In float64: scenario and cost, the plant's Jacobians and the trajectories. In
        the network's dtype: its activations, what each layer reads of them, and their
        tangents or cotangents.
        """
        plant, network = self.plant, self.network
        nx, nu, ny = plant.nx, plant.nu, plant.ny
        jacobians = nx * (nx + nu + ny)
        trajectories = 10 * nx + 12 * nu + 3 * ny + plant.nz + network.n_input
        layer_inputs = sum(layer.shape[1] for layer in network.layers)
        in_dtype = 2 * network.n_activations + layer_inputs
        return 8 * (jacobians + trajectories) + self.dtype.itemsize * in_dtype

    def _pack(self, weights: Array) -> tuple[Array, Array]:
        """Weights in the network's dtype, and with every matrix column by column.

        The last result is kept: the products of one update all use the same weights.
        """
        if self._packed[0] is not weights:
            cast = weights.astype(self.dtype)
            self._packed = weights, (cast, cast[self.column_order])
        return self._packed[1]

    def _matrix(self, layer: Layer, weights: Array) -> Array:
        """The matrix of a layer (units, columns)."""
        return weights[layer.weights].reshape(layer.shape)

    def _start(self, weights: Array) -> Array:
        """Activations at the start (unit,), or their tangents."""
        shape = (self.network.n_activations,)
        start = np.zeros_like(weights, shape=shape, dtype=self.dtype)
        if self.network.start:
            start[self.network.hidden] = weights[self.network.start]
        return start

    def _launch(self, kernel: Any, copies: int, *arguments: Any) -> None:
        """Run a kernel on all trials, `copies` times."""
        blocks = (self.layout.blocks, copies)
        threads, shared_bytes = self.layout.threads, self.layout.shared_bytes
        device.launch_blocks(kernel, blocks, threads, shared_bytes, *arguments)

    @cached_property
    def _thread_tile(self) -> ThreadTile:
        layout = self.layout
        units = layout.units_per_thread
        return ThreadTile(self.dtype.name, layout.trials_per_thread, units)

    @cached_property
    def _rollout_kernel(self) -> Any:
        plant = device_plant(self.plant)
        step, observe = plant.step, plant.observe
        return make_rollout(step, observe, plant.sizes, self._thread_tile)

    def rollout(
        self,
        weights: Array,
        linear_model: LinearModel,
        exploration: Array | None = None,
    ) -> Trajectories:
        """See `Passes.rollout`."""
        s = self.scenario
        nx, N = s.x0.shape
        x = np.empty_like(s.x0, shape=(s.steps + 1, nx, N))
        x[0] = s.x0
        u, command = np.empty_like(s.motor_noise), np.empty_like(s.motor_noise)
        y = np.empty_like(s.sensory_noise)

        length = self.sections.length
        activations = np.zeros_like(x, shape=(length,), dtype=self.dtype)
        start = self._start(weights)
        self._write_start(activations, start)

        if exploration is None:
            exploration = np.empty_like(u, shape=(0, *u.shape[1:]))
        is_fixed = linear_model.replaces_plant or linear_model.replays_inputs
        model = self._nothing_fixed
        if is_fixed:
            model = device.map_arrays(_move_array, linear_model)
        _, packed = self._pack(weights)
        self._launch(
            self._rollout_kernel,
            1,
            packed,
            self.tables,
            start,
            self.loop,
            model,
            exploration,
            RolloutArrays(x, u, command, y, activations),
        )
        return Trajectories(
            x, u, command, y, CudaActivations(self.sections, activations)
        )

    def _write_start(self, activations: Array, start: Array) -> None:
        """Write the learned start (unit,) as the first time of activations."""
        if not self.network.start:
            return
        sections = self.sections.split(activations)[1:]
        for layer, section in zip(self.network.layers, sections, strict=True):
            section[0] = start[layer.units]

    def hidden_activations(self, weights: Array, rollout: StoredRollout) -> Array:
        """See `Passes.hidden_activations`."""
        # Without the sections of the input and of the output.
        hidden = self.sections.split(rollout.activations.flat)[1:-1]
        parts = [section[1:].transpose(0, 2, 1) for section in hidden]
        return np.concatenate(parts, axis=1)

    def select_activations(
        self, activations: CudaActivations, select: HandOver, passes: "CudaPasses"
    ) -> CudaActivations:
        """See `Passes.select_activations`."""
        sections = self.sections.split(activations.flat)
        # Here the trial is the second axis, and not the last one.
        selected = [select(section.swapaxes(1, 2)) for section in sections]
        parts = [section.swapaxes(1, 2).ravel() for section in selected]
        return CudaActivations(passes.sections, np.concatenate(parts))

    def tangent(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        v: Array,
        keep_activations: bool = False,
    ) -> tuple[Array, Array, Array]:
        """See `Passes.tangent`; d_activations is empty without `keep_activations`."""
        flat = rollout.activations.flat
        v = v.astype(self.dtype)
        kept_shape = flat.shape if keep_activations else (0,)
        d_activations = np.zeros_like(flat, shape=kept_shape)
        weight_tangents = self._weight_tangents(rollout, v)
        dx, du = np.zeros_like(rollout.x), np.empty_like(rollout.u)
        # Commands are known before the controls that they become.
        d_command = np.empty_like(du)
        _, packed = self._pack(weights)
        self._launch(
            make_tangent(self._thread_tile),
            1,
            packed,
            self.tables,
            self._start(v),
            self._loop_jacobians(jacobians),
            flat,
            weight_tangents,
            TangentArrays(dx, du, d_command, d_activations),
        )
        return dx, du, d_activations

    def _weight_tangents(self, rollout: StoredRollout, v: Array) -> Array:
        """Tangents of the summed inputs for fixed activations, laid out like these.

        They do not depend on each other, and so are one product per layer.
        """
        tangents = np.empty_like(rollout.activations.flat)
        matmul = array_module(v).matmul
        sections = self.sections.split(tangents)[1:]
        inputs = rollout.activations.layer_inputs
        layers = self.network.layers
        for layer, read, section in zip(layers, inputs, sections, strict=True):
            out = section[1:].reshape(-1, layer.size)
            matmul(read, self._matrix(layer, v).T, out=out)
        return tangents

    def keep_hidden(self, d_activations: Array) -> Array:
        """See `Passes.keep_hidden`; overwrites its argument.

        The adjoint does not read cotangents of the start.
        """
        sections = self.sections.split(d_activations)
        sections[0][:] = 0.0
        sections[-1][:] = 0.0
        return d_activations

    def _deltas(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        cotangents: tuple[Array, Array, Array | None],
    ) -> tuple[list[Array], Array]:
        """Cotangents of the layers' summed inputs, and of the start.

        For cotangents (x_bar, u_bar, activations_bar). The first are one view per layer
        (K, T, N, size), the second (K, unit, trial).
        """
        x_bar, u_bar, activations_bar = cotangents
        flat = rollout.activations.flat
        K, trials = len(x_bar), x_bar.shape[3]
        units = self.network.n_activations

        deltas = np.empty_like(flat, shape=(K, flat.size))
        start_bar = np.empty_like(x_bar, shape=(K, units, trials))
        if activations_bar is None:
            activations_bar = np.zeros_like(flat, shape=(0,))
        # The kernel uses up both.
        x_bar, u_bar = x_bar.copy(), u_bar.copy()
        command_bar = np.empty_like(u_bar)
        cast, _ = self._pack(weights)
        self._launch(
            make_adjoint(self._thread_tile),
            K,
            cast,
            self.tables,
            self._loop_jacobians(jacobians),
            flat,
            Cotangents(x_bar, u_bar, command_bar, activations_bar),
            deltas,
            start_bar,
        )
        return self.sections.split_each(deltas), start_bar

    def adjoint(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
        activations_bar: Array | None = None,
    ) -> Array:
        """See `Passes.adjoint`."""
        cotangents = (x_bar[None], u_bar[None], activations_bar)
        deltas, start_bar = self._deltas(weights, jacobians, rollout, cotangents)

        # Every step and trial is a sample of the layer's product: no loop over time.
        weights_bar = np.zeros_like(weights)
        inputs = rollout.activations.layer_inputs
        for layer, read, delta in self._layers_with(inputs, deltas):
            by_sample = delta[0].reshape(-1, layer.size)
            weights_bar[layer.weights] = (by_sample.T @ read).ravel()

        if self.network.start:
            hidden_bar = start_bar[0, self.network.hidden]
            weights_bar[self.network.start] = hidden_bar.sum(axis=-1)
        return weights_bar[None]

    def adjoint_rows(
        self,
        weights: Array,
        jacobians: PlantJacobians,
        rollout: StoredRollout,
        x_bar: Array,
        u_bar: Array,
    ) -> Array:
        """See `Passes.adjoint_rows`."""
        cotangents = (x_bar, u_bar, None)
        deltas, start_bar = self._deltas(weights, jacobians, rollout, cotangents)

        K, N = len(x_bar), self.scenario.trials
        J = np.zeros_like(weights, shape=(K, N, self.network.size))
        inputs = rollout.activations.layer_inputs
        for layer, read, delta in self._layers_with(inputs, deltas):
            by_step = read.reshape(-1, N, read.shape[-1])
            by_trial = by_step.swapaxes(0, 1)
            # (K, T, N, size) to (K, N, size, T).
            by_unit = delta.transpose(0, 2, 3, 1)
            product = by_unit @ by_trial
            J[..., layer.weights] = product.reshape(K, N, -1)

        if self.network.start:
            hidden_bar = start_bar[:, self.network.hidden]
            J[..., self.network.start] = hidden_bar.swapaxes(1, 2)
        return J

    def _layers_with(self, inputs: Sequence[Array], deltas: Sequence[Array]) -> Any:
        """Each layer with its input and the cotangent of its summed input."""
        return zip(self.network.layers, inputs, deltas, strict=True)

    @staticmethod
    def gram(J: Array) -> Array:
        """See `Passes.gram`."""
        return J @ J.T


def _to_integers(table: Array) -> Array:
    """A table on the GPU."""
    return to_device(table, np.int64)


def _move_array(value: Any) -> Any:
    """A field of a `LinearModel` on the GPU; flags stay as they are."""
    return value if isinstance(value, bool) else to_device(value)
