"""The architecture: who may import whom, and that every package is shipped."""

import ast
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "hfcontrol"

# A module imports only from rows above it.
LAYERS = [
    "errors",
    "backend",
    "threads",
    "plant_source",
    "plant_file",
    "plant",
    "adapters",
    "variants",
    "kernels",
    "check",
    "cells",
    "topology",
    "network",
    "constraint",
    "cost",
    "scenario",
    "disturbances",
    "generators",
    "task",
    "words",
    "sweeps",
    "closed_loop",
    "hold",
    "continuous",
    "curvature",
    "solvers",
    "optimizer",
    "abreast",
    "first_order",
    "optimal",
    "guide",
    "policy",
    "normaliser",
    "objectives",
    "policy_gradient",
    "worlds",
    "training_state",
    "trainer",
    "policy_trainer",
    "settings",
    "building",
    "trials",
    "environments",
    "warmup",
    "checkpoint",
    "run_folder",
    "runs",
    "gathering",
    "seeds",
    "controller",
    "evaluation",
    "compare",
    "export",
    "controller_onnx",
    "controller_files",
    "canvas",
    "scenes",
    "plots",
    "compare_plots",
    "animate",
    "__init__",
    "commands",
    "cli",
]

# Slow or optional libraries, and the only modules that may import them.
OWNERS = {
    "h5py": {"checkpoint"},
    "matplotlib": {"canvas", "scenes", "plots", "animate"},
    "cupy": {"backend"},
    "click": {"commands", "cli"},
    "mujoco": {"adapters"},
    "onnx": {"controller_onnx"},
    "gymnasium": {"adapters", "environments"},
}
CUDA = "kernels/cuda.py"  # the only file that imports numba.cuda

FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path):
    """The module, or the package inside hfcontrol, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source):
    """Every dotted name that a source imports, at its top or inside a function: `from a.b import c` counts as a.b.c."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"{'.' * node.level}{node.module or ''}.{alias.name}"
                for alias in node.names
            )


def faults(module, source):
    """What a module may not import, in words."""
    for name in imports(source):
        library, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if library == "":
            yield f"{module} imports {name}: write it from hfcontrol on"
        elif module not in OWNERS.get(library, {module}):
            yield f"{module} imports {library}, which is for {' and '.join(sorted(OWNERS[library]))}"
        elif (
            library == "hfcontrol"
            and target in LAYERS[LAYERS.index(module) :]
            and target != module
        ):
            yield f"{module} imports {target}, which is not above it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up_the_table(path):
    assert layer(path) in LAYERS, f"{layer(path)} has no row in LAYERS"
    assert not list(faults(layer(path), path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "module, source",
    [
        ("cost", "from hfcontrol.sweeps.cpu import rollout"),
        ("cost", "def late():\n    from hfcontrol import trainer"),
        ("cost", "import hfcontrol.trainer as t"),
        ("cost", "from .errors import TaskError"),
        ("cost", "import h5py"),
        ("cost", "from matplotlib import pyplot"),
        ("trainer", "import click"),
        ("sweeps", "import cupy.linalg"),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(list(faults(module, source))) == 1


@pytest.mark.parametrize(
    "module, source",
    [
        ("cost", "from hfcontrol.errors import TaskError\nimport numpy"),
        ("sweeps", "from hfcontrol.sweeps.plain import PlainPasses"),
        ("checkpoint", "import h5py"),
        ("cli", "from hfcontrol import __version__"),
    ],
)
def test_a_right_import_is_let_through(module, source):
    assert not list(faults(module, source))


def test_one_import_by_name_points_down_the_table():
    """A plant's kind may be an adapter's; what is imported by its name escapes the table, so it is listed here."""
    found = {
        (layer(path), argument.value)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    assert found == {("plant", "hfcontrol.adapters")}


def test_numba_cuda_has_one_owner():
    importers = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        if "numba.cuda" in imports(path.read_text(encoding="utf-8"))
    }
    assert importers == {CUDA}


def test_every_package_is_shipped():
    """setup.cfg lists packages by hand, so a new folder is easily forgotten."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
    assert folders <= set(setup["options"]["packages"].split())
