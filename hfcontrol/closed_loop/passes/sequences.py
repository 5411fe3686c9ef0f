"""The network alone, along recorded inputs with starts within a sequence.

before_t = start where starts[t], else a_{t-1},    a_t = network(before_t, inputs_t)
"""

from functools import cached_property

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel, single_threaded_blas
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.passes.cpu import kernel_tables
from hfcontrol.closed_loop.shares import choose_block_width
from hfcontrol.kernels import sequences
from hfcontrol.kernels.network_step import NetworkTables
from hfcontrol.network.network import Network


class Sequences:
    """Activations and adjoint of one network along inputs (T, n_input, N).

    `starts` (T, N) marks the steps at which a trial starts again. Sums over trials are
    made block by block in a fixed order, and so have the same bits on any number of
    cores.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    @cached_property
    def _tables(self) -> NetworkTables:
        """The network as the kernel of the activations takes it."""
        return kernel_tables(self.network, ("step",))

    @cached_property
    def _adjoint_tables(self) -> NetworkTables:
        """The network as the kernel of the adjoint takes it."""
        return kernel_tables(self.network, ("vjp", "weight_cotangents"))

    def activations(
        self,
        weights: Array,
        inputs: Array,
        starts: Array,
        memory: Array | None = None,
    ) -> Array:
        """Activations (block, T+1, unit, trial) for weights (P,).

        `memory` (hidden, N) is the hidden state before the first step, for trials that
        do not start there. It is the first entry in time of each block; its other units
        are zero.
        """
        T, _, N = inputs.shape
        width = choose_block_width(N)
        blocks = -(-N // width)
        if memory is None:
            hidden = self.network.hidden
            memory = np.zeros((hidden.stop - hidden.start, N))
        activations = np.empty((blocks, T + 1, self.network.n_activations, width))
        with single_threaded_blas():
            run_in_parallel(
                blocks,
                sequences.fill_activations,
                weights,
                self._tables,
                np.ascontiguousarray(inputs),
                np.ascontiguousarray(starts),
                np.ascontiguousarray(memory),
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
                sequences.add_cotangents,
                weights,
                self._adjoint_tables,
                np.ascontiguousarray(starts),
                activations,
                np.ascontiguousarray(out_bar),
                weights_bars,
            )
        return weights_bars.sum(axis=0)
