"""The network along recorded inputs: its activity, with starts in the middle of sequences, and the adjoint of its outputs.

before_t = start where starts[t], else rows_{t-1}          rows_t = network(before_t, inputs_t; theta)
"""

from functools import cache

import numpy as np

from hfcontrol.arrays.threads import run_in_parallel, single_threaded_blas
from hfcontrol.closed_loop.passes.cpu import block_width, network_pieces
from hfcontrol.kernels import generate
from hfcontrol.kernels.generate import read_piece


@cache
def sequence_module(staged):
    """The compiled passes, the same for every plant."""
    return generate.load_module(
        "sequences" + "_staged" * staged,
        [*network_pieces(staged), read_piece("sequence")],
    )


class Sequences:
    """One network along inputs (T, n_input, N), whose trials begin anew where `starts` (T, N) says so, all at the first step.

    Sums over trials are made block by block in their order: the same bits on any number of cores.
    """

    def __init__(self, network):
        self.network = network
        self.module = sequence_module(
            any(layer.state_source for layer in network.layers)
        )
        self.fixed = (
            *network.tables(),
            (network.hidden.start, network.hidden.stop),
            network.start.start if network.start else -1,
        )

    def activations(self, weights, inputs, starts):
        """Rows (block, T+1, row, trial) with weights (P,); the first of each block are zero."""
        width = block_width(inputs.shape[2])
        rows = np.empty(
            (
                -(-inputs.shape[2] // width),
                len(inputs) + 1,
                self.network.n_activations,
                width,
            )
        )
        with single_threaded_blas():
            run_in_parallel(
                len(rows),
                self.module.activity,
                weights,
                *self.fixed,
                np.ascontiguousarray(inputs),
                np.ascontiguousarray(starts),
                rows,
            )
        return rows

    def merge_blocks(self, rows, which, count):
        """Some rows, told by a slice, of so many trials (T+1, rows, count), from those in blocks."""
        part = rows[:, :, which]
        return np.moveaxis(part, 0, 2).reshape(part.shape[1], part.shape[2], -1)[
            :, :, :count
        ]

    def adjoint(self, weights, starts, rows, out_bar):
        """The cotangent (P,) of the weights from that of the outputs, out_bar (T, n_output, N), along the activity `rows`."""
        theta_bars = np.zeros((len(rows), self.network.size))
        with single_threaded_blas():
            run_in_parallel(
                len(rows),
                self.module.cotangent,
                weights,
                *self.fixed,
                np.ascontiguousarray(starts),
                rows,
                np.ascontiguousarray(out_bar),
                theta_bars,
            )
        return theta_bars.sum(axis=0)
