"""What every test has: one generator of random numbers of its own."""

import signal
import threading

import numpy as np
import pytest

if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored in the background, and would be in what tests start


# What one process runs, by file, where it is not that file's tests alone: those that compile the same passes, and few long ones among
# many short ones, for groups of many tests begin first.
TOGETHER = {"test_memory": "test_loop", "test_simulated": "test_cells"}


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(
            pytest.mark.xdist_group(TOGETHER.get(item.path.stem, item.path.stem))
        )


@pytest.fixture
def rng():
    """A generator that is the same at the start of every test."""
    return np.random.default_rng(1)
