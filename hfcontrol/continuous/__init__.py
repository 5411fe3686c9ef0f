"""Continuous time: plant and network as one differential equation, solved adaptively, with gradients and Gauss-Newton products."""

from hfcontrol.continuous.estimators import ESTIMATORS, FIXED, Counts, Estimator
from hfcontrol.continuous.loop import ContinuousLoop, Trajectory
from hfcontrol.continuous.products import Linearised

__all__ = [
    "ESTIMATORS",
    "FIXED",
    "ContinuousLoop",
    "Counts",
    "Estimator",
    "Linearised",
    "Trajectory",
]
