"""Kinks and jumps among slopes that are known, and the points they are looked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.evaluation import problem_check
from hfcontrol.evaluation.problem_check import (
    FAR,
    LEAST_BEND,
    REMAINS,
    SCALES,
    _find_rough,
    _points,
)

# Slopes of 3 states by state 1 at 6 points, from both sides; a step keeps its state.
TYPICAL = np.array([2.0, 1.0, 0.5])
PLACE = (2, 4)


def slopes_of(bends, largest=0.1):
    """Slopes whose sides differ by a bend at each scale, at one place.

    They are relative to the sizes, and the largest of that row is given.
    """
    slopes = np.zeros((len(SCALES), 2, 3, 6))
    slopes[:, :, PLACE[0], 0] = largest
    for scale, bend in enumerate(bends):
        slopes[scale, :, PLACE[0], PLACE[1]] = [bend / 2, -bend / 2]
    slopes *= TYPICAL[:, None]
    slopes[:, :, 1] += TYPICAL[1]
    return slopes


BEND = 1.01 * LEAST_BEND * 0.1


@pytest.mark.parametrize(
    "bends, word",
    [
        ((BEND, BEND, BEND), "kink"),
        # Much of it must remain, and it must be large next to other slopes.
        ((BEND, BEND, 1.01 * REMAINS * BEND), "kink"),
        ((BEND, BEND, 0.99 * REMAINS * BEND), None),
        ((0.9 * BEND, 0.9 * BEND, 0.9 * BEND), None),
        # Smooth: the bend falls with the step.
        ((1.0, 0.1, 0.01), None),
        # The slopes of a jump grow with 1 / step.
        ((0.01, 0.1, 1.0), "jump"),
        ((0.01, 0.04, 0.2), "kink"),
        ((0.0, 0.0, 0.0), None),
    ],
)
def test_a_bend_is_rough_if_it_remains(bends, word):
    found = _find_rough(slopes_of(bends), TYPICAL, 1)
    assert found == ((word, *PLACE) if word else None)


def test_a_bend_counts_next_to_what_a_step_changes():
    """Of the state itself, that is the slope less one."""
    slopes = slopes_of((0.0, 0.0, 0.0), largest=0.0)
    slopes[:, 0, 1, 3] += 0.01
    assert _find_rough(slopes, TYPICAL, 1) == ("kink", 1, 3)


def test_points_lie_on_rollouts_that_stay_near_the_goal(monkeypatch):
    """Trial 0 stays; trial 1 leaves at step 2, trial 2 is no number from step 1.

    The goal itself is far from zero.
    """
    steps, trials, goal = 4, 3, 10 * FAR * 5.0
    x = np.zeros((steps + 1, 2, trials))
    x[:, 0] = np.arange(steps + 1)[:, None] / 100
    x[:, 1, :] = goal
    x[2:, 1, 1] += 1.01 * FAR * 5.0
    x[1:, 1, 2] = np.nan
    given = []

    def simulate(x0, u, params, disturbance, taper):
        given.append((u, disturbance, taper))
        return x

    problem = SimpleNamespace(
        plant=SimpleNamespace(
            nx=2, nu=1, typical_control=(2.0,), taper="taper", compiled=True
        ),
        scenario=SimpleNamespace(
            steps=steps, trials=trials, x0=x[0], params=np.arange(3.0)[None]
        ),
        limits=SimpleNamespace(clip=lambda u: u),
        trim=np.full((1, trials), 100.0),
        kernels=SimpleNamespace(simulate=simulate),
        goal=np.array([[0.0], [goal]]) * np.ones(trials),
        size=np.array([1.0, 5.0]),
    )
    states, controls, params = _points(problem)
    places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (3, 0)]
    for k, (time, trial) in enumerate(places):
        np.testing.assert_array_equal(states[:, k], x[time, :, trial])
        assert controls[:, k] == given[0][0][time, :, trial]
        assert params[0, k] == trial
    assert states.shape == (2, len(places))
    u, disturbance, taper = given[0]
    assert not disturbance.any() and disturbance.shape == (steps, 2, trials)
    assert taper == "taper" and (np.abs(u - 100.0) < 5.0).all() and np.ptp(u) > 0.1

    problem.plant.compiled = False
    monkeypatch.setattr(problem_check, "SLOW_POINTS", 3)
    assert _points(problem)[0].shape == (2, 3)
