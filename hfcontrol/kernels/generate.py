"""Generated modules: source pieces joined to one file, compiled once, cached on disk.

Numba's cache notices changes in one file only, so whatever a kernel calls has to be in
its own file. The name of the file holds a hash of everything it depends on: an edited
plant never runs old code.
"""

import ast
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.inlining import inline_helpers
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.source import PlantSource, is_constant, local_names

NJIT = '@njit(cache=True, error_model="numpy", nogil=True)'

# Of functions that inlining.py copies to their callers; Numba compiles few of them.
INLINED = '@njit(error_model="numpy", inline="always")'

# Functions of a plant file that its pieces contain, residuals and derivatives aside.
FUNCTIONS = ("dynamics", "step", "observe", "output")


def read_piece(name: str) -> str:
    """Return the source text of a piece of the folder `pieces`, such as "map"."""
    path = files("hfcontrol.kernels.pieces").joinpath(f"{name}_piece.py")
    return path.read_text(encoding="utf-8")


class _NamePrefixer(ast.NodeTransformer):
    """Puts `own_` before names of the plant file: pieces cannot redefine them."""

    def __init__(self, function: ast.FunctionDef, names: set[str]) -> None:
        self.names = names - local_names(function)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Rename a name of the plant file."""
        if node.id not in self.names:
            return node
        return ast.copy_location(ast.Name(f"own_{node.id}", node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Drop annotations: their names may not exist in the module."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Rename the function."""
        node.name = f"own_{node.name}"
        node.returns = None
        return self.generic_visit(node)


def _literal(value: Any) -> str:
    """Return the source text of a number or of nested tuples of numbers."""
    if isinstance(value, tuple):
        return f"({' '.join(_literal(v) + ',' for v in value)})"
    # A NumPy number would print as a call.
    return repr(float(value) if isinstance(value, float) else value)


def plant_derivatives(plant: Plant) -> list[str]:
    """Return the derivatives that the plant file defines and that hold for the plant.

    They are `jacobian` and `observe_jacobian`. Neither holds if actuators come before
    the body, and the second does not if some observations are left out.
    """
    if plant.actuator_lag or "dynamics" not in plant.functions:
        return []
    names = ["jacobian"]
    if plant.observation_indices is None:
        names.append("observe_jacobian")
    return [name for name in names if name in plant.functions]


@lru_cache(maxsize=64)
def plant_pieces(plant: Plant) -> tuple[str, ...]:
    """Return the source pieces of a compiled plant, which other pieces build on.

    In one module they define `plant_step(x, u, p, x_next)`, `plant_observe(x, p, y)`,
    `plant_output(x, p, z)`, `taper_value(x, limit)`, the residual functions as
    `own_<name>(x, u, target, p, r)`, the derivatives of `plant_derivatives` as
    `own_<name>`, and NX, NU, NY, NZ, NP.
    """
    functions = plant.functions
    move = "own_step" if "step" in functions else f"plant_{plant.integrator}_move"
    observe = "own_observe" if "observe" in functions else "plant_copy"
    output = "own_output" if "output" in functions else "plant_copy"
    chosen = f"plant_move, plant_all, plant_output = {move}, {observe}, {output}\n"
    return (
        _own_source(plant),
        read_piece("integrator"),
        chosen,
        *_variant_pieces(plant),
    )


