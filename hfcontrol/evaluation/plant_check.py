"""The contract tests of a plant, for `hfcontrol check` and for the test suite.

Each check is a function of a `Sample` that returns what is wrong, or nothing; `check_plant` makes `Finding`s of them.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.errors import HFControlError
from hfcontrol.kernels import STEP, compile_plant
from hfcontrol.plant.probe import describe_error, format_numbers, list_calls

TRIALS, STEPS = 16, 1000
SPREAD = 0.3  # of the random states and controls, in typical sizes
DERIVATIVE = 1e-6  # relative difference of an analytic derivative from differences above which it is wrong
SMOOTH = 1e-5  # relative difference of two Jacobians above which the plant jumps or bends between them


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: `message` says what is wrong, or, where `ok`, what to know about it."""

    name: str
    ok: bool
    message: str = ""


class Sample:
    """A plant, its kernels, and random states x (nx, N), controls u (nu, N) and parameters p (np, N) of N trials."""

    def __init__(self, plant, seed=0):
        self.plant, self.kernels, self.rng = (
            plant,
            compile_plant(plant),
            np.random.default_rng(seed),
        )
        self.x = (
            SPREAD
            * plant.typical_state[:, None]
            * self.rng.standard_normal((plant.nx, TRIALS))
        )
        self.u = self.controls()
        self.p = np.repeat(
            np.array(list(plant.params.values())).reshape(-1, 1), TRIALS, axis=1
        )

    def controls(self):
        """Random controls (nu, N) within the limits."""
        u = (
            SPREAD
            * self.plant.typical_control[:, None]
            * self.rng.standard_normal((self.plant.nu, TRIALS))
        )
        limit = np.inf if self.plant.limit is None else self.plant.limit[:, None]
        return np.clip(u, -limit, limit)

    def step(self):
        """The states (nx, N) after one step."""
        return self.kernels.step(self.x, self.u, self.p)

    def maps(self):
        """Pairs of the names and the values (n, N) of observation and output."""
        yield self.plant.observation, self.kernels.observe(self.x[None], self.p)[0]
        yield self.plant.output, self.kernels.output(self.x[None], self.p)[0]


def written(sample):
    """Every function writes every entry at every state of the sample."""
    for n in range(TRIALS if sample.plant.compiled else 0):
        x, u = tuple(sample.x[:, n].tolist()), tuple(sample.u[:, n].tolist())
        for name, names, arguments in list_calls(sample.plant, x, u):
            out = [None] * len(names)
            try:
                sample.plant.functions[name](*arguments, out)
            except (ArithmeticError, ValueError) as error:
                return f"{name} fails at x = {format_numbers(x)}, u = {format_numbers(u)}: {describe_error(sample.plant, error)}"
            for i, value in enumerate(out):
                if value is None:
                    return f"{name} leaves entry {i} ({names[i]}) unwritten at x = {format_numbers(x)}, u = {format_numbers(u)}"


def finite(sample):
    """All numbers stay finite, at random states and through many random steps."""
    for names, values in (*sample.maps(), (sample.plant.state, sample.step())):
        for i, n in np.argwhere(~np.isfinite(values))[:1]:
            return f"{names[i]} is {values[i, n]} at x = {format_numbers(sample.x[:, n])}, u = {format_numbers(sample.u[:, n])}"
    u = np.array([sample.controls() for _ in range(STEPS)])
    nothing = np.zeros((STEPS, *sample.x.shape))
    x = sample.kernels.simulate(sample.x, u, sample.p, nothing, sample.plant.taper)
    for t, i, n in np.argwhere(~np.isfinite(x))[:1]:
        return (
            f"{sample.plant.state[i]} is {x[t, i, n]} after {t} random steps, "
            f"from x = {format_numbers(x[t - 1, :, n])} under u = {format_numbers(u[t - 1, :, n])}"
        )


def repeatable(sample):
    """The same input gives the same output, bit for bit."""
    if not np.array_equal(sample.step(), sample.step(), equal_nan=True):
        return "two steps from the same states differ: the plant must not draw random numbers or keep anything"


