"""Optimizers: curvature, linear solvers, the Hessian-free step, its rivals and the yardstick."""
