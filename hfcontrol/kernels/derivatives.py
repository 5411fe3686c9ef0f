"""The tangent and the adjoint of the closed loop about a rollout.

They need the plant's Jacobians, but no plant. The plain passes in
closed_loop/passes/plain.py are the definition.

Trials are computed in blocks of a fixed width, whatever the number of threads, so that
every sum over trials has one order. n0 is the first trial of a block, w its trials.
"""

from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.matrices import add, clear, put, put_block, take_block
from hfcontrol.kernels.network_step import (
    NetworkTables,
    add_trial_row,
    add_weight_cotangents,
    network_jvp,
    network_vjp,
)
from hfcontrol.kernels.products import (
    add_packed,
    add_packed_transposed,
    add_product,
    add_transposed,
)
from hfcontrol.kernels.segments import StoredActivations, allocate_segment, recall
from hfcontrol.kernels.structure import DENSE
from hfcontrol.network.tables import FIRST


class LinearPlant(NamedTuple):
    """The plant linearised about a rollout, see `PlantJacobians`.

    Shapes: A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N), the slope of the
    control by the command (T, nu, N). Delays are numbers of steps. If the network sees
    recorded inputs, `replays_inputs`, the feedback carries no derivative. The tables
    say which columns the rows of A and C have (structure.py); empty ones say all.
    """

    A: Array
    B: Array
    C: Array
    slope: Array
    feedback_delay: int
    command_delay: int
    replays_inputs: bool
    A_table: Array = DENSE
    C_table: Array = DENSE


class Cotangents(NamedTuple):
    """K cotangents of a rollout.

    Shapes: x (K, T + 1, nx, N), u (K, T, nu, N), activations (block, T + 1, unit,
    trial) of the hidden units, or (block, 0, unit, trial) for none.
    """

    x: Array
    u: Array
    activations: Array


@helper
def scale(slope: Array, d: Array, out: Array, n0: int) -> None:
    """Compute out[k] = slope[k] d[k] for the trials n0, n0 + 1, ... of the slope."""
    first = np.uint64(n0)
    width = np.uint64(out.shape[1])
    for k in range(slope.shape[0]):
        for n in range(width):
            out[k, n] = slope[k, first + n] * d[k, n]


@kernel
def tangent(
    first: int,
    end: int,
    theta: Array,
    v: Array,
    network: NetworkTables,
    plant: LinearPlant,
    stored: StoredActivations,
    dx: Array,
    du: Array,
    d_activations: Array,
) -> None:
    """Fill the blocks first to end of the tangent in the direction v of the weights.

    Shapes: dx (T + 1, nx, N), du (T, nu, N), d_activations (block, T + 1, unit, trial)
    or, for the last two steps alone, (block, 2, unit, trial).
    """
    T, nu, N = du.shape
    nx = dx.shape[1]
    n_units, width = d_activations.shape[2:]
    n_input = network.layers[0, FIRST]
    first_output = network.layers[-1, FIRST]
    n_target = n_input - plant.C.shape[1]
    keeps_all = d_activations.shape[1] == T + 1
    scratch = np.empty((n_units + 1, width), theta.dtype)
    product = np.empty((n_units, width), theta.dtype)
    for block in range(first, end):
        n0 = block * width
        n1 = min((block + 1) * width, N)
        w = n1 - n0
        # Contiguous copies for the block. They hold all steps, because delays reach
        # back to earlier states and commands.
        dxs = np.empty((T + 1, nx, w), dx.dtype)
        dcs = np.empty((T, nu, w), dx.dtype)
        dus = np.empty((nu, w), dx.dtype)
        clear(dxs[0])
        clear(dus)
        d_units = d_activations[block]
        clear(d_units[0])
        if network.start >= 0:
            for i in range(network.hidden_first, network.hidden_end):
                start = v[network.start + i - network.hidden_first]
                for n in range(width):
                    d_units[0, i, n] = start
        segment = allocate_segment(stored, block)
        steps = segment.shape[0] - 1
        for t in range(T):
            place = t % steps
            if stored.every > 1 and place == 0:
                recall(block, t, theta, network, stored, segment, scratch)
            d_before = d_units[t] if keeps_all else d_units[t % 2]
            d_now = d_units[t + 1] if keeps_all else d_units[(t + 1) % 2]
            clear(d_now[:n_input])
            s = t - plant.feedback_delay
            # The observation of the start (s <= 0) does not depend on the weights.
            if s > 0 and not plant.replays_inputs:
                add_packed(
                    plant.C[s], plant.C_table, dxs[s], d_now[n_target:n_input], n0
                )
            before = segment[place]
            now = segment[place + 1]
            network_jvp(
                theta, v, network, before, now, d_before, d_now, scratch, product
            )
            for k in range(nu):
                for n in range(w):
                    dcs[t, k, n] = d_now[first_output + k, n]
            clear(dxs[t + 1])
            if t >= plant.command_delay:
                scale(plant.slope[t], dcs[t - plant.command_delay], dus, n0)
                add_product(plant.B[t], dus, dxs[t + 1], n0)
            add_packed(plant.A[t], plant.A_table, dxs[t], dxs[t + 1], n0)
            # Controls are zero until the first command arrives.
            put_block(du[t], dus, n0)
        for t in range(T + 1):
            put_block(dx[t], dxs[t], n0)


@helper
def sort_by_trial(activity: Array, out: Array) -> None:
    """Fill out (trial, time, unit) from an activity (time, unit, trial).

    One time after the other, so that what is read stays in the processor's cache.
    """
    for t in range(out.shape[1]):
        for i in range(out.shape[0]):
            for r in range(activity.shape[1]):
                out[i, t, r] = activity[t, r, i]


