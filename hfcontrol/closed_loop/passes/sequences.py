"""The network alone, along recorded inputs with starts within a sequence.

before_t = start where starts[t], else a_{t-1},    a_t = network(before_t, inputs_t)
"""

from functools import cache
from types import ModuleType

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel, single_threaded_blas
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.passes.cpu import (
    choose_block_width,
    is_staged,
    network_pieces,
    network_tables,
)
from hfcontrol.kernels import generate
from hfcontrol.kernels.generate import read_piece
from hfcontrol.network.network import Network


@cache
def load_sequence_module(staged: bool) -> ModuleType:
    """The compiled passes, the same for every plant."""
    name = "sequences_staged" if staged else "sequences"
    pieces = [*network_pieces(staged), read_piece("sequence")]
    return generate.load_module(name, pieces)


class Sequences:
    """Activations and adjoint of one network along inputs (T, n_input, N).

    `starts` (T, N) marks the steps at which a trial starts again; all do so at the
    first step. Sums over trials are made block by block in a fixed order, and so have
    the same bits on any number of cores.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.module = load_sequence_module(is_staged(network))
        self.tables = network_tables(network)

    def activations(self, weights: Array, inputs: Array, starts: Array) -> Array:
        """Activations (block, T+1, unit, trial) for weights (P,).

        The first entry in time of each block is zero.
        """
        T, _, N = inputs.shape
        width = choose_block_width(N)
        blocks = -(-N // width)
        activations = np.empty((blocks, T + 1, self.network.n_activations, width))
        with single_threaded_blas():
            run_in_parallel(
                blocks,
                self.module.activity,
                weights,
                *self.tables,
                np.ascontiguousarray(inputs),
                np.ascontiguousarray(starts),
                activations,
            )
        return activations

    @staticmethod
    def merge_blocks(activations: Array, units: slice, trials: int) -> Array:
        """Activations of some units (T+1, units, N), with the blocks joined."""
        selected = np.moveaxis(activations[:, :, units], 0, 2)
        times, count = selected.shape[:2]
        return selected.reshape(times, count, -1)[:, :, :trials]

    def adjoint(
        self, weights: Array, starts: Array, activations: Array, out_bar: Array
    ) -> Array:
        """Cotangent of the weights (P,) for that of the outputs (T, n_output, N)."""
        # One sum per block, added in order: the same bits on any number of cores.
        weights_bars = np.zeros((len(activations), self.network.size))
        with single_threaded_blas():
            run_in_parallel(
                len(activations),
                self.module.cotangent,
                weights,
                *self.tables,
                np.ascontiguousarray(starts),
                activations,
                np.ascontiguousarray(out_bar),
                weights_bars,
            )
        return weights_bars.sum(axis=0)
