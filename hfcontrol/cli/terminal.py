"""What terminals show by rich: tables, a line in place, and what is being done.

Nothing moves in a file or pipe: there, a table is plain text, and a line tells from
time to time what is being done. Silence of 20 s looks like a hang.
"""

import io
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

import click

from hfcontrol.texts import one_line

# Imported when there is something to show: the help does without rich.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

# Time between two lines about the same work in a file or pipe [s].
HEARTBEAT_SECONDS = 10.0

# Width of a table in a file or pipe, where nothing wraps.
NO_END = 10_000

# Spaces between columns.
GAP = 2


def print_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int | None] = (),
    left: Sequence[int] = (0,),
) -> None:
    """Print a table; what would move the cursor or colour is spelt out.

    widths: least widths of the first columns.
    left: indices of columns that are aligned to the left; numbers are to the right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 0, 0, GAP))
    table.show_header = any(heads)
    for k, head in enumerate(heads):
        table.add_column(
            Text(one_line(head)),
            justify="left" if k in left else "right",
            min_width=widths[k] if k < len(widths) else None,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    # By click, which knows what to do with an output that takes no more.
    click.echo(_render(table), nl=False)


def _render(table: Any) -> str:
    """Return a table as text, with colours for a terminal only."""
    from rich.console import Console

    live = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if live else NO_END
    console = Console(file=io.StringIO(), width=width, force_terminal=live)
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    return "".join(f"{line}\n" for line in lines)


def _console(stream: TextIO) -> "Console":
    """Return rich's console for a stream that is a terminal."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False, markup=False)


class LiveLine:
    """The last line of a terminal, which changes in place.

    It is cut to the width of the terminal. `close` leaves a clean terminal.
    """

    def __init__(self) -> None:
        self._live: Live | None = None

    def show(self, text: str) -> None:
        """Show a text in the line."""
        from rich.live import Live
        from rich.text import Text

        shown = Text(one_line(text), no_wrap=True, overflow="ellipsis")
        if self._live is None:
            # Drawn when there is news, by this thread: a closed terminal is an error
            # here, which ends the training in order.
            self._live = Live(
                console=_console(sys.stdout),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        self._live.update(shown, refresh=True)

    def close(self) -> None:
        """Remove the line."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):
                live.stop()


@contextmanager
def show_status(text: str) -> Iterator[Callable[[str], None]]:
    """Show what hfcontrol is doing, on stderr, until the block ends.

    Yields the function that replaces the text. A redirected result holds nothing of it.
    """
    shown: _Spinner | _Heartbeat
    shown = _Spinner(text) if sys.stderr.isatty() else _Heartbeat(text)
    try:
        yield shown.replace
    finally:
        shown.close()


class _Spinner:
    """A line of a terminal that turns while something is being done."""

    def __init__(self, text: str) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self.spinner = Spinner("line", self._line(text))
        self.live = Live(
            self.spinner,
            console=_console(sys.stderr),
            transient=True,
            # What is printed meanwhile goes above the line, if both are terminals.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        # A terminal that is gone must not end what goes on.
        with suppress(OSError):
            self.live.start()

    @staticmethod
    def _line(text: str) -> Any:
        from rich.text import Text

        return Text(f"{one_line(text)} ...", no_wrap=True, overflow="ellipsis")

    def replace(self, text: str) -> None:
        """Show another text."""
        self.spinner.update(text=self._line(text))

    def close(self) -> None:
        """Remove the line."""
        with suppress(OSError):
            self.live.stop()


class _Heartbeat:
    """Lines in a file or pipe, from time to time, while something is being done."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.began = monotonic()
        self.ended = threading.Event()
        # It dies with the program, whatever ends that.
        self.thread = threading.Thread(target=self._beat, daemon=True)
        self.thread.start()

    def _beat(self) -> None:
        while not self.ended.wait(HEARTBEAT_SECONDS):
            seconds = monotonic() - self.began
            # Nobody may listen any more.
            with suppress(OSError, ValueError):
                line = one_line(f"{self.text} ... {seconds:.0f} s")
                click.echo(line, err=True)

    def replace(self, text: str) -> None:
        """Tell another text from the next line on."""
        self.text = text

    def close(self) -> None:
        """Tell no more."""
        self.ended.set()
        self.thread.join()