def inputs_untouched(sample):
    """A step leaves its inputs as they were."""
    before = sample.x.copy(), sample.u.copy(), sample.p.copy()
    sample.step()
    for name, a, b in zip("xup", before, (sample.x, sample.u, sample.p)):
        if not np.array_equal(a, b):
            return f"a step changes its input {name}; copy what you change"


def trials_apart(sample):
    """A trial does not depend on the others: a batch equals its trials one by one (to rounding where NumPy steps)."""
    alone = [
        sample.kernels.step(*(a[:, n : n + 1] for a in (sample.x, sample.u, sample.p)))
        for n in range(TRIALS)
    ]
    together, alone = sample.step(), np.concatenate(alone, axis=1)
    rtol = 0 if sample.plant.compiled else 1e-12
    for i, n in np.argwhere(
        ~np.isclose(together, alone, rtol=rtol, atol=rtol, equal_nan=True)
    )[:1]:
        return f"{sample.plant.state[i]} of trial {n} is {together[i, n]} in a batch, but {alone[i, n]} alone"


def nothing_constant(sample):
    """Every observation and output varies with the state, and every control moves something."""
    for names, values in sample.maps():
        for i in np.flatnonzero(np.ptp(values, axis=1) == 0):
            return f"{names[i]} is {values[i, 0]:.4g} at every state; leave it out or correct it"
    _, B = sample.kernels.jacobians(sample.x[None], sample.u[None], sample.p)
    for j in np.flatnonzero(~B.any(axis=(0, 1, 3))):
        return f"control {sample.plant.control[j]} moves nothing; use u[{j}] or leave it out"


def smooth(sample):
    """Jacobians at two step sizes agree, also at rest; where they do not, the plant jumps or bends, or TYPICAL is far off."""
    plant, rest = sample.plant, sample.x.copy()
    rest[np.setdiff1d(np.arange(plant.nx), plant.positions)] = 0.0
    x, u, p = (
        np.concatenate([sample.x, rest], axis=1),
        np.tile(sample.u, 2),
        np.tile(sample.p, 2),
    )
    twice = replace(
        plant,
        typical_state=2 * plant.typical_state,
        typical_control=2 * plant.typical_control,
    )
    pair = []
    for kernels in (sample.kernels, type(sample.kernels)(twice)):
        J = kernels.jacobians(x[None], u[None], p)
        pair.append(np.concatenate(J, axis=2)[0])
    sizes = np.concatenate([plant.typical_state, plant.typical_control])
    scale = np.abs(pair[0]) + (plant.typical_state[:, None] / sizes)[:, :, None]
    rough = np.abs(pair[1] - pair[0]) > SMOOTH * scale
    for i, j, n in np.argwhere(rough)[:1]:
        by = (*plant.state, *plant.control)[j]
        values = " or ".join(f"{J[i, j, n]:.6g}" for J in pair)
        return Finding(
            "smooth",
            rough[:, :, :TRIALS].any(axis=(0, 1)).mean() <= 0.5,
            f"d {plant.state[i]} / d {by} is {values} by the step size, at x = {format_numbers(x[:, n])}: "
            f"a jump or a bend there, or TYPICAL is far from {by}'s size",
        )


def differences(function, at, sizes, rows):
    """Central differences (rows, n) of a function(at, out) by every one of its n numbers of those typical sizes."""
    found = np.empty((rows, len(at)))
    for j, h in enumerate(STEP * sizes):
        ends = np.empty((2, rows))
        for end, place in zip(ends, (h, -h)):
            function(at + place * (np.arange(len(at)) == j), end)
        found[:, j] = (ends[0] - ends[1]) / (2 * h)
    return found


def wrong_entry(given, found):
    """The place (i, j) of the first derivative given that is not the one found, as a list of one or none."""
    return np.argwhere(
        ~np.isclose(
            given,
            found,
            rtol=DERIVATIVE,
            atol=DERIVATIVE * np.abs(found).max(initial=0.0),
        )
    )[:1]


