"""The fused passes on the CPU: plant and network in one compiled loop over time, trials in blocks over all cores.

Same interface and, to rounding, same numbers as `PlainPasses`. Trials stand in blocks of fixed width, and what is summed
over trials is summed block by block in their order, so that the result is the same bit for bit on any number of cores.
A linearised rollout takes 8 bytes x (rows of the network + 70, for arm2) per trial and step.
"""

from functools import cache
from importlib.resources import files

import numpy as np

from hfcontrol.backend import single_threaded_blas
from hfcontrol.kernels import generate, plant_pieces
from hfcontrol.sweeps.plain import PlainPasses

CHUNK = 64  # rows of J in one product of `gram`
WIDTH = 32  # trials in a block: wide enough for the matrix product, small enough for two cores to share 64 trials


def _piece(name):
    return files("hfcontrol.sweeps").joinpath(f"{name}_piece.py").read_text(encoding="utf-8")


@cache
def derivative_module():
    """The compiled tangent and adjoint passes, which are the same for every plant."""
    return generate.load_module("sweeps", [_piece("network"), _piece("derivative")])


@cache
def rollout_module(plant_key, pieces):
    """The compiled rollout of one plant, whose source pieces define its step, observation and taper."""
    return generate.load_module(f"rollout_{plant_key}", [*pieces, _piece("network"), _piece("rollout")])


class FusedPasses:
    """Rollout, tangent and adjoint of one network on one plant and scenario; see `PlainPasses`.

    A plant that is not compiled is simulated by the plain pass; its linear model, tangent and adjoint are fused all the
    same, since they need no plant.
    """

    def __init__(self, network, plant, kernels, scenario, wiring):
        self.network, self.scenario, self.wiring = network, scenario, wiring
        self.simulated = None if plant.compiled else PlainPasses(network, kernels, scenario, wiring)
        self.layers, self.sources = network.tables()
        self.hidden = (network.hidden.start, network.hidden.stop)
        self.start = network.start.start if network.start else -1
        self.blocks = -(-scenario.trials // WIDTH)
        self.width = min(WIDTH, scenario.trials)
        name, pieces = (plant.name, plant_pieces(plant)) if plant.compiled else ("model", [_piece("no_plant")])
        self.module = rollout_module(name, tuple(pieces))
        s, w = scenario, wiring
        self.inputs = tuple(map(np.ascontiguousarray, (s.x0, s.target, s.params.T, s.sensory_noise, s.motor_noise,
                                                       s.motor_gain, s.disturbance)))
        self.inputs += (w.feedback_delay, w.command_delay)

    def rollout(self, theta, reference):
        """Trajectories (x, u, command, y, rows) of the weights theta, with what `reference` keeps fixed."""
        if self.simulated and not reference.model:
            *trajectory, rows = self.simulated.rollout(theta, reference)
            return *trajectory, self._in_blocks(rows[0])
        s = self.scenario
        T, N = s.steps, s.trials
        x, u = np.empty((T + 1, len(s.x0), N)), np.empty((T, s.motor_noise.shape[1], N))
        command, y = np.empty_like(u), np.empty_like(s.sensory_noise)
        rows = np.empty((self.blocks, T + 1, self.network.n_rows, self.width))
        with single_threaded_blas():
            self.module.rollout(theta, self.layers, self.sources, self.hidden, self.start, self.inputs,
                                self.wiring.limit, self.wiring.taper, reference.model, reference.replay,
                                reference.arrays(), x, u, command, y, rows)
        return x, u, command, y, rows

    def _in_blocks(self, rows):
        """Rows (T+1, row, N) as blocks of trials (block, T+1, row, width), the last one filled up with zeros."""
        padded = np.zeros((*rows.shape[:2], self.blocks * self.width))
        padded[:, :, :rows.shape[2]] = rows
        return np.ascontiguousarray(padded.reshape(*rows.shape[:2], self.blocks, self.width).transpose(2, 0, 1, 3))

    def _lines(self, lines):
        return (lines.A, lines.B, lines.C, lines.slope, self.wiring.feedback_delay, self.wiring.command_delay,
                lines.replay)

    def tangent(self, theta, lines, rows, v, keep_rows=False):
        """Tangents (dx, du, d_rows) of a rollout in the direction v (P,); d_rows is whole only with `keep_rows`."""
        T, nx, nu, N = lines.B.shape
        dx, du = np.empty((T + 1, nx, N)), np.empty((T, nu, N))
        d_rows = np.empty((self.blocks, T + 1 if keep_rows else 2, *rows.shape[2:]))
        with single_threaded_blas():
            derivative_module().tangent(theta, v, self.layers, self.sources, self.hidden, self.start,
                                        self._lines(lines), rows, dx, du, d_rows)
        return dx, du, d_rows

    def _adjoint(self, theta, lines, rows, x_bar, u_bar, rows_bar, deltas):
        theta_bars = np.zeros((len(x_bar), self.blocks, self.network.size))
        if rows_bar is None:
            rows_bar = np.empty((self.blocks, 0, *rows.shape[2:]))
        with single_threaded_blas():
            derivative_module().adjoint(theta, self.layers, self.sources, self.hidden, self.start,
                                        self._lines(lines), rows, x_bar, u_bar, rows_bar, deltas, theta_bars)
        return theta_bars

    def adjoint(self, theta, lines, rows, x_bar, u_bar, rows_bar=None):
        """Cotangent (P,) of the weights from those of the trajectory and, if given, of the rows."""
        deltas = np.empty((1, self.blocks, 0, *rows.shape[2:]))
        bars = self._adjoint(theta, lines, rows, np.ascontiguousarray(x_bar)[None], np.ascontiguousarray(u_bar)[None],
                             rows_bar, deltas)
        return bars[0].sum(axis=0)

    def adjoint_rows(self, theta, lines, rows, x_bar, u_bar):
        """Cotangents (K, N, P) of the weights, one for each trial and each of K cotangents (K, T+1, nx, N), (K, T, nu, N)."""
        deltas = np.empty((len(x_bar), *rows.shape))
        self._adjoint(theta, lines, rows, x_bar, u_bar, None, deltas)
        J = np.empty((len(x_bar), self.scenario.trials, self.network.size))
        with single_threaded_blas():
            derivative_module().weight_rows(self.layers, self.sources, self.hidden, self.start, rows, deltas, J)
        return J

    def gram(self, J):
        """J J' (m, m) of rows J (m, P)."""
        out = np.empty((len(J), len(J)))
        with single_threaded_blas():
            derivative_module().gram(J, CHUNK, out)
        return out
