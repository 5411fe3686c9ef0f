"""Targets and arrival: the optimum is the best that is known, also from one's own."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.optim import yardstick
from hfcontrol.optim.yardstick import Optima
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings
from hfcontrol.training.state import Limits, Stop
from hfcontrol.training.targets import Target, has_arrived

THETA = np.zeros(1)


class Loop:
    """A closed loop whose loss is 1.05."""

    def rollout(self, theta, linear_model):
        return SimpleNamespace(loss=1.05)


def optimum_of(own):
    """Return an optimum of 1, which is `own` from the controller's commands."""
    return lambda loop, rollout=None: 1.0 if rollout is None else min(1.0, own)


def test_a_ratio_counts_against_the_optimum_from_own_commands():
    """The target falls with the optimum, and stays there."""
    target = Target(Limits(ratio=1.1), Loop(), optimum_of(0.5))
    assert target.loss == 1.1
    assert not target.is_reached(1.05, THETA)
    assert target.loss == pytest.approx(0.55) and target.lowered == 0.5
    again = Target(Limits(ratio=1.2), Loop(), optimum_of(0.5), target.lowered)
    assert again.loss == pytest.approx(0.6)


def test_a_ratio_that_own_commands_confirm_is_reached():
    target = Target(Limits(ratio=1.1), Loop(), optimum_of(2.0))
    assert not target.is_reached(1.2, THETA) and target.lowered == np.inf
    assert target.is_reached(1.05, THETA) and target.loss == 1.1
    assert not target.is_reached(1.05, None)


def test_a_loss_needs_no_optimum():
    target = Target(Limits(loss=2.0), Loop(), None)
    assert target.is_reached(2.0, THETA) and not target.is_reached(2.1, THETA)
    # the larger one of two targets counts
    both = Target(Limits(loss=2.0, ratio=1.1), Loop(), optimum_of(0.5))
    assert both.is_reached(2.0, THETA)
    assert not Target(Limits(), Loop(), None).is_reached(0.0, THETA)


@pytest.mark.parametrize(
    "excess, is_at_rest, expected",
    [
        (5e-5, False, True),
        (5e-4, False, False),
        (5e-4, True, True),
        (2e-3, True, False),
    ],
)
def test_arrival_needs_a_negligible_excess(excess, is_at_rest, expected):
    best = 1.05 / (1 + excess)
    known = lambda loop, rollout=None: best  # noqa: E731
    assert has_arrived(Loop(), known, THETA, is_at_rest) is expected
    # not if own commands lead to a better optimum
    better = lambda loop, rollout=None: best if rollout is None else 0.5  # noqa: E731
    assert not has_arrived(Loop(), better, THETA, is_at_rest)


def test_training_goes_on_where_its_commands_lead_to_a_better_optimum(monkeypatch):
    """iLQR's own starts find a poor optimum, worse than the first weights."""
    settings = Settings(
        plant="arm2",
        trials=4,
        steps=8,
        hidden=(3, 2),
        effort=0.1,
        running=1.0,
        target_ratio=1.02,
        strategy="plain",
    )
    trainer = make_trainer(settings)
    loop = trainer.loop(np.random.default_rng(0))
    true = trainer.optimal(loop)
    poor = np.full((8, 2, 4), 2.0)
    searches = []

    def find_best(system, pilots=None):
        searches.append(system.scenario.trials)
        return system.simulate(poor)

    monkeypatch.setattr(yardstick, "find_best", find_best)
    trainer.optimal = Optima(trainer.kernels)
    theta = trainer.network.initial(np.random.default_rng(1))
    assert loop.rollout(theta).loss < trainer.optimal(loop)
    *_, last = trainer.run(trainer.init(theta, np.random.default_rng(0)))
    assert last.stop is Stop.TARGET
    assert true < last.state.loss <= 1.02 * true
    assert last.state.lowered == pytest.approx(true, rel=1e-6)
    # the optimum of a scenario is searched for once
    assert searches == [4]
