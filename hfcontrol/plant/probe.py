"""Plain Python calls of a plant file's functions, before anything is compiled."""

import traceback
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from hfcontrol.errors import FOREIGN_FAULTS, PlantError
from hfcontrol.plant.contract import Plant

# States and controls of a probe, in units of their typical sizes. Not zero, where many
# functions have special values.
PROBE_SIZE = 0.3


class CheckedArray:
    """Numbers that raise IndexError for any index but integers within their size.

    Negative integers count from the end, as in Python and in compiled code.
    """

    def __init__(self, name: str, numbers: Iterable[Any]) -> None:
        self.name = name
        self.numbers = list(numbers)

    def _check(self, index: Any) -> int:
        size = len(self.numbers)
        if type(index) is not int or not -size <= index < size:
            raise IndexError(
                f"{self.name}[{index}] does not exist: {self.name} has {size} entries"
            )
        return index

    def __getitem__(self, index: int) -> Any:
        """Return an entry."""
        return self.numbers[self._check(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        """Write an entry."""
        self.numbers[self._check(index)] = value

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[Any]:
        """Return the entries."""
        return iter(self.numbers)


class FunctionCall(NamedTuple):
    """A call of a plant's function: its name, what it writes, what it reads.

    names: names of the entries that the function writes into its last argument
    arguments: its other arguments
    """

    function: str
    names: tuple[str, ...]
    arguments: tuple[Any, ...]


def list_calls(
    plant: Plant,
    x: tuple[float, ...],
    u: tuple[float, ...],
) -> list[FunctionCall]:
    """Return a call at the state x (nx,) and control u (nu,) of each compiled function.

    The arguments are tuples, so a function that writes into its input fails.
    """
    p = tuple(plant.params.values())
    calls = [
        FunctionCall("dynamics", plant.state, (x, u, p)),
        FunctionCall("step", plant.state, (x, u, p, plant.dt)),
        FunctionCall("observe", plant.observation, (x, p)),
        FunctionCall("output", plant.output, (x, p)),
    ]
    for function, names in plant.residuals.items():
        # The state stands in for the target.
        calls.append(FunctionCall(function, names, (x, u, x, p)))
    return [call for call in calls if call.function in plant.functions]


def probe_functions(plant: Plant) -> None:
    """Call each function of the plant once, and check what it writes.

    Raises PlantError if a function leaves an entry unwritten or uses an index that is
    too large: compiled code would do either silently. Arithmetic errors are allowed,
    because compiled code returns inf or nan instead.
    """
    x = tuple((PROBE_SIZE * plant.typical_state).tolist())
    u = tuple((PROBE_SIZE * plant.typical_control).tolist())
    for function, names, arguments in list_calls(plant, x, u):
        # None marks an entry that the function does not write.
        written = [None] * len(names)
        try:
            plant.functions[function](*arguments, written)
        except (ArithmeticError, ValueError):
            continue
        except FOREIGN_FAULTS as error:
            raise PlantError(
                f"{plant.path.name}: {function} fails at x = {format_numbers(x)}, "
                f"u = {format_numbers(u)}: {describe_error(plant, error)}"
            ) from error
        _check_written(plant, function, dict(zip(names, written, strict=True)), x)


def _check_written(
    plant: Plant,
    function: str,
    written: dict[str, float | None],
    x: tuple[float, ...],
) -> None:
    """Raise PlantError if a function has not written all its entries."""
    entries = enumerate(written.items())
    missing = [f"{i} ({name})" for i, (name, value) in entries if value is None]
    if missing:
        raise PlantError(
            f"{plant.path.name}: {function} leaves entry {', '.join(missing)} "
            f"unwritten at x = {format_numbers(x)}; it must write all {len(written)}"
        )
    for name, value in written.items():
        if not isinstance(value, (Real, np.bool_)):
            raise PlantError(
                f"{plant.path.name}: {function} writes {value!r} as {name} at "
                f"x = {format_numbers(x)}; it must write a number"
            )


def probe_derivatives(plant: Plant) -> None:
    """Call `jacobian` and `observe_jacobian` of the plant file once.

    Raises PlantError if one of them uses an index that is too large.
    """
    nx = plant.nx
    x = PROBE_SIZE * plant.typical_state
    u = PROBE_SIZE * plant.typical_control
    p = np.array(list(plant.params.values()))
    calls = {
        "jacobian": (x, u, p, np.zeros((nx, nx)), np.zeros((nx, plant.nu))),
        "observe_jacobian": (x, p, np.zeros((plant.ny, nx))),
    }
    for name in calls.keys() & plant.functions.keys():
        try:
            # Arrays do not raise errors of arithmetic, they warn.
            with np.errstate(all="ignore"):
                plant.functions[name](*calls[name])
        except (ArithmeticError, ValueError):
            continue
        except FOREIGN_FAULTS as error:
            raise PlantError(
                f"{plant.path.name}: {name} fails at x = {format_numbers(x)}: "
                f"{describe_error(plant, error)}"
            ) from error


def describe_error(plant: Plant, error: BaseException) -> str:
    """Return the text of an error in a plant's function, with its line in the file.

    For an index that is too large it also names the sizes of all arguments, and for a
    number outside the domain of a function it says how to keep it inside.
    """
    text = str(error)
    if isinstance(error, IndexError):
        text += (
            f" (indices start at 0; sizes: {plant.nx} of x, {plant.nu} of u, "
            f"{plant.n_params} of p, {plant.ny} of y, {plant.nz} of z)"
        )
    elif isinstance(error, ValueError) and plant.compiled:
        text += (
            "; states may leave their usual range: keep what sqrt or log takes above "
            "zero, as in math.sqrt(max(level, 1e-3))"
        )
    line = line_in_file(error, str(plant.path))
    return text if line is None else f"line {line}, {text}"


def line_in_file(error: BaseException, file: str) -> int | None:
    """Return the last line of a file in the traceback of an error, or None."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def format_numbers(values: Iterable[float]) -> str:
    """Return numbers as messages show them: (0.3, -1.2)."""
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
