"""Runs of which the tests of figures draw plots and movies; no test changes them."""

from functools import cache

import pytest
from trainings import small_run

import hfcontrol as hf


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A short training of the two-link arm: eight targets, a few holds."""
    return hf.train(
        "arm2",
        hidden=(5, 4),
        trials=8,
        steps=10,
        batches=2,
        rollouts=12,
        hold="scenario",
        out=tmp_path_factory.mktemp("runs"),
    )


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Runs of the tests' own plants, by plant and task: `own("puck", "follow")`."""
    return cache(
        lambda name, task: small_run(
            name, task, tmp_path_factory.mktemp(f"{name}-{task}")
        )
    )
