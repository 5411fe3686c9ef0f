"""From settings to what is trained: plant, task, network, wiring, optimizer, and the trainer that joins them, ready to go."""

import time
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import device_name, resolve_device
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.network.architecture import TIME_CONSTANTS, Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.lbfgs import LBFGS
from hfcontrol.optim.yardstick import optimum
from hfcontrol.plant.modifiers import with_actuators, with_observations, with_params
from hfcontrol.plant.registry import load_plant
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.samplers import (
    EnvironmentSampler,
    Episodes,
    PlantSampler,
)
from hfcontrol.policy_gradient.trainer import PolicyTrainer, plant_loop
from hfcontrol.runs.quantities import (
    assignments,
    curl_range,
    delay_steps,
    duration,
    durations,
    motor_noises,
    ranges,
)
from hfcontrol.runs.settings import POLICY, POLICY_OPTIONS
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.task import Task, TaskOptions
from hfcontrol.training.holds import choose_hold
from hfcontrol.training.state import Limits
from hfcontrol.training.trainer import Trainer

COPIES = 8  # of an environment, stepped side by side
OF_PLANTS = (
    "effort",
    "running",
    "space",
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "motor_noise",
    "push",
    "param",
    "vary",
    "curl_field",
    "actuators",
    "control_limit",
)  # without meaning in an environment


def make_wiring(settings, plant, taper=True):
    """The wiring between plant and network; without `taper` it is that of a plant outside training."""
    limit = settings.control_limit
    if isinstance(limit, str) and limit == "plant":
        limit = np.inf if plant.limit is None else plant.limit
    try:
        limit = (
            np.inf
            if limit is None or isinstance(limit, str) and limit == "none"
            else np.asarray(limit, dtype=float)
        )
    except (TypeError, ValueError):
        raise UsageError(
            f"--control-limit {limit}: a positive number, plant or none"
        ) from None
    if not np.all(np.asarray(limit) > 0):
        raise UsageError(f"--control-limit {limit}: a positive number is needed")
    return Wiring(
        delay_steps(settings.feedback_delay, plant.dt, "feedback-delay"),
        delay_steps(settings.command_delay, plant.dt, "command-delay"),
        np.array(np.broadcast_to(limit, (plant.nu,)), dtype=float),
        plant.taper if taper else np.full(plant.nx, np.inf),
    )


def make_architecture(settings, dt):
    """The network's architecture: "auto" skips from the input to layer 2, "all" makes every hidden layer recurrent; times are
    told in control steps of dt [s]."""
    depth = len(settings.hidden)
    named = {
        "all": tuple(range(2, depth + 1)),
        "none": (),
        "auto": (2,) if depth > 1 else (),
    }
    skip = (
        named.get(settings.skip, settings.skip)
        if isinstance(settings.skip, str)
        else settings.skip
    )
    named = {"all": tuple(range(1, depth + 1)), "none": ()}
    recurrent = (
        named.get(settings.recurrent, settings.recurrent)
        if isinstance(settings.recurrent, str)
        else settings.recurrent
    )
    for name, value in (("skip", skip), ("recurrent", recurrent)):
        if isinstance(value, str):
            raise UsageError(
                f"--{name} {value}: layer numbers such as 1,2, or all or none"
            )
    times = TIME_CONSTANTS
    if settings.time_constants is not None:
        times = tuple(
            tau / dt for tau in durations(settings.time_constants, "time-constants")
        )
    return Architecture(
        tuple(settings.hidden),
        settings.cell,
        tuple(skip),
        tuple(recurrent),
        settings.learn_start,
        settings.scheme,
        settings.unfold,
        times,
    )


def make_plant(settings, plant=None):
    """The plant with the parameters, actuators and observations that the settings ask for, or its environment's own episodes."""
    plant = plant or load_plant(settings.plant)
    if settings.task == Episodes.name and plant.episodes:
        plant = plant.episodes
    plant = with_params(plant, assignments(settings.param))
    plant = with_actuators(plant, duration(settings.actuators, "actuators"))
    return (
        with_observations(plant, tuple(settings.observe)) if settings.observe else plant
    )


def make_task(settings, plant, kernels):
    """The task with the user's numbers over its own."""
    vary = (*ranges(settings.vary, plant), *curl_range(settings.curl_field, plant))
    disturbances = Disturbances(
        settings.sensory_noise, *motor_noises(settings.motor_noise), settings.push, vary
    )
    options = TaskOptions(
        settings.trials,
        settings.steps,
        settings.effort,
        settings.running,
        settings.space,
        disturbances,
    )
    return Task(plant, kernels, settings.task, options)


def make_network(settings, n_input, plant):
    """The network with the constraint on its weights, if any is asked for; the seed decides what is cut or signed."""
    network = Network(
        make_architecture(settings, plant.dt), n_input, plant.nu, plant.trim
    )
    if settings.density != 1.0 or settings.freeze or settings.dale is not None:
        network.constraint = Constraint(
            network,
            stream(settings.seed, Stream.CONSTRAINT),
            settings.density,
            settings.freeze,
            settings.dale,
        )
    return network


