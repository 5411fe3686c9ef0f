"""MuJoCo models as plants: an MJCF file, ending in .xml, becomes a `Plant`.

From the model come, for the plant:

- state: positions of the joints by their names, their rates `<joint>_rate`, and
  activations `<actuator>_activation`
- control: the actuators by their names; for an actuator with a `ctrlrange`, the
  deviation from the middle of the range. At rest it is that of the keyframe `home`
- limit: half of `ctrlrange`
- control step: a multiple of the model's time step, about 0.01 s
- output: `hand_x`, `hand_y` and their rates, for a site or else a body with the name
  `hand` or `fingertip`, in the plane in which most hinges turn
- tasks: `reach` about the keyframe `home` if there is a hand and it can move on a
  circle there, and `stay`: come home and stay there. Starts and goals are within the
  ranges of the joints and keep the equality constraints

A joint or actuator without a name gets one, such as `joint2`. If a joint has the name
of another joint's rate, it is called `<joint>_position`.

Anything else that a plant file would say stands in a text element of the model, as
JSON: DT [s], a multiple of the time step, TYPICAL, TAPER, and TASKS. An entry of a
task replaces that of the task above. Without a keyframe `home`, the model's `qpos0` is
home.

    <custom>
      <text name="hfcontrol"
            data='{"DT": 0.02, "TASKS": {"reach": {"radius": 0.1, "steps": 40}}}'/>
    </custom>
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from hfcontrol.arrays.files import expand_home
from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import RENAMED_TASKS, Plant
from hfcontrol.plant.reader import PlantFile
from hfcontrol.plant.simulators.mujoco_files import check_files, read_model_files
from hfcontrol.plant.simulators.mujoco_simulator import Simulator, quiet

CONTROL_STEP = 0.01  # [s], about, if the model does not give DT
HORIZON = 0.5  # [s], of the default tasks
MOST_STEPS = 1000
# Spread of the start positions of the default task `stay`: an angle, a part of the
# range of a joint, and a part of the model's size for slides (at most 1 m).
STAY_SPREAD = 0.1
TRIALS = 64  # of the default tasks

# Points of a circle that the hand is tried at: the targets and the held-out ones.
CIRCLE_POINTS = 2 * TRIALS
# Time steps of the model in a control step: each costs about 10 us for each trial.
MOST_SUBSTEPS = 1000

EXTRAS = ("DT", "TYPICAL", "TAPER", "TASKS")


def load(name: str) -> Plant:
    """Return the plant of an MJCF file, by its path.

    Raises PlantError if MuJoCo cannot load the file, or if it cannot be a plant.
    """
    path = expand_home(name)
    # Read first, because MuJoCo does not say clearly that a file is missing.
    try:
        check_files(path)
    except OSError as error:
        place = error.filename or path
        raise PlantError(
            f"cannot read the MuJoCo model {place}: {error.strerror}; check the path"
        ) from None
    with quiet():
        try:
            model = mujoco.MjModel.from_xml_path(str(path))
        except (ValueError, mujoco.FatalError) as error:
            reason = " ".join(str(error).split())
            raise PlantError(
                f"{path.name}: MuJoCo cannot load it: {reason}; correct the file"
            ) from None
        return Plant(**ModelFile(path, model).read_fields())


class ModelPlant(PlantFile):
    """A compiled model, described by the names that a plant file would define.

    A subclass sets `path`, `model` and `source`, calls `check_model` and `describe`,
    and adds TASKS to `namespace`.
    """

    model: Any
    quaternion_hint = "use hinge and slide joints"

    def describe(self, simulator: Simulator, dt: float) -> None:
        """Define all names but TASKS, for a model stepped by dt [s]."""
        self.simulator = simulator
        self.functions = {
            "step_batch": simulator.step,
            "rates_batch": simulator.rates,
        }
        # `source` has the digests of all other files.
        self.inputs = {}
        self.namespace = {
            "STATE": self._state_names(),
            "POSITIONS": tuple(self._joints()),
            "CONTROL": tuple(self._actuators()),
            "UNITS": self._units(),
            "LIMIT": None,
            "DT": dt,
            "TYPICAL": {"control": tuple(simulator.typical_control)},
        }
        if simulator.trim.any():
            self.namespace["TRIM"] = tuple(simulator.trim)
        if np.isfinite(simulator.half_range).any():
            self.namespace["LIMIT"] = tuple(simulator.half_range)
        if simulator.hand is not None:
            self.functions["output"] = simulator.output
            output = ("hand_x", "hand_y", "hand_x_rate", "hand_y_rate")
            self.namespace["OUTPUT"] = output
            self.namespace["UNITS"]["output"] = ("m", "m", "m/s", "m/s")
        if simulator.drawable:
            self.functions["links"] = simulator.links

    def read_fields(self) -> dict[str, Any]:
        """Return the fields of the model's `Plant`."""
        fields = super().read_fields()
        if self.simulator.postures.constrained:
            fields["settle"] = self.simulator.settle
        return fields

    def check_functions(self, tasks: Mapping[str, dict[str, Any]]) -> str:
        """Return `step_batch`; the functions are not a user's and need no check."""
        return "step_batch"

    def check_model(self) -> None:
        """Raise PlantError for a model that cannot be a plant.

        It needs joints and actuators, and its state must be positions, rates and
        activations only.
        """
        model = self.model
        if model.nv == 0:
            self.fail("the model has no joints; add a hinge or slide joint to a body")
        if model.nu == 0:
            self.fail(
                "the model has no actuators; add one, as in "
                '<actuator><motor joint="elbow"/></actuator>'
            )

        kinds = mujoco.mjtJoint
        quaternions = (kinds.mjJNT_FREE.value, kinds.mjJNT_BALL.value)
        joints = np.flatnonzero(np.isin(model.jnt_type, quaternions))
        if len(joints):
            self.fail(
                f"joint {self._joints()[joints[0]]} is a free or ball joint, whose "
                "position is a quaternion with fewer rates than numbers; "
                f"{self.quaternion_hint}"
            )

        state_size = mujoco.mj_stateSize(
            model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value
        )
        # The full state begins with the time.
        if state_size != 1 + model.nq + model.nv + model.na:
            self.fail(
                "the state of the model has more than positions, rates and activations "
                "(the state of a plugin, or delays); remove that"
            )

    def _joints(self) -> list[str]:
        """Return the names of the joints.

        No name is that of another joint's rate.
        """
        joints = map(self.model.joint, range(self.model.njnt))
        names = name_all((joint.name for joint in joints), "joint")
        rates = {f"{name}_rate" for name in names}
        return [f"{name}_position" if name in rates else name for name in names]

    def _actuators(self) -> list[str]:
        """Return the names of the actuators."""
        actuators = map(self.model.actuator, range(self.model.nu))
        return name_all((actuator.name for actuator in actuators), "actuator")

    def _state_names(self) -> tuple[str, ...]:
        """Return the names of positions, rates and activations."""
        joints = self._joints()
        names = [*joints, *(f"{name}_rate" for name in joints)]
        counts = self.model.actuator_actnum
        for name, count in zip(self._actuators(), counts, strict=True):
            for _ in range(count):
                names.append(new_name(f"{name}_activation", names))
        return tuple(names)

    def _units(self) -> dict[str, tuple[str, ...]]:
        """Return the units of state and control."""
        is_hinge = self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        positions = ["rad" if hinge else "m" for hinge in is_hinge]
        rates = [f"{unit}/s" for unit in positions]
        activations = [""] * int(sum(self.model.actuator_actnum))
        return {
            "state": (*positions, *rates, *activations),
            "control": ("",) * self.model.nu,
        }


