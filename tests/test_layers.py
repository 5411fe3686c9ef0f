"""The architecture: which package may import which, and that every package ships."""

import ast
from configparser import ConfigParser
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hfcontrol"

# A package imports only from packages before it; docs/architecture.md says why.
PACKAGES = [
    "version",
    "texts",
    "display",
    "errors",
    "schema",
    "arrays",
    "plant",
    "network",
    "kernels",
    "tasks",
    "closed_loop",
    "optim",
    "training",
    "policy_gradient",
    "runs",
    "evaluation",
    "jobs",
    "deploy",
    "classical",
    "environments",
    "figures",
    "studies",
    "reports",
    "api",
    "cli",
    "__main__",
]

# Slow or optional libraries, and the only packages that may import them.
OWNERS = {
    "h5py": {"runs"},
    "jinja2": {"reports"},
    "matplotlib": {"figures", "studies", "reports", "api"},
    "pandas": {"runs"},
    "rich": {"cli"},
    "tensorboardX": {"runs"},
    "tqdm": {"api"},
    "xarray": {"runs"},
    "cupy": {"arrays"},
    "click": {"cli"},
    "pydantic": {"schema", "network", "tasks"},
    "mujoco": {"plant"},
    "onnx": {"deploy"},
    "mpi4py": {"arrays"},
    "gymnasium": {"plant", "environments"},
    "joblib": {"jobs"},
    "distributed": {"jobs"},
    "ray": {"jobs"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_name(path):
    """The dotted name of a module, without `hfcontrol.` in front."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in FILES}


def imported_names(source):
    """Dotted names of all imports: `from a.b import c` gives a.b.c."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def faults(package, source):
    """What a source in a package must not import, in words."""
    later = PACKAGES[PACKAGES.index(package) + 1 :]
    for name in imported_names(source):
        library, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if library == "":
            yield f"{package} imports {name}: write it from hfcontrol on"
        elif package not in OWNERS.get(library, {package}):
            owners = " and ".join(sorted(OWNERS[library]))
            yield f"{package} imports {library}, which only {owners} may import"
        elif library == "hfcontrol" and target in later:
            yield f"{package} imports {target}, which comes after it"


def imported_modules(module):
    """Modules of hfcontrol that a module imports."""
    for name in imported_names(MODULES[module].read_text(encoding="utf-8")):
        target = name.removeprefix("hfcontrol.")
        if target == name:
            continue
        yield target if target in MODULES else target.rpartition(".")[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m])
def test_a_package_imports_only_from_packages_before_it(module):
    package = module.partition(".")[0]
    assert package in PACKAGES, f"{package} has no row in PACKAGES"
    assert not list(faults(package, MODULES[module].read_text(encoding="utf-8")))


def test_modules_do_not_import_each_other_in_circles():
    """`static_order` raises CycleError, which names the modules of the circle."""
    graph = {module: set(imported_modules(module)) - {module} for module in MODULES}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    "package, source",
    [
        ("tasks", "from hfcontrol.closed_loop.passes.cpu import rollout"),
        ("tasks", "def late():\n    from hfcontrol import training"),
        ("tasks", "import hfcontrol.training.trainer as t"),
        ("tasks", "from .errors import TaskError"),
        ("tasks", "import h5py"),
        ("tasks", "from matplotlib import pyplot"),
        ("training", "import click"),
        ("closed_loop", "import cupy.linalg"),
    ],
)
def test_a_wrong_import_is_found(package, source):
    assert len(list(faults(package, source))) == 1


@pytest.mark.parametrize(
    "package, source",
    [
        ("tasks", "from hfcontrol.errors import TaskError\nimport numpy"),
        ("closed_loop", "from hfcontrol.closed_loop.passes.plain import PlainPasses"),
        ("runs", "import h5py"),
        ("cli", "from hfcontrol.version import __version__"),
    ],
)
def test_a_right_import_passes(package, source):
    assert not list(faults(package, source))


def test_only_one_package_imports_numba_cuda():
    importers = {
        module
        for module, path in MODULES.items()
        if "numba.cuda" in imported_names(path.read_text(encoding="utf-8"))
    }
    assert "kernels.cuda.device" in importers
    assert all(module.startswith("kernels.cuda.") for module in importers)


def test_setup_cfg_lists_every_package():
    """setup.cfg lists packages by hand, so a new folder is easily forgotten."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
    assert folders <= set(setup["options"]["packages"].split())
