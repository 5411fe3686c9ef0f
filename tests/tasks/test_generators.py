"""The generators of starts and goals: geometry, repeatability, and held-out scenarios that are others."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import loop_of, plant_of

from hfcontrol.errors import TaskError
from hfcontrol.kernels import compile_plant
from hfcontrol.tasks.generators import GENERATORS, RANDOM, posture
from hfcontrol.tasks.task import Task, TaskOptions

RANGE = ((0.0, 1.8), (0.4, 2.3))
NUMBERS = {
    "start": (0.75613, 1.8553),
    "radius": 0.0725,
    "targets": ((0.2, 0.5), (1.2, 2.0)),
    "range": RANGE,
}
SPREAD = {
    "start": (0.1, 1.0, 0.0, 0.0),
    "spread": (0.2, 0.1, 0.0, 0.5),
    "target": (0.5, 1.5, 0.0, np.nan),
}


def task_of(generator, **numbers):
    """A task of arm2 with this generator, 8 trials of 40 steps, all entries of the generators given."""
    arm, more = plant_of("arm2"), SPREAD if generator == "around" else NUMBERS
    entries = {"generator": generator, "trials": 8, "steps": 40, **more, **numbers}
    plant = replace(arm, tasks={"go": entries})
    return Task(plant, compile_plant(plant), "go", TaskOptions())


def hand_of(task, x):
    """Hand (K, 2, N) of states (K, nx, N)."""
    params = np.tile(np.array(list(task.plant.params.values()))[:, None], x.shape[2])
    return task.kernels.output(x, params)[:, task.plant.hand]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_seed_gives_one_scenario_and_held_out_ones_are_others(generator):
    task = task_of(generator)
    first, again = (task.draw(np.random.default_rng(0)) for _ in range(2))
    held_out = task.draw(
        np.random.default_rng(1 if generator in RANDOM else 0), "held_out"
    )
    for name in ("x0", "goal"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(
        first.goal, held_out.goal, equal_nan=True
    ) or not np.array_equal(first.x0, held_out.x0)


def test_reach_targets_stand_evenly_on_a_circle():
    task = task_of("reach")
    scenario = task.draw(None)
    hand, start = hand_of(task, scenario.goal)[-1], hand_of(task, scenario.x0[None])[0]
    np.testing.assert_allclose(np.hypot(*(hand - start)), NUMBERS["radius"], rtol=1e-8)
    turns = np.diff(np.unwrap(np.arctan2(*(hand - start)[::-1])))
    np.testing.assert_allclose(turns, 2 * np.pi / 8, rtol=1e-6)


def test_postures_bring_the_hand_to_its_target(rng=np.random.default_rng(0)):
    task = task_of("reach")
    q = rng.uniform(*np.array(RANGE).T[:, :, None], (2, 20))
    x = np.concatenate([q, np.zeros((2, 20))])
    hand = hand_of(task, x[None])[0]
    params = np.tile(np.array(list(task.plant.params.values()))[:, None], 20)
    found = posture(task.plant, task.kernels, hand, (0.9, 1.3), params)
    np.testing.assert_allclose(
        hand_of(task, np.concatenate([found, np.zeros((2, 20))])[None])[0],
        hand,
        atol=1e-9,
    )


@pytest.mark.parametrize("there", ["reach", "angles"])
def test_and_back_goes_there_until_half_time(there):
    out, both = (
        task_of(there).draw(None),
        task_of(f"{there}_and_back", final_at=(0.5, 1.0)).draw(None),
    )
    np.testing.assert_array_equal(both.goal[:21], out.goal[:21])
    np.testing.assert_array_equal(
        both.goal[21:], np.broadcast_to(both.x0, both.goal[21:].shape)
    )
    assert both.arrivals == (20, 40)
    weights = both.cost.weights.state
    assert weights[[20, 40]].all() and not np.delete(weights, [20, 40], axis=0).any()


def test_follow_moves_smoothly_from_rest_beside_the_target():
    task = task_of("follow")
    scenario, dt = task.draw(np.random.default_rng(0)), task.plant.dt
    path, rates = scenario.goal[:, :2], scenario.goal[:, 2:]
    np.testing.assert_array_equal(scenario.x0[:2], path[0])
    assert not scenario.x0[2:].any()
    low, high = np.array(RANGE).T[:, :, None]
    assert (path >= low - 1e-9).all() and (path <= high + 1e-9).all()
    np.testing.assert_allclose(
        np.diff(path, axis=0), dt * (rates[1:] + rates[:-1]) / 2, atol=0.02
    )
    eights = path[:, :, ::2]
    np.testing.assert_allclose(
        eights[0], eights[-1], atol=1e-9
    )  # once through is closed


def test_strokes_are_the_straight_path_of_least_jerk():
    """Between postures the jerk's integral is least, so the sixth derivative of a stroke vanishes (Euler-Lagrange)."""
    task = task_of("follow", steps=50)
    stroke = task.draw(np.random.default_rng(0)).goal[:51, 0, 1]
    sixth = np.diff(stroke, 6)
    assert np.abs(sixth).max() < 1e-9 and np.ptp(stroke) > 1e-3


