"""Standard output and standard error, whatever they are connected to."""

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

import click


def prepare_streams() -> None:
    """Let standard output and error take every text, also if they are closed.

    A terminal or file may know fewer characters than a plant's names have, and names of
    files may be no text at all. What cannot be shown is escaped, as in "\\u2192".
    """
    sys.stdout = _prepare(sys.stdout)
    sys.stderr = _prepare(sys.stderr)


def _prepare(stream: TextIO | None) -> TextIO:
    # Python sets a stream that its parent has closed to None.
    if stream is None:
        return _nowhere()
    # Programs that call the command line may have replaced it by another class.
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _nowhere() -> TextIO:
    """Return a stream that takes everything and keeps nothing."""
    return open(os.devnull, "w", encoding="utf-8")


def print_error(line: str) -> None:
    """Print a line to standard error, if anyone still listens."""
    with suppress(OSError):
        click.echo(line, err=True)


def describe_fault(error: OSError) -> str:
    """Return in words what an error of the system says about a file or the output.

    The text is empty for a closed pipe: whoever has closed it, such as `head`, wants no
    more. What is left to print is dropped then.
    """
    # All files are opened by their name, which is a part of the error.
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # Python would try again when it ends. A stream of another program is its own.
    if sys.stdout is sys.__stdout__:
        sys.stdout = _nowhere()
    if error.errno == errno.EPIPE:
        return ""
    return f"cannot write the output: {error.strerror or error}"