def make_optimizer(settings, task):
    """The optimizer with its options; unless asked otherwise, it takes the curvature of as many trials as the task needs."""
    if settings.optimizer == "hf":
        trials = (
            settings.curvature_trials
            if settings.curvature_trials is not None
            else task.curvature_trials
        )
        return HessianFree(
            settings.solver,
            settings.damping,
            settings.structural,
            settings.cg_cap,
            trials,
        )
    if settings.optimizer == "lbfgs":
        return LBFGS()
    if settings.optimizer in POLICY:
        return PolicyGradient.for_method(
            settings.optimizer,
            learning_rate=settings.learning_rate,
            **{name: getattr(settings, name) for name in POLICY_OPTIONS},
        )
    rate = {} if settings.learning_rate is None else {"rate": settings.learning_rate}
    return {"adam": Adam, "momentum": Momentum}[settings.optimizer](**rate)


def _environment_trainer(settings, plant, limits):
    """The trainer of an environment that is stepped but not differentiated; UsageError for what has no meaning there."""
    environment, fields = plant.environment, type(settings).__dataclass_fields__
    if settings.optimizer not in POLICY:
        raise UsageError(
            f"--optimizer {settings.optimizer} with --plant {settings.plant}: it needs derivatives, and "
            f"{environment.undifferentiable}; give --optimizer ppo or a2c, or a plant whose state can be set"
        )
    if settings.task not in (None, Episodes.name):
        raise TaskError(
            f"{settings.plant} has no task {settings.task!r}; it has: {Episodes.name}"
        )
    for name in OF_PLANTS:
        if getattr(settings, name) != fields[name].default:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(settings, name)} with --plant {settings.plant}: it is of plants, "
                "not of environments; leave it out"
            )
    network, seen = (
        make_network(settings, plant.ny, plant),
        np.array(plant.seen if plant.seen is not None else range(plant.ny)),
    )
    task = Episodes(
        COPIES if settings.trials is None else settings.trials,
        environment.steps if settings.steps is None else settings.steps,
    )
    sampler = EnvironmentSampler(environment, network, seen, task.trials, task.steps)
    return PolicyTrainer(
        task,
        plant,
        None,
        network,
        make_wiring(settings, plant),
        make_optimizer(settings, task),
        sampler,
        limits,
    )


def make_trainer(settings, plant=None):
    """The trainer that the settings describe; raises a kind of HFControlError for what does not fit together."""
    plant = make_plant(settings, plant)
    limits = Limits(
        settings.batches,
        settings.target_loss,
        settings.target_ratio,
        settings.rollouts,
        settings.max_seconds,
    )
    if plant.environment:
        return _environment_trainer(settings, plant, limits)
    task = make_task(settings, plant, compile_plant(plant))
    kernels = compile_plant(plant, resolve_device(settings.device))
    network = make_network(settings, task.n_target + plant.ny, plant)

    def optimal(loop):
        return float(
            np.mean(optimum(kernels, plant, loop.scenario, loop.wiring).losses)
        )

    wiring, optimizer = make_wiring(settings, plant), make_optimizer(settings, task)
    if settings.optimizer in POLICY:
        sampler = PlantSampler(
            plant_loop(task, plant, kernels, network, wiring), plant, task.n_target
        )
        return PolicyTrainer(
            task, plant, kernels, network, wiring, optimizer, sampler, limits
        )
    return Trainer(
        task,
        plant,
        kernels,
        network,
        wiring,
        optimizer,
        "scenario" if settings.estimator else settings.hold,
        limits,
        optimal,
        store_every=settings.store_every,
        estimator=settings.solved_by,
        dtype=settings.dtype,
        average=settings.average,
    )


class Preparation(NamedTuple):
    """What was made ready before the clock started: seconds of compiling or loading, the solver, and why it was chosen."""

    seconds: float
    solver: str
    reasons: tuple


def prepare(trainer, settings):
    """Compiles or loads all that a training will call, and says what was chosen and why."""
    begin = time.perf_counter()
    if settings.optimizer in POLICY:
        trainer.prepare()
        return Preparation(
            time.perf_counter() - begin,
            settings.optimizer,
            (
                f"{settings.optimizer}: learns from costs alone, by "
                f"{trainer.sampler.description}",
            ),
        )
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    linear = loop.linearise(loop.rollout(trainer.place(np.zeros(trainer.network.size))))
    linear.jvp(linear.gradient)
    solver, reasons = settings.optimizer, [f"hold {choose_hold(trainer.hold, loop)[1]}"]
    if trainer.kernels.device == "gpu":
        reasons.append(
            f"device {device_name()}, passes {type(loop.passes).__name__.removesuffix('Passes').lower()}, network in "
            f"{settings.dtype}"
        )
    if not trainer.plant.compiled:
        reasons.append(
            f"passes fused, but for the steps of {trainer.plant.name}, which is not compiled"
        )
    if settings.optimizer == "hf":
        solver, why = trainer.optimizer.choose_solver(loop)
        if loop.active_residuals():
            linear.rows(loop.active_residuals()[-1:])
        reasons.append(f"solver {why}")
    if settings.guide:
        trainer.optimal(loop.subset(1))
        reasons.append(
            f"guide: iLQR's trajectories first, at most {settings.guide} updates on each part of the horizon"
        )
    return Preparation(time.perf_counter() - begin, solver, tuple(reasons))
