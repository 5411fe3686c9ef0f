"""The contract tests of a plant, for `hfcontrol check` and for the test suite.

Each check is a function of a `Sample` that returns what is wrong, or None.
`check_plant` turns the answers into `Finding`s.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS, HFControlError, UsageError
from hfcontrol.evaluation.drawing_check import check_drawing
from hfcontrol.evaluation.index_check import check_indices
from hfcontrol.evaluation.plant_sample import SPREAD, TRIALS, Sample, repeat_params
from hfcontrol.kernels import STEP, compile_plant
from hfcontrol.kernels.base import Kernels
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import (
    describe_error,
    format_numbers,
    line_in_file,
    list_calls,
)
from hfcontrol.runs.settings import find_task_faults
from hfcontrol.texts import one_line

STEPS = 1000  # of the simulation that must stay finite

# Relative difference from finite differences above which a derivative is wrong.
DERIVATIVE_TOLERANCE = 1e-6

# Relative difference of Jacobians at two step sizes above which the plant has a jump or
# a kink between them.
SMOOTH_TOLERANCE = 1e-5

# The same for a plant in single precision, and its step of differences: it balances
# truncation and rounding as STEP does, with the eps of float32.
SINGLE_STEP = np.cbrt(np.finfo(np.float32).eps)
SINGLE_TOLERANCE = 1e-2

# Batches differ by rounding only; the rates of outputs also by the errors of a Jacobian
# by finite differences.
BATCH_TOLERANCE = 1e-12
RATE_RTOL = 1e-6
RATE_ATOL = 1e-8

TIMED_STEPS = 7  # of which `step_seconds` takes the median


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    `message` says what is wrong or, if `ok`, what the user should know; `cause` is what
    a function of the plant raised and where, if that is what is wrong.
    """

    name: str
    ok: bool
    message: str = ""
    cause: str = ""


# What a check returns: a message about what is wrong, a finding, or None.
Answer: TypeAlias = str | Finding | None


def check_entries_written(sample: Sample) -> Answer:
    """Every function writes every entry, at every state of the sample."""
    # A plant that NumPy steps returns new arrays, so it cannot leave out an entry.
    if not sample.plant.compiled:
        return None
    for n in range(TRIALS):
        x = tuple(sample.x[:, n].tolist())
        u = tuple(sample.u[:, n].tolist())
        place = f"at x = {format_numbers(x)}, u = {format_numbers(u)}"
        for name, names, arguments in list_calls(sample.plant, x, u):
            # None shows what is not written; a buffer of numbers would not.
            out = [None] * len(names)
            try:
                sample.plant.functions[name](*arguments, out)
            except (ArithmeticError, ValueError) as error:
                return f"{name} fails {place}: {describe_error(sample.plant, error)}"
            for i, value in enumerate(out):
                if value is None:
                    return f"{name} leaves entry {i} ({names[i]}) unwritten {place}"
    return None


def check_finite(sample: Sample) -> Answer:
    """All numbers stay finite, at random states and through many random steps."""
    plant = sample.plant
    for names, values in (*sample.maps(), (plant.state, sample.step())):
        for i, n in np.argwhere(~np.isfinite(values))[:1]:
            return (
                f"{names[i]} is {values[i, n]} at "
                f"x = {format_numbers(sample.x[:, n])}, "
                f"u = {format_numbers(sample.u[:, n])}"
            )

    # One state may be finite where a trajectory runs away.
    u = np.array([sample.draw_controls() for _ in range(STEPS)])
    no_disturbance = np.zeros((STEPS, *sample.x.shape))
    x = sample.kernels.simulate(sample.x, u, sample.p, no_disturbance, plant.taper)
    for t, i, n in np.argwhere(~np.isfinite(x))[:1]:
        before = format_numbers(x[t - 1, :, n])
        control = format_numbers(u[t - 1, :, n])
        return (
            f"{plant.state[i]} is {x[t, i, n]} after {t} random steps, from "
            f"x = {before} with u = {control}"
        )
    return None


def check_repeatable(sample: Sample) -> Answer:
    """The same input gives the same output, bit for bit."""
    if np.array_equal(sample.step(), sample.step(), equal_nan=True):
        return None
    return (
        "two steps from the same states differ: the plant must not draw random numbers "
        "or keep a state of its own"
    )


