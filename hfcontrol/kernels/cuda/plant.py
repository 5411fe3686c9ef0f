"""The functions of a plant as device functions.

They are compiled from the functions of the plant file itself, as those of the CPU.
"""

from functools import cache
from typing import Any, NamedTuple

from hfcontrol.kernels import scalar_steps
from hfcontrol.kernels.base import actuator_factors
from hfcontrol.kernels.cuda.arguments import PlantSizes
from hfcontrol.kernels.cuda.device import device_function, device_functions
from hfcontrol.plant.contract import Plant


class DevicePlant(NamedTuple):
    """Device functions of a plant.

    step(x, u, p, work, x_next), observe(x, p, work, y), output(x, p, work, z), with
    scratch `work`; `functions` are those of the plant file, by name.
    """

    step: Any
    observe: Any
    output: Any
    functions: dict[str, Any]
    sizes: PlantSizes


@cache
def scalar_functions() -> dict[str, Any]:
    """Return the functions of scalar_steps.py as device functions, by name."""
    return device_functions(vars(scalar_steps))


@cache
def device_plant(plant: Plant) -> DevicePlant:
    """Return the device functions of a compiled plant."""
    functions = _plant_functions(plant)
    step = _make_body_step(plant, functions)
    if plant.actuator_lag:
        step = _make_driven_step(plant, step)
    observe = _make_map(functions.get("observe"))
    if plant.observation_indices is not None:
        observe = _make_selection(plant, observe)
    output = _make_map(functions.get("output"))
    # Scratch rows hold a state, the drives or all observations.
    work = max(plant.nx, plant.nu, plant.n_observable)
    sizes = PlantSizes(plant.nx, plant.nu, plant.ny, work)
    return DevicePlant(step, observe, output, functions, sizes)


def _plant_functions(plant: Plant) -> dict[str, Any]:
    """Return the functions of the plant file as device functions, by name."""
    # All functions of the file have the same namespace, helpers included.
    any_function = next(iter(plant.functions.values()))
    namespace = device_functions(any_function.__globals__)
    return {name: namespace[name] for name in plant.functions}


def _make_body_step(plant: Plant, functions: dict[str, Any]) -> Any:
    step_body = scalar_functions()["step_body"]
    name = scalar_steps.INTEGRATORS[plant.integrator].__name__
    integrator = scalar_functions()[name]
    rates = functions["step" if "step" in functions else "dynamics"]
    substeps = plant.substeps
    h = plant.dt / plant.substeps

    @device_function
    def integrate(x, u, p, h, work, x_next):  # type: ignore[no-untyped-def]
        integrator(rates, x, u, p, h, work, x_next)

    @device_function
    def step(x, u, p, work, x_next):  # type: ignore[no-untyped-def]
        step_body(integrate, substeps, h, x, u, p, work, x_next)

    return step


def _make_driven_step(plant: Plant, step: Any) -> Any:
    """Return the step of a body with actuators in front of it."""
    drive_actuators = scalar_functions()["drive_actuators"]
    n_body, nu = plant.n_body, plant.nu
    decay, mean = actuator_factors(plant)

    # The last row of the scratch is free: integrators use the others.
    @device_function
    def driven_step(x, u, p, work, x_next):  # type: ignore[no-untyped-def]
        drive = work[3, :nu]
        drive_actuators(decay, mean, x, u, drive, x_next)
        step(x[:n_body], drive, p, work, x_next[:n_body])

    return driven_step


def _make_map(function: Any) -> Any:
    """Return `observe` or `output`, which is the state if the plant file has none."""
    copy_state = scalar_functions()["copy_state"]
    if function is None:

        @device_function
        def copy(x, p, work, y):  # type: ignore[no-untyped-def]
            copy_state(x, y)

        return copy

    @device_function
    def evaluate(x, p, work, y):  # type: ignore[no-untyped-def]
        function(x, p, y)

    return evaluate


def _make_selection(plant: Plant, observe: Any) -> Any:
    """Return `observe` for some of the observations."""
    select_entries = scalar_functions()["select_entries"]
    indices, n_observable = plant.observation_indices, plant.n_observable

    @device_function
    def selected(x, p, work, y):  # type: ignore[no-untyped-def]
        values = work[3, :n_observable]
        observe(x, p, work, values)
        select_entries(values, indices, y)

    return selected
