"""The generated module of a compiled plant: its own functions, and nothing else.

It holds the constants and scalar functions of the plant file, which Numba compiles, and
a *block function* for each that the kernels call: a loop over the trials of a block
around the scalar function. Block functions reach the kernels as pointers
(plant_functions.py), so that no kernel is compiled again for another plant.

The name of the module holds a hash of its text: an edited plant never runs old code.
"""

import ast
import hashlib
import linecache
import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import ModuleType
from typing import Any

from hfcontrol.arrays.files import readable
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.source import PlantSource, is_constant, local_names

# Of the plant's own functions; the block functions around them are compiled on demand.
NJIT = '@njit(error_model="numpy", nogil=True)'

# Put before names of the plant file, which may be any.
PREFIX = "own_"

# Functions that a plant file may define, residual functions aside, in the order of the
# module.
FUNCTIONS = ("dynamics", "step", "observe", "output", "jacobian", "observe_jacobian")

# Inputs and outputs of the block functions. All are (n, w) for w trials, except the
# parameters p (w, np); derivatives A, B, C are (m, n, w). The number of trials follows,
# and before it the number of targets of a residual function.
Signature = tuple[tuple[str, ...], tuple[str, ...]]
SIGNATURES: dict[str, Signature] = {
    "dynamics": (("x", "u", "p"), ("dx",)),
    "step": (("x", "u", "p"), ("x_next",)),
    "observe": (("x", "p"), ("y",)),
    "output": (("x", "p"), ("z",)),
    "jacobian": (("x", "u", "p"), ("A", "B")),
    "observe_jacobian": (("x", "p"), ("C",)),
}
RESIDUAL: Signature = (("x", "u", "target", "p"), ("r",))


def block_signature(name: str) -> Signature:
    """Return inputs and outputs of the block function of a function of plant files."""
    return SIGNATURES.get(name, RESIDUAL)


def block_name(name: str) -> str:
    """Return the name of the block function around a function of the plant file."""
    return f"{name}_block"


@lru_cache(maxsize=64)
def plant_source(plant: Plant) -> str:
    """Return the source of a compiled plant's module."""
    names = function_names(plant)
    parts = [
        f'"""The plant {plant.name}, from its file {readable(plant.path.name)}."""\n\n'
        "import math\n\nimport numpy as np\nfrom numba import carray, njit",
        scalar_source(plant, names, NJIT),
    ]
    parts += [_block_source(plant, name) for name in names]
    return "\n\n\n".join(parts) + "\n"


def function_names(plant: Plant) -> list[str]:
    """Return the functions of the plant file that kernels may call."""
    wanted = (*FUNCTIONS, *plant.residuals)
    return [name for name in wanted if name in plant.functions]


def scalar_source(plant: Plant, names: Iterable[str], decorator: str) -> str:
    """Return the source of functions of a plant file, and of what they read.

    `names` are functions of `function_names`. Each of them and of the functions that
    they call gets the line `decorator`; all names of the file have PREFIX in front, and
    the step of a discrete plant, (x, u, p, dt, x_next), keeps its five arguments. The
    text needs the module `math`.
    """
    chosen = tuple((name, plant.functions[name]) for name in names)
    return _source_of(chosen, plant.source, plant.path.name, decorator)


@lru_cache(maxsize=64)
def _source_of(
    functions: tuple[tuple[str, Callable[..., Any]], ...],
    text: str,
    file_name: str,
    decorator: str,
) -> str:
    """Return the `scalar_source` of functions from a file with this text.

    Plants that differ in numbers alone share it: reading a file takes milliseconds.
    """
    source = PlantSource(text, file_name)
    namespace = functions[0][1].__globals__
    # A dict keeps the first of equal names, in the order in which they are needed.
    needed: dict[str, None] = {}
    for root, _ in functions:
        needed |= dict.fromkeys(source.check(root, namespace))

    constants = _constants_read(source, needed, namespace)
    lines = ['inf, nan = float("inf"), float("nan")']
    lines += [f"{PREFIX}{name} = {literal(namespace[name])}" for name in constants]
    renamer_names = {*constants, *needed}
    for name in needed:
        function = source.functions[name]
        # The tree belongs to `source`, which nobody else reads.
        renamed = _NamePrefixer(function, renamer_names).visit(function)
        text = ast.unparse(ast.fix_missing_locations(renamed))
        lines += ["", "", decorator, text]
    return "\n".join(lines)


def literal(value: Any) -> str:
    """Return the source text of a number or of nested tuples of numbers."""
    if isinstance(value, tuple):
        return f"({' '.join(literal(v) + ',' for v in value)})"
    # A NumPy number would print as a call.
    return repr(float(value) if isinstance(value, float) else value)


