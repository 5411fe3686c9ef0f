"""Cells: what a layer does with its summed input, one file per cell, by name in `CELLS`.

A cell is a module with three functions on arrays (unit, trial):
`step(a)` gives the activity h from the summed input a; `jvp(h, da)` its tangent and `vjp(h, h_bar)` the cotangent of a.
`CODE` is the number by which the compiled sweeps know it.
"""

from hfcontrol.cells import linear, tanh

CELLS = {"tanh": tanh, "linear": linear}