def check_inputs_unchanged(sample: Sample) -> Answer:
    """A step leaves its inputs unchanged."""
    inputs = {"x": sample.x, "u": sample.u, "p": sample.p}
    before = {name: values.copy() for name, values in inputs.items()}
    sample.step()
    for name, values in inputs.items():
        if not np.array_equal(values, before[name]):
            return f"a step changes its input {name}; copy it before you change it"
    return None


def check_trials_independent(sample: Sample) -> Answer:
    """A batch of trials gives what its trials give one by one.

    Compiled plants must agree in every bit, NumPy's plants to rounding.
    """
    inputs = (sample.x, sample.u, sample.p)
    single = []
    for n in range(TRIALS):
        one_trial = [values[:, n : n + 1] for values in inputs]
        single.append(sample.kernels.step(*one_trial))
    alone = np.concatenate(single, axis=1)
    together = sample.step()

    # NumPy may sum in another order if the number of trials differs.
    tolerance = 0 if sample.plant.compiled else BATCH_TOLERANCE
    equal = np.isclose(together, alone, rtol=tolerance, atol=tolerance, equal_nan=True)
    for i, n in np.argwhere(~equal)[:1]:
        return (
            f"{sample.plant.state[i]} of trial {n} is {together[i, n]} in a batch, but "
            f"{alone[i, n]} alone"
        )
    return None


def check_nothing_constant(sample: Sample) -> Answer:
    """Observations and outputs vary with the state, and every control has an effect."""
    for names, values in sample.maps():
        for i in np.flatnonzero(np.ptp(values, axis=1) == 0):
            return (
                f"{names[i]} is {values[i, 0]:.4g} at every state; leave it out or "
                "correct it"
            )
    _, B = sample.kernels.jacobians(sample.x[None], sample.u[None], sample.p)
    has_effect = B.any(axis=(0, 1, 3))
    for j in np.flatnonzero(~has_effect):
        name = sample.plant.control[j]
        return f"control {name} moves nothing; use u[{j}] or leave it out"
    return None


def check_smooth(sample: Sample) -> Answer:
    """Jacobians with two step sizes agree, also at rest.

    If they differ, the plant has a jump or a kink, or TYPICAL is far off. This is a
    warning only, unless it happens at half of the random states. A plant that computes
    in float32 gets steps that suit it, and a warning that says so.
    """
    plant = sample.plant
    single = sample.single_states()
    factor = SINGLE_STEP / STEP if single else 1.0
    tolerance = SINGLE_TOLERANCE if single else SMOOTH_TOLERANCE
    # Friction jumps where the velocity is zero, and most tasks start at rest.
    at_rest = sample.x.copy()
    rates = np.setdiff1d(np.arange(plant.nx), plant.positions)
    at_rest[rates] = 0.0
    x = np.concatenate([sample.x, at_rest], axis=1)
    u = np.tile(sample.u, 2)
    p = np.tile(sample.p, 2)

    # The step of a difference is a fraction of the typical size.
    fine, coarse = (
        np.concatenate(
            _with_steps(sample, scale).jacobians(x[None], u[None], p), axis=2
        )[0]
        for scale in (factor, 2 * factor)
    )

    sizes = np.concatenate([plant.typical_state, plant.typical_control])
    typical_slope = (plant.typical_state[:, None] / sizes)[:, :, None]
    is_rough = np.abs(coarse - fine) > tolerance * (np.abs(fine) + typical_slope)
    for i, j, n in np.argwhere(is_rough)[:1]:
        name = (*plant.state, *plant.control)[j]
        values = f"{fine[i, j, n]:.6g} or {coarse[i, j, n]:.6g}"
        message = (
            f"d {plant.state[i]} / d {name} is {values}, depending on the step size, "
            f"at x = {format_numbers(x[:, n])}: the plant has a jump or a kink there, "
            f"or TYPICAL is far from the size of {name}"
        )
        # A few rough states do not prevent training.
        rough_part = is_rough[:, :, :TRIALS].any(axis=(0, 1)).mean()
        return Finding("smooth", bool(rough_part <= 0.5), message)
    if single:
        message = (
            f"{', '.join(single)}: computed in single precision (float32); training "
            "takes wider differences, which are less exact; compute in float64 if you "
            "can"
        )
        return Finding("smooth", True, message)
    return None


