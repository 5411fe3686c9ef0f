"""The fused passes on the CPU: plant and network in one compiled loop over time, trials in blocks over all cores.

Same interface and, to rounding, same numbers as `PlainPasses`. Trials stand in blocks of fixed width, and what is summed
over trials is summed block by block in their order, so that the result is the same bit for bit on any number of cores.
A linearised rollout takes 8 bytes x (rows of the network + 70, for arm2) per trial and step; with `store_every` K, where
only every K-th step stores its rows and the segments between are computed again, 8 bytes x (rows / K + 70). Of these 70,
40 are the plant's Jacobians: they are kept, because a plant may cost far more to differentiate than a network to step.
`dtype` is the network's kind of number: rows, their tangents and cotangents, and the products; all else is float64.
"""

from functools import cache

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel, single_threaded_blas
from hfcontrol.closed_loop.passes.plain import PlainPasses
from hfcontrol.kernels import generate, plant_pieces
from hfcontrol.kernels.generate import read_piece

CHUNK = 64  # the most rows of J in one product of `gram`
WIDTH = 32  # trials in a block: wide enough for the matrix product, small enough for two cores to share 64 trials
LEAST_WIDTH = 8  # where there are few trials, that two cores may share them


def network_pieces(staged):
    """The network's step and its derivatives; with `staged`, of layers of time-continuous cells too."""
    return [
        read_piece(name)
        for name in ("network", *("cell", "synapse", "staged") * staged)
    ]


