"""Build what settings describe: plant, task, network, wiring, optimizer and trainer."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from hfcontrol.arrays.device import resolve_device
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.settings import POLICY_OPTIMIZERS
from hfcontrol.arrays.types import Array
from hfcontrol.closed_loop.structure import learn_structure
from hfcontrol.closed_loop.wiring import Wiring
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.kernels.base import Kernels
from hfcontrol.network.architecture import TIME_CONSTANTS, Architecture
from hfcontrol.network.constraints import Constraint
from hfcontrol.network.network import Network
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.lbfgs import LBFGS
from hfcontrol.optim.protocol import Optimizer
from hfcontrol.optim.yardstick import Optima
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.limits import ControlLimits, read_bounds
from hfcontrol.plant.modifiers import (
    with_actuators,
    with_jitter,
    with_observations,
    with_params,
)
from hfcontrol.plant.registry import load_plant
from hfcontrol.policy_gradient.options import PolicyGradient
from hfcontrol.policy_gradient.samplers import (
    EnvironmentSampler,
    Episodes,
    PlantSampler,
)
from hfcontrol.policy_gradient.trainer import PolicyTrainer, plant_loop
from hfcontrol.runs.interface import Interface
from hfcontrol.runs.quantities import (
    curl_range,
    parse_bounds,
    parse_delay,
    parse_motor_noise,
    parse_params,
    parse_ranges,
    parse_time,
    parse_time_range,
)
from hfcontrol.runs.settings import POLICY_SETTINGS, Settings
from hfcontrol.schema import format_value, join_words, options
from hfcontrol.tasks.disturbances import Disturbances
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.scenario import Scenario
from hfcontrol.tasks.task import Task
from hfcontrol.training.conditioning import PLAIN, Conditioning
from hfcontrol.training.state import Limits
from hfcontrol.training.trainer import Trainer
from hfcontrol.training.validation import draw_validation

# Copies of an environment that are stepped in one batch: enough for stable gradients of
# PPO's defaults, and still quick to make.
COPIES = 8

# Policy gradients start with this part of the initial outputs: exploration around a
# controller that does next to nothing (Andrychowicz et al. 2021, sec. 3.2). On cartpole
# an LTC balances after 40 rollouts with a tenth, and after 80 with all of them.
GENTLE = 0.1

# Longest time constant of actuators, in horizons: slower ones hardly move, and are
# milliseconds taken for seconds.
MOST_LAG = 10.0

# Most updates of a hold, and of one whose trials are drawn again after it: more would
# overfit to these.
BATCHES = 32
FRESH_BATCHES = 8

# Initial damping of a training in the plant's own units; in typical sizes the problem
# chooses it.
PLAIN_DAMPING = 1.0


def make_wiring(settings: Settings, plant: Plant, taper: bool = True) -> Wiring:
    """Return the wiring between plant and network.

    Without `taper`, the plant is not tapered, as outside of training. Raises UsageError
    for a limit that is not positive and for delays that are not whole steps.
    """
    low, high = _bounds(settings, plant)
    limits = ControlLimits(low, high, np.array(plant.typical_control, dtype=float))
    feedback = parse_delay(settings.feedback_delay, plant.dt, "feedback_delay")
    command = parse_delay(settings.command_delay, plant.dt, "command_delay")
    widths = plant.taper if taper else np.full(plant.nx, np.inf)
    return Wiring(feedback, command, limits, widths)


def _bounds(settings: Settings, plant: Plant) -> Array:
    """Return the bounds (2, nu) of the controls, infinite for none."""
    chosen = settings.control_limit
    if chosen == "plant":
        return read_bounds(None, plant.nu) if plant.limit is None else plant.limit
    if chosen == "none":
        chosen = None
    try:
        value = parse_bounds(chosen, plant.nu) if isinstance(chosen, str) else chosen
        return read_bounds(value, plant.nu)
    except ValueError as error:
        raise UsageError(
            f"`control_limit` {format_value(chosen)}: {error}; or plant, or none"
        ) from None


def make_architecture(settings: Settings, dt: float) -> Architecture:
    """Return the architecture of the network, for control steps of dt [s].

    The skip "auto" goes to layer 2, if there is one.
    """
    depth = len(settings.hidden)
    skip = settings.skip
    if isinstance(skip, str):
        skips = {
            "all": tuple(range(2, depth + 1)),
            "none": (),
            "auto": (2,) if depth > 1 else (),
        }
        skip = skips[skip]

    recurrent = settings.recurrent
    if isinstance(recurrent, str):
        recurrent = tuple(range(1, depth + 1)) if recurrent == "all" else ()

    times = TIME_CONSTANTS
    if settings.time_constants is not None:
        shortest, longest = parse_time_range(settings.time_constants, "time_constants")
        # Cells count time in control steps, and know no dt.
        times = (shortest / dt, longest / dt)
    return Architecture(
        settings.hidden,
        settings.cell,
        skip,
        recurrent,
        settings.learn_start,
        settings.scheme,
        settings.unfold,
        times,
    )


def make_plant(settings: Settings, plant: Plant | None = None) -> Plant:
    """Return the plant with the parameters, actuators, steps and observations chosen.

    `plant` is loaded by name if it is not given. With the task of a Gymnasium
    environment, its environment takes the place of the plant.
    """
    plant = plant or load_plant(settings.plant)
    if settings.task == Episodes.name and plant.episode_plant:
        plant = plant.episode_plant
    plant = with_params(plant, parse_params(settings.param))
    plant = with_actuators(plant, parse_time(settings.actuators, "actuators"))
    plant = with_jitter(plant, settings.jitter)
    if settings.observe:
        plant = with_observations(plant, settings.observe)
    return plant


def make_task(settings: Settings, plant: Plant, kernels: Kernels) -> Task:
    """Return the task, with the numbers of the settings in place of its own.

    Raises UsageError for actuators that are far slower than a trial.
    """
    noise, fraction = parse_motor_noise(settings.motor_noise)
    varied = parse_ranges(settings.vary, plant)
    curl = curl_range(settings.curl_field, plant)
    disturbances = Disturbances(
        settings.sensory_noise,
        noise,
        fraction,
        settings.push,
        (*varied, *curl),
        settings.jitter,
    )
    # Settings and task options have the same names.
    names = {option.name for option in fields(TaskOptions)} - {"disturbances"}
    chosen = {name: getattr(settings, name) for name in names}
    options = TaskOptions(disturbances=disturbances, **chosen)
    task = Task(plant, kernels, settings.task, options)
    horizon = task.steps * plant.dt
    if plant.actuator_lag > MOST_LAG * horizon:
        raise UsageError(
            f"`actuators` {settings.actuators}: {plant.actuator_lag:g} s is too slow "
            f"for a trial of {horizon:g} s; milliseconds are written as 40ms"
        )
    return task


def make_network(
    settings: Settings,
    n_input: int,
    plant: Plant | Interface,
    conditioning: Conditioning = PLAIN,
) -> Network:
    """Return the network, its scaling, and its constraint, which the seed draws.

    Of a plant it needs no more than the interface that a checkpoint holds.
    """
    architecture = make_architecture(settings, plant.dt)
    architecture = replace(architecture, linear_path=conditioning.linear_path)
    # Initial outputs have a size of about one. A larger typical control only makes the
    # untrained controller gentle; one that is ten times too strong can be unstable.
    sizes = np.minimum(1.0, plant.typical_control)
    if conditioning.outputs is not None:
        # the scaling knows the sizes of the outputs
        sizes = np.ones(plant.nu)
    if settings.optimizer in POLICY_OPTIMIZERS:
        sizes = GENTLE * sizes
    network = Network(architecture, n_input, plant.nu, plant.trim, sizes)
    if settings.density != 1.0 or settings.freeze or settings.dale is not None:
        # From a random stream of its own: the initial weights stay those of the seed.
        network.weight_map = Constraint(
            network,
            stream(settings.seed, Stream.CONSTRAINT),
            settings.density,
            settings.freeze,
            settings.dale,
        )
    conditioning.scale(network)
    return network


def make_optimizer(
    settings: Settings, task: Task, conditioning: Conditioning = PLAIN
) -> Optimizer[Any]:
    """Return the optimizer of training by derivatives.

    Raises NotImplementedError for a name in the settings without a row in `OPTIMIZERS`.
    """
    name = settings.optimizer
    if name not in OPTIMIZERS:
        raise NotImplementedError(
            f"`optimizer` {name}: nothing builds it; add a row to OPTIMIZERS in "
            "hfcontrol/runs/factory.py"
        )
    return OPTIMIZERS[name](settings, task, conditioning)


def _hessian_free(
    settings: Settings, task: Task, conditioning: Conditioning
) -> HessianFree:
    """Return the Hessian-free optimizer.

    By default the task chooses how many trials the curvature needs, and in typical
    sizes the curvature chooses the first damping.
    """
    trials = settings.curvature_trials
    if trials is None:
        trials = task.curvature_trials
    is_plain = settings.strategy == "plain"
    damping = settings.damping
    if damping is None and not conditioning.is_scaled:
        damping = PLAIN_DAMPING
    return HessianFree(
        settings.solver,
        damping,
        settings.structural,
        settings.cg_cap,
        trials,
        restarts=not is_plain,
        adds_trials=not is_plain and settings.curvature_trials is None,
    )


def _adam(settings: Settings, task: Task, conditioning: Conditioning) -> Adam:
    """Return Adam, with its own learning rate by default."""
    rate = settings.learning_rate
    return Adam() if rate is None else Adam(rate)


def _momentum(settings: Settings, task: Task, conditioning: Conditioning) -> Momentum:
    """Return gradient descent with momentum, with its own learning rate by default."""
    rate = settings.learning_rate
    return Momentum() if rate is None else Momentum(rate)


def _lbfgs(settings: Settings, task: Task, conditioning: Conditioning) -> LBFGS:
    """Return L-BFGS, which has no settings."""
    return LBFGS()


# One for each of DERIVATIVE_OPTIMIZERS. Policy gradients are no `Optimizer`: they train
# by sampled costs, in a trainer of their own.
OPTIMIZERS: dict[str, Callable[[Settings, Task, Conditioning], Optimizer[Any]]] = {
    "hf": _hessian_free,
    "adam": _adam,
    "momentum": _momentum,
    "lbfgs": _lbfgs,
}


def make_policy_gradient(settings: Settings, plant: Plant) -> PolicyGradient:
    """Return the options of PPO, A2C or REINFORCE."""
    chosen = {key: getattr(settings, key) for key in POLICY_SETTINGS}
    # The loss of a plant's task counts every step of its horizon alike.
    if chosen["discount"] is None and not plant.environment:
        chosen["discount"] = 1.0
    rate = settings.learning_rate
    return PolicyGradient.for_method(settings.optimizer, learning_rate=rate, **chosen)


def make_limits(settings: Settings, fresh: bool = False) -> Limits:
    """Return the limits at which training stops.

    `fresh` tells whether every hold draws new trials.
    """
    batches = settings.batches
    if batches is None:
        batches = FRESH_BATCHES if fresh else BATCHES
    return Limits(
        batches,
        settings.target_loss,
        settings.target_ratio,
        settings.rollouts,
        settings.max_seconds,
    )


def make_trainer(
    settings: Settings,
    plant: Plant | None = None,
    conditioning: Conditioning = PLAIN,
) -> Trainer | PolicyTrainer:
    """Return the trainer that the settings describe.

    Raises UsageError, PlantError, TaskError or DeviceError if they do not fit together.
    """
    plant = conditioning.plant(make_plant(settings, plant))
    if plant.environment:
        return _environment_trainer(settings, plant)

    # Scenarios are drawn on the CPU, wherever the network trains: a seed always means
    # the same ones.
    task = make_task(settings, plant, compile_plant(plant))
    kernels = compile_plant(plant, resolve_device(settings.device))
    network = make_network(settings, task.n_target + plant.ny, plant, conditioning)
    wiring = make_wiring(settings, plant)
    fresh = _draws_fresh(settings, task)
    limits = make_limits(settings, fresh)

    if settings.optimizer in POLICY_OPTIMIZERS:
        if settings.jitter:
            raise UsageError(
                f"`jitter` with `optimizer` {settings.optimizer}: policy gradients "
                "replay steps of one length; use `optimizer` hf, or leave it out"
            )
        if settings.n_steps is not None:
            raise UsageError(
                f"`n_steps` {settings.n_steps} with `plant` {settings.plant}: applies "
                "only to environments; on a plant every update has whole episodes"
            )
        draw_loop = plant_loop(task, plant, kernels, network, wiring)
        sampler = PlantSampler(draw_loop, plant, task.n_target)
        return PolicyTrainer(
            task,
            plant,
            kernels,
            network,
            wiring,
            make_policy_gradient(settings, plant),
            sampler,
            limits,
        )

    learn_structure(kernels, task, wiring)

    return Trainer(
        task,
        plant,
        kernels,
        network,
        wiring,
        make_optimizer(settings, task, conditioning),
        # In continuous time every update simulates the plant again.
        "scenario" if settings.estimator else settings.hold,
        limits,
        Optima(kernels),
        store_every=settings.store_every,
        estimator=settings.make_estimator(),
        dtype=settings.dtype,
        average=settings.average,
        fresh=fresh,
        validation=_validation(settings, task, fresh),
        remedies=settings.strategy != "plain" and not settings.estimator,
    )


def _validation(settings: Settings, task: Task, fresh: bool) -> Scenario | None:
    """Return the trials that choose the weights, None to keep the last ones.

    Fixed trials have them too, unless their number was chosen.
    """
    adapts = settings.strategy != "plain" and not settings.estimator
    is_default = adapts and settings.trials is None
    # In this order: `validates` draws trials, which needs the plant's compiled code.
    if fresh or (is_default and task.validates):
        return draw_validation(task, settings.seed)
    return None


def _draws_fresh(settings: Settings, task: Task) -> bool:
    """Whether every hold draws new trials, and validation trials choose the weights."""
    return settings.strategy != "plain" and not settings.estimator and task.draws


def _environment_trainer(settings: Settings, plant: Plant) -> PolicyTrainer:
    """Return the trainer of an environment that cannot be differentiated.

    Raises UsageError for settings without effect there.
    """
    environment: Any = plant.environment
    _check_environment(settings, environment)

    task = Episodes(
        COPIES if settings.trials is None else settings.trials,
        environment.steps if settings.steps is None else settings.steps,
    )
    network = make_network(settings, plant.ny, plant)
    seen = np.arange(plant.ny)
    if plant.observation_indices is not None:
        seen = np.array(plant.observation_indices)
    options = make_policy_gradient(settings, plant)
    n_steps = task.steps if options.n_steps is None else options.n_steps
    if settings.n_steps is not None and n_steps > task.steps:
        raise UsageError(
            f"`n_steps` {n_steps}: a rollout has {task.steps} `steps`; give at most as "
            "many"
        )
    n_steps = min(n_steps, task.steps)
    sampler = EnvironmentSampler(environment, network, seen, task.trials, n_steps)
    return PolicyTrainer(
        task,
        plant,
        None,
        network,
        make_wiring(settings, plant),
        options,
        sampler,
        make_limits(settings),
        rounds=task.steps // n_steps,
    )


def _check_environment(settings: Settings, environment: Any) -> None:
    """Raise UsageError or TaskError for settings that an environment cannot follow."""
    if settings.optimizer not in POLICY_OPTIMIZERS:
        raise UsageError(
            f"`optimizer` {settings.optimizer} with `plant` {settings.plant}: it needs "
            f"derivatives, and {environment.undifferentiable}; choose `optimizer` "
            f"{join_words(POLICY_OPTIMIZERS, 'or')}, or a plant whose state can be set"
        )
    if settings.task not in (None, Episodes.name):
        raise TaskError(
            f"{settings.plant} has no task {settings.task!r}; it has: {Episodes.name}"
        )

    if environment.discrete and not settings.is_default("log_spread"):
        raise UsageError(
            f"`log_spread` {settings.log_spread} with `plant` {settings.plant}: its "
            "actions are discrete, and a choice of one has no spread; leave it out"
        )

    faults = [
        f"`{option.name}` {format_value(getattr(settings, option.name))}"
        for option in options(Settings)
        if option.plants_only and not settings.is_default(option.name)
    ]
    if faults:
        raise UsageError(
            f"{', '.join(faults)} with `plant` {settings.plant}: applies only to "
            "plants, not to environments; leave it out"
        )