def _with_steps(sample: Sample, factor: float) -> Kernels:
    """Return the kernels with difference steps that are `factor` times as wide."""
    if factor == 1.0:
        return sample.kernels
    plant = sample.plant
    wider = replace(
        plant,
        typical_state=factor * plant.typical_state,
        typical_control=factor * plant.typical_control,
    )
    return type(sample.kernels)(wider)


def central_differences(
    function: Callable[[Array, Array], object], at: Array, sizes: Array, outputs: int
) -> Array:
    """Derivatives (outputs, n) of function(at, out), which writes out (outputs,).

    sizes: typical sizes (n,) of the entries of `at` (n,).
    """
    derivatives = np.empty((outputs, len(at)))
    for j, h in enumerate(STEP * sizes):
        unit = np.arange(len(at)) == j
        above = np.empty(outputs)
        below = np.empty(outputs)
        function(at + h * unit, above)
        function(at - h * unit, below)
        derivatives[:, j] = (above - below) / (2 * h)
    return derivatives


def find_wrong_entry(analytic: Array, numeric: Array) -> Array:
    """Indices (1, 2) of the first wrong analytic derivative, or none (0, 2)."""
    # Entries near zero carry the rounding errors of the largest ones.
    atol = DERIVATIVE_TOLERANCE * np.abs(numeric).max(initial=0.0)
    equal = np.isclose(analytic, numeric, rtol=DERIVATIVE_TOLERANCE, atol=atol)
    return np.argwhere(~equal)[:1]


def check_jacobian(sample: Sample) -> Answer:
    """`jacobian` of the plant file equals central differences of `dynamics`."""
    plant, functions = sample.plant, sample.plant.functions
    if not {"jacobian", "dynamics"} <= set(functions):
        return None
    names = plant.state[: plant.n_body]
    by = (*names, *plant.control)
    k = len(names)
    sizes = np.concatenate([plant.typical_state[:k], plant.typical_control])

    for x, u, p in zip(sample.x[:k].T, sample.u.T, sample.p.T, strict=True):
        analytic = np.zeros((k, len(by)))
        functions["jacobian"](x, u, p, analytic[:, :k], analytic[:, k:])

        # p is a default argument, because a closure would follow the loop variable.
        def dynamics(at: Array, out: Array, p: Array = p) -> None:
            functions["dynamics"](at[:k], at[k:], p, out)

        numeric = central_differences(dynamics, np.concatenate([x, u]), sizes, k)
        for i, j in find_wrong_entry(analytic, numeric):
            return (
                f"d {names[i]}' / d {by[j]} is {analytic[i, j]:.6g} by jacobian and "
                f"{numeric[i, j]:.6g} by differences of dynamics, at "
                f"x = {format_numbers(x)}"
            )
    return None


def check_observe_jacobian(sample: Sample) -> Answer:
    """`observe_jacobian` of the plant file equals central differences of `observe`."""
    plant, functions = sample.plant, sample.plant.functions
    # The file's function writes all observations, also those that are left out.
    if "observe_jacobian" not in functions or plant.observation_indices is not None:
        return None
    k = plant.n_body
    names = plant.observation

    for x, p in zip(sample.x[:k].T, sample.p.T, strict=True):
        analytic = np.zeros((len(names), k))
        functions["observe_jacobian"](x, p, analytic)

        def observe(at: Array, out: Array, p: Array = p) -> None:
            functions["observe"](at, p, out)

        sizes = plant.typical_state[:k]
        numeric = central_differences(observe, x, sizes, len(names))
        for i, j in find_wrong_entry(analytic, numeric):
            return (
                f"d {names[i]} / d {plant.state[j]} is {analytic[i, j]:.6g} by "
                f"observe_jacobian and {numeric[i, j]:.6g} by differences of observe, "
                f"at x = {format_numbers(x)}"
            )
    return None


