"""Runs: settings, what is built from them, and folders of checkpoints.

- `settings`, `quantities`: what a user may choose, and how it is written
- `factory`: plant, task, network, optimizer and trainer of some settings
- `hdf5`, `state_tree`, `folder`: checkpoint files, and the folders that hold them
- `run`, `training`: a checkpoint to use, and a training in progress
- `seeds`: trainings of many seeds in parallel
"""
