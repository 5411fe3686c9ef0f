"""Generated modules: source pieces joined to one self-contained file, written once, compiled once, cached on disk.

Numba's cache sees changes in one file only, so whatever a kernel calls has to stand in its own file; and the file's
name holds a hash of all that it depends on, so an edited plant can never run stale.
"""

import ast
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.inlining import inline_helpers
from hfcontrol.plant.source import PlantSource, is_constant, local_names

NJIT = '@njit(cache=True, error_model="numpy", nogil=True)'
INLINED = '@njit(error_model="numpy", inline="always")'  # never compiled by itself


def read_piece(name):
    """The source text of a piece of the folder `pieces`, such as "map"."""
    return (
        files("hfcontrol.kernels.pieces")
        .joinpath(f"{name}_piece.py")
        .read_text(encoding="utf-8")
    )


class _Own(ast.NodeTransformer):
    """Put `own_` before the plant file's own names, so that no piece can take one of them away."""

    def __init__(self, function, names):
        self.names = names - local_names(function)

    def visit_Name(self, node):
        return (
            ast.copy_location(ast.Name(f"own_{node.id}", node.ctx), node)
            if node.id in self.names
            else node
        )

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_FunctionDef(self, node):
        node.name, node.returns = f"own_{node.name}", None
        return self.generic_visit(node)


def _literal(value):
    if isinstance(value, tuple):
        return f"({' '.join(_literal(v) + ',' for v in value)})"
    return repr(
        float(value) if isinstance(value, float) else value
    )  # a NumPy number would print as a call


def plant_derivatives(plant):
    """Which of `jacobian` and `observe_jacobian` the plant's file gives for the plant as it is: neither if actuators come before
    the body, and the first alone where not all is seen."""
    names = (
        ()
        if plant.actuator_lag
        else ("jacobian",)
        if plant.observation_indices is not None
        else ("jacobian", "observe_jacobian")
    )
    return [
        name
        for name in names
        if name in plant.functions and "dynamics" in plant.functions
    ]


@lru_cache(maxsize=64)
def plant_pieces(plant):
    """Source pieces of a compiled plant that together define, in one module, what others build on.

    `plant_step(x, u, p, x_next)`, `plant_observe(x, p, y)`, `plant_output(x, p, z)`, `taper_value(x, limit)`,
    the residual functions as `own_<name>(x, u, target, p, r)`, and NX, NU, NY, NZ, NP. The derivatives of `plant_derivatives` are
    `own_<name>` too.
    """
    tree = PlantSource(plant.source, plant.path.name)
    roots = [
        n
        for n in (
            "dynamics",
            "step",
            "observe",
            "output",
            *plant.residuals,
            *plant_derivatives(plant),
        )
        if n in plant.functions
    ]
    namespace = plant.functions[roots[0]].__globals__
    needed = list(
        dict.fromkeys(name for root in roots for name in tree.check(root, namespace))
    )
    read = {
        node.id
        for name in needed
        for node in ast.walk(tree.functions[name])
        if isinstance(node, ast.Name)
    }
    constants = sorted(name for name in read if is_constant(namespace.get(name)))
    lines = [
        f'"""The plant {plant.name}, from its file {plant.path.name}."""',
        "",
        "import math",
        "",
        "from numba import njit",
        "",
        'inf, nan = float("inf"), float("nan")',
        f"NX, NU, NY, NZ, NP = {plant.n_body}, {plant.nu}, {plant.ny}, {plant.nz}, {plant.n_params}",
        f"SUBSTEPS, SUBSTEP = {plant.substeps}, {_literal(plant.dt / plant.substeps)}",
        *(f"own_{name} = {_literal(namespace[name])}" for name in constants),
    ]
    names = {*constants, *needed}
    for name in needed:
        function = _Own(tree.functions[name], names).visit(tree.functions[name])
        lines += ["", "", NJIT, ast.unparse(ast.fix_missing_locations(function))]
    move = "own_step" if "step" in plant.functions else f"plant_{plant.integrator}_move"
    observe, output = (
        f"own_{n}" if n in plant.functions else "plant_copy"
        for n in ("observe", "output")
    )
    chosen = f"plant_move, plant_all, plant_output = {move}, {observe}, {output}\n"
    return ("\n".join(lines), read_piece("integrator"), chosen, *_variant_pieces(plant))


def _variant_pieces(plant):
    """The pieces that put actuators before the body of a plant, and the choice of what is seen behind it."""
    pieces = []
    if plant.actuator_lag:
        decay, mean = actuator_factors(plant)
        pieces += [
            f"DECAY, MEAN = {_literal(decay)}, {_literal(mean)}\n",
            read_piece("actuator"),
        ]
    if plant.observation_indices is not None:
        pieces += [
            f"SEEN, N_OBSERVABLE = {_literal(plant.observation_indices)}, {plant.n_observable}\n",
            read_piece("seen"),
        ]
    step = "plant_driven_step" if plant.actuator_lag else "plant_body_step"
    observe = "plant_seen" if plant.observation_indices is not None else "plant_all"
    return [*pieces, f"plant_step, plant_observe = {step}, {observe}\n"]


def cache_folder():
    """The folder of generated modules: HFCONTROL_CACHE, or the user's cache folder, or a temporary one."""
    if os.environ.get("HFCONTROL_CACHE"):
        candidates = [Path(os.environ["HFCONTROL_CACHE"])]
    elif sys.platform == "darwin":
        candidates = [Path("~/Library/Caches/hfcontrol").expanduser()]
    else:
        candidates = [
            Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            / "hfcontrol"
        ]
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    candidates.append(Path(tempfile.gettempdir()) / f"hfcontrol-{user}")
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                if (
                    not hasattr(os, "getuid") or folder.stat().st_uid == user
                ):  # code of other users is not run
                    return folder
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix="hfcontrol-"))


def load_module(stem, pieces):
    """The module of the joined source pieces (strings); its file is `<stem>_<hash>.py` in the cache folder."""
    import numba
    import numpy

    source = inline_helpers("\n\n".join(pieces))
    versions = (numba.__version__, numpy.__version__, *sys.version_info[:2])
    key = hashlib.sha256(f"{versions}\n{source}".encode()).hexdigest()[:16]
    name = f"{re.sub(r'[^A-Za-z0-9_]', '_', stem)}_{key}"
    if name not in sys.modules:
        path = cache_folder() / f"{name}.py"
        _write(path, source)
        sys.modules[name] = _import(name, path)
    return sys.modules[name]


def _write(path, source):
    """Write the file unless it stands there: a new time stamp would cost a compilation."""
    if path.exists() and path.read_text(encoding="utf-8") == source:
        return
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, encoding="utf-8", newline="\n", delete=False
    ) as file:
        file.write(source)
    os.replace(file.name, path)


def _import(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
