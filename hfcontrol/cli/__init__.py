"""The command line: `hfcontrol COMMAND`; the only package that prints or exits."""

import os
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, see `app.main`."""
    # Here, not above: Ctrl-C must end the imports without a traceback, too.
    try:
        from hfcontrol.cli.app import main as run
    except KeyboardInterrupt:
        _stop()
    run(arguments)


def _stop() -> None:
    """End this process at once, in one line."""
    import signal

    from hfcontrol.cli.status import INTERRUPTED

    # Another Ctrl-C may not disturb that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(2, b"\nhfcontrol: stopped\n")
    os._exit(INTERRUPTED)
