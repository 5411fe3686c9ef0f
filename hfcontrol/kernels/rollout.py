"""The fused rollout: plant and network in one compiled loop over time.

The plain passes in closed_loop/passes/plain.py are the definition. Trials are computed
in blocks: T steps, N trials, w of them in a block.
"""

import math
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.integrators import (
    observe_block,
    step_block,
    step_work,
    taper_block,
)
from hfcontrol.kernels.jit import helper, kernel
from hfcontrol.kernels.limits import limit_command
from hfcontrol.kernels.matrices import add, add_block, clear, put, put_block, take_block
from hfcontrol.kernels.network_step import NetworkTables, network_step, set_length
from hfcontrol.kernels.plant_types import PlantFunctions
from hfcontrol.kernels.products import add_packed, add_product
from hfcontrol.kernels.structure import DENSE
from hfcontrol.network.tables import FIRST


class RolloutInputs(NamedTuple):
    """The arrays of a scenario, and how network and plant are connected.

    Shapes: x0 (nx, N), target (T, nt, N), elapsed (T, N), params (N, np), sensory noise
    (T, ny, N), motor noise and gain (T, nu, N), disturbance (T, nx, N), limits (3, nu):
    the table of `ControlLimits`, taper (nx,). `exploration` (T, nu, N), or (0, nu, N)
    for none, is added to the commands. Delays are numbers of steps.
    """

    x0: Array
    target: Array
    elapsed: Array
    params: Array
    sensory_noise: Array
    motor_noise: Array
    motor_gain: Array
    disturbance: Array
    limits: Array
    taper: Array
    feedback_delay: int
    command_delay: int
    exploration: Array


class HeldModel(NamedTuple):
    """What a hold keeps fixed, see `LinearModel` in closed_loop/linear_model.py.

    Shapes: A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N), x (T + 1, nx, N),
    u (T, nu, N), observed and recorded (T, ny, N); all are empty if nothing is fixed.
    The tables are those of A and C (structure.py).
    """

    A: Array
    B: Array
    C: Array
    x: Array
    u: Array
    observed: Array
    recorded: Array
    replaces_plant: bool
    replays_inputs: bool
    A_table: Array = DENSE
    C_table: Array = DENSE


class RolloutResults(NamedTuple):
    """What a rollout fills.

    Shapes: states x (T + 1, nx, N), controls u and commands (T, nu, N), observations y
    (T, ny, N), activations (block, T // every + 1, unit, w) of every `every`-th step.
    """

    x: Array
    u: Array
    command: Array
    y: Array
    activations: Array
    every: int


class BlockWork(NamedTuple):
    """Scratch arrays of a block.

    Shapes: states xs and moved (nx, w), controls us (nu, w), observations ys (ny, w)
    and all_observations (n_observable, w), parameters params (w, np), and `step`, see
    `step_work`.
    """

    xs: Array
    moved: Array
    us: Array
    ys: Array
    all_observations: Array
    params: Array
    step: Array


@helper
def see(
    t: int,
    n0: int,
    plant: PlantFunctions,
    inputs: RolloutInputs,
    model: HeldModel,
    results: RolloutResults,
    work: BlockWork,
) -> None:
    """Fill `work.ys` and y[t] with what the trials from n0 observe at step t."""
    xs = work.xs
    ys = work.ys
    # Before the first observation arrives, the network sees the start.
    delayed = max(t - inputs.feedback_delay, 0)
    # The recorded observations contain their noise.
    if model.replays_inputs:
        take_block(ys, model.recorded[t], n0)
    elif model.replaces_plant:
        take_block(xs, results.x[delayed], n0)
        add_block(xs, -1.0, model.x[delayed], n0)
        # y = observed + C (x - reference) + noise
        clear(ys)
        add_packed(model.C[delayed], model.C_table, xs, ys, n0)
        first = np.uint64(n0)
        width = np.uint64(ys.shape[1])
        for k in range(ys.shape[0]):
            for n in range(width):
                observed = model.observed[delayed, k, first + n]
                ys[k, n] += observed + inputs.sensory_noise[t, k, first + n]
    else:
        take_block(xs, results.x[delayed], n0)
        observe_block(plant, xs, work.params, ys, work.all_observations)
        add_block(ys, 1.0, inputs.sensory_noise[t], n0)
    put_block(results.y[t], ys, n0)


