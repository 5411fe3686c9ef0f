"""The fused passes on a GPU: each is one kernel with the whole loop over time in it, several trials to a block of threads.

Same interface and, to rounding, same numbers as `PlainPasses`. What is sequential in time runs in the kernels of the cuda_*_piece
files; what is not, the weights' own part of a tangent and the cotangents of the weights, are large matrix products of CuPy over all
steps and trials. `dtype` is the network's: activity, its tangents and cotangents, and the products; plant, Jacobians, trajectories
and weights stay float64. A linearised rollout takes, per trial and step, `CudaPasses.bytes_per_step`.

Several networks of one shape may go side by side, as many launches and products as one. Their weights are then (network, P), and
so does all begin that is theirs alone; `lead` is (networks,), and () where there is one, whose arrays have no such axis.
"""

from functools import cache, cached_property

import numpy as np

from hfcontrol.arrays.device import (
    array_module,
    processor_count,
    require_memory,
    to_device,
)
from hfcontrol.errors import DeviceError
from hfcontrol.kernels import cuda, plant_pieces
from hfcontrol.kernels.generate import read_piece

LANES = 32  # threads of a warp
SHARED = 48 * 1024  # bytes that a block may share without asking
TILES = (
    32,
    16,
    8,
    4,
    2,
    1,
)  # trials in a block: the most that leave a block for every multiprocessor
TOGETHER = 8  # most trials of a thread: each weight that it reads is used so often
UNITS = (
    4  # most units of a thread at a time: each activity that it reads is used so often
)
MOST = 256  # threads in a block: with the registers that a kernel uses, more would not start


def constants(dtype, together, units):
    """The piece that says what kind of number the network has, and how many trials R and units U a thread has."""
    return f"REAL, ZERO, ONE = {dtype}, np.{dtype}(0.0), np.{dtype}(1.0)\nR, U = {together}, {units}\n"


@cache
def rollout_module(plant, dtype, together, units):
    """The rollout kernel of one plant."""
    pieces = [
        constants(dtype, together, units),
        *plant_pieces(plant),
        *map(read_piece, ("loop", "cuda_layers", "cuda_rollout")),
    ]
    return cuda.load_device_module(
        f"rollout_{plant.name}",
        pieces,
        {"R": together, "U": units, **cuda.plant_sizes(plant)},
    )


@cache
def derivative_module(dtype, together, units):
    """The tangent and adjoint kernels, which are the same for every plant."""
    pieces = [
        constants(dtype, together, units),
        *map(read_piece, ("cuda_layers", "cuda_tangent", "cuda_adjoint")),
    ]
    return cuda.load_device_module("sweeps", pieces, {"R": together, "U": units})


class Activity:
    """What a rollout's networks did: their rows in one array, section by section, see cuda_layers_piece.py."""

    def __init__(self, passes, flat):
        self.passes, self.flat = passes, flat

    @cached_property
    def read(self):
        """What each layer multiplies by its matrix, and 1 for the bias, (..., T N, columns)."""
        passes, T = self.passes, self.passes.scenario.steps
        found, sections = [], passes.sections(self.flat)
        for layer in passes.network.layers:
            parts = [
                sections[passes.section_of[s.units.start]][
                    ..., 1 - s.lag : T + 1 - s.lag, :, :
                ]
                for s in layer.sources
            ]
            parts = [part.reshape(*passes.lead, -1, part.shape[-1]) for part in parts]
            found.append(
                np.concatenate([*parts, np.ones_like(parts[0][..., :1])], axis=-1)
            )
        return found


