"""The flow of the input alone: dx/dt = f, f = tanh(W input + b).

Chen et al., "Neural Ordinary Differential Equations" (2018), as a policy that carries
its state on from step to step: an integrator of what a layer reads, without feedback.
No unit reads its own layer, whatever layers are recurrent. It drifts as rnn_ode does.
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
