"""Stopping a training from outside."""


class StopToken:
    """A request to stop, passed to a training and read by it between updates.

    A signal handler may call `stop` at any time: the update in progress is finished.
    """

    def __init__(self) -> None:
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self._stopped

    def stop(self) -> None:
        """Request a stop."""
        self._stopped = True


class StopTraining(Exception):
    """Raised by a callback to end a training after the update in progress.

    The run is saved and returned; it can be resumed, as after Ctrl-C.
    """
