"""Signals that stop a training: Ctrl-C, an end of the session, a closed terminal."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from hfcontrol.training.stop import StopToken

# Windows has no hang-up.
HANG_UP: Any = getattr(signal, "SIGHUP", None)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([HANG_UP] if HANG_UP else []))
Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


@contextmanager
def signal_handlers(
    handler: Handler, numbers: Iterable[Any] = STOP_SIGNALS
) -> Iterator[None]:
    """Set the handler of signals, by default all above, while the context lasts.

    A hang-up that is ignored, as under nohup, stays so.
    """
    # Only the main thread receives signals, and only it may set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in numbers:
        if number != HANG_UP or signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def stop_on_signal(
    stop_token: StopToken, on_stop: Callable[[], object] | None = None
) -> Iterator[None]:
    """Set the token at the first signal, and call `on_stop`.

    Raises KeyboardInterrupt at the second one. A hang-up never stops at once: the shell
    and the system may both send one.
    """
    with signal_handlers(_stop_handler(stop_token, on_stop)):
        yield


@contextmanager
def stop_on_interrupt(stop_token: StopToken) -> Iterator[None]:
    """Set the token at the first SIGINT; the second one raises KeyboardInterrupt.

    A program that has a handler of its own keeps it.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    with signal_handlers(_stop_handler(stop_token), [signal.SIGINT]):
        yield


def _stop_handler(
    stop_token: StopToken, on_stop: Callable[[], object] | None = None
) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        if not stop_token.stopped:
            stop_token.stop()
            if on_stop is not None:
                on_stop()
        elif number != HANG_UP:
            raise KeyboardInterrupt

    return handle