def load_plant_module(plant: Plant) -> ModuleType:
    """Return the module of a compiled plant.

    Its functions are compiled when plant_functions.py asks for them.
    """
    return load_module(plant.name, plant_source(plant))


def load_module(stem: str, source: str) -> ModuleType:
    """Return the module of a source text, `<stem>_<hash>`; no file is written."""
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    name = f"{re.sub(r'[^A-Za-z0-9_]', '_', stem)}_{key}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__file__ = f"<{name}>"
        # For the lines in tracebacks and in Numba's messages.
        lines = source.splitlines(keepends=True)
        linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
        exec(compile(source, module.__file__, "exec"), module.__dict__)
        sys.modules[name] = module
    return sys.modules[name]


class _NamePrefixer(ast.NodeTransformer):
    """Puts PREFIX before names of the plant file: they cannot hide other names."""

    def __init__(self, function: ast.FunctionDef, names: set[str]) -> None:
        self.names = names - local_names(function)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Rename a name of the plant file."""
        if node.id not in self.names:
            return node
        return ast.copy_location(ast.Name(f"{PREFIX}{node.id}", node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """Drop annotations: their names may not exist in the module."""
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Rename the function."""
        node.name = f"{PREFIX}{node.name}"
        node.returns = None
        return self.generic_visit(node)


def _constants_read(
    source: PlantSource, functions: Iterable[str], namespace: dict[str, Any]
) -> list[str]:
    """Return the constants of a plant file that some of its functions read, sorted."""
    read: set[str] = set()
    for name in functions:
        nodes = ast.walk(source.functions[name])
        read |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return sorted(name for name in read if is_constant(namespace.get(name)))


def _block_source(plant: Plant, name: str) -> str:
    """Return the source of the block function around a function of the plant file."""
    inputs, outputs = block_signature(name)
    columns = [argument for argument in inputs if argument != "p"]
    shapes = _block_shapes(plant, name)
    arguments = [f"{a}_n" if a in columns else "p_all[n]" for a in inputs]
    if name == "step":
        arguments.append(literal(plant.dt / plant.substeps))
    arguments += [f"{a}_n" for a in outputs]

    sizes = ("nt", "w") if "target" in inputs else ("w",)
    lines = [f"def {block_name(name)}({', '.join((*inputs, *outputs, *sizes))}):"]
    for a in (*inputs, *outputs):
        shape = [*map(str, shapes[a]), "w"]
        if a == "p":
            # The parameters of a trial are contiguous.
            shape.reverse()
        lines.append(f"    {a}_all = carray({a}, ({', '.join(shape)}))")
    for a in (*columns, *outputs):
        shape = [*map(str, shapes[a]), ""]
        lines.append(f"    {a}_n = np.empty(({','.join(shape)}))")
    lines.append("    for n in range(w):")
    # Loops, because assigning a slice costs more than a plant's step.
    for a in columns:
        lines.append(f"        for i in range({shapes[a][0]}):")
        lines.append(f"            {a}_n[i] = {a}_all[i, n]")
    for a in outputs:
        if len(shapes[a]) == 2:
            # The plant file writes only the derivatives that differ from zero.
            lines.append(f"        {a}_n[:] = 0.0")
            continue
        # An entry that it leaves out becomes NaN, and not what was there before.
        lines.append(f"        for i in range({shapes[a][0]}):")
        lines.append(f"            {a}_n[i] = np.nan")
    lines.append(f"        {PREFIX}{name}({', '.join(arguments)})")
    for a in outputs:
        lines.append(f"        for i in range({shapes[a][0]}):")
        if len(shapes[a]) == 2:
            lines.append(f"            for j in range({shapes[a][1]}):")
            lines.append(f"                {a}_all[i, j, n] = {a}_n[i, j]")
        else:
            lines.append(f"            {a}_all[i, n] = {a}_n[i]")
    return "\n".join(lines)


def _block_shapes(plant: Plant, name: str) -> dict[str, tuple[int | str, ...]]:
    """Return the shapes, for one trial, of the arrays of a block function.

    They are constants of its source, so that its short loops are unrolled; the target's
    is the argument nt.
    """
    n = plant.n_body
    n_observed = plant.n_observable or plant.ny
    n_residuals = len(plant.residuals.get(name, ()))
    return {
        # A residual function gets the drives of actuators too.
        "x": (plant.nx if name in plant.residuals else n,),
        "u": (plant.nu,),
        "p": (plant.n_params,),
        "target": ("nt",),
        "dx": (n,),
        "x_next": (n,),
        "y": (n_observed,),
        "z": (plant.nz,),
        "r": (n_residuals,),
        "A": (n, n),
        "B": (n, plant.nu),
        "C": (n_observed, n),
    }
