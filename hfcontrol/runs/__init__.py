"""Runs: settings, the factory that builds from them, HDF5 files and run folders."""
