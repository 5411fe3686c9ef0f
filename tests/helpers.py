"""Small closed loops and trainings, and derivatives by differences, for tests."""

from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.network import Network
from hfcontrol.plant.limits import ControlLimits, read_bounds
from hfcontrol.plant.modifiers import with_jitter
from hfcontrol.plant.reader import read_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.cost import Residuals
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.task import Task, TaskOptions
from hfcontrol.training.holds import HoldState, begin_hold
from hfcontrol.training.state import CurvePoint

# Sizes differ (3 states, 2 controls, 4 observations), nothing is linear, and the file
# has every optional name.
SWING = """
import math
import numpy as np

STATE, CONTROL = ("angle", "angle_rate", "push"), ("torque", "slide")
OBSERVATION, OUTPUT = ("sine", "cosine", "rate", "power"), ("hand_x", "hand_y")
PARAMS = {"inertia": 1.5, "weight": 2.0}
INERTIA, WEIGHT = range(2)
DT, INTEGRATOR = 0.1, "euler"
LIMIT, TAPER = (0.8, None), (0.6, None, 0.5)


def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = (3 * x[2] + u[1] * math.cos(x[0]) - p[WEIGHT] * math.sin(x[0])) / p[INERTIA]
    dx[2] = 4 * (u[0] - x[2])


def observe(x, p, y):
    y[0] = math.sin(x[0])
    y[1] = math.cos(x[0])
    y[2] = x[1]
    y[3] = x[1] * x[2]


def output(x, p, z):
    z[0] = math.cos(x[0]) + 0.1 * x[2]
    z[1] = math.sin(x[0])


def worth(x, u, target, p, r):
    r[0] = math.sin(x[0]) - target[0]
    r[1] = u[0] * math.cos(x[1])
    r[2] = u[0] * u[1]


def draw(rng, trials, split):
    x0 = 0.4 * rng.standard_normal((3, trials))
    return x0, 0.4 * rng.standard_normal((3, trials))


def draw_moving(rng, trials, split):
    goal = np.cumsum(0.2 * rng.standard_normal((13, 3, trials)), axis=0)
    goal[:, 1] = np.nan  # rates are free
    goal[4, 0] = np.nan
    return 0.4 * rng.standard_normal((3, trials)), goal


COMMON = {
    "trials": 7, "steps": 12, "final": (1.0, 0.5, 0.25), "running": 0.3, "effort": 0.02
}
TASKS = {
    "go": {"draw": draw, **COMMON},
    "fresh": {"draw": draw, "random": True, **COMMON},
    "follow": {"draw": draw_moving, **COMMON},
    "worth": {"draw": draw, "residual": worth, "residuals": ("place", "work", "both"),
              "residual_weight": (0.5, 0.1, 0.2), **COMMON},
}
"""

# Two states and one control in discrete steps: the linear-quadratic regulator is exact.
LINEAR = """
import numpy as np

STATE, CONTROL = ("first", "second"), ("push",)
DT = 0.1


def step(x, u, p, dt, x_next):
    x_next[0] = 0.9 * x[0] + 0.3 * x[1]
    x_next[1] = -0.2 * x[0] + 1.05 * x[1] + 0.5 * u[0]


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


COST = {"final": 2.0, "running": 0.1, "effort": 0.05}
TASKS = {"home": {"draw": draw, "trials": 7, "steps": 12, **COST}}
"""

# Not compiled: Python steps the plant, all trials in one batch.
CART = """
import numpy as np

STATE, CONTROL = ("place", "place_rate"), ("push",)
DT = 0.1


def step_batch(x, u, p, dt):
    return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] ** 3)])


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


COST = {"running": 0.1, "effort": 0.05}
TASKS = {"park": {"draw": draw, "trials": 7, "steps": 12, **COST}}
"""

DISTURBANCES = {field.name for field in fields(Disturbances)}
SOURCES = {"swing": SWING, "linear": LINEAR, "cart": CART}


@cache
def plant_of(name):
    """One of the plants above, or a shipped one."""
    return (
        read_plant(SOURCES[name], Path(f"{name}.py"))
        if name in SOURCES
        else load_plant(name)
    )


