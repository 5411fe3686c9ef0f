"""Reading a plant file: every name is judged by itself, and what is wrong is told in one line."""

import math
import types
from pathlib import Path

import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import _probe, _probe_derivatives
from hfcontrol.plant.source import PlantSource

INTEGRATORS = ("euler", "rk4", "semi_implicit", "none")
ARGUMENTS = {
    "dynamics": "x u p dx",
    "step": "x u p dt x_next",
    "step_batch": "x u p dt",
    "observe": "x p y",
    "output": "x p z",
    "links": "x p",
    "marks": "x u p",
    "residual": "x u target p r",
    "draw": "rng trials split",
    "jacobian": "x u p A B",
    "observe_jacobian": "x p C",
}


class PlantFile:
    """One plant file, its names read and judged one by one."""

    def __init__(self, source, path):
        self.path, self.source = path, source
        self.tree = PlantSource(source, path.name)
        self.namespace = {
            "__name__": f"hfcontrol_plant_{path.stem}",
            "__file__": str(path),
        }
        try:
            exec(compile(source, str(path), "exec"), self.namespace)
        except Exception as error:
            raise PlantError(
                f"{path.name}{self._line(error)}: {type(error).__name__}: {error}"
            ) from error
        self.functions = {
            name: f
            for name, f in self.namespace.items()
            if isinstance(f, types.FunctionType) and f.__code__.co_filename == str(path)
        }

    def _line(self, error):
        lines, frame = [], error.__traceback__
        while frame:
            lines += (
                [frame.tb_lineno]
                if frame.tb_frame.f_code.co_filename == str(self.path)
                else []
            )
            frame = frame.tb_next
        return f", line {lines[-1]}" if lines else ""

    def fail(self, text):
        raise PlantError(f"{self.path.name}: {text}")

    def names(self, key, default=None):
        value = self.namespace.get(key, default)
        if value is None:
            self.fail(
                f'{key} is missing; give the names, as in {key} = ("angle", "rate")'
            )
        if (
            not isinstance(value, tuple | list)
            or not value
            or not all(isinstance(v, str) for v in value)
        ):
            self.fail(
                f'{key} is {value!r}; it must be a tuple of names, such as ("angle",)'
            )
        if len(set(value)) < len(value):
            self.fail(f"{key} holds a name twice; names must differ")
        return tuple(value)

    def sizes(self, key, value, count):
        """A number, or one for each of `count` entries (None: no limit), as an array (count,)."""
        entries = (
            list(value)
            if isinstance(value, tuple | list | np.ndarray)
            else [value] * count
        )
        entries = [math.inf if v is None else v for v in entries]
        if len(entries) != count:
            self.fail(
                f"{key} holds {len(entries)} numbers; give one for all, or one for each of {count}"
            )
        if not all(isinstance(v, int | float | np.number) and v > 0 for v in entries):
            self.fail(f"{key} is {value!r}; its entries must be numbers above zero")
        return np.array(entries, dtype=float)

    def params(self):
        params = self.namespace.get("PARAMS", {})
        if not isinstance(params, dict):
            self.fail(
                f"PARAMS is a {type(params).__name__}; write a dictionary of names and numbers"
            )
        for key, value in params.items():
            if (
                not isinstance(key, str)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
            ):
                self.fail(
                    f"PARAMS holds {key!r}: {value!r}; each must be a name with a finite number"
                )
        return {key: float(value) for key, value in params.items()}

    def clock(self, step):
        """DT, INTEGRATOR and SUBSTEPS."""
        dt, substeps = self.namespace.get("DT"), self.namespace.get("SUBSTEPS", 1)
        if not isinstance(dt, int | float) or not 0 < dt < math.inf:
            self.fail(
                f"DT is {dt!r}; give the control step in seconds, such as DT = 0.01"
            )
        if not isinstance(substeps, int) or substeps < 1:
            self.fail(f"SUBSTEPS is {substeps!r}; it must be a whole number from 1 on")
        integrator = self.namespace.get(
            "INTEGRATOR", None if step == "dynamics" else "none"
        )
        if integrator not in INTEGRATORS or (step == "dynamics") == (
            integrator == "none"
        ):
            allowed = (
                "euler, rk4 or semi_implicit"
                if step == "dynamics"
                else "none, or left out,"
            )
            self.fail(f"INTEGRATOR is {integrator!r}; with {step} it must be {allowed}")
        if integrator == "semi_implicit" and len(self.namespace["STATE"]) % 2:
            self.fail(
                "semi_implicit needs positions and as many rates: STATE has an odd number of names"
            )
        return float(dt), integrator, substeps

    def typical(self, nx, nu):
        typical = self.namespace.get("TYPICAL", {})
        if not isinstance(typical, dict) or not set(typical) <= {"state", "control"}:
            self.fail(
                f'TYPICAL is {typical!r}; write {{"state": (...), "control": (...)}}'
            )
        state = self.sizes("TYPICAL['state']", typical.get("state", 1.0), nx)
        return state, self.sizes("TYPICAL['control']", typical.get("control", 1.0), nu)

    def trim(self, count):
        trim = np.asarray(self.namespace.get("TRIM", 0.0))
        if (
            trim.shape not in ((), (count,))
            or trim.dtype.kind not in "if"
            or not np.isfinite(trim).all()
        ):
            self.fail(
                f"TRIM is {self.namespace['TRIM']!r}; give the control at rest, one finite number for each of {count}"
            )
        return np.array(np.broadcast_to(trim, (count,)), dtype=float)

    def units(self, **names):
        units = self.namespace.get("UNITS", {})
        if not isinstance(units, dict) or not set(units) <= set(names):
            self.fail(
                f"UNITS is {units!r}; write a dictionary with any of {', '.join(names)}"
            )
        for key, value in units.items():
            if not isinstance(value, tuple) or len(value) != len(names[key]):
                self.fail(
                    f"UNITS[{key!r}] is {value!r}; give a tuple of {len(names[key])}, one for each name"
                )
        blank = {key: ("",) * len(names[key]) for key in names}
        # an observation or output that the file does not give is the state
        same = {
            key: units["state"]
            for key in names
            if names[key] == names["state"] and "state" in units
        }
        return blank | same | units

    def tasks(self):
        tasks = self.namespace.get("TASKS", {})
        if not isinstance(tasks, dict):
            self.fail(
                f"TASKS is a {type(tasks).__name__}; write a dictionary of names and dictionaries"
            )
        for key, task in tasks.items():
            if not isinstance(task, dict) or not (
                "generator" in task or callable(task.get("draw"))
            ):
                self.fail(
                    f'TASKS[{key!r}] must be a dictionary with a "generator", or a function as "draw"'
                )
            residual, names = task.get("residual"), task.get("residuals")
            if (residual is not None) != (names is not None):
                self.fail(
                    f'TASKS[{key!r}] must give both "residual", a function, and "residuals", their names'
                )
            if (
                residual is not None
                and getattr(residual, "__name__", None) not in self.functions
            ):
                self.fail(
                    f'TASKS[{key!r}]: "residual" is {residual!r}; it must be a function of this file'
                )
            if names is not None and not (
                isinstance(names, tuple) and names and {*map(type, names)} == {str}
            ):
                self.fail(
                    f'TASKS[{key!r}]: "residuals" is {names!r}; it must be a tuple of names'
                )
        return tasks

    def check_functions(self, tasks):
        """Judge every function and say which of dynamics, step and step_batch the file gives."""
        steps = [
            name
            for name in ("dynamics", "step", "step_batch")
            if name in self.functions
        ]
        if len(steps) != 1:
            self.fail(
                f"it defines {' and '.join(steps) or 'no dynamics'}; define one of dynamics, step and step_batch"
            )
        residuals = [
            task["residual"].__name__ for task in tasks.values() if task.get("residual")
        ]
        for name in (
            name for name in (*ARGUMENTS, *residuals) if name in self.functions
        ):
            arguments = ARGUMENTS[name if name in ARGUMENTS else "residual"].split()
            self.tree.check_arguments(name, arguments)
            if steps[0] != "step_batch" and name not in ("links", "marks", "draw"):
                self.tree.check(name, self.namespace)
        for derivative, name in (
            ("jacobian", "dynamics"),
            ("observe_jacobian", "observe"),
        ):
            if derivative in self.functions and name not in self.functions:
                self.fail(
                    f"it defines {derivative} without {name}; define both, or leave it out"
                )
        return steps[0]

    def fields(self):
        """The fields of the file's `Plant`, all judged."""
        state, control, tasks = self.names("STATE"), self.names("CONTROL"), self.tasks()
        step = self.check_functions(tasks)
        for key, name in (("OBSERVATION", "observe"), ("OUTPUT", "output")):
            if (key in self.namespace) != (name in self.functions):
                self.fail(
                    f"{key} and the function {name} belong together; give both or neither"
                )
        observation, output = (
            self.names("OBSERVATION", state),
            self.names("OUTPUT", state),
        )
        dt, integrator, substeps = self.clock(step)
        typical_state, typical_control = self.typical(len(state), len(control))
        limit = self.namespace.get("LIMIT")
        return {
            "name": self.path.stem,
            "path": self.path,
            "source": self.source,
            "state": state,
            "control": control,
            "observation": observation,
            "output": output,
            "params": self.params(),
            "dt": dt,
            "integrator": integrator,
            "substeps": substeps,
            "typical_state": typical_state,
            "typical_control": typical_control,
            "tasks": tasks,
            "functions": self.functions,
            "units": self.units(
                state=state, control=control, observation=observation, output=output
            ),
            "limit": None
            if limit is None
            else self.sizes("LIMIT", limit, len(control)),
            "trim": self.trim(len(control)),
            "taper": self.sizes("TAPER", self.namespace.get("TAPER"), len(state)),
        }


def read_plant(source, path):
    """The plant of a file's source text; `path` names it in messages. Raises PlantError like `load_plant`."""
    plant = Plant(**PlantFile(source, Path(path)).fields())
    if plant.compiled:
        _probe(plant)
        _probe_derivatives(plant)
    return plant