@helper
def move(
    t: int,
    n0: int,
    plant: PlantFunctions,
    inputs: RolloutInputs,
    model: HeldModel,
    results: RolloutResults,
    work: BlockWork,
) -> None:
    """Fill u[t] and x[t + 1] of the trials from n0.

    The control follows from the command of `command_delay` steps ago.
    """
    x = results.x
    xs = work.xs
    us = work.us
    moved = work.moved
    has_command = t >= inputs.command_delay
    if has_command:
        take_block(us, results.command[t - inputs.command_delay], n0)
    first = np.uint64(n0)
    width = np.uint64(us.shape[1])
    for k in range(us.shape[0]):
        low, high = inputs.limits[0, k], inputs.limits[1, k]
        softness = inputs.limits[2, k]
        # Conditions stand outside of the loops over trials, which then are fast.
        if not has_command:
            resting = min(max(0.0, low), high)
            for n in range(width):
                us[k, n] = resting
        elif math.isfinite(low) or math.isfinite(high):
            for n in range(width):
                us[k, n] = limit_command(us[k, n], low, high, softness)
        # Gain and noise come after the limit: they belong to the actuators.
        for n in range(width):
            factor = 1.0 + inputs.motor_gain[t, k, first + n]
            us[k, n] = us[k, n] * factor + inputs.motor_noise[t, k, first + n]
    put_block(results.u[t], us, n0)
    take_block(xs, x[t], n0)

    if model.replaces_plant:
        add_block(xs, -1.0, model.x[t], n0)
        add_block(us, -1.0, model.u[t], n0)
        # x' = reference' + A (x - reference) + B (u - reference control)
        clear(moved)
        add_packed(model.A[t], model.A_table, xs, moved, n0)
        add_block(moved, 1.0, model.x[t + 1], n0)
        # The product by B is rounded before it is added, as in the plain pass.
        clear(xs)
        add_product(model.B[t], us, xs, n0)
        add(moved, xs)
        put_block(x[t + 1], moved, n0)
        return
    step_block(plant, xs, us, work.params, moved, work.step)
    add_block(moved, 1.0, inputs.disturbance[t], n0)
    taper_block(moved, inputs.taper)
    put_block(x[t + 1], moved, n0)


@helper
def start_activations(theta: Array, network: NetworkTables, start: Array) -> None:
    """Fill the activations before the first step: the learned start, or zeros."""
    clear(start)
    if network.start < 0:
        return
    for i in range(network.hidden_first, network.hidden_end):
        for n in range(start.shape[1]):
            start[i, n] = theta[network.start + i - network.hidden_first]


@kernel
def rollout(
    first: int,
    end: int,
    theta: Array,
    network: NetworkTables,
    plant: PlantFunctions,
    inputs: RolloutInputs,
    model: HeldModel,
    results: RolloutResults,
) -> None:
    """Fill `results` of the blocks first to end of trials."""
    x = results.x
    command = results.command
    every = results.every
    _, nx, N = x.shape
    n_controls = command.shape[1]
    n_target = inputs.target.shape[1]
    n_observed = results.y.shape[1]
    n_units, width = results.activations.shape[2:]
    real = results.activations.dtype
    scratch = np.empty((n_units + 1, width), real)
    # Two steps take turns if not all activations are stored.
    pair = np.empty((2, n_units, width), real)
    output = network.layers[-1, FIRST]

    for block in range(first, end):
        n0 = block * width
        n1 = min((block + 1) * width, N)
        w = n1 - n0
        xs = np.empty((nx, w))
        moved = np.empty((nx, w))
        us = np.empty((n_controls, w))
        ys = np.empty((n_observed, w))
        all_observations = np.empty((plant.n_observable, w))
        params = inputs.params[n0:n1]
        step = step_work(plant, n_controls, w)
        work = BlockWork(xs, moved, us, ys, all_observations, params, step)
        activations = results.activations[block]
        start_activations(theta, network, activations[0])
        put(pair[0], activations[0])
        take_block(xs, inputs.x0, n0)
        put_block(x[0], xs, n0)

        for t in range(command.shape[0]):
            before = pair[t % 2]
            now = pair[(t + 1) % 2]
            if every == 1:
                before = activations[t]
                now = activations[t + 1]
            # Trials that do not exist fill up the last block.
            clear(now[: network.layers[0, FIRST]])
            see(t, n0, plant, inputs, model, results, work)
            take_block(now[:n_target], inputs.target[t], n0)
            for k in range(n_observed):
                for n in range(w):
                    now[n_target + k, n] = ys[k, n]
            set_length(network, inputs.elapsed[t], n0, now)
            network_step(theta, network, before, now, scratch)
            if every > 1 and (t + 1) % every == 0:
                put(activations[(t + 1) // every], now)
            # The block may have fewer trials than the network has columns.
            put(us, now[output : output + n_controls])
            if inputs.exploration.shape[0]:
                add_block(us, 1.0, inputs.exploration[t], n0)
            put_block(command[t], us, n0)
            move(t, n0, plant, inputs, model, results, work)
