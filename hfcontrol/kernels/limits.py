"""The smooth limits of the controls on the CPU.

The formulas are those of one trial in scalar_steps.py, which a GPU uses too.
"""

from hfcontrol.kernels import scalar_steps
from hfcontrol.kernels.jit import inlined_helper

limit_command = inlined_helper(scalar_steps.limit_command)
limit_slope = inlined_helper(scalar_steps.limit_slope)