def _own_source(plant: Plant) -> str:
    """Return the constants and functions of the plant file, with `own_` in front."""
    source = PlantSource(plant.source, plant.path.name)
    wanted = (*FUNCTIONS, *plant.residuals, *plant_derivatives(plant))
    roots = [name for name in wanted if name in plant.functions]
    namespace = plant.functions[roots[0]].__globals__

    # A dict keeps the first of equal names, in the order in which they are needed.
    needed: dict[str, None] = {}
    for root in roots:
        needed |= dict.fromkeys(source.check(root, namespace))
    constants = _constants_read(source, needed, namespace)

    sizes = (plant.n_body, plant.nu, plant.ny, plant.nz, plant.n_params)
    lines = [
        f'"""The plant {plant.name}, from its file {plant.path.name}."""',
        "",
        "import math",
        "",
        "from numba import njit",
        "",
        'inf, nan = float("inf"), float("nan")',
        f"NX, NU, NY, NZ, NP = {', '.join(map(str, sizes))}",
        f"SUBSTEPS, SUBSTEP = {plant.substeps}, {_literal(plant.dt / plant.substeps)}",
    ]
    lines += [f"own_{name} = {_literal(namespace[name])}" for name in constants]

    names = {*constants, *needed}
    for name in needed:
        function = source.functions[name]
        renamed = _NamePrefixer(function, names).visit(function)
        text = ast.unparse(ast.fix_missing_locations(renamed))
        lines += ["", "", NJIT, text]
    return "\n".join(lines)


def _constants_read(
    source: PlantSource, functions: Iterable[str], namespace: dict[str, Any]
) -> list[str]:
    """Return the constants of a plant file that some of its functions read, sorted."""
    read: set[str] = set()
    for name in functions:
        nodes = ast.walk(source.functions[name])
        read |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return sorted(name for name in read if is_constant(namespace.get(name)))


def _variant_pieces(plant: Plant) -> list[str]:
    """Return the pieces that add actuators to a plant and select observations."""
    pieces: list[str] = []
    step = "plant_body_step"
    observe = "plant_all"
    if plant.actuator_lag:
        decay, mean = actuator_factors(plant)
        step = "plant_driven_step"
        pieces.append(f"DECAY, MEAN = {_literal(decay)}, {_literal(mean)}\n")
        pieces.append(read_piece("actuator"))
    if plant.observation_indices is not None:
        seen = _literal(plant.observation_indices)
        observe = "plant_seen"
        pieces.append(f"SEEN, N_OBSERVABLE = {seen}, {plant.n_observable}\n")
        pieces.append(read_piece("seen"))
    return [*pieces, f"plant_step, plant_observe = {step}, {observe}\n"]


def cache_folder() -> Path:
    """Return the folder of generated modules.

    It is HFCONTROL_CACHE, or the user's cache folder, or a temporary one: the first
    that can be written and belongs to this user.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    temporary = Path(tempfile.gettempdir()) / f"hfcontrol-{user}"
    for folder in (_user_cache_folder(), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                # Code in folders of other users must not run.
                if not hasattr(os, "getuid") or folder.stat().st_uid == user:
                    return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="hfcontrol-"))


def _user_cache_folder() -> Path:
    if os.environ.get("HFCONTROL_CACHE"):
        return Path(os.environ["HFCONTROL_CACHE"])
    if sys.platform == "darwin":
        return Path("~/Library/Caches/hfcontrol").expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return root.expanduser() / "hfcontrol"


def load_module(stem: str, pieces: Iterable[str]) -> ModuleType:
    """Return the module of joined source pieces.

    Its file in the cache folder is `<stem>_<hash>.py`.
    """
    import numba
    import numpy

    source = inline_helpers("\n\n".join(pieces))
    # The processor is left out: Numba's own cache keeps code for each.
    versions = (numba.__version__, numpy.__version__, *sys.version_info[:2])
    key = hashlib.sha256(f"{versions}\n{source}".encode()).hexdigest()[:16]
    name = f"{re.sub(r'[^A-Za-z0-9_]', '_', stem)}_{key}"
    if name not in sys.modules:
        path = cache_folder() / f"{name}.py"
        _write(path, source)
        sys.modules[name] = _import(name, path)
    return sys.modules[name]


def _write(path: Path, source: str) -> None:
    """Write a file, unless it has this content already."""
    # A new time stamp would make Numba compile again.
    if path.exists() and path.read_text(encoding="utf-8") == source:
        return
    # By a temporary file: another process may write the same module.
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, encoding="utf-8", newline="\n", delete=False
    ) as file:
        file.write(source)
    os.replace(file.name, path)


def _import(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
