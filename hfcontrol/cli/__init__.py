"""The command line: `hfcontrol COMMAND`; the only package that prints or exits."""

from hfcontrol.cli.app import main

__all__ = ["main"]
