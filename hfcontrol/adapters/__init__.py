"""Plants that are not plant files; each kind of name is registered with `load_plant`, which imports this package."""

from hfcontrol.errors import PlantError
from hfcontrol.plant import register_kind


def _load_mujoco(name):
    """The plant of an MJCF file; PlantError where it cannot be one, or where MuJoCo is not installed."""
    try:
        from hfcontrol.adapters.mujoco import load
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
    from hfcontrol.adapters.gym import load

    return load(name)


register_kind(lambda name: name.startswith("gym:"), _load_gym)
register_kind(lambda name: name.endswith(".xml"), _load_mujoco)
