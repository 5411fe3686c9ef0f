"""Scenarios: when two of them are the same."""

from dataclasses import replace

import numpy as np
from helpers import loop_of

from hfcontrol.tasks.scenario import is_same_scenario


def test_scenarios_are_the_same_up_to_rounding():
    """Also where targets are masked by NaN; a millionth is a difference."""
    scenario = loop_of(plant="arm2").scenario
    goal = scenario.goal.copy()
    goal[0] = np.nan
    masked = replace(scenario, goal=goal)
    assert is_same_scenario(masked, masked)
    assert not is_same_scenario(scenario, masked)
    for change, is_same in ((1e-15, True), (1e-6, False)):
        other = replace(scenario, target=scenario.target * (1 + change))
        assert is_same_scenario(scenario, other) == is_same


def test_scenarios_of_other_trials_differ():
    few, more = (loop_of(plant="arm2", trials=n).scenario for n in (3, 4))
    assert not is_same_scenario(few, more)
