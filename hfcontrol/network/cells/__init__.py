"""Cells: what a unit does with its summed input; one file per cell, named in `CELLS`.

* protocol.py: what the module of a cell provides
* linear.py, tanh.py: without a state
* those with a `field` in continuous time, such as ctrnn.py
* those with a state, but without a differential equation, such as cfc.py
"""

from importlib import import_module
from typing import cast, get_args

from hfcontrol.network.cells.protocol import ALL, Cell, ContinuousCell, StagedCell
from hfcontrol.network.settings import CellName

# Keys are the names that users give to `cell`, and those of the files.
CELLS: dict[str, Cell] = {
    name: cast(Cell, import_module(f"{__name__}.{name}")) for name in get_args(CellName)
}

__all__ = [
    "CELLS",
    "Cell",
    "ContinuousCell",
    "StagedCell",
    "count_states",
    "count_sums",
    "has_matrices",
    "has_synapses",
    "is_continuous",
    "is_staged",
    "matrix_names",
    "output_function",
    "reads_itself",
    "staged_cell",
    "sums_of",
    "synapse_names",
    "timed_matrices",
]


def is_continuous(cell: str) -> bool:
    """Return whether the state of the cell follows a differential equation."""
    return hasattr(CELLS.get(cell), "field")


def is_staged(cell: str) -> bool:
    """Return whether layers of the cell have stages: all cells that have a state."""
    return hasattr(CELLS.get(cell), "fused")


def has_synapses(cell: str) -> bool:
    """Return whether every connection to the cell has its own gate (`Synapses`)."""
    return hasattr(CELLS.get(cell), "SYNAPSE")


def has_matrices(cell: str) -> bool:
    """Return whether the cell has several matrices (`Matrices`)."""
    return hasattr(CELLS.get(cell), "MATRICES")


def staged_cell(cell: str) -> StagedCell:
    """Return the module of a cell that has a state."""
    return cast(StagedCell, CELLS[cell])


def matrix_names(cell: str) -> tuple[str, ...]:
    """Return the names of the weight matrices of a cell without synapses."""
    return getattr(CELLS[cell], "MATRICES", ("W",))


def synapse_names(cell: str) -> tuple[str, ...]:
    """Return the names of the four numbers of a synapse of the cell."""
    return getattr(CELLS[cell], "SYNAPSE", ())


def sums_of(cell: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the pairs (matrix, columns) that add up to each sum of a unit."""
    alone = tuple(((name, ALL),) for name in matrix_names(cell))
    return getattr(CELLS[cell], "SUMS", alone)


def timed_matrices(cell: str) -> tuple[int, ...]:
    """Return the indices of the matrices that the length of the step multiplies."""
    names = matrix_names(cell)
    return tuple(names.index(name) for name in getattr(CELLS[cell], "TIMED", ()))


def output_function(cell: str) -> str:
    """Return the name of the function of a unit's output that connections read."""
    return getattr(CELLS[cell], "OUTPUT", "linear")


def reads_itself(cell: str) -> bool:
    """Return whether layers of the cell can have recurrent connections."""
    return getattr(CELLS.get(cell), "RECURRENT", True)


def count_sums(cell: str) -> int:
    """Return how many sums, and so how many activities, a unit of the cell has."""
    return 2 if has_synapses(cell) else len(sums_of(cell))


def count_states(cell: str) -> int:
    """Return how many states a unit of the cell has; one is its output."""
    return getattr(CELLS[cell], "STATES", 1)