@helper
def add_trial_rows(
    theta: Array,
    network: NetworkTables,
    segment: Array,
    deltas: Array,
    steps: int,
    fresh: bool,
    J: Array,
) -> None:
    """Add the first steps of a segment to the rows J (trial, P), or set fresh ones."""
    w = J.shape[0]
    n_units = segment.shape[1]
    activity = np.empty((w, steps + 1, n_units), segment.dtype)
    delta = np.empty((w, steps, n_units), segment.dtype)
    sort_by_trial(segment, activity)
    sort_by_trial(deltas, delta)
    for i in range(w):
        add_trial_row(theta, network, activity[i], delta[i], fresh, J[i])


@kernel
def adjoint(
    first: int,
    end: int,
    theta: Array,
    network: NetworkTables,
    plant: LinearPlant,
    stored: StoredActivations,
    cotangents: Cotangents,
    theta_bars: Array,
    J: Array,
) -> None:
    """Do the jobs first to end of the adjoint, one for each cotangent and block.

    theta_bars (K, block, P) gets the sums over the trials of each block. If J (K, N, P)
    has trials (N > 0), each of its rows gets the cotangent of one trial instead.
    """
    _, T, nu, N = cotangents.u.shape
    nx = cotangents.x.shape[2]
    # The plant is float64, even where the network, and theta, is float32.
    float64 = cotangents.x.dtype
    blocks, _, n_units, width = stored.activations.shape
    n_input = network.layers[0, FIRST]
    first_output = network.layers[-1, FIRST]
    n_target = n_input - plant.C.shape[1]
    start = network.start
    by_trial = J.shape[1] > 0
    has_units_bar = cotangents.activations.shape[1] == T + 1
    scratch = np.empty((n_units + 1, width), theta.dtype)
    product = np.empty(n_units * (n_units + 1), theta.dtype)
    for job in range(first, end):
        cotangent = job // blocks
        block = job % blocks
        n0 = block * width
        n1 = min((block + 1) * width, N)
        w = n1 - n0
        theta_bar = theta_bars[cotangent, block]
        segment = allocate_segment(stored, block)
        steps = segment.shape[0] - 1
        deltas = np.empty((steps if by_trial else 0, n_units, width), theta.dtype)
        now_bar = np.empty((n_units, width), theta.dtype)
        before_bar = np.empty((n_units, width), theta.dtype)
        clear(before_bar)
        # Copies, because cotangents are added to: the caller's stay as they are.
        xs = np.empty((T + 1, nx, w), float64)
        cs = np.empty((T, nu, w), float64)
        us = np.empty((nu, w), float64)
        for t in range(T + 1):
            take_block(xs[t], cotangents.x[cotangent, t], n0)
        for t in range(T - 1, -1, -1):
            place = t % steps
            if stored.every > 1 and (place == steps - 1 or t == T - 1):
                recall(block, t - place, theta, network, stored, segment, scratch)
            before = segment[place]
            now = segment[place + 1]
            take_block(us, cotangents.u[cotangent, t], n0)
            add_transposed(plant.B[t], xs[t + 1], us, n0)
            if t >= plant.command_delay:
                scale(plant.slope[t], us, cs[t - plant.command_delay], n0)
            if t >= T - plant.command_delay:
                # This command arrives after the last step.
                clear(cs[t])
            # What step t + 1 added to its activations before are those of step t.
            now_bar, before_bar = before_bar, now_bar
            if has_units_bar:
                add(now_bar, cotangents.activations[block, t + 1])
            for k in range(nu):
                for n in range(w):
                    now_bar[first_output + k, n] += cs[t, k, n]
            clear(before_bar)
            network_vjp(theta, network, before, now, now_bar, before_bar, scratch)
            s = t - plant.feedback_delay
            if s > 0 and not plant.replays_inputs:
                seen_bar = now_bar[n_target:n_input]
                add_packed_transposed(plant.C[s], plant.C_table, seen_bar, xs[s], n0)
            add_packed_transposed(plant.A[t], plant.A_table, xs[t + 1], xs[t], n0)
            if not by_trial:
                add_weight_cotangents(
                    theta_bar, theta, network, before, now, now_bar, scratch, product
                )
                continue
            # A row is a product over all steps of a segment at once: BLAS does one
            # large product faster than one for each step.
            put(deltas[place], now_bar)
            if place == 0:
                length = min(steps, T - t)
                fresh = t + steps >= T
                rows = J[cotangent, n0:n1]
                add_trial_rows(theta, network, segment, deltas, length, fresh, rows)
        if start >= 0:
            # The learned start is part of the activations before the first step.
            for i in range(network.hidden_first, network.hidden_end):
                place = start + i - network.hidden_first
                if by_trial:
                    for n in range(w):
                        J[cotangent, n0 + n, place] = before_bar[i, n]
                else:
                    theta_bar[place] += np.sum(before_bar[i])


@kernel
def gram(first: int, end: int, J: Array, chunk: int, out: Array) -> None:
    """Fill the square chunks first to end of out (m, m) = J J' for J (m, P).

    Chunks of the lower triangle are counted row by row; the upper triangle mirrors it.
    """
    m = J.shape[0]
    for job in range(first, end):
        # The inverse of job = i (i + 1) / 2 + j with j <= i.
        i = int((np.sqrt(8.0 * job + 1.0) - 1.0) / 2.0)
        j = job - i * (i + 1) // 2
        i0 = i * chunk
        i1 = min((i + 1) * chunk, m)
        j0 = j * chunk
        j1 = min((j + 1) * chunk, m)
        part = np.empty((i1 - i0, j1 - j0), J.dtype)
        np.dot(J[i0:i1], J[j0:j1].T, part)
        put(out[i0:i1, j0:j1], part)
        put(out[j0:j1, i0:i1], part.T)