def test_around_draws_within_the_spread():
    task = task_of("around", trials=2000)
    scenario = task.draw(np.random.default_rng(0))
    start, spread = (np.array(SPREAD[name])[:, None] for name in ("start", "spread"))
    off = np.abs(scenario.x0 - start)
    assert (off <= spread).all() and (off.max(axis=1) >= 0.95 * spread[:, 0]).all()
    assert not scenario.cost.weights.state[
        :, 3
    ].any()  # nobody asks for a rate whose target is not a number


def test_movements_anywhere_come_in_every_length_in_training(
    rng=np.random.default_rng(2),
):
    """Of pairs drawn evenly in three dimensions less than one in a hundred are nearer than a tenth of the range, 4/3 pi 0.1^3; of
    those that are parts of one of a mean length of 2/3, one in seven."""
    plant = plant_of("arm3")
    draw = GENERATORS["anywhere"](Task(plant, compile_plant(plant), "anywhere"), None)
    low, high = np.array(plant.tasks["anywhere"]["range"]).T[:, :, None]

    def near(split, trials):
        x0, goal = draw(rng, 2000, split)
        assert (
            ((low <= goal[:3]) & (goal[:3] <= high)).all()
            and not goal[3:].any()
            and not x0[3:].any()
        )
        return np.mean(
            np.linalg.norm((goal - x0)[:3, trials] / (high - low), axis=0) < 0.1
        )

    assert (
        near("training", slice(0, None, 2))
        > 0.1
        > 0.01
        > max(near("training", slice(1, None, 2)), near("held_out", slice(None)))
    )


def test_stay_asks_to_stay_and_pushes():
    task = task_of("stay", push=0.5)
    scenario = task.draw(np.random.default_rng(0))
    np.testing.assert_array_equal(scenario.goal[-1], scenario.x0)
    assert task.noisy and task.random and scenario.disturbance.any()


def test_of_a_goal_that_moves_on_a_shorter_horizon_sees_the_beginning():
    """electric draws the whole of its path, whatever the horizon."""
    short, whole = (
        loop_of("electric", "follow", trials=3, steps=steps).scenario
        for steps in (40, 256)
    )
    np.testing.assert_array_equal(short.goal, whole.goal[:41])
    assert short.steps == 40


def test_training_starts_fill_their_range_to_its_corners():
    """Of 256 starts in the plane, every square of a grid of 8 by 8 holds two to six; at random some would hold none."""
    x0 = loop_of("cartpole", "swing_up", trials=256).scenario.x0
    cart, pole = (
        np.floor(8 * part).astype(int) for part in (x0[0] + 0.5, x0[1] - np.pi + 0.5)
    )
    counts = np.zeros((8, 8), dtype=int)
    np.add.at(counts, (cart, pole), 1)
    assert counts.min() >= 2 and counts.max() <= 6 and not x0[2:].any()


def test_a_task_may_say_what_the_network_sees_of_its_goal():
    """electric shows its goal on the observation's scales, and where it will be, also beyond a horizon that is cut."""
    whole, cut = (
        loop_of("electric", "follow", trials=3, steps=steps).scenario
        for steps in (256, 40)
    )
    goal, seen = whole.goal, whole.target
    np.testing.assert_allclose(seen[:, :2], (goal[1:, :2] - 0.5) / 0.1, rtol=1e-12)
    np.testing.assert_allclose(
        seen[9, 6:8], (goal[10 + 64, :2] - goal[10, :2]) / 0.2, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(cut.target, seen[:40])


def test_a_function_that_shows_nonsense_is_told():
    plant = plant_of("electric")
    tasks = {"follow": {**plant.tasks["follow"], "sees": lambda goal: goal[:, :, 0]}}
    with pytest.raises(TaskError, match="sees gave numbers of shape"):
        Task(replace(plant, tasks=tasks), compile_plant(plant), "follow").draw(
            np.random.default_rng(0)
        )


def test_a_preview_is_how_far_on_the_goal_will_be():
    """arm2 sees its moving goal, and where it is 50, 100 and 200 ms later, less where it is."""
    scenario = loop_of("arm2", "follow", trials=4, steps=60).scenario
    goal, seen = scenario.goal, scenario.target
    assert seen.shape == (60, 4 + 3 * 2, 4)
    np.testing.assert_array_equal(seen[:, :4], goal[1:])
    np.testing.assert_allclose(seen[10, 6:8], goal[21, :2] - goal[11, :2], atol=1e-14)
    np.testing.assert_allclose(
        seen[-1, 4:], 0, atol=1e-14
    )  # nothing is known beyond the end