def check_rates(sample: Sample) -> Answer:
    """An entry named `..._rate` is the rate of change of the entry without `_rate`."""
    plant = sample.plant
    if "dynamics" not in plant.functions:
        return None
    x, u, p = sample.x, sample.u, sample.p
    dx = np.empty_like(x)
    for n in range(TRIALS):
        plant.functions["dynamics"](x[:, n], u[:, n], p[:, n], dx[:, n])
    message = _find_wrong_rate(plant.state, x, dx)
    if message:
        return message

    # By the chain rule, the derivative of the output is C times that of the state.
    C = sample.kernels.output_jacobian(x[None], p)[0]
    z = sample.kernels.output(x[None], p)[0]
    dz = np.einsum("ijn,jn->in", C, dx)
    return _find_wrong_rate(plant.output, z, dz)


def _find_wrong_rate(
    names: Sequence[str], values: Array, derivatives: Array
) -> str | None:
    """What is wrong with the first wrong rate among entries (n, N), or None."""
    for i, name in enumerate(names):
        rate = f"{name}_rate"
        if rate not in names:
            continue
        claimed = values[names.index(rate)]
        if not np.allclose(claimed, derivatives[i], rtol=RATE_RTOL, atol=RATE_ATOL):
            return (
                f"{rate} is not the rate of change of {name}; correct it or rename it"
            )
    return None


def check_tasks(sample: Sample) -> Answer:
    """The entries of all tasks fit the plant; the message has a line for each fault."""
    faults = find_task_faults(sample.plant)
    lines = [f"{name}: {one_line(fault)}" for name, fault in faults]
    return "\n".join(lines)


# In the order of `hfcontrol check`: first what the later checks rely on.
CHECKS: tuple[Callable[[Sample], Answer], ...] = (
    check_indices,
    check_entries_written,
    check_finite,
    check_repeatable,
    check_inputs_unchanged,
    check_trials_independent,
    check_nothing_constant,
    check_smooth,
    check_jacobian,
    check_observe_jacobian,
    check_rates,
    check_drawing,
    check_tasks,
)


@np.errstate(all="ignore")
def step_seconds(plant: Plant, trials: int = 1024) -> float:
    """Median time [s] of a control step of one trial, in a batch of `trials`."""
    kernels = compile_plant(plant)
    rng = np.random.default_rng(0)
    sizes = SPREAD * plant.typical_state[:, None]
    x = sizes * rng.standard_normal((plant.nx, trials))
    u = np.zeros((plant.nu, trials))
    p = repeat_params(plant, trials)
    # The first call compiles, or loads compiled code.
    kernels.step(x, u, p)

    seconds = []
    for _ in range(TIMED_STEPS):
        begin = time.perf_counter()
        kernels.step(x, u, p)
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds)) / trials


@np.errstate(all="ignore")
def check_plant(plant: Plant) -> list[Finding]:
    """Run all contract tests of a plant; returns findings in the order of CHECKS.

    Raises UsageError for what is no plant.
    """
    if not isinstance(plant, Plant):
        raise UsageError(
            f"check_plant({plant!r}): must be a plant, as load_plant({plant!r}) returns"
        )
    sample = Sample(plant)
    return [_run_check(check, sample) for check in CHECKS]


def _run_check(check: Callable[[Sample], Answer], sample: Sample) -> Finding:
    """The finding of one check; an error of the plant is one too."""
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        with np.errstate(all="ignore"):
            answer = check(sample)
    except HFControlError as error:
        return Finding(name, False, str(error), find_cause(sample.plant, error))
    except FOREIGN_FAULTS as error:  # the user's own functions may raise anything
        answer = f"{type(error).__name__}: {describe_error(sample.plant, error)}"
    if isinstance(answer, Finding):
        return replace(answer, name=name)
    return Finding(name, ok=not answer, message=answer or "")


def find_cause(plant: Plant, error: HFControlError) -> str:
    """Return what a function of the plant raised and where, or an empty text.

    Messages about the same cause may differ, as in the number of trials.
    """
    raised = error.__cause__
    if raised is None:
        return ""
    return f"{line_in_file(raised, str(plant.path))}: {raised!r}"
