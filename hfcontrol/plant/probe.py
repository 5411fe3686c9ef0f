"""A plant file's functions, run once as plain Python."""

import traceback

import numpy as np

from hfcontrol.errors import PlantError


def plain_calls(plant, x, u):
    """Every compiled function of a plant as (name, names of what it writes, its arguments but the last).

    x (nx,) and u (nu,) are plain tuples: a function that writes into them fails.
    """
    p = tuple(plant.params.values())
    calls = {
        "dynamics": (plant.state, (x, u, p)),
        "step": (plant.state, (x, u, p, plant.dt)),
        "observe": (plant.observation, (x, p)),
        "output": (plant.output, (x, p)),
    }
    calls |= {name: (names, (x, u, x, p)) for name, names in plant.residuals.items()}
    return [(name, *call) for name, call in calls.items() if name in plant.functions]


def _probe(plant):
    """Raise PlantError where a function, run once as plain Python, misses an entry or reads beyond the end.

    Compiled code would do either silently. Arithmetic errors are left alone: compiled, they give inf or nan.
    """
    x, u = (
        tuple((0.3 * size).tolist())
        for size in (plant.typical_state, plant.typical_control)
    )
    for name, names, arguments in plain_calls(plant, x, u):
        written = [None] * len(names)
        try:
            plant.functions[name](*arguments, written)
        except (ArithmeticError, ValueError):
            continue
        except Exception as error:
            raise PlantError(
                f"{plant.path.name}: {name} fails at x = {format_numbers(x)}, u = {format_numbers(u)}: {describe_error(plant, error)}"
            ) from error
        missing = [
            f"{i} ({names[i]})" for i, value in enumerate(written) if value is None
        ]
        if missing:
            raise PlantError(
                f"{plant.path.name}: {name} leaves entry {', '.join(missing)} unwritten "
                f"at x = {format_numbers(x)}; it must write all {len(names)}"
            )


def _probe_derivatives(plant):
    """Raise PlantError where a derivative that the file gives, run once as plain Python, reads or writes beyond the end."""
    k, x, u = (
        plant.nx,
        *(0.3 * size for size in (plant.typical_state, plant.typical_control)),
    )
    p = np.array(list(plant.params.values()))
    matrices = {
        "jacobian": (x, u, p, np.zeros((k, k)), np.zeros((k, plant.nu))),
        "observe_jacobian": (x, p, np.zeros((plant.ny, k))),
    }
    for name in matrices.keys() & plant.functions.keys():
        try:
            with np.errstate(all="ignore"):
                plant.functions[name](*matrices[name])
        except (ArithmeticError, ValueError):
            continue
        except Exception as error:
            raise PlantError(
                f"{plant.path.name}: {name} fails at x = {format_numbers(x)}: {describe_error(plant, error)}"
            ) from error


def describe_error(plant, error):
    """What an exception of a plant file's own function says, with its line there and, of an index, how many entries there are."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(plant.path)
    ]
    text = str(error)
    if isinstance(error, IndexError):
        text += f" (entries from 0 on: {plant.nx} of x, {plant.nu} of u, {plant.n_params} of p, {plant.ny} of y, {plant.nz} of z)"
    return f"line {lines[-1]}, {text}" if lines else text


def format_numbers(values):
    """Numbers as messages show them."""
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
