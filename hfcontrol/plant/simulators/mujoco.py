"""MuJoCo models as plants: an MJCF file, ending in .xml, is read into a `Plant` that MuJoCo steps.

| of the plant | from the model |
|---|---|
| state | positions of the joints by their names, their rates `<joint>_rate`, activations `<actuator>_activation` |
| control | the actuators by their names; of a limited one, how far it is from the middle of its `ctrlrange` |
| limit | half of `ctrlrange` |
| control step | as many of the model's time steps, by its own integrator, as come next to 0.01 s |
| output | `hand_x`, `hand_y` and their rates of a site, or else body, `hand` or `fingertip`, in the plane of most hinges |
| tasks | `reach` about the keyframe `home` where there is a hand, else `hold`: stay there |

What else a plant file would say, a text element of the model says as JSON: DT [s], a multiple of the time step, TYPICAL,
TAPER, and TASKS, whose entries go over those of the tasks above. Without a keyframe `home` the model's `qpos0` is home.

    <custom><text name="hfcontrol" data='{"DT": 0.02, "TASKS": {"reach": {"radius": 0.1, "steps": 40}}}'/></custom>
"""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import mujoco
import numpy as np

from hfcontrol.errors import PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.reader import PlantFile
from hfcontrol.plant.simulators.mujoco_simulator import Simulator

CONTROL_STEP = 0.01  # [s], about, where the model asks for none
HORIZON = 0.5  # [s], of the tasks made here
EXTRAS = ("DT", "TYPICAL", "TAPER", "TASKS")


def load(name):
    """The plant of an MJCF file, by its path; PlantError where MuJoCo cannot load it or it cannot be a plant."""
    path = Path(name).expanduser()
    try:
        path.read_bytes()
    except OSError as error:
        raise PlantError(
            f"cannot read the MuJoCo model {path}: {error.strerror}; check the path"
        ) from None
    try:
        model = mujoco.MjModel.from_xml_path(str(path))
    except (ValueError, mujoco.FatalError) as error:
        reason = " ".join(str(error).split())
        raise PlantError(
            f"{path.name}: MuJoCo cannot load it: {reason}; mend the file"
        ) from None
    return Plant(**ModelFile(path, model).fields())


class ModelPlant(PlantFile):
    """What a compiled model says, under the names that a plant file would use, to be judged alike.

    Whoever makes one gives `path`, `model` and `source`, calls `check_model` and `describe`, and adds TASKS.
    """

    quaternions = "use hinge and slide joints"

    def describe(self, simulator, dt):
        """Everything but tasks: functions, names, limits and typical sizes of a model stepped by dt [s]."""
        self.functions = {"step_batch": simulator.step}
        self.namespace = {**self._names(simulator), "DT": dt}
        if simulator.hand is not None:
            self.functions["output"] = simulator.output
            self.namespace["OUTPUT"] = (
                "hand_x",
                "hand_y",
                "hand_x_rate",
                "hand_y_rate",
            )
            self.namespace["UNITS"]["output"] = ("m", "m", "m/s", "m/s")
        if simulator.drawable:
            self.functions["links"] = simulator.links
        self.namespace["TYPICAL"] = {"control": tuple(simulator.typical_control)}

    def check_functions(self, tasks):
        """A model is stepped by `step_batch`; its functions are not a user's."""
        return "step_batch"

    def check_model(self):
        """Raises PlantError for a model whose state is more than positions, rates and activations, or has nothing to do."""
        model = self.model
        if model.nv == 0:
            self.fail("the model has no joints; add a hinge or slide joint to a body")
        if model.nu == 0:
            self.fail(
                'the model has no actuators; add one, as in <actuator><motor joint="elbow"/></actuator>'
            )
        kinds = mujoco.mjtJoint
        for i in np.flatnonzero(
            np.isin(model.jnt_type, (kinds.mjJNT_FREE.value, kinds.mjJNT_BALL.value))
        )[:1]:
            self.fail(
                f"joint {self._joints()[i]} is a free or ball joint, whose position is a quaternion with fewer "
                f"rates than numbers; {self.quaternions}"
            )
        whole = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS.value)
        if whole != 1 + model.nq + model.nv + model.na:
            self.fail(
                "the model keeps more than positions, rates and activations (a plugin's state, delays); drop that"
            )

    def _joints(self):
        return [self.model.joint(i).name or f"joint{i}" for i in range(self.model.njnt)]

    def _names(self, simulator):
        """Names, units and limits of state and control."""
        model, joints = self.model, self._joints()
        actuators = [model.actuator(i).name or f"actuator{i}" for i in range(model.nu)]
        activations = [
            f"{name}_activation"
            for name, count in zip(actuators, model.actuator_actnum)
            for _ in range(count)
        ]
        units = [
            "rad" if kind == mujoco.mjtJoint.mjJNT_HINGE else "m"
            for kind in model.jnt_type
        ]
        return {
            "STATE": (*joints, *(f"{name}_rate" for name in joints), *activations),
            "CONTROL": tuple(actuators),
            "UNITS": {
                "state": (
                    *units,
                    *(f"{unit}/s" for unit in units),
                    *("" for _ in activations),
                ),
                "control": ("",) * model.nu,
            },
            "LIMIT": tuple(simulator.half_range)
            if np.isfinite(simulator.half_range).any()
            else None,
        }