class ModelFile(ModelPlant):
    """An MJCF file as a plant."""

    def __init__(self, path: Path, model: Any) -> None:
        self.path = path
        self.model = model
        try:
            self.source = read_model_files(path)
        except (OSError, mujoco.FatalError) as error:
            self.fail(f"a file that belongs to it cannot be read: {error}")
        # Before the simulator, which cannot be made for every model.
        self.check_model()

        extras = self._read_extras()
        dt = extras.get("DT")
        substeps = self._substeps(dt)
        if dt is None:
            dt = substeps * model.opt.timestep
        simulator = Simulator(model, substeps)
        self.describe(simulator, dt)

        self.namespace["TASKS"] = self._make_tasks(dt, extras)
        # Other types than a dict are passed on: the checks of a plant file report them.
        sizes = extras.get("TYPICAL", {})
        if isinstance(sizes, dict):
            sizes = {**self.namespace["TYPICAL"], **sizes}
        self.namespace["TYPICAL"] = sizes
        self.namespace["TAPER"] = extras.get("TAPER")

    def _make_tasks(self, dt: float, extras: dict[str, Any]) -> Any:
        """Return the model's own tasks, completed by the default ones, or these."""
        simulator = self.simulator
        tasks = {"stay": default_stay(simulator, dt)}
        if simulator.hand is not None:
            radius = find_radius(simulator)
            reach = default_reach(simulator, dt, radius or reach_radius(simulator))
            own = extras.get("TASKS")
            tasks = {"reach": reach, **tasks}
            # No circle fits, so that only the model can say where its targets are.
            if radius is None and own is None:
                del tasks["reach"]
        return update_tasks(tasks, extras.get("TASKS", tasks))

    def _read_extras(self) -> dict[str, Any]:
        """Return the content of the text element `hfcontrol`."""
        text = _read_text_element(self.model, "hfcontrol")
        try:
            extras = json.loads(text or "{}")
        except ValueError as error:
            self.fail(f"its text element hfcontrol is not JSON: {error}")
        if not isinstance(extras, dict) or not set(extras) <= set(EXTRAS):
            self.fail(
                f"its text element hfcontrol holds {text}; write a JSON object with "
                f"any of {', '.join(EXTRAS)}"
            )
        return extras

    def _substeps(self, given: Any) -> int:
        """Return the number of the model's time steps in a control step.

        given: the control step DT [s] of the model's text element; by default, it is
        about CONTROL_STEP.
        """
        timestep = self.model.opt.timestep
        if not 0 < timestep < math.inf:
            self.fail(f"its time step is {timestep:g} s; it must be above zero")
        dt = CONTROL_STEP if given is None else given
        if not isinstance(dt, int | float) or not 0 < dt < math.inf:
            self.fail(f"DT is {dt!r}; give the control step in seconds, such as 0.01")
        if dt > MOST_SUBSTEPS * timestep:
            self.fail(
                f"a control step of {dt:g} s is more than {MOST_SUBSTEPS} of its time "
                f"steps, {timestep:g} s; choose a longer timestep, or a shorter DT"
            )
        substeps = round(dt / timestep)
        if given is None:
            return max(1, substeps)
        if substeps < 1 or not math.isclose(substeps * timestep, dt, rel_tol=1e-9):
            self.fail(
                f"DT is {dt:g} s; it must be a multiple of the model's time step, "
                f"{timestep:g} s"
            )
        return substeps


