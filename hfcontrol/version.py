"""The version of hfcontrol, the same as in setup.cfg."""

__version__ = "0.1.0"
