"""The network's time step, its tangent and its adjoint, as kernels call them.

`before` and `now` are the activations (unit, trial) of a block of trials at one time
step and the next; tangents start with `d_` and cotangents end with `_bar`. The
functions are those of plain_layers.py or, for networks with time-continuous cells, of
stages.py. They are called by their addresses: so a kernel is compiled once for all
cells, and each function once for all kernels.
"""

from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from numba import types

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.jit import address_of, function_at, helper, pointed_to


class NetworkFunctions(NamedTuple):
    """Addresses of a network's functions; 0 for those that are not needed."""

    # `Any`, because without Numba they are the functions themselves.
    step: Any = 0
    jvp: Any = 0
    vjp: Any = 0
    weight_cotangents: Any = 0
    trial_row: Any = 0


class NetworkTables(NamedTuple):
    """A network as kernels take it.

    layers (layer, column) and sources (source, column) are those of `Network.tables`.
    The hidden units are hidden_first to hidden_end; their learned start begins at the
    index `start` of theta, or there is none if that is -1. `clock` is the unit that
    holds the length of the step, -1 without cells that have a time.
    """

    layers: Array
    sources: Array
    hidden_first: int
    hidden_end: int
    start: int
    clock: int
    functions: NetworkFunctions


@cache
def signatures(real: Any) -> NetworkFunctions:
    """Return the signatures of the functions for networks of a Numba dtype."""
    vector = real[::1]
    matrix = real[:, ::1]
    # Integers are the tables of layers and sources.
    tables = [types.int64[:, ::1]] * 2
    sums = types.float64[::1]
    void = types.void
    step = void(vector, *tables, *[matrix] * 3)
    jvp = void(vector, vector, *tables, *[matrix] * 6)
    vjp = void(vector, *tables, *[matrix] * 5)
    # Sums over trials are float64, whatever the dtype of the network.
    cotangents = void(sums, vector, *tables, *[matrix] * 4, vector)
    row = void(vector, *tables, matrix, matrix, types.boolean, vector)
    return NetworkFunctions(step, jvp, vjp, cotangents, row)


@cache
def load_function(name: str, staged: bool, dtype: str) -> Any:
    """Return the address of a network function, a field of `NetworkFunctions`.

    `staged` is for networks with time-continuous cells. The function is compiled, or
    loaded from the cache.
    """
    functions: ModuleType
    # Imported on demand: most networks have no stages.
    if staged:
        from hfcontrol.kernels import stages

        functions = stages
    else:
        from hfcontrol.kernels import plain_layers

        functions = plain_layers
    real = getattr(types, dtype)
    signature = getattr(signatures(real), name)
    compiled = pointed_to(signature)(getattr(functions, name))
    _compiled.append(compiled)
    return address_of(compiled)


# Keeps the compiled functions alive, which an address does not.
_compiled: list[Any] = []

step_at = function_at(lambda real: signatures(real).step)
jvp_at = function_at(lambda real: signatures(real).jvp)
vjp_at = function_at(lambda real: signatures(real).vjp)
weight_cotangents_at = function_at(lambda real: signatures(real).weight_cotangents)
trial_row_at = function_at(lambda real: signatures(real).trial_row)


@helper
def set_length(network: NetworkTables, elapsed: Array, n0: int, now: Array) -> None:
    """Put the length of the step into `now`, from elapsed (N,) of all trials.

    The block begins with trial n0. Columns without a trial get 1.
    """
    if network.clock < 0:
        return
    for n in range(now.shape[1]):
        now[network.clock, n] = elapsed[n0 + n] if n0 + n < elapsed.size else 1.0


@helper
def network_step(
    theta: Array, network: NetworkTables, before: Array, now: Array, scratch: Array
) -> None:
    """Fill the units of the layers in `now`; its inputs are given.

    scratch is (unit + 1, trial).
    """
    step = step_at(network.functions.step, theta)
    step(theta, network.layers, network.sources, before, now, scratch)


@helper
def network_jvp(
    theta: Array,
    v: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    d_before: Array,
    d_now: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Fill the units of the layers in the tangent `d_now`; its inputs are given.

    v is the tangent of theta, scratch (unit + 1, trial), product (unit, trial).
    """
    jvp = jvp_at(network.functions.jvp, theta)
    layers, sources = network.layers, network.sources
    jvp(theta, v, layers, sources, before, now, d_before, d_now, scratch, product)


@helper
def network_vjp(
    theta: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    now_bar: Array,
    before_bar: Array,
    scratch: Array,
) -> None:
    """Turn the cotangent of the activations `now` into that of their summed inputs.

    `now_bar` holds both, and the cotangent of the inputs; `before_bar` is added to.
    """
    vjp = vjp_at(network.functions.vjp, theta)
    layers, sources = network.layers, network.sources
    vjp(theta, layers, sources, before, now, now_bar, before_bar, scratch)


@helper
def add_weight_cotangents(
    theta_bar: Array,
    theta: Array,
    network: NetworkTables,
    before: Array,
    now: Array,
    delta: Array,
    scratch: Array,
    product: Array,
) -> None:
    """Add the cotangents of the weights, summed over the trials of the block.

    delta (unit, trial) is what `network_vjp` leaves in `now_bar`, product
    (unit (unit + 1),).
    """
    add_all = weight_cotangents_at(network.functions.weight_cotangents, theta)
    layers, sources = network.layers, network.sources
    add_all(theta_bar, theta, layers, sources, before, now, delta, scratch, product)


@helper
def add_trial_row(
    theta: Array,
    network: NetworkTables,
    activity: Array,
    delta: Array,
    fresh: bool,
    J: Array,
) -> None:
    """Add one segment of time to a row J (P,) of the Jacobian, or set it if `fresh`.

    It is the weights' cotangent of one trial with activations (steps + 1, unit) and
    delta (steps, unit).
    """
    add_row = trial_row_at(network.functions.trial_row, theta)
    add_row(theta, network.layers, network.sources, activity, delta, fresh, J)
