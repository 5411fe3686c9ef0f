"""Everything that a training calls is compiled before it begins."""

import pytest
from helpers import training_of

from hfcontrol.runs import preparation
from hfcontrol.runs.settings import Settings
from hfcontrol.training.holds import CHOICES, begin_hold

SMALL = {"trials": 4, "steps": 6, "hidden": (3,), "rollouts": 30, "batches": 3}


@pytest.mark.parametrize("plant", ["swing", "cart"], ids=["compiled", "not compiled"])
@pytest.mark.parametrize("choice", CHOICES)
def test_every_hold_that_may_come_is_prepared(monkeypatch, plant, choice):
    """Also the linear model that `auto` tries, and the hold that it falls back on."""
    prepared, used = set(), set()

    def watch(kinds):
        def begin(loop, start, state, *updates):
            kinds.add((state.kind, bool(state.trials_left)))
            return begin_hold(loop, start, state, *updates)

        return begin

    trainer, state = training_of(plant, hold=choice, **SMALL)
    monkeypatch.setattr(preparation, "begin_hold", watch(prepared))
    trainer.begin_hold = watch(used)
    settings = Settings(hold=choice, **SMALL, strategy="plain")
    preparation.prepare(trainer, settings)
    assert list(trainer.run(state))
    assert used and used <= prepared | {("scenario", False)}
    if choice == "auto":
        assert {kind for kind, _ in prepared} == {"scenario", "model"}