def jacobian(sample):
    """The derivatives of `dynamics` that the file gives, if any, equal central differences of it."""
    plant, functions = sample.plant, sample.plant.functions
    if not {"jacobian", "dynamics"} <= set(functions):
        return None
    names, by = (
        plant.state[: plant.n_body],
        (*plant.state[: plant.n_body], *plant.control),
    )
    k, sizes = (
        len(names),
        np.concatenate([plant.typical_state[: plant.n_body], plant.typical_control]),
    )
    for x, u, p in zip(sample.x[:k].T, sample.u.T, sample.p.T):
        given = np.zeros((k, len(by)))
        functions["jacobian"](x, u, p, given[:, :k], given[:, k:])
        found = differences(
            lambda at, out: functions["dynamics"](at[:k], at[k:], p, out),
            np.concatenate([x, u]),
            sizes,
            k,
        )
        for i, j in wrong_entry(given, found):
            return (
                f"d {names[i]}' / d {by[j]} is {given[i, j]:.6g} by jacobian and {found[i, j]:.6g} by differences of "
                f"dynamics, at x = {format_numbers(x)}"
            )


def observe_jacobian(sample):
    """The derivatives of `observe` that the file gives, if any, equal central differences of it."""
    plant, functions = sample.plant, sample.plant.functions
    if "observe_jacobian" not in functions or plant.observation_indices is not None:
        return None
    k, names = plant.n_body, plant.observation
    for x, p in zip(sample.x[:k].T, sample.p.T):
        given = np.zeros((len(names), k))
        functions["observe_jacobian"](x, p, given)
        found = differences(
            lambda at, out: functions["observe"](at, p, out),
            x,
            plant.typical_state[:k],
            len(names),
        )
        for i, j in wrong_entry(given, found):
            return (
                f"d {names[i]} / d {plant.state[j]} is {given[i, j]:.6g} by observe_jacobian and {found[i, j]:.6g} by differences "
                f"of observe, at x = {format_numbers(x)}"
            )


def rates(sample):
    """What is called `..._rate` is the rate of change of what has the name without it."""
    plant = sample.plant
    if "dynamics" not in plant.functions:
        return None
    dx = np.empty_like(sample.x)
    for n in range(TRIALS):
        plant.functions["dynamics"](
            sample.x[:, n], sample.u[:, n], sample.p[:, n], dx[:, n]
        )
    C = sample.kernels.output_jacobian(sample.x[None], sample.p)[0]
    z = sample.kernels.output(sample.x[None], sample.p)[0]
    pairs = [
        (plant.state, sample.x, dx),
        (plant.output, z, np.einsum("ijn,jn->in", C, dx)),
    ]
    for names, values, changes in pairs:
        for i, name in enumerate(names):
            rate = f"{name}_rate"
            if rate in names and not np.allclose(
                values[names.index(rate)], changes[i], rtol=1e-6, atol=1e-8
            ):
                return f"{rate} is not the rate of change of {name}; correct it or name it otherwise"


def drawable(sample):
    """`links` gives points whose distances do not change, the last one where the output says that the plant is, and `marks`
    gives points with values from -1 to 1."""
    functions = sample.plant.functions
    return (
        "links" in functions
        and _wrong_links(sample)
        or "marks" in functions
        and _wrong_marks(sample)
    )


def _wrong_links(sample):
    plant = sample.plant
    points = [
        np.asarray(plant.functions["links"](x, p), dtype=float)
        for x, p in zip(sample.x.T, sample.p.T)
    ]
    if points[0].ndim != 2 or not points[0].size or points[0].shape[1] not in (2, 3):
        return f"links gives an array {points[0].shape}; it must give points (k, 2), or (k, 3) in space"
    if len({a.shape for a in points}) > 1:
        return "links gives more points at some states than at others; it must give as many at all"
    points = np.array(points)
    lifted = np.isnan(points)
    if (lifted != lifted[0, :, :1]).any() or lifted[0, -1].any():
        return "links gives NaN in a part of a row, at some states or in the last row; a row of NaN alone lifts the pen"
    lengths = np.linalg.norm(np.diff(points, axis=1), axis=2)
    if not np.allclose(lengths, lengths[0], rtol=1e-9, equal_nan=True):
        return "links gives segments whose lengths change with the state"
    if plant.path_indices is not None and (len(plant.path_indices) == 2 or points.shape[2] == 3):
        x, y = plant.path_indices[:2]
        place = sample.kernels.output(sample.x[None], sample.p)[0, [x, y]]
        if not np.allclose(place.T, points[:, -1, :2], rtol=1e-9, atol=1e-12):
            return f"the last point of links is not at ({plant.output[x]}, {plant.output[y]}) of output"