def block_width(trials):
    """How many trials stand in a block."""
    return min(WIDTH, max(LEAST_WIDTH, -(-trials // 2)), trials)


@cache
def derivative_module(staged, recalls):
    """The compiled tangent and adjoint passes, which are the same for every plant; with `recalls`, for rows that are not all stored."""
    pieces = [
        *network_pieces(staged),
        f"RECALLS = {recalls}\n",
        read_piece("segment"),
        read_piece("derivative"),
    ]
    return generate.load_module(
        "sweeps" + "_staged" * staged + "_recalling" * recalls, pieces
    )


@cache
def rollout_module(plant_key, pieces, staged):
    """The compiled rollout of one plant, whose source pieces define its step, observation and taper."""
    name = f"rollout_{plant_key}" + "_staged" * staged
    return generate.load_module(
        name,
        [*pieces, *network_pieces(staged), read_piece("loop"), read_piece("rollout")],
    )


class FusedPasses:
    """Rollout, tangent and adjoint of one network on one plant and scenario; see `PlainPasses`.

    A plant that is not compiled is simulated by the plain pass; its linear model, tangent and adjoint are fused all the
    same, since they need no plant. Rows have the shape (block, T // store_every + 1, row, trial).
    """

    def __init__(
        self, network, plant, kernels, scenario, wiring, store_every=1, dtype="float64"
    ):
        self.network, self.scenario, self.wiring, self.store_every = (
            network,
            scenario,
            wiring,
            store_every,
        )
        self.dtype = np.dtype(dtype)
        self.simulated = (
            None
            if plant.compiled
            else PlainPasses(network, kernels, scenario, wiring, store_every)
        )
        self.layers, self.sources = network.tables()
        self.hidden = (network.hidden.start, network.hidden.stop)
        self.start = network.start.start if network.start else -1
        self.width = block_width(scenario.trials)
        self.blocks = -(-scenario.trials // self.width)
        name, pieces = (
            (plant.name, plant_pieces(plant))
            if plant.compiled
            else ("model", (read_piece("no_plant"),))
        )
        self.staged = any(layer.state_source for layer in network.layers)
        self.module, self.derivatives = (
            rollout_module(name, pieces, self.staged),
            derivative_module(self.staged, store_every > 1),
        )
        s, w = scenario, wiring
        self.inputs = tuple(
            map(
                np.ascontiguousarray,
                (
                    s.x0,
                    s.target,
                    s.params.T,
                    s.sensory_noise,
                    s.motor_noise,
                    s.motor_gain,
                    s.disturbance,
                ),
            )
        )
        self.inputs += (w.feedback_delay, w.command_delay)

    def rollout(self, theta, linear_model, exploration=None):
        """See `PlainPasses.rollout`."""
        if self.simulated and not linear_model.replaces_plant:
            *trajectory, rows = self.simulated.rollout(theta, linear_model, exploration)
            return *trajectory, self._in_blocks(rows[0])
        s = self.scenario
        T, N = s.steps, s.trials
        x, u = np.empty((T + 1, len(s.x0), N)), np.empty((T, s.motor_noise.shape[1], N))
        command, y = np.empty_like(u), np.empty_like(s.sensory_noise)
        if exploration is None:
            exploration = np.empty((0, *u.shape[1:]))
        rows = np.empty(
            (
                self.blocks,
                T // self.store_every + 1,
                self.network.n_activations,
                self.width,
            ),
            self.dtype,
        )
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                self.module.rollout,
                self._real(theta),
                self.layers,
                self.sources,
                self.hidden,
                self.start,
                self.inputs,
                self.wiring.limit,
                self.wiring.taper,
                linear_model.replaces_plant,
                linear_model.replays_inputs,
                linear_model.arrays(),
                exploration,
                x,
                u,
                command,
                y,
                self.store_every,
                rows,
            )
        return x, u, command, y, rows

    def all_rows(self, theta, rollout):
        """The rows of all steps of a rollout (block, T+1, row, trial)."""
        if self.store_every == 1:
            return rollout.rows
        out = np.empty(
            (self.blocks, self.scenario.steps + 1, *rollout.rows.shape[2:]), self.dtype
        )
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                self.derivatives.all_rows,
                self._real(theta),
                self.layers,
                self.sources,
                self._stored(rollout),
                rollout.rows,
                out,
            )
        return out

    def activity(self, theta, rollout):
        """Activity of the hidden units [time, unit, trial] (T, n_hidden, N)."""
        rows = self.all_rows(theta, rollout)[:, 1:, self.network.hidden]
        return np.concatenate(list(rows), axis=2)[:, :, : self.scenario.trials]

    def hidden_alone(self, d_rows):
        """Tangents of the rows with all but those of the hidden units put to zero; the start's are not counted either."""
        alone, hidden = np.zeros_like(d_rows), self.network.hidden
        alone[:, 1:, hidden] = d_rows[:, 1:, hidden]
        alone[-1, :, :, self.scenario.trials - (self.blocks - 1) * self.width :] = 0.0
        return alone

    def picked_rows(self, rows, trials, passes):
        """The rows of some trials, given by their numbers, in the blocks of the passes for these alone."""
        rows = rows[trials // self.width, :, :, trials % self.width]
        return passes._in_blocks(np.moveaxis(rows, 0, 2))

    def _in_blocks(self, rows):
        """Rows (step, row, N) as blocks of trials (block, step, row, width), the last one filled up with zeros."""
        padded = np.zeros((*rows.shape[:2], self.blocks * self.width), self.dtype)
        padded[:, :, : rows.shape[2]] = rows
        return np.ascontiguousarray(
            padded.reshape(*rows.shape[:2], self.blocks, self.width).transpose(
                2, 0, 1, 3
            )
        )

    def _real(self, weights):
        """Weights (P,) as the network's kind of number."""
        return weights.astype(self.dtype, copy=False)

    def _stored(self, rollout):
        return self.store_every, self.inputs[1], np.ascontiguousarray(rollout.y)

    def _about(self, lines, rollout):
        """What tangent and adjoint are given of the network, of the plant, and of the rollout that they belong to."""
        lines = (
            lines.A,
            lines.B,
            lines.C,
            lines.slope,
            self.wiring.feedback_delay,
            self.wiring.command_delay,
            lines.replays_inputs,
        )
        return (
            self.layers,
            self.sources,
            self.hidden,
            self.start,
            lines,
            self._stored(rollout),
            rollout.rows,
        )

    def tangent(self, theta, lines, rollout, v, keep_rows=False):
        """Tangents (dx, du, d_rows) of a rollout in the direction v (P,); d_rows is whole only with `keep_rows`."""
        T, nx, nu, N = lines.B.shape
        dx, du = np.empty((T + 1, nx, N)), np.empty((T, nu, N))
        d_rows = np.empty(
            (self.blocks, T + 1 if keep_rows else 2, *rollout.rows.shape[2:]),
            self.dtype,
        )
        with single_threaded_blas():
            run_in_parallel(
                self.blocks,
                self.derivatives.tangent,
                self._real(theta),
                self._real(v),
                *self._about(lines, rollout),
                dx,
                du,
                d_rows,
            )
        return dx, du, d_rows

    def adjoint(self, theta, lines, rollout, x_bar, u_bar, rows_bar=None):
        """Cotangent (P,) of the weights from those of the trajectory and, if given, of the rows."""
        theta_bars, none = (
            np.zeros((1, self.blocks, self.network.size)),
            np.empty((1, 0, self.network.size), self.dtype),
        )
        self._adjoint(
            theta, lines, rollout, x_bar[None], u_bar[None], rows_bar, theta_bars, none
        )
        return theta_bars[0].sum(axis=0)

    def adjoint_rows(self, theta, lines, rollout, x_bar, u_bar):
        """Cotangents (K, N, P) of the weights, one for each trial and each of K cotangents (K, T+1, nx, N), (K, T, nu, N)."""
        J = np.empty((len(x_bar), self.scenario.trials, self.network.size), self.dtype)
        self._adjoint(
            theta,
            lines,
            rollout,
            x_bar,
            u_bar,
            None,
            np.empty((len(x_bar), self.blocks, 0)),
            J,
        )
        return J.astype(float, copy=False)

    def _adjoint(self, theta, lines, rollout, x_bar, u_bar, rows_bar, theta_bars, J):
        x_bar, u_bar = np.ascontiguousarray(x_bar), np.ascontiguousarray(u_bar)
        if rows_bar is None:
            rows_bar = np.empty((self.blocks, 0, *rollout.rows.shape[2:]), self.dtype)
        with single_threaded_blas():
            run_in_parallel(
                len(x_bar) * self.blocks,
                self.derivatives.adjoint,
                self._real(theta),
                *self._about(lines, rollout),
                x_bar,
                u_bar,
                rows_bar,
                theta_bars,
                J,
            )

    def gram(self, J):
        """J J' (m, m) of rows J (m, P)."""
        out, width = np.empty((len(J), len(J))), min(CHUNK, -(-len(J) // 2))
        chunks = -(-len(J) // width)
        with single_threaded_blas():
            run_in_parallel(
                chunks * (chunks + 1) // 2, self.derivatives.gram, J, width, out
            )
        return out
