"""The check that a plant's functions keep to their arrays, also at unusual states.

Loading a compiled plant has proved the same (plant/proof). This is the second look, by
another way: the functions run as plain Python on arrays that check each index.
"""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.plant_sample import TRIALS, Sample
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import (
    CheckedArray,
    FunctionCall,
    describe_error,
    format_numbers,
    list_calls,
)

# Multiples of the states and controls of the sample.
WIDE = (1.0, 10.0, 1000.0)


def check_indices(sample: Sample) -> str | None:
    """Every function keeps to its arrays, at states far beyond typical ones."""
    for factor in WIDE:
        x, u = factor * sample.x, factor * sample.u
        if not sample.plant.compiled:
            # NumPy checks indices itself, and the kernels report what it raises.
            _evaluate_all(sample, x, u)
            continue
        for n in range(TRIALS):
            message = _find_wrong_index(sample.plant, x[:, n], u[:, n])
            if message:
                return message
    return None


def _evaluate_all(sample: Sample, x: Array, u: Array) -> None:
    """Compute a step, observation, output and residuals at x (nx, N) and u (nu, N)."""
    kernels = sample.kernels
    kernels.step(x, u, sample.p)
    kernels.observe(x[None], sample.p)
    kernels.output(x[None], sample.p)
    for name in sample.plant.residuals:
        kernels.residual(name, x[None], u[None], x[None], sample.p)


def _find_wrong_index(plant: Plant, x: Array, u: Array) -> str | None:
    """Return which function leaves an array at x (nx,) and u (nu,), or None."""
    for call in list_calls(plant, tuple(x.tolist()), tuple(u.tolist())):
        try:
            _call_on_checked_arrays(plant, call)
        except (ArithmeticError, ValueError):
            # Compiled code goes on with inf or nan.
            continue
        except IndexError as error:
            place = f"at x = {format_numbers(x)}, u = {format_numbers(u)}"
            return f"{call.function} fails {place}: {describe_error(plant, error)}"
    return None


def _call_on_checked_arrays(plant: Plant, call: FunctionCall) -> None:
    """Call a function; raises IndexError if it leaves one of its arrays."""
    function = plant.functions[call.function]
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    values = (*call.arguments, np.zeros(len(call.names)).tolist())
    arguments = []
    for name, value in zip(names, values, strict=True):
        is_array = isinstance(value, tuple | list)
        arguments.append(CheckedArray(name, value) if is_array else value)
    function(*arguments)
