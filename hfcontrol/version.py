"""The version of hfcontrol: setup.cfg and the site read it here."""

__version__ = "0.1.0"
