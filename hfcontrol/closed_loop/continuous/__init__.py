"""Continuous time: plant and network as one differential equation.

* loop.py: `ContinuousLoop`, with the operations of a closed loop
* estimators.py: how trajectories are solved and differentiated
* solver.py: rollouts and gradients; products.py: Gauss-Newton products
* problem.py, final_cost.py: the problem and its final cost
* compiled.py, tableaus.py, paths.py: the compiled solver, its steps and their path
"""

from hfcontrol.closed_loop.continuous.estimators import (
    ESTIMATORS,
    FIXED,
    Estimator,
    Evaluations,
)
from hfcontrol.closed_loop.continuous.loop import ContinuousLoop
from hfcontrol.closed_loop.continuous.products import Linearised
from hfcontrol.closed_loop.continuous.solver import Gradient, Trajectory

__all__ = [
    "ESTIMATORS",
    "FIXED",
    "ContinuousLoop",
    "Estimator",
    "Evaluations",
    "Gradient",
    "Linearised",
    "Trajectory",
]
