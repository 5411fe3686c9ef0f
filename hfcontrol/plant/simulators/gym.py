"""Gymnasium environments as plants, by their ids: `gym:InvertedPendulum-v5`.

A MuJoCo environment becomes a plant with states and tasks (gym_mujoco.py). Any other
environment becomes a plant without tasks that stands for the environment. Its names are
numbers: `y0`, `y1`, ... for the observations and `action0`, ... for the controls.

gymnasium and mujoco are imported only when they are needed.
"""

import difflib
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.errors import FOREIGN_FAULTS, PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.environment import Environment

PREFIX = "gym:"

# Attributes of Gymnasium's MuJoCo environments, whose state can be set.
MUJOCO_ATTRIBUTES = ("model", "data", "init_qpos", "frame_skip", "set_state")


def make(name: str) -> Any:
    """Return the Gymnasium environment of a name `gym:ID`, with its wrappers.

    Raises PlantError if it cannot be made.
    """
    try:
        with silence():
            import gymnasium
    except ModuleNotFoundError as error:
        if error.name != "gymnasium":
            raise
        raise PlantError(
            f"plant {name} is a Gymnasium environment, and the package gymnasium is "
            "not installed: pip install -e '.[gym]' in hfcontrol's folder"
        ) from None

    environment_id = name.removeprefix(PREFIX)
    try:
        with silence():
            # The checker's warnings are for authors of environments.
            return gymnasium.make(environment_id, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise PlantError(
            f"{name} needs a package that is not installed: {_one_line(error)}"
        ) from None
    except FOREIGN_FAULTS as error:  # an environment may raise anything
        others = set(gymnasium.registry) - {environment_id}
        hint = _suggest(environment_id, others)
        raise PlantError(
            f"Gymnasium cannot make {name}: {_one_line(error)}; {hint}"
        ) from None


def load(name: str) -> Plant:
    """Return the plant of the environment `gym:ID`.

    It has states and tasks if the state of the environment can be set, which holds for
    MuJoCo environments. Otherwise it stands for the environment.

    Raises PlantError if the environment cannot be made.
    """
    environment = make(name)
    make_copy = partial(make, name)
    inner = environment.unwrapped
    settable = all(hasattr(inner, attribute) for attribute in MUJOCO_ATTRIBUTES)
    discrete = hasattr(environment.action_space, "n")
    if discrete or not settable:
        return environment_plant(name, make_copy, environment)

    from hfcontrol.plant.simulators.gym_mujoco import EnvironmentPlant

    try:
        with silence():
            fields = EnvironmentPlant(name, environment).read_fields()
    except PlantError as error:
        # The model cannot be a plant, for example because of a free joint. The
        # environment can still be stepped.
        reason = str(error).split("; ")[0]
        return environment_plant(name, make_copy, environment, reason)
    episode_plant = environment_plant(
        name, make_copy, environment, "its rewards have no derivatives"
    )
    return Plant(**fields, episode_plant=episode_plant)


def environment_plant(
    name: str,
    make_copy: Callable[[], Any],
    env: Any,
    why: str | None = None,
) -> Plant:
    """Return the plant that stands for the environment `env`: names without tasks.

    `make_copy` returns new copies of the environment; `why` says why it has no
    derivatives.
    """
    environment = Environment.describe(name, make_copy, env, why)
    observation = tuple(f"y{i}" for i in range(environment.n_observation))
    control = tuple(f"action{i}" for i in range(environment.n_control))
    names: dict[str, Any] = {
        "state": observation,
        "control": control,
        "observation": observation,
        "output": observation,
    }
    sizes: dict[str, Any] = {
        "limit": None,
        "typical_state": np.ones(len(observation)),
        "typical_control": np.ones(len(control)),
        "taper": np.full(len(observation), np.inf),
    }
    source = f"{name}: {env.observation_space}, {env.action_space}"
    units = {key: ("",) * len(entries) for key, entries in names.items()}
    return Plant(
        name=name.rpartition(":")[2].replace("/", "-"),
        path=Path(name),
        source=source,
        **names,
        **sizes,
        params={},
        dt=control_step(env),
        integrator="none",
        substeps=1,
        units=units,
        environment=environment,
    )


def control_step(env: Any) -> float:
    """Return the time between two actions [s], or 1 if the environment has none."""
    inner = env.unwrapped
    frame = 1 / (env.metadata.get("render_fps") or 1)
    # MuJoCo environments have dt, classic control has tau.
    steps = [getattr(inner, "dt", None), getattr(inner, "tau", None), frame]
    return next(float(t) for t in steps if isinstance(t, int | float) and t > 0)


@contextmanager
def silence() -> Iterator[None]:
    """Keep warnings of Gymnasium and MuJoCo from being printed, written or raised."""
    quiet: Callable[[], AbstractContextManager[None]]
    try:
        from hfcontrol.plant.simulators.mujoco_simulator import quiet
    except ModuleNotFoundError:
        # Without MuJoCo there are no warnings of MuJoCo.
        quiet = nullcontext
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        yield


def _suggest(environment_id: str, others: set[str]) -> str:
    """Return a hint that names registered environments with a similar id."""
    similar = difflib.get_close_matches(environment_id, others, n=3)
    if not similar:
        return "give the id of a registered environment"
    return f"similar ids are {', '.join(PREFIX + other for other in similar)}"


def _one_line(error: BaseException) -> str:
    """Return the text of an error in one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
