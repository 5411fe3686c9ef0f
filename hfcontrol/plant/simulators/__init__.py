"""Plants that are not plant files, each kind of name with its loader in `SIMULATORS`."""

from hfcontrol.errors import PlantError


def _load_mujoco(name):
    """The plant of an MJCF file; PlantError where it cannot be one, or where MuJoCo is not installed."""
    try:
        from hfcontrol.plant.simulators.mujoco import load
    except ModuleNotFoundError as error:
        if error.name != "mujoco":
            raise
        raise PlantError(
            f"plant {name} is a MuJoCo model, and the package mujoco is not installed: "
            f"pip install -e '.[mujoco]' in hfcontrol's folder"
        ) from None
    return load(name)


def _load_gym(name):
    """The plant of a Gymnasium environment; PlantError where it cannot be one, or where a package is missing."""
    from hfcontrol.plant.simulators.gym import load

    return load(name)


# Pairs (whether a name is of this kind, its loader); MuJoCo and Gymnasium are imported by the loaders.
SIMULATORS = (
    (lambda name: name.startswith("gym:"), _load_gym),
    (lambda name: name.endswith(".xml"), _load_mujoco),
)
