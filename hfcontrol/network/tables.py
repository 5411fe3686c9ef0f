"""Columns of the integer tables that describe an architecture to compiled code.

`Network.tables` returns the tables: a row of `layers` for each layer, a row of
`sources` for each group of units that a layer reads.
"""

# Columns of layers. Units of the layer, from the first to the one after the last.
FIRST = 0
END = 1
# `CODE` of the cell.
CODE = 2
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

# Columns of sources. Units, and 1 if the layer reads them one step late.
SOURCE_FIRST = 0
SOURCE_END = 1
SOURCE_LAG = 2
