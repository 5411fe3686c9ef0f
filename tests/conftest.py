"""What every test has: a random generator, and a place in parallel runs."""

import json
import os
import signal
import tempfile
import threading
from pathlib import Path

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


@pytest.fixture(autouse=True)
def without_the_folder_of_another_test():
    """The record names no folder in which another test has put its last run."""
    record = Path(os.environ["HFCONTROL_DATA"], "trained.json")
    if record.exists():
        content = json.loads(record.read_text())
        record.write_text(json.dumps({**content, "outs": {}}))


@pytest.fixture(autouse=True)
def without_heartbeat(monkeypatch):
    """A machine that compiles slowly prints no lines that tests do not expect."""
    monkeypatch.setattr("hfcontrol.cli.terminal.HEARTBEAT_SECONDS", 3600.0)


@pytest.fixture
def rng():
    """A generator that is the same at the start of every test."""
    return np.random.default_rng(1)
