"""Reading a plant file into a `Plant`.

Every name of the file is checked. Each mistake is reported in one line, which says
what is wrong and what to write instead.
"""

import math
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from hfcontrol.arrays.files import readable
from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS, PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.inputs import digest_files, helper_files, record_reads
from hfcontrol.plant.limits import read_bounds, rest_within
from hfcontrol.plant.numpy_probe import probe_numpy_functions
from hfcontrol.plant.probe import line_in_file, probe_derivatives, probe_functions
from hfcontrol.plant.proof import prove_plant
from hfcontrol.plant.source import PlantSource

INTEGRATORS = ("euler", "rk4", "semi_implicit", "none")

# A plant file defines exactly one of these.
STEP_FUNCTIONS = ("dynamics", "step", "step_batch")

# The arguments of the functions that a plant file may define. Those of "residual" hold
# for the residual functions of tasks, which have names of the user's choice.
ARGUMENTS = {
    "dynamics": ("x", "u", "p", "dx"),
    "step": ("x", "u", "p", "dt", "x_next"),
    "step_batch": ("x", "u", "p", "dt"),
    "observe": ("x", "p", "y"),
    "output": ("x", "p", "z"),
    "links": ("x", "p"),
    "marks": ("x", "u", "p"),
    "residual": ("x", "u", "target", "p", "r"),
    "draw": ("rng", "trials", "split"),
    "jacobian": ("x", "u", "p", "A", "B"),
    "observe_jacobian": ("x", "p", "C"),
}

# Functions that stay plain NumPy; all others are compiled.
NUMPY_FUNCTIONS = ("links", "marks", "draw")

# Functions that need another one, whose derivatives they write.
DERIVATIVES = {"jacobian": "dynamics", "observe_jacobian": "observe"}


class Clock(NamedTuple):
    """How a plant is stepped: control step [s], integrator, substeps per step."""

    dt: float
    integrator: str
    substeps: int


