"""Optimizers of a controller's weights, and the yardstick that it is compared with.

Modules, in the order of their imports:

protocol        what an optimizer is: `Optimizer`, `Objective`, `Report`
counting        what an update costs
curvature       Gauss-Newton matrix and structural damping as operators
linear_solvers  conjugate gradients, the exact solution in residual space
hessian_free    `HessianFree`: damped Gauss-Newton steps
first_order     `Adam`, `RMSProp`, `Momentum`
lbfgs           `LBFGS`
ilqr            good open-loop controls by iLQR
trim            controls that keep a plant at rest
regulator       the linear-quadratic regulator about a goal
starts          controls from which iLQR starts
sharing         trials that follow each other's feedback laws
yardstick       `optimum`: the best open-loop controls that can be found
families        good trajectories that resemble each other
"""