def loop_of(
    plant="swing",
    task=None,
    hidden=(5, 4),
    delays=(0, 0),
    limit=None,
    fused=True,
    disturbed=False,
    seed=0,
    trials=7,
    steps=12,
    architecture=None,
    **options,
):
    """A closed loop on a small scenario.

    The default limit is the plant's own; `disturbed` adds random pushes; other options
    are those of the task and of its disturbances.
    """
    disturbances = {name: options.pop(name) for name in DISTURBANCES & set(options)}
    plant = with_jitter(plant_of(plant), disturbances.get("jitter", 0.0))
    kernels = compile_plant(plant)
    task = Task(
        plant,
        kernels,
        task,
        TaskOptions(
            trials=trials,
            steps=steps,
            disturbances=Disturbances(**disturbances),
            **options,
        ),
    )
    skip = (2,) if len(hidden) > 1 else ()
    architecture = architecture or Architecture(
        hidden, skip=skip, recurrent=tuple(range(1, len(hidden) + 1))
    )
    bounds = plant.limit
    if limit is not None or bounds is None:
        bounds = read_bounds(limit, plant.nu)
    limits = ControlLimits(*bounds, plant.typical_control)
    rng = np.random.default_rng(seed)
    scenario = task.draw(rng)
    if disturbed:
        scenario = replace(
            scenario, disturbance=0.03 * rng.standard_normal((steps, plant.nx, trials))
        )
    network = Network(architecture, task.n_target + plant.ny, plant.nu)
    return ClosedLoop(
        plant,
        kernels,
        network,
        scenario,
        Wiring(*delays, limits, plant.taper),
        PassOptions(fused=fused),
    )


def weights_of(loop, seed=0, size=0.3):
    """Random non-zero weights (P,), small enough for a stable closed loop."""
    return size * np.random.default_rng(seed).standard_normal(loop.network.size)


def hold_of(kind, loop, theta):
    """The hold of one kind about the rollout of theta (P,)."""
    return begin_hold(loop, loop.rollout(theta), HoldState(kind))


def like(residuals, rng):
    """Random `Residuals` of the same shapes."""
    return Residuals(
        *(None if a is None else rng.standard_normal(a.shape) for a in residuals)
    )


def flat(residuals):
    """All entries of `Residuals` as one vector."""
    return np.concatenate([a.ravel() for a in residuals if a is not None])


def central_difference(f, at, direction, step=1e-5):
    """Derivative of an array-valued f along a direction, by central differences."""
    return (f(at + step * direction) - f(at - step * direction)) / (2 * step)


def dense_jacobian(f, at, step=1e-5):
    """Jacobian of a vector-valued f, column by column by central differences."""
    return np.array([central_difference(f, at, e, step) for e in np.eye(at.size)]).T


def residuals_of(hold):
    """The function from theta (P,) to all residuals, by new rollouts of a hold."""
    cost = hold.loop.scenario.cost

    def function(theta):
        rollout = hold.rollout(theta)
        return flat(cost.residuals(rollout.x, rollout.u))

    return function


def relative(a, b):
    """The largest difference of two arrays, relative to the second's largest entry."""
    return np.abs(a - b).max() / np.abs(b).max()


def training_of(plant="swing", **settings):
    """The trainer of a small training, and its state before the first rollout."""
    settings = Settings(
        **{
            "hidden": (5, 4),
            "trials": 7,
            "steps": 12,
            "control_limit": 2.0,
            "strategy": "plain",
            **settings,
        }
    )
    trainer = make_trainer(settings, plant_of(plant))
    theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
    return trainer, trainer.init(theta, stream(settings.seed, Stream.SCENARIOS))


def bits(value):
    """Every bit of a state, without times of the clock, in a form to compare by ==."""
    if is_dataclass(value):
        return {
            f.name: bits(getattr(value, f.name))
            for f in fields(value)
            if f.name != "seconds"
        }
    if isinstance(value, CurvePoint):
        return value._replace(seconds=None)
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return [bits(v) for v in value] if isinstance(value, (list, tuple)) else value
