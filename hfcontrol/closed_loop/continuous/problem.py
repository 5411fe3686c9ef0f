"""From plant, network and scenario to what the compiled solver works on: tables, weights and references in continuous time.

A cost told per control step becomes one per second: a residual that weighs w at every step of dt has the weight w / dt in
the integral, and what the last step weighs on top of that stays with the final state.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hfcontrol.closed_loop.passes.cpu import network_pieces
from hfcontrol.errors import UsageError
from hfcontrol.kernels.generate import (
    NJIT,
    load_module,
    plant_derivatives,
    plant_pieces,
    read_piece,
)
from hfcontrol.network.cells import CELLS, is_continuous
from hfcontrol.network.stages import SCHEMES, STABILITY_LIMITS

STEPS = {
    order: np.finfo(float).eps ** (1 / (order + 1)) for order in (1, 2, 4)
}  # of differences by order, in typical sizes
STAGES, SCHEME, UNFOLD = 6, 7, 8  # columns of a table's layer, see `Network.tables`


@cache
def load_solver(plant, own, staged):
    """The compiled solver of one plant with the residual function of that name, or None; `staged` for networks with
    time-continuous cells."""
    rates = "own_dynamics(x, u, p, dx)"
    if plant.actuator_lag:
        rates = (
            "own_dynamics(x, x[NX:], p, dx)\n    for i in range(NU):\n"
            f"        dx[NX + i] = (u[i] - x[NX + i]) / {float(plant.actuator_lag)!r}"
        )
    residual = f"own_{own}(x, u, target, p, r)" if own else "pass"
    given = plant_derivatives(plant)
    bodies = {
        "plant_rates(x, u, p, dx)": rates,
        "own_residual(x, u, target, p, r)": residual,
        "plant_jacobian(x, u, p, A, B)": "own_jacobian(x, u, p, A, B)"
        if "jacobian" in given
        else "pass",
        "plant_observe_jacobian(x, p, C)": "own_observe_jacobian(x, p, C)"
        if "observe_jacobian" in given
        else "pass",
    }
    chosen = "\n\n".join(
        (
            f"RATES_GIVEN, SEEN_GIVEN = {'jacobian' in given}, {'observe_jacobian' in given}\n",
            *(f"{NJIT}\ndef {head}:\n    {body}\n" for head, body in bodies.items()),
        )
    )
    pieces = [read_piece(name) for name in ("field", "solver", "steps")]
    return load_module(
        f"continuous_{plant.name}" + "_staged" * staged,
        [*plant_pieces(plant), chosen, *network_pieces(staged), *pieces],
    )


def moments(network):
    """The network's tables read at a moment, and the rows (n,) of the states that move by a differential equation.

    Raises UsageError for a network that remembers from step to step otherwise.
    """
    for layer in network.layers:
        if layer.state_source and not is_continuous(layer.cell):
            raise UsageError(
                f"--estimator with --cell {layer.cell}: it has no differential equation, only its state a control "
                "step later; leave the estimator out, or choose a cell such as ctrnn"
            )
    layers, sources = (table.copy() for table in network.tables())
    moving = [
        k
        for k, layer in enumerate(network.layers)
        if layer.state_source and layer.state_source.lag
    ]
    rows = {(layers[k, 0], layers[k, 1]) for k in moving}
    for k, layer in enumerate(network.layers):
        for source in sources[layers[k, 4] : layers[k, 5]]:
            if (source[0], source[1]) in rows:
                source[2] = 1
            elif source[2]:
                raise UsageError(
                    f"--cell {layer.cell} with recurrent connections has no meaning between control steps: give "
                    "--recurrent none, or a cell in continuous time such as ctrnn"
                )
    for k in moving:
        layers[k, [STAGES, SCHEME, UNFOLD]] = 1, SCHEMES.index("euler"), 1
    return (
        layers,
        sources,
        np.concatenate(
            [np.zeros(0, dtype=np.int64), *(np.arange(*layers[k, :2]) for k in moving)]
        ),
    )


def _still(values):
    """Values (K, m, N) over time, or the first ones alone where they stand still."""
    return (
        values[:1] if len(values) == 0 or not np.ptp(values, axis=0).any() else values
    )


def _kinks(values):
    """The steps at which lines that join values (K, m, N) over time turn."""
    bend = np.abs(np.diff(values, 2, axis=0)).max(axis=(1, 2), initial=0.0)
    return (
        np.flatnonzero(bend > 1e-9 * max(np.abs(values).max(initial=0.0), 1e-300)) + 1
    )


def _density(weights, name):
    """The weights (m, N) of every step on the way, and what the last one weighs beyond, from weights (T+1, m, N)."""
    running = weights[1]
    if (weights[1:-1] != running).any() or (weights[-1] < running).any():
        raise UsageError(
            f"--estimator: the {name} weighs differently at different times on the way, which an integral over time "
            "cannot tell; leave the estimator out, or choose another --task"
        )
    return running, weights[-1] - running


@dataclass(frozen=True)
class Problem:
    """What does not change with the weights: cost, references and tables of the whole scenario, cut into blocks of trials."""

    layers: np.ndarray
    sources: np.ndarray
    cells: np.ndarray
    limit: np.ndarray
    dt: float
    seen: np.ndarray
    goal: np.ndarray
    about: np.ndarray
    output: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    final_state: np.ndarray
    final_output: np.ndarray | None
    params: np.ndarray
    x0: np.ndarray
    stops: np.ndarray
    typical: np.ndarray
    order: int

    def block(self, theta, n0, n1):
        """The tuple `problem` of the compiled pieces for trials n0 to n1 and weights theta (P,)."""

        def cut(a):
            return np.ascontiguousarray(a[..., n0:n1])

        return (
            theta,
            self.layers,
            self.sources,
            self.cells,
            self.limit,
            np.ascontiguousarray(self.params[:, n0:n1].T),
            self.dt,
            cut(self.seen),
            cut(self.goal),
            cut(self.about),
            cut(self.output),
            cut(self.target),
            cut(self.weights),
            self.typical,
            self.order,
        )

    @property
    def sizes(self):
        """Numbers of states, controls, observations, costed outputs and own residuals."""
        nx, nu, nz = self.goal.shape[1], len(self.limit), self.output.shape[1]
        return (
            nx,
            nu,
            int(self.layers[0, 0]) - self.seen.shape[1],
            nz,
            len(self.weights) - nx - nu - nz,
        )


def make_problem(plant, network, scenario, wiring, estimator):
    """The `Problem` of a scenario, with differences of the plant as the estimator asks; raises UsageError for what has no
    meaning in continuous time."""
    _check(plant, scenario, wiring)
    _check_stability(plant, network, estimator)
    cost, N, order = scenario.cost, scenario.trials, estimator.order
    w, ref, (layers, sources, cells) = cost.weights, cost.references, moments(network)
    nothing = np.zeros((1, 0, N))
    state, final = _density(w.state, "state")
    control = w.control[0]
    if (w.control != control).any() or np.ptp(ref.control, axis=0).any():
        raise UsageError(
            "--estimator: the control weighs differently at different times, which an integral over time cannot tell"
        )
    outputs, final_output = (
        _density(w.output, "output") if w.output is not None else (nothing[0], None)
    )
    own = (
        _density(w.custom, "task's own residual")[0]
        if w.custom is not None
        else nothing[0]
    )
    seen = np.concatenate([scenario.target, scenario.target[-1:]])
    moving = (
        seen,
        ref.state,
        nothing if ref.output is None else ref.output,
        nothing if w.custom is None else cost.target,
    )
    seen, goal, output, target = map(_still, moving)
    kinks = np.unique(
        np.concatenate([_kinks(values) for values in (seen, goal, output, target)])
    )
    return Problem(
        layers,
        sources,
        cells,
        np.asarray(wiring.limit, dtype=float),
        plant.dt,
        seen,
        goal,
        ref.control[0],
        output,
        target,
        np.concatenate([state, control, outputs, own]) / plant.dt,
        final,
        final_output,
        scenario.params,
        scenario.x0,
        plant.dt
        * np.append(kinks[kinks < scenario.steps], scenario.steps).astype(float),
        STEPS[order] * np.concatenate([plant.typical_state, plant.typical_control]),
        order,
    )


def _check_stability(plant, network, estimator):
    """Raises UsageError where time constants are too short for an explicit method's steps."""
    if not estimator.fixed or not any(
        "rate" in getattr(CELLS[layer.cell], "PARAMETERS", ())
        for layer in network.layers
    ):
        return
    shortest, step = (
        plant.dt * network.architecture.time_constants[0],
        estimator.step or plant.dt,
    )
    longest = STABILITY_LIMITS[estimator.name] * shortest
    if step > longest:
        raise UsageError(
            f"--time-constants from {1000 * shortest:g} ms: {estimator.name} in steps of {1000 * step:g} ms is unstable "
            f"there; give --solver-step {1000 * longest:.3g}ms or less, or --estimator ctpg"
        )


def _check(plant, scenario, wiring):
    if not plant.compiled or "dynamics" not in plant.functions:
        raise UsageError(
            f"--estimator: plant {plant.name} is known by its control steps alone; an estimator on a continuous "
            "trajectory needs a plant file with dynamics(x, u, p, dx)"
        )
    if wiring.feedback_delay or wiring.command_delay:
        raise UsageError(
            "--estimator with --feedback-delay or --command-delay: delays are of whole control steps; leave one out"
        )
    noisy = any(
        np.any(a)
        for a in (
            scenario.sensory_noise,
            scenario.motor_noise,
            scenario.motor_gain,
            scenario.disturbance,
        )
    )
    if noisy:
        raise UsageError(
            "--estimator with noise or pushes: they are drawn for every control step; leave one out"
        )
    if scenario.steps < 2:
        raise UsageError("--estimator: a horizon of at least 2 control steps is needed")
