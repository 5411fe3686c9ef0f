"""Jobs in processes of this machine: each job ends once, whatever ends a process."""

import os
import signal
from pathlib import Path

import pytest

from hfcontrol.jobs.local import LocalEngine
from hfcontrol.jobs.protocol import LOST_WORKER


def behave(key, text, channel):
    """Return a text; or end this process, always or the first time."""
    if text == "die" or (text == "die once" and channel.saved(key) is None):
        channel.save(key, b"tried")
        os.kill(os.getpid(), signal.SIGKILL)
    channel.report(key, {"text": text})
    return f"{text} {channel.stopped}"


def run(texts, processes=2):
    """What becomes of jobs of these texts, by key, without their reports."""
    with LocalEngine(processes) as engine:
        for key, text in texts.items():
            engine.submit(key, behave, text)
        updates = list(engine.results())
    ends = [update for update in updates if update.kind != "report"]
    assert sorted(update.key for update in ends) == sorted(texts)
    return {update.key: (update.kind, update.value) for update in ends}


def test_a_process_that_is_killed_costs_no_job():
    """One job dies always: it alone is lost. One dies once, and is run again."""
    texts = {"a": "one", "b": "die", "c": "die once", "d": "two"}
    found = run(texts)
    assert found.pop("b") == ("lost", LOST_WORKER)
    assert found == {
        key: ("finished", f"{texts[key]} False") for key in ("a", "c", "d")
    }


def test_error_in_the_parent_ends_processes_and_folder():
    """Such as a closed pipe, where the result of a job is printed."""
    with pytest.raises(BrokenPipeError), LocalEngine(2) as engine:
        for key in "ab":
            engine.submit(key, behave, "one")
        folder = Path(engine.channel.folder)
        for _ in engine.results():
            assert folder.exists()
            raise BrokenPipeError
    assert not folder.exists()


def test_one_process_is_this_one_and_stop_reaches_its_jobs():
    with LocalEngine(1) as engine:
        engine.submit("a", behave, "one")
        engine.stop()
        updates = list(engine.results())
    assert [update.kind for update in updates] == ["report", "finished"]
    assert updates[1].value == "one True"
