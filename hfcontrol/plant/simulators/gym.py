"""Gymnasium environments as plants, by their ids: `gym:InvertedPendulum-v5`.

`make` makes an environment and says in one line why not; `load` reads one whose state can be set into a `Plant`, which needs
MuJoCo's (gym_mujoco.py). Neither gymnasium nor mujoco is imported before it is needed.
"""

import difflib
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.simulators.environment import as_plant

PREFIX = "gym:"  # of the names of environments
OTHERWISE = "train it with --optimizer ppo, which needs no derivatives"
SETTABLE = (
    "model",
    "data",
    "init_qpos",
    "frame_skip",
    "set_state",
)  # what MuJoCo's environments have


def make(name):
    """The Gymnasium environment of a name `gym:ID`, with its wrappers; PlantError, in one line, where it cannot be made."""
    try:
        with silence():
            import gymnasium
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise PlantError(
            f"plant {name} is a Gymnasium environment, and the package gymnasium is not installed: "
            f"pip install -e '.[gym]' in hfcontrol's folder"
        ) from None
    wanted = name.removeprefix(PREFIX)
    try:
        with silence():
            return gymnasium.make(wanted, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise PlantError(
            f"{name} needs a package that is not installed: {_line(error)}"
        ) from None
    except Exception as error:  # an environment may raise anything
        close = [
            PREFIX + other
            for other in difflib.get_close_matches(
                wanted, set(gymnasium.registry) - {wanted}, n=3
            )
        ]
        near = (
            f"close to it are {', '.join(close)}"
            if close
            else "give the id of a registered one"
        )
        raise PlantError(
            f"Gymnasium cannot make {name}: {_line(error)}; {near}"
        ) from None


def load(name):
    """The plant of an environment, by its name `gym:ID`: with states and tasks where its state can be set, which is said of MuJoCo's,
    else one that stands for it (environment.py). PlantError where it cannot be made."""
    environment, again = make(name), partial(make, name)
    if hasattr(environment.action_space, "n") or not all(
        hasattr(environment.unwrapped, part) for part in SETTABLE
    ):
        return as_plant(name, again, environment)
    from hfcontrol.plant.simulators.gym_mujoco import EnvironmentPlant

    try:
        with silence():
            fields = EnvironmentPlant(name, environment).fields()
    except (
        PlantError
    ) as error:  # such as a free joint: no plant, but an environment all the same
        return as_plant(name, again, environment, str(error).split("; ")[0])
    return Plant(
        **fields,
        episodes=as_plant(name, again, environment, "its rewards have no derivatives"),
    )


@contextmanager
def silence():
    """Keeps the warnings of Gymnasium and of MuJoCo, where that is installed, from being printed, written or raised."""
    try:
        from hfcontrol.plant.simulators.mujoco_simulator import quiet
    except ModuleNotFoundError:
        quiet = nullcontext
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield


def _line(error):
    """What an error says, in one line without its full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
