"""Finding a plant by its name or path, and the code that it would run."""

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hfcontrol.arrays.files import expand_home, read_regular_file
from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.simulators import SIMULATORS, is_environment

# More than any plant file has.
MOST_CODE_BYTES = 2**26

# A plant with one of these endings is a path; any other is a name.
PLANT_SUFFIXES = (
    ".py",
    *(simulator.suffix for simulator in SIMULATORS if simulator.suffix),
)


# Texts of plant files that another process has sent, by their absolute paths.
_sent: dict[Path, str] = {}


@contextmanager
def sent_source(name: str, source: str) -> Iterator[None]:
    """Use a text in place of the plant file `name`, which need not exist here.

    Who sends the text has named the plant, and so trusts it (docs/trust.md).
    """
    path = expand_home(name).resolve()
    before = _sent.get(path)
    _sent[path] = source
    try:
        yield
    finally:
        del _sent[path]
        if before is not None:
            _sent[path] = before


class PlantCode(NamedTuple):
    """Code that a plant runs when it is loaded, and that is not hfcontrol's own.

    `what` describes it for a message. `place` is the absolute path of a file, or the
    name of an environment with the file of its module.
    """

    what: str
    place: str
    file: Path | None

    @property
    def digest(self) -> str:
        """The SHA-256 of the file; empty if there is none to read.

        The file is opened here: a stranger may have named any file.
        """
        return _digest(self.file) if self.file else ""


def plants_folder() -> Path:
    """Return the folder of the shipped plants.

    It is inside an installed package, and next to the package in a source tree.
    """
    package = Path(__file__).parent.parent
    inside = package / "plants"
    return inside if inside.is_dir() else package.parent / "plants"


def plant_names() -> list[str]:
    """Return the names of the shipped plants, in alphabetical order."""
    # A leading underscore marks a file that is not a plant.
    return sorted(path.stem for path in plants_folder().glob("[!_]*.py"))


def load_plant(name: str | Path) -> Plant:
    """Return the plant of that name.

    The name is a shipped plant, a path ending in .py, or one that a simulator matches,
    such as gym:ID (Gymnasium) or model.xml (MuJoCo).

    Raises PlantError if the plant does not exist, or if its file breaks the contract.
    """
    name = str(name)
    # Simulators come first, because their names may look like paths.
    for simulator in SIMULATORS:
        if simulator.matches(name):
            return simulator.load(name)

    if name.endswith(".py"):
        path = expand_home(name)
    elif name in plant_names():
        path = plants_folder() / f"{name}.py"
    else:
        examples = " or ".join(simulator.example for simulator in SIMULATORS)
        raise PlantError(
            f"unknown plant {name!r}: the shipped plants are "
            f"{', '.join(plant_names())}; give your own plant by its path, ending in "
            f".py, or by a name such as {examples}"
        )
    return read_plant(_read_source(path), path)


def foreign_code(name: str) -> PlantCode | None:
    """Return the code that loading a plant runs, found without running any of it.

    None for a shipped plant, and for an environment that needs no module of its own:
    `gym:MODULE:ID` imports one, `gym:ID` is known to Gymnasium.
    """
    if name in plant_names():
        return None
    if not is_environment(name):
        path = Path(name).expanduser().resolve()
        if path.parent.is_relative_to(plants_folder().resolve()):
            return None
        return PlantCode(f"the plant file {path}", str(path), path)

    module, _, environment_id = name.partition(":")[2].rpartition(":")
    if not module:
        return None
    file = _module_file(module)
    place = f"{name} in {file}"
    what = f"the module {module}, for the environment {environment_id}"
    return PlantCode(what, place, file)


def _module_file(module: str) -> Path | None:
    """Return the file that importing a module runs first, or None."""
    try:
        # Of the package at the top: to find what is in it, Python would import it.
        found = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if found is None or not found.has_location or found.origin is None:
        return None
    return Path(found.origin).resolve()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; empty if it cannot be read."""
    if path in _sent:
        return hashlib.sha256(_sent[path].encode()).hexdigest()
    try:
        return hashlib.sha256(read_regular_file(path, MOST_CODE_BYTES)).hexdigest()
    except (OSError, ValueError):
        return ""


def _read_source(path: Path) -> str:
    """Return the text of a plant file; raises PlantError if it cannot be read."""
    sent = _sent.get(path.resolve())
    if sent is not None:
        return sent
    try:
        content = read_regular_file(path, MOST_CODE_BYTES, follow=True)
        # Python reads all ends of lines as one.
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PlantError(
            f"cannot read the plant file {path}: {reason}; check the path"
        ) from None
