"""`--backend`: where jobs run, as a text, and the engine that it names."""

import re
import socket
from collections.abc import Callable

from hfcontrol.arrays.communicator import current_communicator
from hfcontrol.errors import UsageError
from hfcontrol.jobs.local import LocalEngine
from hfcontrol.jobs.protocol import Engine

LOCAL = "local"
ALLOWED = "must be local, dask:ADDRESS (such as dask:10.0.0.1:8786) or ray:ADDRESS"

# Time [s] in which something must listen at an address.
CONNECT_SECONDS = 5.0

# The host and port of an address; other addresses, such as ray:auto, have none.
ENDPOINT = re.compile(r"(?:\w+://)?\[?([^/\[\]]+?)\]?:(\d{1,5})/?")


def check_backend(text: str | None) -> str:
    """Return a backend, `local` for None; UsageError for no backend."""
    if text is None:
        return LOCAL
    name, _, address = str(text).partition(":")
    if text != LOCAL and not (name in ENGINES and address):
        raise UsageError(f"`backend` {text}: {ALLOWED}")
    return str(text)


def open_engine(backend: str, processes: int) -> Engine:
    """Return the engine of a backend; `processes` are those of this machine.

    Raises UsageError if the backend does not exist, if its package is not installed, if
    nobody answers at the address, or if this process shares a training with others.
    """
    name, _, address = check_backend(backend).partition(":")
    ranks = current_communicator().ranks
    if ranks > 1:
        raise UsageError(
            f"{ranks} processes: they share one training, and each would make all of "
            "these; start many trainings without mpiexec, on a cluster with `backend`"
        )
    if name == LOCAL:
        return LocalEngine(processes)
    _check_endpoint(backend, address)
    return ENGINES[name](address)


def _check_endpoint(backend: str, address: str) -> None:
    """Raise UsageError if nothing listens at the host and port of an address.

    The libraries themselves try for minutes, or say so in many lines.
    """
    endpoint = ENDPOINT.fullmatch(address)
    if endpoint is None:
        return
    try:
        place = (endpoint[1], int(endpoint[2]))
        socket.create_connection(place, CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"`backend` {backend}: no scheduler answers there ({reason}); start it, or "
            "correct the address"
        ) from None


def _dask(address: str) -> Engine:
    try:
        from hfcontrol.jobs.dask_engine import DaskEngine
    except ImportError:
        raise _missing("dask", "distributed") from None
    return DaskEngine(address)


def _ray(address: str) -> Engine:
    try:
        from hfcontrol.jobs.ray_engine import RayEngine
    except ImportError:
        raise _missing("ray", "ray") from None
    return RayEngine(address)


def _missing(name: str, package: str) -> UsageError:
    """Return the error for a package that is not installed."""
    return UsageError(
        f"`backend` {name}: needs {package}, which is not installed: "
        f"pip install 'hfcontrol[{name}]'"
    )


ENGINES: dict[str, Callable[[str], Engine]] = {"dask": _dask, "ray": _ray}