class PlantFile:
    """A plant file that has been executed; `read_fields` checks and returns its names.

    Raises PlantError if the file cannot be executed.
    """

    path: Path
    source: str
    namespace: dict[str, Any]
    inputs: dict[str, str]
    functions: dict[str, Callable[..., Any]]

    def __init__(self, source: str, path: Path) -> None:
        self.path = path
        self.source = source
        self.tree = PlantSource(source, path.name)
        self.namespace = {
            "__name__": f"hfcontrol_plant_{path.stem}",
            "__file__": str(path),
        }
        # The user's own code, run as an import would run it.
        try:
            with record_reads() as read:
                exec(compile(source, str(path), "exec"), self.namespace)
        except FOREIGN_FAULTS as error:
            line = line_in_file(error, str(path))
            where = "" if line is None else f", line {line}"
            text = " ".join(str(error).split())
            raise PlantError(
                f"{path.name}{where}: {type(error).__name__}: {text}"
            ) from error
        used = [*read, *helper_files(self.tree.syntax)]
        self.inputs = digest_files(used, path)
        # Imported functions are not the plant's.
        self.functions = {
            name: value
            for name, value in self.namespace.items()
            if self._defines_function(value)
        }

    def _defines_function(self, value: Any) -> bool:
        """Return whether a value is a function that this file defines."""
        if not isinstance(value, types.FunctionType):
            return False
        return value.__code__.co_filename == str(self.path)

    def fail(self, text: str) -> NoReturn:
        """Raise PlantError about the file."""
        raise PlantError(f"{self.path.name}: {text}")

    def read_names(
        self, key: str, default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """Return a tuple of names such as STATE."""
        value = self.namespace.get(key, default)
        if value is None:
            self.fail(
                f'{key} is missing; give the names, as in {key} = ("angle", "rate")'
            )
        is_list = isinstance(value, tuple | list) and value
        if not is_list or not all(isinstance(name, str) for name in value):
            self.fail(
                f'{key} is {value!r}; it must be a tuple of names, such as ("angle",)'
            )
        if len(set(value)) < len(value):
            self.fail(f"{key} holds a name twice; names must differ")
        return tuple(value)

    def read_positions(
        self, state: tuple[str, ...], integrator: str
    ) -> tuple[str, ...] | None:
        """Return POSITIONS, or None if the file does not have it."""
        if self.namespace.get("POSITIONS") is None:
            return None
        names = self.read_names("POSITIONS")
        unknown = [name for name in names if name not in state]
        if unknown:
            self.fail(
                f"POSITIONS holds {unknown[0]!r}, which is no name of STATE; list the "
                f"states that are positions, any of {', '.join(state)}"
            )
        if integrator == "semi_implicit":
            self.fail(
                "POSITIONS has no effect with semi_implicit, where the first half of "
                "STATE are the positions; leave it out"
            )
        # In the order of the state, as all other numbers by position.
        return tuple(name for name in state if name in names)

    def read_sizes(self, key: str, value: Any, count: int) -> Array:
        """Return positive numbers (count,): one for all entries, or one for each.

        None means no limit, which is infinite.
        """
        is_list = isinstance(value, tuple | list | np.ndarray)
        entries = list(value) if is_list else [value] * count
        # Infinity keeps a limit or taper without effect.
        entries = [math.inf if entry is None else entry for entry in entries]
        if len(entries) != count:
            self.fail(
                f"{key} holds {len(entries)} numbers; give one for all, or one for "
                f"each of {count}"
            )
        if not all(isinstance(v, int | float | np.number) and v > 0 for v in entries):
            self.fail(f"{key} is {value!r}; its entries must be numbers above zero")
        return np.array(entries, dtype=float)

    def read_params(self) -> dict[str, float]:
        """Return PARAMS."""
        params = self.namespace.get("PARAMS", {})
        if not isinstance(params, dict):
            self.fail(
                f"PARAMS is a {type(params).__name__}; write a dictionary of names and "
                "numbers"
            )
        for key, value in params.items():
            is_number = isinstance(value, int | float) and math.isfinite(value)
            if not isinstance(key, str) or not is_number:
                self.fail(
                    f"PARAMS holds {key!r}: {value!r}; each must be a name with a "
                    "finite number"
                )
        return {key: float(value) for key, value in params.items()}

    def read_clock(self, step_function: str) -> Clock:
        """Return DT, INTEGRATOR and SUBSTEPS."""
        dt = self.namespace.get("DT")
        if not isinstance(dt, int | float) or not 0 < dt < math.inf:
            self.fail(
                f"DT is {dt!r}; give the control step in seconds, such as DT = 0.01"
            )
        substeps = self.namespace.get("SUBSTEPS", 1)
        if not isinstance(substeps, int) or substeps < 1:
            self.fail(f"SUBSTEPS is {substeps!r}; it must be an integer of at least 1")
        return Clock(float(dt), self._read_integrator(step_function), substeps)

    def _read_integrator(self, step_function: str) -> str:
        """Return INTEGRATOR; only `dynamics` is integrated."""
        # No default for `dynamics`: the integrator decides how accurate the plant is.
        integrated = step_function == "dynamics"
        integrator = self.namespace.get("INTEGRATOR", None if integrated else "none")
        if integrator not in INTEGRATORS or integrated == (integrator == "none"):
            allowed = "none, or left out,"
            if integrated:
                allowed = "euler, rk4 or semi_implicit"
            self.fail(
                f"INTEGRATOR is {integrator!r}; with {step_function} it must be "
                f"{allowed}"
            )
        if integrator == "semi_implicit" and len(self.namespace["STATE"]) % 2:
            self.fail(
                "semi_implicit needs as many rates as positions: STATE has an odd "
                "number of names"
            )
        return integrator

    def read_typical_sizes(self, nx: int, nu: int) -> tuple[Array, Array]:
        """Return the typical sizes of state (nx,) and control (nu,) from TYPICAL."""
        typical = self.namespace.get("TYPICAL", {})
        if not isinstance(typical, dict) or not set(typical) <= {"state", "control"}:
            self.fail(
                f'TYPICAL is {typical!r}; write {{"state": (...), "control": (...)}}'
            )
        state = self.read_sizes("TYPICAL['state']", typical.get("state", 1.0), nx)
        control = typical.get("control", 1.0)
        return state, self.read_sizes("TYPICAL['control']", control, nu)

    def read_limit(self, nu: int) -> Array | None:
        """Return LIMIT (2, nu), or None if the file has none."""
        limit = self.namespace.get("LIMIT")
        if limit is None:
            return None
        try:
            return read_bounds(limit, nu)
        except ValueError as error:
            self.fail(f"LIMIT is {limit!r}; it {error}")

    def read_trim(self, bounds: Array | None, typical: Array) -> Array:
        """Return TRIM (nu,).

        Without one it is zero, or a control inside bounds (2, nu) that exclude zero:
        the middle of a range, or a typical size (nu,) away from a single bound.
        """
        nu = len(typical)
        if "TRIM" not in self.namespace:
            return rest_within(bounds, typical)
        trim = np.asarray(self.namespace["TRIM"])
        is_number = trim.dtype.kind in "if" and np.isfinite(trim).all()
        if trim.shape not in ((), (nu,)) or not is_number:
            self.fail(
                f"TRIM is {self.namespace['TRIM']!r}; give the control at rest, one "
                f"finite number for each of {nu}"
            )
        if bounds is not None and not ((bounds[0] <= trim) & (trim <= bounds[1])).all():
            self.fail(
                f"TRIM is {self.namespace['TRIM']!r}, outside of LIMIT; give a control "
                "within the limits"
            )
        return np.array(np.broadcast_to(trim, (nu,)), dtype=float)

    def read_units(
        self, names: Mapping[str, tuple[str, ...]]
    ) -> dict[str, tuple[str, ...]]:
        """Return UNITS for the names of state, control, observation and output.

        Missing units are empty texts. If the observation or the output is the state, it
        has the units of the state.
        """
        units = self.namespace.get("UNITS", {})
        if not isinstance(units, dict) or not set(units) <= set(names):
            self.fail(
                f"UNITS is {units!r}; write a dictionary with any of {', '.join(names)}"
            )
        for key, value in units.items():
            count = len(names[key])
            if not isinstance(value, tuple) or len(value) != count:
                self.fail(
                    f"UNITS[{key!r}] is {value!r}; give a tuple of {count}, one for "
                    "each name"
                )
        defaults = {key: ("",) * len(names[key]) for key in names}
        # The default observation and output are the state itself.
        if "state" in units:
            for key in names:
                if names[key] == names["state"]:
                    defaults[key] = units["state"]
        return defaults | units

    def read_tasks(self) -> dict[str, dict[str, Any]]:
        """Return TASKS; their numbers are checked when a task is made."""
        tasks = self.namespace.get("TASKS", {})
        if not isinstance(tasks, dict):
            self.fail(
                f"TASKS is a {type(tasks).__name__}; write a dictionary of names and "
                "dictionaries"
            )
        faults = [
            f"TASKS[{key!r}] {fault}"
            for key, task in tasks.items()
            for fault in self._find_task_faults(key, task)
        ]
        if faults:
            raise PlantError(*(f"{self.path.name}: {fault}" for fault in faults))
        return tasks

    def _find_task_faults(self, key: Any, task: Any) -> Iterator[str]:
        """Yield what is wrong with a task's kind, name and residual function.

        The entries are checked when a task is made.
        """
        if not isinstance(key, str) or not key:
            yield "has no name; tasks have texts as names"
        if not isinstance(task, dict):
            yield (
                'must be a dictionary with a "generator", or a function as "draw", '
                f"not a {type(task).__name__}"
            )
            return
        if "generator" not in task and "draw" not in task:
            yield 'must be a dictionary with a "generator", or a function as "draw"'

        residual = task.get("residual")
        names = task.get("residuals")
        if (residual is None) != (names is None):
            yield 'must give both "residual", a function, and "residuals", their names'
        elif residual is not None:
            yield from self._find_residual_faults(residual, names)

    def _find_residual_faults(self, residual: Any, names: Any) -> Iterator[str]:
        """Yield what is wrong with a residual function and the names of residuals."""
        function = getattr(residual, "__name__", None)
        if self.functions.get(str(function)) is not residual:
            yield f'"residual" is {residual!r}; it must be a function of this file'
        elif function in ARGUMENTS and function != "residual":
            yield f'"residual" is the function {function}; write one of its own'
        is_tuple = isinstance(names, tuple) and names
        if not is_tuple or {type(name) for name in names} != {str}:
            yield f'"residuals" is {names!r}; it must be a tuple of names'

    def check_functions(self, tasks: Mapping[str, dict[str, Any]]) -> str:
        """Check all functions, and return the name of the one that steps the plant."""
        steps = [name for name in STEP_FUNCTIONS if name in self.functions]
        if len(steps) != 1:
            self.fail(
                f"it defines {' and '.join(steps) or 'no dynamics'}; define one of "
                "dynamics, step and step_batch"
            )
        compiled = steps[0] != "step_batch"

        # Residual functions have names of the user's choice, so the tasks list them.
        with_residual = [task for task in tasks.values() if task.get("residual")]
        residuals = [task["residual"].__name__ for task in with_residual]
        for name in (*ARGUMENTS, *residuals):
            if name not in self.functions:
                continue
            arguments = ARGUMENTS.get(name, ARGUMENTS["residual"])
            self.tree.check_arguments(name, arguments)
            if compiled and name not in NUMPY_FUNCTIONS:
                self.tree.check(name, self.namespace)

        for derivative, name in DERIVATIVES.items():
            if derivative in self.functions and name not in self.functions:
                self.fail(
                    f"it defines {derivative} without {name}; define both, or leave it "
                    "out"
                )
        return steps[0]

    def _check_pair(self, key: str, function: str) -> None:
        """Check that names and the function that writes the entries come together."""
        if (key in self.namespace) != (function in self.functions):
            self.fail(
                f"{key} and the function {function} belong together; give both or "
                "neither"
            )

    def read_fields(self) -> dict[str, Any]:
        """Return the fields of the file's `Plant`, all checked."""
        state = self.read_names("STATE")
        control = self.read_names("CONTROL")
        # Before the functions, because tasks name the residual functions.
        tasks = self.read_tasks()
        step_function = self.check_functions(tasks)
        self._check_pair("OBSERVATION", "observe")
        self._check_pair("OUTPUT", "output")
        names = {
            "state": state,
            "control": control,
            "observation": self.read_names("OBSERVATION", state),
            "output": self.read_names("OUTPUT", state),
        }
        clock = self.read_clock(step_function)
        nx = len(state)
        nu = len(control)
        typical_state, typical_control = self.read_typical_sizes(nx, nu)
        bounds = self.read_limit(nu)

        described = {
            "name": readable(self.path.stem),
            "path": self.path,
            "source": self.source,
            "inputs": self.inputs,
            "functions": self.functions,
            "tasks": tasks,
            "position_names": self.read_positions(state, clock.integrator),
        }
        numbers = {
            "params": self.read_params(),
            "typical_state": typical_state,
            "typical_control": typical_control,
            "units": self.read_units(names),
            "limit": bounds,
            "trim": self.read_trim(bounds, typical_control),
            "taper": self.read_sizes("TAPER", self.namespace.get("TAPER"), nx),
        }
        return {**described, **names, **clock._asdict(), **numbers}


def read_plant(source: str, path: str | Path) -> Plant:
    """Return the plant of a file's text; `path` names the file in messages.

    Raises PlantError if the text breaks the contract.
    """
    file = PlantFile(source, Path(path))
    plant = Plant(**file.read_fields())
    # Compiled code checks neither indices nor missing entries.
    if plant.compiled:
        prove_plant(plant, file.tree, file.namespace)
        probe_functions(plant)
        probe_derivatives(plant)
    else:
        probe_numpy_functions(plant)
    return plant
