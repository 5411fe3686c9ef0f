"""Source piece: actuators of first order between the command and the body; it follows DECAY and MEAN and the body's step.

Their drives a are the states from NX on: a' = (u - a) / lag. Over one control step the held command leaves DECAY of what
a drive is behind it, and MEAN of that is the mean over the step, which is what the body gets.
"""
# ruff: noqa: F821

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy", nogil=True)
def plant_driven_step(x, u, p, x_next):
    """The state (NX + NU,) of body and drives after one control step, without taper."""
    drive = np.empty(NU)
    for i in range(NU):
        behind = x[NX + i] - u[i]
        drive[i] = u[i] + MEAN * behind
        x_next[NX + i] = u[i] + DECAY * behind
    plant_body_step(x[:NX], drive, p, x_next[:NX])
