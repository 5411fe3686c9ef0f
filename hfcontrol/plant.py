"""The plant: any simulator that can be stepped, described by one short Python file.

A plant file gives names (STATE, CONTROL, ...), numbers (PARAMS, DT, ...), functions (`dynamics` or `step` or
`step_batch`, `observe`, `output`, `links`) and TASKS. `load_plant` reads it into a `Plant`; nothing is compiled here.
"""

import hashlib
import traceback
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.plant_file import PlantFile


@dataclass(frozen=True, eq=False)
class Plant:
    """A simulator that can be stepped: names of what it takes and gives, numbers, and plain Python functions.

    State (nx,), control (nu,), observation (ny,), output (nz,), parameters (n_params,) in the order of `params`;
    `dt` [s]; `limit` (nu,) or None; `taper` (nx,), infinite where there is none; `functions` by their names; `trim` (nu,),
    the control that keeps the plant where it is, as far as a constant can: what an untrained network gives. Three more
    belong to variants (variants.py): the lag [s] of actuators between control and body, whose drives are the last
    states, and the entries that are seen of the `n_observable` observations. `environment` is one of Gymnasium that
    stands in the place of a plant (adapters/environment.py), `episodes` the plant with that in this one's place.
    """

    name: str
    path: Path
    source: str
    state: tuple
    control: tuple
    observation: tuple
    output: tuple
    units: dict
    params: dict
    dt: float
    integrator: str
    substeps: int
    limit: np.ndarray | None
    typical_state: np.ndarray
    typical_control: np.ndarray
    taper: np.ndarray
    tasks: dict = field(default_factory=dict)
    functions: dict = field(default_factory=dict)
    trim: np.ndarray | float = 0.0
    actuator_lag: float = 0.0
    seen: tuple | None = None
    n_observable: int = 0
    environment: object = None
    episodes: object = None

    nx = property(lambda self: len(self.state), doc="Size of the state.")
    nu = property(lambda self: len(self.control), doc="Size of the control.")
    ny = property(lambda self: len(self.observation), doc="Size of the observation.")
    nz = property(lambda self: len(self.output), doc="Size of the output.")
    n_params = property(lambda self: len(self.params), doc="Number of parameters.")

    @property
    def n_body(self):
        """Number of states of the plant itself, which come first: all but the drives of actuators."""
        return self.nx - self.nu if self.actuator_lag else self.nx

    @property
    def compiled(self):
        """Whether the plant is compiled; one that gives `step_batch` runs as it is."""
        return "step_batch" not in self.functions

    @property
    def positions(self):
        """Indices of the positions: the first half of a semi_implicit plant's state, else all but the `..._rate`s."""
        if self.integrator == "semi_implicit":
            return np.arange(self.n_body // 2)
        rates = {f"{name}_rate" for name in self.state}
        return np.array(
            [i for i, name in enumerate(self.state[: self.n_body]) if name not in rates]
        )

    def copied(self, name):
        """Indices of the states that "observe" or "output" copies where the file gives no function of that name."""
        return (
            np.array(self.seen)
            if name == "observe" and self.seen is not None
            else np.arange(self.n_body)
        )

    @property
    def hand(self):
        """Indices in the output of hand_x and hand_y as an array, or None."""
        names = ("hand_x", "hand_y")
        return (
            np.array([self.output.index(n) for n in names])
            if set(names) <= set(self.output)
            else None
        )

    @property
    def plane(self):
        """Indices in the output of the place whose path is drawn, or None: hand_x, hand_y and, where there is one, hand_z;
        without a hand x, y, z, or the first names that end in _x, _y, _z."""
        for name in sorted(self.output, key=lambda name: name != "hand_x"):
            if name == "x" or name.endswith("_x"):
                names = [
                    name[:-1] + axis
                    for axis in "xyz"
                    if name[:-1] + axis in self.output
                ]
                if names[1:] and names[1].endswith("y"):
                    return np.array([self.output.index(n) for n in names])
        return None

    @property
    def residuals(self):
        """Names of the residuals of each residual function that a task brings, by the function's name."""
        tasks = (task for task in self.tasks.values() if task.get("residual"))
        return {task["residual"].__name__: task["residuals"] for task in tasks}

    @cached_property
    def source_hash(self):
        """SHA-256 of the source, in hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()


FILES = (".py", ".xml")  # endings by which a plant is a path, not a name
_kinds = []


def register_kind(matches, load):
    """Let `load_plant(name)` answer with `load(name)` where `matches(name)` is true."""
    _kinds.append((matches, load))


def plants_folder():
    """The folder of the shipped plants: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / "plants"
    return inside if inside.is_dir() else package.parent / "plants"


def plant_names():
    """Names of the shipped plants, in alphabetical order."""
    return sorted(path.stem for path in plants_folder().glob("[!_]*.py"))


def load_plant(name):
    """The plant of a name: a shipped one's, a path ending in .py, or a name of a kind that an adapter has registered.

    Raises PlantError where there is none of that name, or its file breaks the contract.
    """
    name = str(name)
    import_module(
        "hfcontrol.adapters"
    )  # named, not imported: adapters build on this module and register their kinds here
    for matches, load in _kinds:
        if matches(name):
            return load(name)
    if name.endswith(".py"):
        path = Path(name).expanduser()
    elif name in plant_names():
        path = plants_folder() / f"{name}.py"
    else:
        raise PlantError(
            f"unknown plant {name!r}: shipped are {', '.join(plant_names())}; "
            f"a plant of your own is given by its path, ending in .py or .xml"
        )
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PlantError(
            f"cannot read the plant file {path}: {reason}; check the path"
        ) from None
    return read_plant(source, path)


def read_plant(source, path):
    """The plant of a file's source text; `path` names it in messages. Raises PlantError like `load_plant`."""
    plant = Plant(**PlantFile(source, Path(path)).fields())
    if plant.compiled:
        _probe(plant)
        _probe_derivatives(plant)
    return plant


def plain_calls(plant, x, u):
    """Every compiled function of a plant as (name, names of what it writes, its arguments but the last).

    x (nx,) and u (nu,) are plain tuples: a function that writes into them fails.
    """
    p = tuple(plant.params.values())
    calls = {
        "dynamics": (plant.state, (x, u, p)),
        "step": (plant.state, (x, u, p, plant.dt)),
        "observe": (plant.observation, (x, p)),
        "output": (plant.output, (x, p)),
    }
    calls |= {name: (names, (x, u, x, p)) for name, names in plant.residuals.items()}
    return [(name, *call) for name, call in calls.items() if name in plant.functions]


def _probe(plant):
    """Raise PlantError where a function, run once as plain Python, misses an entry or reads beyond the end.

    Compiled code would do either silently. Arithmetic errors are left alone: compiled, they give inf or nan.
    """
    x, u = (
        tuple((0.3 * size).tolist())
        for size in (plant.typical_state, plant.typical_control)
    )
    for name, names, arguments in plain_calls(plant, x, u):
        written = [None] * len(names)
        try:
            plant.functions[name](*arguments, written)
        except (ArithmeticError, ValueError):
            continue
        except Exception as error:
            raise PlantError(
                f"{plant.path.name}: {name} fails at x = {numbers(x)}, u = {numbers(u)}: {reason(plant, error)}"
            ) from error
        missing = [
            f"{i} ({names[i]})" for i, value in enumerate(written) if value is None
        ]
        if missing:
            raise PlantError(
                f"{plant.path.name}: {name} leaves entry {', '.join(missing)} unwritten "
                f"at x = {numbers(x)}; it must write all {len(names)}"
            )


def _probe_derivatives(plant):
    """Raise PlantError where a derivative that the file gives, run once as plain Python, reads or writes beyond the end."""
    k, x, u = (
        plant.nx,
        *(0.3 * size for size in (plant.typical_state, plant.typical_control)),
    )
    p = np.array(list(plant.params.values()))
    matrices = {
        "jacobian": (x, u, p, np.zeros((k, k)), np.zeros((k, plant.nu))),
        "observe_jacobian": (x, p, np.zeros((plant.ny, k))),
    }
    for name in matrices.keys() & plant.functions.keys():
        try:
            with np.errstate(all="ignore"):
                plant.functions[name](*matrices[name])
        except (ArithmeticError, ValueError):
            continue
        except Exception as error:
            raise PlantError(
                f"{plant.path.name}: {name} fails at x = {numbers(x)}: {reason(plant, error)}"
            ) from error


def reason(plant, error):
    """What an exception of a plant file's own function says, with its line there and, of an index, how many entries there are."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(plant.path)
    ]
    text = str(error)
    if isinstance(error, IndexError):
        text += f" (entries from 0 on: {plant.nx} of x, {plant.nu} of u, {plant.n_params} of p, {plant.ny} of y, {plant.nz} of z)"
    return f"line {lines[-1]}, {text}" if lines else text


def numbers(values):
    """Numbers as messages show them."""
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
