"""How much memory this process may use."""

import os
import sys
from pathlib import Path

# Where Linux says how much a container may use.
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def usable_memory() -> float:
    """Return the memory that this process may use [bytes]; infinite if unknown.

    It is the least of the machine's memory, the limit of the process (`ulimit -v`) and
    that of its container. What other programs use does not count: the answer shall not
    depend on them.
    """
    limits = [_machine_memory(), _process_limit(), _container_limit()]
    return min(limits)


def _machine_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _process_limit() -> float:
    if sys.platform == "win32":
        return float("inf")
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft)


def _container_limit() -> float:
    try:
        return float(CONTAINER_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        # no container, or "max" for no limit
        return float("inf")


def format_bytes(count: float) -> str:
    """Return a memory as text, in GB or MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