def _wrong_marks(sample):
    marks = [
        np.asarray(sample.plant.functions["marks"](x, u, p))
        for x, u, p in zip(sample.x.T, sample.u.T, sample.p.T)
    ]
    if (
        marks[0].ndim != 2
        or marks[0].shape[1] != 3
        or len({a.shape for a in marks}) > 1
    ):
        return f"marks gives an array {marks[0].shape}; it must give x, y and a value for each mark (k, 3) at every state"
    wrong = np.array(marks)
    wrong = wrong[~np.isfinite(wrong).all(axis=2) | (np.abs(wrong[:, :, 2]) > 1)]
    if len(wrong):
        return f"marks gives {format_numbers(wrong[0])}; it must give finite places, and values from -1 to 1"


def tasks(sample):
    """Every task's numbers are well-formed; what a generator makes of them is for the generator to say."""
    plant = sample.plant
    for name, task in plant.tasks.items():
        for key in ("trials", "steps"):
            if key in task and not (isinstance(task[key], int) and task[key] > 0):
                return f"TASKS[{name!r}]: {key} is {task[key]!r}; it must be a whole number above zero"
        for key in ("final", "running", "effort"):
            if not (
                np.isfinite(task.get(key, 0.0)).all()
                and np.min(task.get(key, 0.0)) >= 0
            ):
                return f"TASKS[{name!r}]: {key} is {task[key]!r}; it must be a finite number, zero or above"
        if "start" in task and len(task["start"]) not in (
            len(plant.positions),
            plant.nx,
        ):
            return f"TASKS[{name!r}]: start holds {len(task['start'])} numbers; give {len(plant.positions)} positions"
        if "draw" in task:
            x0, _ = task["draw"](np.random.default_rng(0), TRIALS, "training")
            if np.shape(x0) != (plant.nx, TRIALS):
                return f"TASKS[{name!r}]: draw gives start states {np.shape(x0)}; it must give {(plant.nx, TRIALS)}"


CHECKS = (
    written,
    finite,
    repeatable,
    inputs_untouched,
    trials_apart,
    nothing_constant,
    smooth,
    jacobian,
    observe_jacobian,
    rates,
    drawable,
    tasks,
)


def step_seconds(plant, trials=1024):
    """Seconds of one control step of one trial, of so many at once: the median of a few."""
    kernels, rng = compile_plant(plant), np.random.default_rng(0)
    x = SPREAD * plant.typical_state[:, None] * rng.standard_normal((plant.nx, trials))
    u, p = (
        np.zeros((plant.nu, trials)),
        np.tile(np.array(list(plant.params.values()))[:, None], trials),
    )
    spent = []
    for _ in range(8):  # the first one compiles
        begin = time.perf_counter()
        kernels.step(x, u, p)
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent[1:])) / trials


def check_plant(plant):
    """Run all contract tests of a plant; returns a list of `Finding`, in the order of CHECKS."""
    sample, findings = Sample(plant), []
    for check in CHECKS:
        try:
            with np.errstate(all="ignore"):
                found = check(sample)
        except HFControlError as error:
            found = str(error)
        except Exception as error:  # the user's own functions may raise anything
            found = f"{type(error).__name__}: {describe_error(plant, error)}"
        found = (
            found
            if isinstance(found, Finding)
            else Finding(check.__name__, not found, found or "")
        )
        findings.append(replace(found, name=check.__name__.replace("_", " ")))
    return findings
