"""The neural-ODE block: dx/ds = f, f = tanh(W x + b), from x(0) = tanh(E input + e).

Chen et al., "Neural Ordinary Differential Equations" (2018). One control step solves it
for s from 0 to 1. The state is discarded after every control: the block has no memory.
The block does not see s; a unit can learn to count it.
"""

from hfcontrol.network.cells.rnn_ode import field, field_slopes, fused, fused_slopes

ACTIVATION = "tanh"
PARAMETERS: dict[str, bool] = {}
RECURRENT = False

__all__ = [
    "ACTIVATION",
    "PARAMETERS",
    "RECURRENT",
    "field",
    "field_slopes",
    "fused",
    "fused_slopes",
]
