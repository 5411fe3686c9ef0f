"""A task as a nonlinear program for IPOPT: the judge of the yardstick.

The plant's own functions run on CasADi's symbols, with CasADi's functions in place of
`math`. The states of all times are variables too (multiple shooting), so IPOPT does not
roll out an unstable plant, and it has exact second derivatives. It shares no code with
iLQR but the plant file and the formulas of the integrators. The steps of plants that
symbols cannot pass are a black box (black_box.py).

The program is that of a scenario without motor noise and delays. CasADi is optional:
`pip install casadi`.
"""

import builtins
import math
from types import FunctionType
from typing import Any

import casadi as ca
import numpy as np

from benchmarks.black_box import Steps
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels.base import Kernels, taper_value
from hfcontrol.kernels.scalar_steps import INTEGRATORS, step_body
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks.scenario import Scenario

# Seconds of processor time for one start of one trial.
MOST_SECONDS = 20.0

# Least number whose square root is taken: its second derivative is about 1e300.
LEAST_ROOTED = 1e-200

# Points at which a traced step is compared with the kernels'.
POINTS = 8

IPOPT: dict[str, Any] = {
    "print_time": False,
    "error_on_fail": False,
    "show_eval_warnings": False,
    "ipopt": {
        "print_level": 0,
        "sb": "yes",
        "tol": 1e-9,
        "max_iter": 1000,
        "max_cpu_time": MOST_SECONDS,
        # so that the program is the scenario's own, bounds included
        "bound_relax_factor": 0.0,
    },
}


class SymbolicMath:
    """The functions of `math` on symbols; numbers such as pi are those of `math`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ca, name, None) or getattr(math, name)

    @staticmethod
    def hypot(a: Any, b: Any) -> Any:
        """Length of (a, b)."""
        return ca.sqrt(a * a + b * b)

    @staticmethod
    def sqrt(a: Any) -> Any:
        """Square root; its derivatives at 0 are finite, as in sqrt(max(x, 0))."""
        return ca.sqrt(ca.fmax(a, LEAST_ROOTED))

    @staticmethod
    def pow(a: Any, b: Any) -> Any:
        """Power."""
        return a**b


SYMBOLIC = {"math": SymbolicMath(), "max": ca.fmax, "min": ca.fmin, "abs": ca.fabs}


def symbolic_function(function: Any) -> Any:
    """Return a plant's function, and all helpers that it calls, for symbols."""
    names = {"__builtins__": builtins, **function.__globals__}
    copies = {}
    for name, value in names.items():
        if isinstance(value, FunctionType):
            copies[name] = FunctionType(value.__code__, names, name)
    names.update(copies)
    names.update(SYMBOLIC)
    return FunctionType(function.__code__, names, function.__name__)


def call(function: Any, size: int, *arguments: Any) -> Any:
    """Return what a plant's function writes, as a column of symbols."""
    out = np.zeros(size, dtype=object)
    function(*arguments, out)
    return ca.vertcat(*out)


def entries(symbol: Any) -> Any:
    """Return the entries of a column of symbols as an array."""
    array = np.empty(symbol.shape[0], dtype=object)
    for i in range(len(array)):
        array[i] = symbol[i]
    return array


def step_function(plant: Plant) -> Any:
    """Return the control step (x, u, p) -> x_next with its taper."""
    x, u = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu)
    p = ca.SX.sym("p", plant.n_params)
    given = plant.functions.get("dynamics", plant.functions.get("step"))
    rates = symbolic_function(given)
    formula = INTEGRATORS[plant.integrator]

    def integrate(x: Any, u: Any, p: Any, h: float, work: Any, out: Any) -> None:
        formula(rates, x, u, p, h, work, out)

    out = np.zeros(plant.nx, dtype=object)
    work = np.zeros((4, plant.nx), dtype=object)
    h = plant.dt / plant.substeps
    step_body(
        integrate, plant.substeps, h, entries(x), entries(u), entries(p), work, out
    )
    for i in np.flatnonzero(np.isfinite(plant.taper)):
        size, limit = ca.fabs(out[i]), float(plant.taper[i])
        beyond = limit + ca.tanh(size - limit)
        out[i] = ca.if_else(size > limit, ca.sign(out[i]) * beyond, out[i])
    return ca.Function("step", [x, u, p], [ca.vertcat(*out)])


def cost_function(plant: Plant, scenario: Scenario) -> tuple[Any, int]:
    """Return the cost at one time index, and the size of the data that it takes.

    The cost is (x, u, p, data) -> loss; `trial_data` has the same order.
    """
    cost = scenario.cost
    x, u = ca.SX.sym("x", plant.nx), ca.SX.sym("u", plant.nu)
    p = ca.SX.sym("p", plant.n_params)
    values = [x, u]
    if cost.references.output is not None:
        output = x[: plant.nz]
        if "output" in plant.functions:
            function = symbolic_function(plant.functions["output"])
            output = call(function, plant.nz, entries(x), entries(p))
        values.append(output)
    n_target = 0
    target = ca.SX.sym("target", 0)
    if cost.custom:
        assert cost.target is not None
        n_target = cost.target.shape[1]
        target = ca.SX.sym("target", n_target)
        function = symbolic_function(residual_of(plant, cost.custom))
        size = len(plant.residuals[cost.custom])
        arguments = (entries(x), entries(u), entries(target), entries(p))
        values.append(call(function, size, *arguments))

    value = ca.vertcat(*values)
    size = value.shape[0]
    data = ca.SX.sym("data", 2 * size + n_target)
    weights, references = data[:size], data[size : 2 * size]
    if n_target:
        value = ca.substitute(value, target, data[2 * size :])
    loss = 0.5 * ca.dot(weights, (value - references) ** 2)
    return ca.Function("cost", [x, u, p, data], [loss]), data.shape[0]


