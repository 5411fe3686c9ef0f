"""What the compiled solver works on: tables, weights and references.

A cost per control step becomes a cost per second: a residual with the weight w at every
step of dt has the weight w / dt in the integral. What the last step weighs in addition
stays with the final state.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.continuous.estimators import Estimator
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import CELLS, is_continuous
from hfcontrol.network.network import Network
from hfcontrol.network.stages import SCHEMES, STABILITY_LIMITS
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario

# Steps of differences by their order, in typical sizes: they balance truncation and
# rounding.
STEPS = {order: np.finfo(float).eps ** (1 / (order + 1)) for order in (1, 2, 4)}

# Columns of a layer in `Network.tables`.
STAGES = 6
SCHEME = 7
UNFOLD = 8
CLOCK = 25

# Relative change of slope from which lines between control steps count as bent.
BEND = 1e-9


class Sizes(NamedTuple):
    """Numbers of states, controls, observations, costed outputs and own residuals."""

    nx: int
    nu: int
    ny: int
    nz: int
    nr: int


class Tables(NamedTuple):
    """The network in continuous time.

    Its tables (`Network.tables`), and the places among the activations of states in
    continuous time (n,).
    """

    layers: Array
    sources: Array
    cells: Array


class References(NamedTuple):
    """What the network sees of the goal, and the references of the cost.

    `network_target` (K, nt, N), `state` (K, nx, N), `control` (nu, N), `output`
    (K, nz, N), and the target (K, nt, N) of own residuals. K is T + 1, or 1 for what
    does not change with time.
    """

    network_target: Array
    state: Array
    control: Array
    output: Array
    custom: Array


class Weights(NamedTuple):
    """The weights of the cost.

    Per second (m, N) of state, control, output and own residuals, and those of the
    final state (nx, N) and of the final output (nz, N), if it is costed.
    """

    running: Array
    final_state: Array
    final_output: Array | None


class Differences(NamedTuple):
    """Steps (nx + nu,) of differences by state and control, and their order."""

    steps: Array
    order: int


class Block(NamedTuple):
    """The weights (P,) of the network, and the trials first to end of a block."""

    weights: Array
    first: int
    end: int

    @property
    def width(self) -> int:
        """Number of trials."""
        return self.end - self.first


class Limits(NamedTuple):
    """Relative and absolute tolerance, and most steps, of an adaptive integration."""

    rtol: float
    atol: float
    max_steps: int


@dataclass(frozen=True)
class Problem:
    """What does not change with the weights of the network, for all trials.

    `limits` (3, nu), `dt` [s], plant parameters `params` (np, N), initial states `x0`
    (nx, N), and `stops`, the times [s] at which a solver's step has to end.
    """

    tables: Tables
    limits: Array
    dt: float
    references: References
    weights: Weights
    params: Array
    x0: Array
    stops: Array
    differences: Differences

    @property
    def sizes(self) -> Sizes:
        """Sizes of the plant and of the cost."""
        references = self.references
        nx = references.state.shape[1]
        nu = self.limits.shape[1]
        nz = references.output.shape[1]
        # The input, target and observation, comes before the first layer.
        n_input = int(self.tables.layers[0, 0])
        ny = n_input - references.network_target.shape[1]
        return Sizes(nx, nu, ny, nz, len(self.weights.running) - nx - nu - nz)


def make_problem(
    plant: Plant,
    network: Network,
    scenario: Scenario,
    wiring: Wiring,
    estimator: Estimator,
) -> Problem:
    """Return the `Problem` of a scenario.

    Raises UsageError for what has no meaning in continuous time.
    """
    _check(plant, scenario, wiring)
    _check_stability(plant, network, estimator)
    tables = continuous_tables(network)
    weights = _weights_per_second(plant, scenario)
    references = _references(scenario)
    moving = (references.network_target, references.state, references.output)
    bends = [_kinks(values) for values in (*moving, references.custom)]
    kinks = np.unique(np.concatenate(bends))
    ends = np.append(kinks[kinks < scenario.steps], scenario.steps)
    typical = np.concatenate([plant.typical_state, plant.typical_control])
    differences = Differences(STEPS[estimator.order] * typical, estimator.order)
    return Problem(
        tables,
        np.asarray(wiring.limits.table, dtype=float),
        plant.dt,
        references,
        weights,
        scenario.params,
        scenario.x0,
        plant.dt * ends.astype(float),
        differences,
    )


def _references(scenario: Scenario) -> References:
    """Return the references of a scenario."""
    cost = scenario.cost
    nothing = np.zeros((1, 0, scenario.trials))
    # The network's last target holds at the end too.
    seen = np.concatenate([scenario.target, scenario.target[-1:]])
    output = cost.references.output
    custom = nothing
    if cost.weights.custom is not None and cost.target is not None:
        custom = cost.target
    return References(
        _squeeze_time(seen),
        _squeeze_time(cost.references.state),
        cost.references.control[0],
        _squeeze_time(nothing if output is None else output),
        _squeeze_time(custom),
    )


def continuous_tables(network: Network) -> Tables:
    """Return the tables of a network's field at one instant.

    Raises UsageError for a network that remembers from step to step in another way.
    """
    for layer in network.layers:
        if layer.state_source and not is_continuous(layer.cell):
            raise UsageError(
                f"`estimator` with `cell` {layer.cell}: it has no differential "
                "equation, only its state a control step later; leave the estimator "
                "out, or choose a cell such as ctrnn"
            )

    layers, sources = (table.copy() for table in network.tables())
    moving: list[int] = []
    for k, layer in enumerate(network.layers):
        # The state of a neural ODE starts from this step: it is no state in time.
        if layer.state_source and layer.state_source.lag:
            moving.append(k)
    units = {(layers[k, 0], layers[k, 1]) for k in moving}

    for k, layer in enumerate(network.layers):
        for source in sources[layers[k, 4] : layers[k, 5]]:
            if (source[0], source[1]) in units:
                # States come from the solver, not from a layer below.
                source[2] = 1
            elif source[2]:
                raise UsageError(
                    f"`cell` {layer.cell} with recurrent connections has no meaning "
                    "between control steps: use `recurrent` none, or a cell in "
                    "continuous time such as ctrnn"
                )

    # One Euler stage evaluates the field.
    for k in moving:
        layers[k, [STAGES, SCHEME, UNFOLD]] = 1, SCHEMES.index("euler"), 1
        layers[k, CLOCK] = -1
    places = [np.arange(*layers[k, :2]) for k in moving]
    cells = np.concatenate([np.zeros(0, dtype=np.int64), *places])
    return Tables(layers, sources, cells)


def _weights_per_second(plant: Plant, scenario: Scenario) -> Weights:
    """Return the weights of the integral and of the final cost.

    Raises UsageError for weights that change with time.
    """
    weights = scenario.cost.weights
    state, final_state = _split_weights(weights.state, "state")
    control = weights.control[0]
    references = scenario.cost.references.control
    if (weights.control != control).any() or np.ptp(references, axis=0).any():
        raise UsageError(
            "`estimator`: the control weighs differently at different times, which an "
            "integral over time cannot express"
        )
    output = custom = np.zeros((0, scenario.trials))
    final_output = None
    if weights.output is not None:
        output, final_output = _split_weights(weights.output, "output")
    if weights.custom is not None:
        custom, _ = _split_weights(weights.custom, "task's own residual")
    per_step = np.concatenate([state, control, output, custom])
    return Weights(per_step / plant.dt, final_state, final_output)


def _split_weights(weights: Array, name: str) -> tuple[Array, Array]:
    """Return the weights of steps (m, N), and what the last step weighs in addition.

    Raises UsageError if the weights (T+1, m, N) differ between other steps.
    """
    running = weights[1]
    if (weights[1:-1] != running).any() or (weights[-1] < running).any():
        raise UsageError(
            f"`estimator`: the {name} weighs differently at different times on the "
            "way, which an integral over time cannot express; leave the estimator out, "
            "or choose another `task`"
        )
    return running, weights[-1] - running


def _squeeze_time(values: Array) -> Array:
    """Return values (K, m, N) over time, or one time (1, m, N) if they are constant."""
    if len(values) == 0 or not np.ptp(values, axis=0).any():
        return values[:1]
    return values


def _kinks(values: Array) -> Array:
    """Return the steps at which lines between values (K, m, N) over time bend."""
    bend = np.abs(np.diff(values, 2, axis=0)).max(axis=(1, 2), initial=0.0)
    # Not zero: then constant values would bend by rounding.
    scale = max(np.abs(values).max(initial=0.0), 1e-300)
    return np.flatnonzero(bend > BEND * scale) + 1


def _check_stability(plant: Plant, network: Network, estimator: Estimator) -> None:
    """Raise UsageError if time constants are too short for an explicit method."""
    cells = [CELLS[layer.cell] for layer in network.layers]
    if not estimator.fixed or not any("rate" in cell.PARAMETERS for cell in cells):
        return
    shortest = plant.dt * network.architecture.time_constants[0]
    step = estimator.step or plant.dt
    longest = STABILITY_LIMITS[estimator.name] * shortest
    if step > longest:
        raise UsageError(
            f"`time_constants` from {1000 * shortest:g} ms: {estimator.name} in steps "
            f"of {1000 * step:g} ms is unstable there; use `solver_step` "
            f"{1000 * longest:.3g}ms or less, or `estimator` ctpg"
        )


def _check(plant: Plant, scenario: Scenario, wiring: Wiring) -> None:
    """Raise UsageError for a plant or scenario that exists in control steps only."""
    is_known = "rates_batch" in plant.functions
    if not is_known and not (plant.compiled and "dynamics" in plant.functions):
        raise UsageError(
            f"`estimator`: plant {plant.name} is known by its control steps alone; an "
            "estimator on a continuous trajectory needs a plant file with "
            "dynamics(x, u, p, dx), or a MuJoCo model"
        )
    weights = scenario.cost.weights
    is_costed = weights.output is not None or weights.custom is not None
    if not plant.compiled and (is_costed or "observe" in plant.functions):
        raise UsageError(
            f"`estimator` with plant {plant.name}: the solver knows a simulator's "
            "states alone; observe them, and let `space` be joint"
        )
    if wiring.feedback_delay or wiring.command_delay:
        raise UsageError(
            "`estimator` with `feedback_delay` or `command_delay`: delays are of whole "
            "control steps; leave one out"
        )
    noise = (scenario.sensory_noise, scenario.motor_noise, scenario.motor_gain)
    if any(np.any(a) for a in (*noise, scenario.disturbance)):
        raise UsageError(
            "`estimator` with noise, pushes or `jitter`: they are drawn for every "
            "control step; leave one out"
        )
    if scenario.steps < 2:
        raise UsageError("`estimator`: needs a horizon of at least 2 control steps")