def name_all(names: Iterable[str], kind: str) -> list[str]:
    """Return the names; an empty one becomes `kind` with its index, and is unused."""
    given = list(names)
    for i, name in enumerate(given):
        given[i] = name or new_name(f"{kind}{i}", given)
    return given


def new_name(name: str, others: list[str]) -> str:
    """Return a name that is not among others: name, name_2, name_3 and so on."""
    candidate = name
    number = 1
    while candidate in others:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _read_text_element(model: Any, name: str) -> str | None:
    """Return the text element of a model with that name, or None."""
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXT, name)
    if i < 0:
        return None
    first = model.text_adr[i]
    data = model.text_data[first : first + model.text_size[i]]
    return data.rstrip(b"\0").decode("utf-8", errors="backslashreplace")


def stay_task(
    simulator: Simulator,
    dt: float,
    steps: int,
    spread: tuple[float, ...],
    target: tuple[float, ...],
) -> dict[str, Any]:
    """Return the task of coming to a target (n,) and staying there.

    It starts from states within `spread` (n,) of home.
    """
    return {
        "generator": "around",
        "start": tuple(simulator.home.tolist()),
        "spread": spread,
        "target": target,
        "running": dt,
        **_common_entries(simulator, steps, 0.1 * dt),
        "success": {"state": 0.1},
    }


def reach_task(
    simulator: Simulator, steps: int, radius: float, scenarios: dict[str, Any]
) -> dict[str, Any]:
    """Return the task of bringing the hand to positions about a radius [m] away.

    `scenarios` has the entries of a generator, or a `draw` function.
    """
    return {
        **scenarios,
        **_common_entries(simulator, steps, 1e-4),
        "success": {"hand": radius / 10, "rates": 0.1},
    }


