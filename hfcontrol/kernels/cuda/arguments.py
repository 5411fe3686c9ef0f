"""Structures that kernels take, and sizes that they close over.

All are named tuples: kernels take neither dataclasses nor dictionaries. T steps, N
trials; arrays are on the GPU. What belongs to the network has its dtype, float32 or
float64; everything of the plant is float64.
"""

from typing import NamedTuple

from hfcontrol.arrays.types import Array


class PlantSizes(NamedTuple):
    """Sizes of local arrays: states, controls, observations, and scratch (4, work)."""

    nx: int
    nu: int
    ny: int
    work: int


class ThreadTile(NamedTuple):
    """Trials and units that a thread computes at once, and the network's dtype."""

    dtype: str
    trials: int
    units: int


class NetworkTables(NamedTuple):
    """Layers (L,) of a network and their sources (S,), as integer arrays.

    first_unit, size: units of a layer among the activations
    is_tanh: 1 for tanh units, 0 for linear ones
    weights: index of a layer's matrix among the weights
    first_source: index of a layer's first source; the last entry (L+1,) is S
    source_unit, source_size, source_lag: units that a source reads, and 1 if it reads
        them one step late
    sections: where the activations of the input and of each layer (L+1,) begin, see
        layers.py
    """

    first_unit: Array
    size: Array
    is_tanh: Array
    weights: Array
    first_source: Array
    source_unit: Array
    source_size: Array
    source_lag: Array
    sections: Array


class LoopArrays(NamedTuple):
    """A closed loop without its network: scenario and wiring.

    target (T, nt, N), params (N, np), sensory_noise (T, ny, N), motor_noise and
    motor_gain (T, nu, N), disturbance (T, nx, N), limits (3, nu), taper (nx,), delays
    [steps].
    """

    target: Array
    params: Array
    sensory_noise: Array
    motor_noise: Array
    motor_gain: Array
    disturbance: Array
    limits: Array
    taper: Array
    feedback_delay: int
    command_delay: int


class LoopJacobians(NamedTuple):
    """The linearised loop without its network.

    The fields of `PlantJacobians` A (T, nx, nx, N), B (T, nx, nu, N), C (T, ny, nx, N),
    slope (T, nu, N) and replays_inputs, and the delays [steps].
    """

    A: Array
    B: Array
    C: Array
    slope: Array
    replays_inputs: bool
    feedback_delay: int
    command_delay: int


class RolloutArrays(NamedTuple):
    """What a rollout fills: its fields are those of `Trajectories`.

    x (T+1, nx, N), u and command (T, nu, N), y (T, ny, N), activations in sections
    (layers.py). A tangent pass fills their tangents, without y.
    """

    x: Array
    u: Array
    command: Array
    y: Array
    activations: Array


class TangentArrays(NamedTuple):
    """What a tangent pass fills: tangents of the fields of `RolloutArrays`.

    `activations` is empty unless they are kept.
    """

    x: Array
    u: Array
    command: Array
    activations: Array


class Cotangents(NamedTuple):
    """What an adjoint pass starts from, for K cotangents of the trajectories.

    x (K, T+1, nx, N), which is used up, u (K, T, nu, N), command, scratch of the same
    shape, activations, in sections or empty.
    """

    x: Array
    u: Array
    command: Array
    activations: Array


class TrialScratch(NamedTuple):
    """Local arrays of the thread of a trial; `work` (4, m) is scratch of the plant."""

    x: Array
    x_next: Array
    u: Array
    y: Array
    work: Array


class ThreadArrays(NamedTuple):
    """What a thread computes layers with.

    shared: activations of two steps [unit, trial of the block] in shared memory
    sums (U, R), read (R,): local arrays for U units and R trials
    one: the number 1 in the dtype of the network
    """

    shared: Array
    sums: Array
    read: Array
    one: float


class Block(NamedTuple):
    """A block of threads, which computes `tile` trials, and one of its threads.

    first, trials: the block's first trial, and the number of all trials
    thread, threads: index of the thread in the block, and their number
    lane, lanes: index among the threads that share the units of a layer
    row: first of the thread's trials in the block
    """

    first: int
    trials: int
    tile: int
    thread: int
    threads: int
    lane: int
    lanes: int
    row: int


class StepPlaces(NamedTuple):
    """Where step t and the step before are.

    before, now: their first rows in the shared memory [row, trial of the block]
    column: index of the block's first trial in a section, counted in columns
    """

    t: int
    before: int
    now: int
    column: int
