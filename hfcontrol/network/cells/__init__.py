"""Cells: what a unit does with its summed input; one file per cell, named in `CELLS`.

* protocol.py: what the module of a cell provides
* linear.py, tanh.py: without a state
* ctrnn.py, ltc.py, ltc_tanh.py, ltc_conductance.py, rnn_ode.py, neural_ode.py:
  in continuous time
* cfc.py: with a state, but without a differential equation
"""

from typing import cast

from hfcontrol.network.cells import (
    cfc,
    ctrnn,
    linear,
    ltc,
    ltc_conductance,
    ltc_tanh,
    neural_ode,
    rnn_ode,
    tanh,
)
from hfcontrol.network.cells.protocol import Cell, ContinuousCell, StagedCell

# Keys are the names that users give to `cell`.
CELLS: dict[str, Cell] = {
    "tanh": tanh,
    "linear": linear,
    "ctrnn": ctrnn,
    "ltc": ltc,
    "ltc_tanh": ltc_tanh,
    "ltc_conductance": ltc_conductance,
    "rnn_ode": rnn_ode,
    "neural_ode": neural_ode,
    "cfc": cfc,
}

__all__ = [
    "CELLS",
    "Cell",
    "ContinuousCell",
    "StagedCell",
    "count_sums",
    "has_synapses",
    "is_continuous",
    "is_staged",
    "is_timed",
    "matrix_names",
    "staged_cell",
    "synapse_names",
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


def is_timed(cell: str) -> bool:
    """Return whether the sums depend on the length of the step (`Timed`)."""
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


def count_sums(cell: str) -> int:
    """Return how many sums, and so how many activities, a unit of the cell has."""
    if has_synapses(cell):
        return 2
    return 3 if is_timed(cell) else 1