def _common_entries(simulator: Simulator, steps: int, effort: float) -> dict[str, Any]:
    """Return the entries of every task made for a model.

    `effort` is the weight for controls of their typical size.
    """
    model = simulator.model
    # The effort weighs u^2, so it scales with the inverse square of a typical control.
    typical = float(np.mean(simulator.typical_control))
    entries: dict[str, Any] = {
        "trials": TRIALS,
        "steps": steps,
        "effort": effort / typical**2,
    }
    if model.na:
        # The final values of the activations do not matter.
        entries["final"] = (1.0,) * (model.nq + model.nv) + (0.0,) * model.na
    return entries


def reach_radius(simulator: Simulator) -> float:
    """Return a quarter of the distance [m] from the first hinge to the hand at home."""
    points = simulator.links(simulator.home, ())
    # 0.1 m if the hand is at the hinge, where no distance gives a scale.
    return float(np.linalg.norm(points[-1] - points[0])) / 4 or 0.1


def find_radius(simulator: Simulator) -> float | None:
    """Return the radius [m] of a circle about the hand that it can follow, or None.

    It is `reach_radius`, or half or a quarter of that.
    """
    postures = simulator.postures
    home = simulator.home[: simulator.model.nq]
    centre, _ = simulator.hand_at(home)
    centre = centre.copy()
    for part in (1.0, 0.5, 0.25):
        radius = part * reach_radius(simulator)
        angles = 2 * np.pi * np.arange(CIRCLE_POINTS) / CIRCLE_POINTS
        circle = centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        found = (postures.reach(simulator.hand_at, point, home) for point in circle)
        if all(q is not None for q in found):
            return radius
    return None


def default_steps(dt: float) -> int:
    """Return the horizon of the default tasks in control steps of dt [s]."""
    return max(1, round(min(HORIZON / dt, MOST_STEPS)))


def default_stay(simulator: Simulator, dt: float) -> dict[str, Any]:
    """Return the task `stay` of a model: from about home to home.

    Starts are within the ranges of the joints.
    """
    model = simulator.model
    postures = simulator.postures
    home = simulator.home[: model.nq]
    is_hinge = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    scale = np.where(is_hinge, 1.0, min(model.stat.extent, 1.0))
    size = STAY_SPREAD * np.minimum(scale, postures.high - postures.low)
    low = postures.clip(home - size)
    high = postures.clip(home + size)

    rest = np.zeros(model.nv + model.na)
    spread = np.concatenate([(high - low) / 2, rest])
    task = stay_task(
        simulator,
        dt,
        default_steps(dt),
        tuple(spread.tolist()),
        tuple(simulator.home.tolist()),
    )
    # Home may be at the end of a range, so that starts lie on one side of it.
    start = np.concatenate([(low + high) / 2, simulator.home[model.nq :]])
    task["start"] = tuple(start.tolist())
    task["success"] = {"state": float(size.max())}
    return with_trim(task, simulator)


def default_reach(simulator: Simulator, dt: float, radius: float) -> dict[str, Any]:
    """Return the task `reach` of a model: from home to a circle about the hand."""
    model = simulator.model
    home = tuple(simulator.home.tolist())
    # At rest, with the activations of home if there are any.
    activations = home[model.nq + model.nv :]
    rest = (0.0,) * model.nv
    start = (*home[: model.nq], *rest, *activations) if model.na else home[: model.nq]
    scenarios = {"generator": "reach", "start": start, "radius": radius}
    steps = default_steps(dt)
    return with_trim(reach_task(simulator, steps, radius, scenarios), simulator)


def with_trim(task: dict[str, Any], simulator: Simulator) -> dict[str, Any]:
    """Return the task with its effort measured from the control at rest."""
    if not simulator.trim.any():
        return task
    return {**task, "effort_about": tuple(simulator.trim.tolist())}


def update_tasks(tasks: dict[str, dict[str, Any]], changes: Any) -> Any:
    """Return the tasks `changes`; missing entries are those of the task of that name.

    A model may name a task as it was called in earlier versions.

    Anything but a dict of dicts is returned as it is: the checks of a plant file report
    it.
    """
    if not isinstance(changes, dict):
        return changes
    updated: dict[str, Any] = {}
    for name, entries in changes.items():
        is_dict = isinstance(entries, dict)
        renamed = RENAMED_TASKS.get(name, name)
        if renamed in tasks and renamed not in changes:
            name = renamed
        updated[name] = {**tasks.get(name, {}), **entries} if is_dict else entries
    return updated
