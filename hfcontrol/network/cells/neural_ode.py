"""The neural-ODE block: dx/ds = f, f = tanh(W x + b), over s from 0 to 1 in one control step, from x(0) = tanh(E input + e).

Chen et al., "Neural Ordinary Differential Equations" (2018). Its state is thrown away after every control: it has no memory.
The block does not see s itself, as a unit of its own can count it.
"""

from hfcontrol.network.cells.rnn_ode import field, field_slopes, fused, fused_slopes

ACTIVATION, CODE, PARAMETERS = "tanh", 5, {}

__all__ = [
    "ACTIVATION",
    "CODE",
    "PARAMETERS",
    "field",
    "field_slopes",
    "fused",
    "fused_slopes",
]
