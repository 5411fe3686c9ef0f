"""Runs: settings, the factory that builds what they describe, HDF5 files and run folders."""
