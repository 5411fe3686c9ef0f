"""Continuous time: plant and network as one differential equation, solved adaptively, with gradients and Gauss-Newton products."""

from hfcontrol.closed_loop.continuous.estimators import (
    ESTIMATORS,
    FIXED,
    Estimator,
    Evaluations,
)
from hfcontrol.closed_loop.continuous.loop import ContinuousLoop, Trajectory
from hfcontrol.closed_loop.continuous.products import Linearised

__all__ = [
    "ESTIMATORS",
    "FIXED",
    "ContinuousLoop",
    "Estimator",
    "Evaluations",
    "Linearised",
    "Trajectory",
]
