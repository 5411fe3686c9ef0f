"""Evaluation: controllers against the optimum, and plants against their contract.

- `evaluation`: a controller's cost against the optimal cost, and other numbers
- `trajectories`: what a controller did, as npz and csv files
- `plant_check`, `drawing_check`, `task_check`: the contract tests of `hfcontrol check`
- `plant_sample`: the states and controls at which they test a plant
"""
