"""The network along recorded inputs, with starts within a sequence, and its adjoint.

    before_t = start where starts[t], else a_{t-1}
    a_t = network(before_t, inputs_t)

`starts` (T, N) marks the steps at which a trial starts again; all do so at the first
step. Its memory is then the start of the hidden units, in the adjoint too. Activations
are (block, T + 1, unit, trial).
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import clear
from hfcontrol.kernels.network_step import (
    NetworkTables,
    add_weight_cotangents,
    network_step,
    network_vjp,
    set_length,
)
from hfcontrol.network.tables import FIRST


@helper
def begin(
    theta: Array,
    network: NetworkTables,
    starts: Array,
    n0: int,
    activity: Array,
    before: Array,
) -> None:
    """Fill `before` (unit, trial) with an activity, or the start where trials start.

    `starts` (N,) are those of all trials; the block begins with trial n0.
    """
    # The last block may have fewer trials than columns.
    w = min(before.shape[1], starts.shape[0] - n0)
    for i in range(activity.shape[0]):
        is_hidden = network.hidden_first <= i < network.hidden_end
        own = 0.0
        if network.start >= 0 and is_hidden:
            own = theta[network.start + i - network.hidden_first]
        for n in range(w):
            before[i, n] = own if starts[n0 + n] else activity[i, n]


@kernel
def fill_activations(
    first: int,
    end: int,
    theta: Array,
    network: NetworkTables,
    inputs: Array,
    starts: Array,
    memory: Array,
    activations: Array,
) -> None:
    """Fill the blocks first to end of activations along inputs (T, n_input, N).

    `memory` (hidden, N) is the hidden state before the first step.
    """
    T, n_input, N = inputs.shape
    n_units, width = activations.shape[2:]
    for block in range(first, end):
        n0 = block * width
        n1 = min((block + 1) * width, N)
        before = np.zeros((n_units, width))
        scratch = np.empty((n_units + 1, width))
        # every step lasts for one control step
        usual = np.ones(width)
        clear(activations[block, 0])
        for i in range(memory.shape[0]):
            for n in range(n0, n1):
                activations[block, 0, network.hidden_first + i, n - n0] = memory[i, n]
        for t in range(T):
            now = activations[block, t + 1]
            begin(theta, network, starts[t], n0, activations[block, t], before)
            # Columns without a trial get zeros: an array's old content may be NaN.
            clear(now[:n_input])
            for i in range(n_input):
                for n in range(n0, n1):
                    now[i, n - n0] = inputs[t, i, n]
            set_length(network, usual, 0, now)
            network_step(theta, network, before, now, scratch)


@kernel
def add_cotangents(
    first: int,
    end: int,
    theta: Array,
    network: NetworkTables,
    starts: Array,
    activations: Array,
    out_bar: Array,
    theta_bars: Array,
) -> None:
    """Add to the blocks first to end of theta_bars (block, P).

    They are the cotangents of the weights for out_bar (T, n_output, N), those of the
    outputs.
    """
    T, n_output, N = out_bar.shape
    n_units, width = activations.shape[2:]
    first_output = network.layers[-1, FIRST]
    start = network.start
    for block in range(first, end):
        n0 = block * width
        n1 = min((block + 1) * width, N)
        theta_bar = theta_bars[block]
        before = np.zeros((n_units, width))
        scratch = np.empty((n_units + 1, width))
        product = np.empty(n_units * (n_units + 1))
        now_bar = np.zeros((n_units, width))
        before_bar = np.zeros((n_units, width))
        for t in range(T - 1, -1, -1):
            now = activations[block, t + 1]
            # What step t + 1 added to its activations before are those of step t.
            now_bar, before_bar = before_bar, now_bar
            for k in range(n_output):
                for n in range(n0, n1):
                    now_bar[first_output + k, n - n0] += out_bar[t, k, n]
            begin(theta, network, starts[t], n0, activations[block, t], before)
            clear(before_bar)
            network_vjp(theta, network, before, now, now_bar, before_bar, scratch)
            add_weight_cotangents(
                theta_bar, theta, network, before, now, now_bar, scratch, product
            )
            # Where a trial starts, the start gets the cotangent of what was before,
            # and the step before, of another sequence, gets none.
            for n in range(n0, n1):
                if not starts[t, n]:
                    continue
                for i in range(n_units):
                    is_hidden = network.hidden_first <= i < network.hidden_end
                    if start >= 0 and is_hidden:
                        place = start + i - network.hidden_first
                        theta_bar[place] += before_bar[i, n - n0]
                    before_bar[i, n - n0] = 0.0
