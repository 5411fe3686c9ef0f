"""What every test has: a random generator, and a group for parallel runs."""

import signal
import threading

import numpy as np
import pytest

# SIGINT is ignored in background jobs, and so it would be in processes of tests.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Files whose tests run in the process of another file. Some compile the same kernels or
# draw the same runs. Others are few long tests: groups of many tests start first.
TOGETHER = {
    "test_memory": "test_loop",
    "test_plots": "test_movies",
    "test_solver": "test_continuous",
    "test_simulated": "test_cells",
}


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(
            pytest.mark.xdist_group(TOGETHER.get(item.path.stem, item.path.stem))
        )


@pytest.fixture
def rng():
    """A generator that is the same at the start of every test."""
    return np.random.default_rng(1)
