"""Finding a plant by its name: shipped, a file, an MJCF model or a Gymnasium environment."""

from pathlib import Path

from hfcontrol.errors import PlantError
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.simulators import SIMULATORS

FILES = (".py", ".xml")  # endings by which a plant is a path, not a name


def plants_folder():
    """The folder of the shipped plants: inside an installed package, beside it in a source tree."""
    package = Path(__file__).parent.parent
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
    for matches, load in SIMULATORS:
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
