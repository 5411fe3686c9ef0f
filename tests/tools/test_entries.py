"""The section `entries` of tools/bench: settings by hand, and the defaults instead."""

import sys
from pathlib import Path

import pytest

from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import Settings, settings_for

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def entries(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])
    from benchmarks import entries

    return entries


def test_defaults_take_the_place_of_an_entry(entries):
    """Also where the plant file still has the entry."""
    by_hand, defaults = entries.variants(entries.HAND_SET["acrobot:swing_up"])
    settings = settings_for(plant="acrobot", task="swing_up", **defaults)
    plain = Settings(plant="acrobot", task="swing_up")
    assert all(getattr(settings, name) == getattr(plain, name) for name in by_hand)
    assert settings.strategy == "auto"


def test_every_entry_belongs_to_a_task(entries):
    for word, entry in entries.HAND_SET.items():
        name, task = word.split(":")
        assert task in load_plant(name).tasks
        assert settings_for(plant=name, task=task, **entry).strategy == "plain"