class CudaPasses:
    """Rollout, tangent and adjoint of networks of plain cells on one compiled plant; see `PlainPasses`.

    Scenario and wiring hold arrays on the GPU; of several networks, the scenario holds the trials of each after those of the one
    before. Raises DeviceError where a trial's activity does not fit into the memory that a block shares, or where all of them do not
    fit on the GPU.
    """

    def __init__(
        self, network, plant, scenario, wiring, dtype="float64", networks=None
    ):
        self.network, self.plant, self.scenario, self.wiring, self.dtype = (
            network,
            plant,
            scenario,
            wiring,
            np.dtype(dtype),
        )
        self.lead, self.networks = (
            () if networks is None else (networks,),
            networks or 1,
        )
        T, N = scenario.steps, scenario.trials // self.networks
        sizes = [network.n_input, *(layer.size for layer in network.layers)]
        self.section_of = {
            0: 0,
            **{layer.units.start: k + 1 for k, layer in enumerate(network.layers)},
        }
        self.shapes = [(*self.lead, T + 1, N, size) for size in sizes]
        self.ends = np.cumsum([self.networks * (T + 1) * N * size for size in sizes])
        self.places = np.concatenate([[0], self.ends[:-1]])
        self._choose_blocks(max(sizes[1:]), N)
        require_memory(
            T * scenario.trials * self.bytes_per_step,
            f"{scenario.trials} trials of {T} steps",
        )
        tables = (*network.tables(), self.places)
        self.tables = tuple(to_device(table, np.int64) for table in tables)
        numbers = [
            np.arange(layer.weights.start, layer.weights.stop).reshape(layer.shape)
            for layer in network.layers
        ]
        self.transposed = to_device(
            np.concatenate([n.T.ravel() for n in numbers]), np.int64
        )
        s = scenario
        self.inputs = (
            s.x0,
            s.target,
            s.params.T.copy(),
            s.sensory_noise,
            s.motor_noise,
            s.motor_gain,
            s.disturbance,
            wiring.feedback_delay,
            wiring.command_delay,
        )
        self._packed = None, None
        self._nothing = tuple(
            np.zeros_like(s.x0, shape=(0,) * n) for n in (4, 4, 4, 3, 3, 3, 3)
        )

    def _choose_blocks(self, widest, trials):
        """Trials to a block and a thread, units to a thread, threads to a block, blocks, and the bytes that each shares; `trials` are
        those of one network."""
        per_trial = 2 * self.network.n_activations * self.dtype.itemsize
        fitting = [tile for tile in TILES if tile * per_trial <= SHARED]
        if not fitting:
            raise DeviceError(
                f"--device gpu: the {self.network.n_activations} rows of this network need {per_trial} bytes to a trial, and a "
                f"block of threads shares {SHARED}; use fewer units, or --device cpu"
            )
        self.tile = next(
            (
                tile
                for tile in fitting
                if self.networks * -(-trials // tile) >= processor_count()
            ),
            fitting[-1],
        )
        self.together = min(self.tile, TOGETHER)
        self.units = 1 if self.together == 1 else min(UNITS, -(-widest // LANES))
        groups = self.tile // self.together
        self.threads = (
            min(LANES * -(-widest // (LANES * self.units)), MOST // groups),
            groups,
        )
        self.blocks, self.shared = (
            self.networks * -(-trials // self.tile),
            self.tile * per_trial,
        )

    @property
    def bytes_per_step(self):
        """Bytes per trial and step of a linearised rollout: scenario and cost, the plant's Jacobians and the trajectories, in float64,
        and the network's activity, what each layer reads of it, and their tangents or cotangents."""
        nx, nu, ny, rows = (
            self.plant.nx,
            self.plant.nu,
            self.plant.ny,
            self.network.n_activations,
        )
        read = sum(layer.shape[1] for layer in self.network.layers)
        doubles = (
            nx * (nx + nu + ny)
            + 10 * nx
            + 12 * nu
            + 3 * ny
            + self.plant.nz
            + self.network.n_input
        )
        return 8 * doubles + self.dtype.itemsize * (2 * rows + read)

    def sections(self, flat):
        """Views of the sections of one array, (..., T + 1, N, size): those of the input and of each layer."""
        return [
            flat[place:end].reshape(shape)
            for place, end, shape in zip(self.places, self.ends, self.shapes)
        ]

    def _pack(self, theta):
        """Weights (..., P) as the networks' kind of number, and with every matrix column by column, both (network, P)."""
        if self._packed[0] is not theta:
            real = theta.astype(self.dtype).reshape(self.networks, -1)
            self._packed = theta, (real, real[:, self.transposed])
        return self._packed[1]

    def _matrices(self, layer, theta):
        """The matrices of a layer (..., units, columns) in weights (..., P)."""
        return theta[..., layer.weights].reshape(*self.lead, *layer.shape)

    def _start(self, theta):
        """The rows of the networks at the start (network, row), or their tangents."""
        start = np.zeros_like(
            theta, shape=(self.networks, self.network.n_activations), dtype=self.dtype
        )
        if self.network.start:
            start[:, self.network.hidden] = theta.reshape(self.networks, -1)[
                :, self.network.start
            ]
        return start

    def _launch(self, kernel, copies, *arguments):
        cuda.launch_blocks(
            kernel, (self.blocks, copies), self.threads, self.shared, *arguments
        )

    def rollout(self, theta, linear_model, exploration=None):
        """See `PlainPasses.rollout`."""
        s = self.scenario
        T, (nx, N) = s.steps, s.x0.shape
        x, u = np.empty_like(s.x0, shape=(T + 1, nx, N)), np.empty_like(s.motor_noise)
        command, y = np.empty_like(u), np.empty_like(s.sensory_noise)
        x[0] = s.x0
        rows, start = (
            np.zeros_like(x, shape=(int(self.ends[-1]),), dtype=self.dtype),
            self._start(theta),
        )
        if self.network.start:
            for layer, section in zip(self.network.layers, self.sections(rows)[1:]):
                section[..., 0, :, :] = start[:, layer.units].reshape(
                    *self.lead, 1, layer.size
                )
        if exploration is None:
            exploration = np.empty_like(u, shape=(0, *u.shape[1:]))
        fixed = (
            tuple(map(to_device, linear_model.arrays()))
            if linear_model.replaces_plant or linear_model.replays_inputs
            else self._nothing
        )
        module = rollout_module(self.plant, self.dtype.name, self.together, self.units)
        self._launch(
            module.rollout,
            1,
            self._pack(theta)[1],
            *self.tables,
            start,
            self.inputs,
            self.wiring.limit,
            self.wiring.taper,
            linear_model.replaces_plant,
            linear_model.replays_inputs,
            fixed,
            exploration,
            x,
            u,
            command,
            y,
            rows,
        )
        return x, u, command, y, Activity(self, rows)

    def activity(self, theta, rollout):
        """Activity of the hidden units [time, unit, trial] (T, n_hidden, N)."""
        sections = [
            section.reshape(self.networks, *section.shape[-3:])
            for section in self.sections(rollout.rows.flat)[1:-1]
        ]
        T, N = self.scenario.steps, self.scenario.trials
        return np.concatenate(
            [
                section[:, 1:].transpose(1, 3, 0, 2).reshape(T, -1, N)
                for section in sections
            ],
            axis=1,
        )

    def picked_rows(self, rows, trials, passes):
        """The activity of some trials of each network, given by their numbers on the GPU; `passes` are those for these alone."""
        return Activity(
            passes,
            np.concatenate(
                [
                    section[..., trials, :].ravel()
                    for section in self.sections(rows.flat)
                ]
            ),
        )

    def _lines(self, lines):
        return (
            lines.A,
            lines.B,
            lines.C,
            lines.slope,
            self.wiring.feedback_delay,
            self.wiring.command_delay,
            lines.replays_inputs,
        )

    @cached_property
    def _derivatives(self):
        return derivative_module(self.dtype.name, self.together, self.units)

    def tangent(self, theta, lines, rollout, v, keep_rows=False):
        """Tangents (dx, du, d_rows) of a rollout in the direction v (..., P); d_rows is empty without `keep_rows`."""
        flat, v = rollout.rows.flat, v.astype(self.dtype)
        known, d_rows = (
            np.empty_like(flat),
            np.zeros_like(flat, shape=flat.shape if keep_rows else (0,)),
        )
        for layer, read, section in zip(
            self.network.layers, rollout.rows.read, self.sections(known)[1:]
        ):
            array_module(v).matmul(
                read,
                self._matrices(layer, v).swapaxes(-1, -2),
                out=section[..., 1:, :, :].reshape(*self.lead, -1, layer.size),
            )
        dx, du = np.zeros_like(rollout.x), np.empty_like(rollout.u)
        self._launch(
            self._derivatives.tangent,
            1,
            self._pack(theta)[1],
            *self.tables,
            self._start(v),
            self._lines(lines),
            flat,
            known,
            dx,
            du,
            np.empty_like(du),
            d_rows,
        )
        return dx, du, d_rows

    def hidden_alone(self, d_rows):
        """Tangents of the rows with all but those of the hidden units put to zero; the start's are not counted either."""
        sections = self.sections(d_rows)
        sections[0][:] = sections[-1][:] = 0.0
        return d_rows

    def _deltas(self, theta, lines, rollout, x_bar, u_bar, rows_bar=None):
        """Cotangents of the layers' sums, as views (K, ..., T, N, size), and of the first rows (K, row, trial)."""
        K, flat = len(x_bar), rollout.rows.flat
        deltas = np.empty_like(flat, shape=(K, flat.size))
        start_bar = np.empty_like(
            x_bar, shape=(K, self.network.n_activations, x_bar.shape[3])
        )
        rows_bar = np.zeros_like(flat, shape=(0,)) if rows_bar is None else rows_bar
        layers, sources, places = self.tables
        self._launch(
            self._derivatives.adjoint,
            K,
            self._pack(theta)[0],
            layers,
            sources,
            places,
            self.network.n_activations,
            self._lines(lines),
            flat,
            x_bar.copy(),
            u_bar.copy(),
            np.empty_like(u_bar, shape=u_bar.shape),
            rows_bar,
            deltas,
            start_bar,
        )
        views = [
            deltas[:, place:end].reshape(K, *shape)[..., 1:, :, :]
            for place, end, shape in zip(self.places, self.ends, self.shapes)
        ]
        return views[1:], start_bar

    def adjoint(self, theta, lines, rollout, x_bar, u_bar, rows_bar=None):
        """Cotangent (..., P) of the weights from those of the trajectory and, if given, of the rows."""
        deltas, start_bar = self._deltas(
            theta, lines, rollout, x_bar[None], u_bar[None], rows_bar
        )
        theta_bar = np.zeros_like(theta)
        for layer, read, delta in zip(self.network.layers, rollout.rows.read, deltas):
            product = (
                delta[0].reshape(*self.lead, -1, layer.size).swapaxes(-1, -2) @ read
            )
            theta_bar[..., layer.weights] = product.reshape(*self.lead, -1)
        if self.network.start:
            bars = start_bar[0, self.network.hidden]
            theta_bar[..., self.network.start] = np.moveaxis(
                bars.reshape(len(bars), *self.lead, -1).sum(axis=-1), 0, -1
            )
        return theta_bar

    def adjoint_rows(self, theta, lines, rollout, x_bar, u_bar):
        """Cotangents (..., K, N, P) of the weights, one for each trial and each of K cotangents (K, T+1, nx, trial), (K, T, nu,
        trial)."""
        deltas, start_bar = self._deltas(theta, lines, rollout, x_bar, u_bar)
        K, N = len(x_bar), self.scenario.trials // self.networks
        J = np.zeros_like(theta, shape=(*self.lead, K, N, self.network.size))
        for layer, read, delta in zip(self.network.layers, rollout.rows.read, deltas):
            by_trial = read.reshape(*self.lead, 1, -1, N, read.shape[-1]).swapaxes(
                -2, -3
            )
            by_unit = np.moveaxis(
                np.moveaxis(delta, 0, -4), -3, -1
            )  # (..., K, N, size, T)
            J[..., layer.weights] = (by_unit @ by_trial).reshape(*self.lead, K, N, -1)
        if self.network.start:
            bars = start_bar[:, self.network.hidden]
            bars = np.moveaxis(
                bars.reshape(*bars.shape[:2], *self.lead, N), 1, -1
            )  # (K, ..., N, hidden)
            J[..., self.network.start] = np.moveaxis(bars, 0, -3)
        return J

    @staticmethod
    def gram(J):
        """J J' (..., m, m) of rows J (..., m, P)."""
        return J @ J.swapaxes(-1, -2)
