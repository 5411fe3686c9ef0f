"""Finding a plant by its name or path."""

from pathlib import Path

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.simulators import SIMULATORS

# A plant with one of these endings is a path; any other is a name.
PLANT_SUFFIXES = (
    ".py",
    *(simulator.suffix for simulator in SIMULATORS if simulator.suffix),
)


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
        path = Path(name).expanduser()
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


def _read_source(path: Path) -> str:
    """Return the text of a plant file; raises PlantError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise PlantError(
            f"cannot read the plant file {path}: {reason}; check the path"
        ) from None
