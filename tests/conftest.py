"""What every test has: a random generator, and a place in parallel runs."""

import os
import signal
import tempfile
import threading

import numpy as np
import pytest

# SIGINT is ignored in background jobs, and so it would be in processes of tests.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The record of what was trained here is not the user's; processes of tests share it.
RECORD = tempfile.TemporaryDirectory(prefix="hfcontrol-tests-")
os.environ["HFCONTROL_DATA"] = RECORD.name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Divide the tests between processes as scheduling.py says."""
    from scheduling import Scheduling

    return Scheduling(config, log)


def pytest_collection_modifyitems(config, items):
    """Let processes of pytest-xdist start with the longest groups of tests."""
    if hasattr(config, "workerinput"):
        from scheduling import rank_of

        items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.fixture
def rng():
    """A generator that is the same at the start of every test."""
    return np.random.default_rng(1)
