"""What the bits of a run depend on besides its settings: versions and processor."""

import platform
import socket
import sys
from typing import NamedTuple

import numpy as np

from hfcontrol.version import __version__

# Libraries whose versions a checkpoint records, if they are loaded.
RECORDED_LIBRARIES = ("numba", "scipy", "h5py")


def library_versions() -> dict[str, str]:
    """Return the versions of hfcontrol, Python and the libraries in use."""
    versions = {
        "hfcontrol": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    for name in RECORDED_LIBRARIES:
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__
    return versions


class Machine(NamedTuple):
    """Where a job runs: the host's name, its type of processor, and versions."""

    host: str
    processor: str
    versions: dict[str, str]

    @classmethod
    def here(cls) -> "Machine":
        """Return this machine."""
        import numba
        import scipy
        from llvmlite.binding import get_host_cpu_name

        versions = {
            "hfcontrol": __version__,
            # Results do not depend on the last number.
            "Python": ".".join(platform.python_version_tuple()[:2]),
            "NumPy": np.__version__,
            "Numba": numba.__version__,
            "SciPy": scipy.__version__,
        }
        return cls(socket.gethostname(), get_host_cpu_name(), versions)

    def find_difference(self, caller: "Machine") -> str | None:
        """Return in words which versions differ from those of the caller, or None."""
        differing = [
            f"{name} {self.versions.get(name)} there and {version} here"
            for name, version in caller.versions.items()
            if self.versions.get(name) != version
        ]
        if not differing:
            return None
        return (
            f"the worker on {self.host} has other versions: {', '.join(differing)}; "
            "install the same ones on both"
        )
