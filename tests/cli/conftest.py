"""A small run, and folders to work in, for the tests of the command line."""

import shutil
from pathlib import Path

import pytest

import hfcontrol as hf
from hfcontrol.runs import folder as run_folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a small run, for tests that do not change it."""
    root = tmp_path_factory.mktemp("trained")
    return hf.train(
        "arm2",
        out=root / "weights",
        trials=8,
        steps=10,
        hidden=(5, 4),
        batches=4,
        rollouts=30,
    ).path


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that run under ./weights."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "weights" / trained.name)
    return f"weights/{trained.name}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def without_the_shipped_run(monkeypatch):
    """Runs are looked for in ./weights only."""
    monkeypatch.setattr(run_folder, "run_roots", lambda: [Path("weights")])