class ModelFile(ModelPlant):
    """What an MJCF file says."""

    def __init__(self, path, model):
        self.path, self.model = path, model
        try:
            self.source = source_of(path, path.parent)
        except (OSError, UnicodeDecodeError, ElementTree.ParseError) as error:
            self.fail(
                f"its text, or that of a file it includes, cannot be read: {error}"
            )
        self.check_model()
        extras = self._extras()
        timestep = model.opt.timestep
        dt = extras.get("DT", max(1, round(CONTROL_STEP / timestep)) * timestep)
        simulator = Simulator(model, self._substeps(dt))
        self.describe(simulator, dt)
        tasks = _default_tasks(simulator, dt)
        self.namespace["TASKS"] = _over(tasks, extras.get("TASKS", tasks))
        sizes = extras.get("TYPICAL", {})
        self.namespace["TYPICAL"] = (
            {**self.namespace["TYPICAL"], **sizes} if isinstance(sizes, dict) else sizes
        )
        self.namespace["TAPER"] = extras.get("TAPER")

    def _extras(self):
        """What the text element `hfcontrol` says (dict)."""
        text = _text(self.model, "hfcontrol")
        try:
            extras = json.loads(text or "{}")
        except ValueError as error:
            self.fail(f"its text element hfcontrol is not JSON: {error}")
        if not isinstance(extras, dict) or not set(extras) <= set(EXTRAS):
            self.fail(
                f"its text element hfcontrol holds {text}; write a JSON object with any of {', '.join(EXTRAS)}"
            )
        return extras

    def _substeps(self, dt):
        """How many time steps of the model a control step takes."""
        timestep = self.model.opt.timestep
        if not isinstance(dt, int | float) or not 0 < dt < math.inf:
            self.fail(f"DT is {dt!r}; give the control step in seconds, such as 0.01")
        substeps = round(dt / timestep)
        if substeps < 1 or not math.isclose(substeps * timestep, dt, rel_tol=1e-9):
            self.fail(
                f"DT is {dt:g} s; it must be a multiple of the model's time step, {timestep:g} s"
            )
        return substeps


def source_of(path, folder):
    """The text of a file and of those it includes, one after the other: what tells whether a model has changed."""
    text = path.read_text(encoding="utf-8")
    included = [
        folder / part.get("file")
        for part in ElementTree.fromstring(text.encode()).iter("include")
    ]
    return "\n".join([text, *(source_of(other, folder) for other in included)])


def _text(model, name):
    """The text element of that name, or None."""
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXT, name)
    if i < 0:
        return None
    first = model.text_adr[i]
    return model.text_data[first : first + model.text_size[i]].rstrip(b"\0").decode()


def hold_task(simulator, dt, steps, spread, target):
    """The task of coming to a target (n,) from states within a spread (n,) of home, and staying there."""
    return {
        "generator": "around",
        "start": tuple(simulator.home.tolist()),
        "spread": spread,
        "target": target,
        "running": dt,
        **_common(simulator, steps, 0.1 * dt),
        "success": {"state": 0.1},
    }


def reach_task(simulator, steps, radius, how):
    """The task of bringing the hand to places about a radius [m] away; `how` has a generator's entries, or a draw."""
    return {
        **how,
        **_common(simulator, steps, 1e-4),
        "success": {"hand": radius / 10, "rates": 0.1},
    }


def _common(simulator, steps, effort):
    """What every task made of a model has; `effort` is that of controls of their typical size.

    Activations are states, but nobody asks where they end.
    """
    model = simulator.model
    common = {
        "trials": 64,
        "steps": steps,
        "effort": effort / float(np.mean(simulator.typical_control)) ** 2,
    }
    return (
        {**common, "final": (1.0,) * (model.nq + model.nv) + (0.0,) * model.na}
        if model.na
        else common
    )


def reach_radius(simulator):
    """A quarter of the distance [m] from the first hinge to the hand at home."""
    points = simulator.links(simulator.home, ())
    return float(np.linalg.norm(points[-1] - points[0])) / 4 or 0.1


def _default_tasks(simulator, dt):
    """The tasks of a model that brings none."""
    model, home, steps = (
        simulator.model,
        tuple(simulator.home.tolist()),
        max(1, round(HORIZON / dt)),
    )
    if simulator.hand is None:
        spread = (0.1,) * model.nq + (0.0,) * (model.nv + model.na)
        return {"hold": hold_task(simulator, dt, steps, spread, home)}
    start, radius = (
        (*home[: model.nq], *home[model.nq + model.nv :]),
        reach_radius(simulator),
    )
    return {
        "reach": reach_task(
            simulator,
            steps,
            radius,
            {"generator": "reach", "start": start, "radius": radius},
        )
    }


def _over(tasks, given):
    """The tasks that are given, their entries over those of a task made here of the same name."""
    if not isinstance(given, dict):
        return given  # not a dictionary: the plant file's judgement says so
    return {
        name: {**tasks.get(name, {}), **task} if isinstance(task, dict) else task
        for name, task in given.items()
    }
