"""Calls of a plant file's NumPy functions, which may raise or return anything.

Every mistake is reported in one line, with the file and the line of the function.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import FOREIGN_FAULTS, HFControlError, PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import line_in_file

POINT_SIZES = (2, 3)  # a point in the plane, or in space


def call_function(
    plant: Plant,
    label: str,
    function: Callable[..., Any],
    *arguments: Any,
    error_type: type[HFControlError] = PlantError,
) -> Any:
    """Call a function of the plant file; `label` names it in messages.

    Raises `error_type` for whatever the function raises, and passes errors of hfcontrol
    on.
    """
    try:
        return function(*arguments)
    except HFControlError:
        raise
    except FOREIGN_FAULTS as error:
        line = line_in_file(error, str(plant.path))
        place = format_place(plant, line or line_of(plant, function))
        raise error_type(f"{place}: {label} fails: {describe_exception(error)}") from (
            error
        )


def describe_exception(error: BaseException) -> str:
    """Return the kind and the message of an exception in one line."""
    # NumPy's messages may have several lines.
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line_of(plant: Plant, function: Callable[..., Any]) -> int | None:
    """Return the line of a function in the plant file, or None if it is elsewhere."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_filename != str(plant.path):
        return None
    line: int = code.co_firstlineno
    return line


def format_place(plant: Plant, line: int | None) -> str:
    """Return the file of a plant and a line in it, for the beginning of a message."""
    return plant.path.name if line is None else f"{plant.path.name}, line {line}"


def read_array(value: Any) -> Array | None:
    """Return a value as an array of floats, or None if it is none."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    # The numbers behind a mask are no result.
    if np.ma.is_masked(value):
        return None
    # Booleans, integers and floats; texts and None would be converted.
    return array.astype(float) if array.dtype.kind in "biuf" else None


def describe_value(value: Any) -> str:
    """Return in words what a function has returned: shape and dtype, or its type."""
    if value is None:
        return "nothing"
    array = read_array(value)
    if array is None:
        if type(value) is np.ndarray and value.dtype.kind != "O":
            return f"an array {value.shape} of {value.dtype}"
        return f"a {type(value).__name__} that is no array of numbers"
    if not array.ndim:
        return f"a single {type(value).__name__}"
    return f"an array {array.shape} of {np.asarray(value).dtype}"


def draw_links(plant: Plant, x: Array, p: Array) -> Array:
    """Return the points (k, 2 or 3) [m] that `links` draws at a state x (nx,).

    Raises PlantError if it fails or returns anything else.
    """
    links = plant.functions["links"]
    value = call_function(plant, "links", links, x, p)
    points = read_array(value)
    is_table = points is not None and points.ndim == 2 and points.size
    if points is None or not is_table or points.shape[1] not in POINT_SIZES:
        raise PlantError(
            f"{format_place(plant, line_of(plant, links))}: links gives "
            f"{describe_value(value)}; it must give points (k, 2), or (k, 3) in space"
        )
    return points


def draw_marks(plant: Plant, x: Array, u: Array, p: Array) -> Array:
    """Return the marks (k, 3) that `marks` draws at x (nx,) and u (nu,).

    Raises PlantError if it fails or returns anything else.
    """
    function = plant.functions["marks"]
    value = call_function(plant, "marks", function, x, u, p)
    marks = read_array(value)
    if marks is None or marks.ndim != 2 or marks.shape[1] != 3:
        raise PlantError(
            f"{format_place(plant, line_of(plant, function))}: marks gives "
            f"{describe_value(value)}; it must give x, y and a value for each mark "
            "(k, 3) at every state"
        )
    return marks


def stack_drawings(plant: Plant, name: str, drawings: list[Array]) -> Array:
    """Return the drawings of `links` or `marks` at several states as one array.

    Raises PlantError if the number of points changes from state to state.
    """
    if any(drawing.shape != drawings[0].shape for drawing in drawings):
        place = format_place(plant, line_of(plant, plant.functions[name]))
        raise PlantError(
            f"{place}: {name} gives more points at some states than at others; the "
            "number must be the same at all"
        )
    return np.array(drawings)
