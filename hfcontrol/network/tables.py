"""Columns of the integer tables that describe an architecture to compiled code.

`Network.tables` returns the tables: a row of `layers` for each layer, a row of
`sources` for each group of units that a layer reads.
"""

from hfcontrol.network.activations import activation_names

# Columns of layers. Units of the layer, from the first to the one after the last.
FIRST = 0
END = 1
# Activation functions of the sums: the index in KINDS of the first sum's in the two
# lowest bits, and so on.
ACTIVATION = 2
# Index of the weight matrix in theta.
WEIGHTS = 3
# Rows of `sources` that the layer reads, from the first to the one after the last.
FIRST_SOURCE = 4
END_SOURCE = 5

# The other columns are zero for cells without a state. Number of stages in a step.
STAGES = 6
# Index of the scheme in SCHEMES, and its steps in one control step.
SCHEME = 7
UNFOLD = 8
# First unit of the activities and states of the stages.
WORK = 9
# Index of the cell's parameters in theta, and their number for each unit.
PARAMETERS = 10
N_PARAMETERS = 11
# First unit of the state that the stages start from, and its lag.
STATE = 12
STATE_LAG = 13
# Columns of the weight matrix that read this state.
STATE_FIRST_COLUMN = 14
STATE_END_COLUMN = 15

# Numbers of sums and of states of a unit.
N_SUMS = 16
N_STATES = 17
# 1 if every connection has its own gate, and the number of matrices otherwise.
SYNAPSES = 18
N_MATRICES = 19
# A bit for each parameter that is positive, the first in the lowest bit.
POSITIVE = 20
# Addresses of the cell's compiled functions (kernels/cell_module.py).
ADVANCE = 21
TANGENT = 22
PULL_BACK = 23
# Function of its own states that the layer reads: an index in KINDS.
OUTPUT = 24
# Unit that holds the length of the step in control steps; -1 for cells without a time.
CLOCK = 25
# What the sums of several matrices add up: four columns for each term, which are the
# matrix, the sum, and the columns of the matrix from the first to the end.
N_TERMS = 26
TERMS = 27

# Activation functions by their index.
KINDS = ("linear", "tanh", "logistic")
LINEAR = 0
TANH = 1
LOGISTIC = 2

# Columns of sources. Units, and 1 if the layer reads them one step late.
SOURCE_FIRST = 0
SOURCE_END = 1
SOURCE_LAG = 2
# Function of the units that is read: an index in KINDS.
SOURCE_OUTPUT = 3


def encode_activation(names: str) -> int:
    """Return the activation functions of all sums as one number (`ACTIVATION`)."""
    indices = enumerate(KINDS.index(name) for name in activation_names(names))
    return sum(kind << 2 * number for number, kind in indices)
