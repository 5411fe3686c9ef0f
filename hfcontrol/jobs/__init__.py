"""Many trainings: jobs on this machine or a cluster, seeds and sweeps.

protocol.py       what an engine does: submit, stream results, cancel
local.py          processes of this machine, by joblib's loky
dask_engine.py    a Dask cluster (extra `dask`)
ray_engine.py     a Ray cluster (extra `ray`)
backends.py       `--backend` as text, and the engine that it names
training_job.py   what a worker does: train, save, report, go on from a checkpoint
shipping.py       the plant on its way to a worker, and run folders on their way back
seeds.py          the same settings with many seeds
sweep.py          grids and lists of settings times seeds
sweep_file.py     a sweep as a TOML file
sweep_table.py    what a sweep has found, as a table
"""