def residual_of(plant: Plant, name: str) -> Any:
    """Return the residual function of this name."""
    for task in plant.tasks.values():
        function = task.get("residual")
        if function is not None and function.__name__ == name:
            return function
    raise KeyError(name)


def trial_data(scenario: Scenario, n: int) -> Any:
    """Return the data of `cost_function` at all times (size, T+1) of trial n."""
    cost = scenario.cost
    weights: list[Any] = []
    references: list[Any] = []
    for w, r in zip(cost.weights, cost.references, strict=True):
        if w is None or r is None:
            continue
        for rows, a in ((weights, w[..., n]), (references, r[..., n])):
            # a control of the last time index does not exist: its weight is zero
            missing = scenario.steps + 1 - len(a)
            rows.append(np.concatenate([a, np.zeros((missing, a.shape[1]))]).T)
    rows = [*weights, *references]
    if cost.custom and cost.target is not None:
        rows.append(cost.target[..., n].T)
    return np.concatenate(rows)


def control_steps(kernels: Kernels, taper: Array, steps: int) -> tuple[str, Any]:
    """Return the name of the judge and all control steps (x, u, p) -> x_next.

    They are traced on symbols, with second derivatives. If the plant file does what
    symbols cannot, they are a black box.
    """
    try:
        step = step_function(kernels.plant)
        if traced_exactly(step, kernels, taper):
            return "IPOPT", step.map(steps)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, AttributeError):
        # what NumPy and CasADi raise for operations on symbols that do not exist
        pass
    return "IPOPT, black box", Steps(kernels, taper, steps)


def traced_exactly(step: Any, kernels: Kernels, taper: Array) -> bool:
    """Return whether a traced step is that of the kernels, at typical random points."""
    plant = kernels.plant
    rng = np.random.default_rng(0)
    size_x = np.reshape(plant.typical_state, (-1, 1))
    size_u = np.reshape(plant.typical_control, (-1, 1))
    x = size_x * rng.standard_normal((plant.nx, POINTS))
    u = size_u * rng.standard_normal((plant.nu, POINTS))
    p = np.repeat(np.reshape(list(plant.params.values()), (-1, 1)), POINTS, axis=1)
    expected = taper_value(kernels.step(x, u, p), taper)
    found = np.array(step.map(POINTS)(x, u, p))
    return np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


class Ipopt:
    """IPOPT on the trials of a scenario; compiled once for all of them.

    `name` is "IPOPT", or "IPOPT, black box" for a plant that symbols cannot pass.
    """

    def __init__(self, kernels: Kernels, scenario: Scenario, wiring: Wiring) -> None:
        self.scenario = scenario
        plant = kernels.plant
        T = scenario.steps
        self.name, steps = control_steps(kernels, wiring.taper, T)
        cost, size = cost_function(plant, scenario)
        x, u = ca.MX.sym("x", plant.nx, T + 1), ca.MX.sym("u", plant.nu, T)
        p = ca.MX.sym("p", plant.n_params)
        data = ca.MX.sym("data", size, T + 1)
        disturbance = ca.MX.sym("disturbance", plant.nx, T)

        last = ca.MX.zeros(plant.nu, 1)
        at_steps = ca.repmat(p, 1, T)
        losses = cost.map(T + 1)(x, ca.horzcat(u, last), ca.horzcat(at_steps, p), data)
        gaps = x[:, 1:] - steps(x[:, :-1], u, at_steps) - disturbance
        problem = {
            "x": ca.vertcat(ca.vec(x), ca.vec(u)),
            "f": ca.sum2(losses),
            "g": ca.vec(gaps),
            "p": ca.vertcat(p, ca.vec(data), ca.vec(disturbance)),
        }
        options = IPOPT
        if isinstance(steps, Steps):
            # a black box has no second derivatives
            approximate = {"hessian_approximation": "limited-memory"}
            options = {**IPOPT, "ipopt": {**IPOPT["ipopt"], **approximate}}
        self.solver = ca.nlpsol("judge", "ipopt", problem, options)
        # CasADi does not keep a black box
        self.steps = steps
        self.low, self.high = np.tile(wiring.limits.bounds, T)
        self.nx = plant.nx

    def solve(self, n: int, x: Any, v: Any) -> Any:
        """Return the controls (T, nu) of trial n from states (T+1, nx), controls v."""
        s = self.scenario
        parameters = [s.params[:, n], trial_data(s, n).ravel("F")]
        parameters.append(s.disturbance[..., n].ravel())
        states = x.size - self.nx
        low = np.concatenate([s.x0[:, n], np.full(states, -np.inf), self.low])
        high = np.concatenate([s.x0[:, n], np.full(states, np.inf), self.high])
        found = self.solver(
            x0=np.concatenate([x.ravel(), v.ravel()]),
            p=np.concatenate(parameters),
            lbx=low,
            ubx=high,
            lbg=0.0,
            ubg=0.0,
        )
        controls = np.array(found["x"]).ravel()[x.size :]
        return np.clip(controls, self.low, self.high).reshape(v.shape)
