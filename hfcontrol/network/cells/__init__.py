"""Cells: what a layer does with its summed input, one file per cell, by name in `CELLS`.

A cell is a module of functions of numbers that work on arrays (unit, trial) alike. All have

    ACTIVATION      the name in `ACTIVATIONS` of phi in f = phi(W X + b)
    CODE            the number by which the compiled sweeps know the cell

A plain cell (tanh, linear) has h = f. A time-continuous one moves by a differential equation from the state x before,

    dx/dt = field(x, f, p)      field_slopes(x, f, p): its derivatives by x, f and each of p
    fused(x, f, p, h)           a semi-implicit step of length h, which no h makes unstable; fused_slopes(x, f, p, h)

with p the values, unit by unit, of its PARAMETERS: names and whether softplus keeps the trained number's value positive.
Time is counted in control steps, here and in p. stages.py solves it over a control step. A cell with SYNAPSE has a gate for
every connection (connections.py) and two activities, f (2, k, N). One with MATRICES has these for its connections, whose sums
know the length of the step, three activities, f (3, k, N), and a fused step alone.
"""

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

CELLS = {
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


def is_continuous(cell):
    """Whether the cell of this name has a state that moves by a differential equation."""
    return hasattr(CELLS.get(cell), "field")


def is_staged(cell):
    """Whether layers of the cell of this name have stages (stages.py): all in continuous time, and the closed form's one."""
    return hasattr(CELLS.get(cell), "fused")


def matrix_names(cell):
    """Names of the matrices of the connections to the cell of this name that are no synapses."""
    return getattr(CELLS[cell], "MATRICES", ("W",))


def is_timed(cell):
    """Whether the connections to the cell of this name know the length of the step."""
    return hasattr(CELLS.get(cell), "MATRICES")


def count_sums(cell):
    """How many numbers a unit of the cell of this name sums, and how many activities it has."""
    return 2 if has_synapses(cell) else 3 if is_timed(cell) else 1


def has_synapses(cell):
    """Whether the connections to the cell of this name are synapses with gates of their own."""
    return hasattr(CELLS.get(cell), "SYNAPSE")
