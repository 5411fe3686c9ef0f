"""Generators of starts and goals: geometry, repeatability, held-out scenarios."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import loop_of, plant_of

from hfcontrol.errors import TaskError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.tasks.generators import GENERATORS, RANDOM_GENERATORS, _eights
from hfcontrol.tasks.inverse_kinematics import _check_reach, posture
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
    """A task of arm2 with this generator and numbers for it: 8 trials, 40 steps."""
    arm, more = plant_of("arm2"), SPREAD if generator == "around" else NUMBERS
    entries = {"generator": generator, "trials": 8, "steps": 40, **more, **numbers}
    plant = replace(arm, tasks={"go": entries})
    return Task(plant, compile_plant(plant), "go", TaskOptions())


def hand_of(task, x):
    """Hand (K, 2, N) of states (K, nx, N)."""
    params = np.tile(np.array(list(task.plant.params.values()))[:, None], x.shape[2])
    return task.kernels.output(x, params)[:, task.plant.hand]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_seed_repeats_its_scenario_and_held_out_scenarios_differ(generator):
    task = task_of(generator)
    first, again = (task.draw(np.random.default_rng(0)) for _ in range(2))
    held_out = task.draw(
        np.random.default_rng(1 if generator in RANDOM_GENERATORS else 0), "held_out"
    )
    for name in ("x0", "goal"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(
        first.goal, held_out.goal, equal_nan=True
    ) or not np.array_equal(first.x0, held_out.x0)


def test_reach_targets_are_evenly_spaced_on_a_circle():
    task = task_of("reach")
    scenario = task.draw(None)
    hand, start = hand_of(task, scenario.goal)[-1], hand_of(task, scenario.x0[None])[0]
    np.testing.assert_allclose(np.hypot(*(hand - start)), NUMBERS["radius"], rtol=1e-8)
    turns = np.diff(np.unwrap(np.arctan2(*(hand - start)[::-1])))
    np.testing.assert_allclose(turns, 2 * np.pi / 8, rtol=1e-6)


def test_postures_bring_the_hand_to_its_target():
    rng = np.random.default_rng(0)
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


def test_held_out_angles_lie_within_the_training_angles():
    task = task_of("angles")
    training, held_out = (
        task.draw(None, split).goal[-1] for split in ("training", "held_out")
    )
    first, last = np.array(task.numbers["targets"])
    n = len(first)
    np.testing.assert_allclose(training[:n, 0], first)
    np.testing.assert_allclose(training[:n, -1], last)
    inside = (held_out[:n] - first[:, None]) / (last - first)[:, None]
    assert np.all((inside > 0) & (inside < 1))
    assert not np.isin(held_out[0], training[0]).any()


@pytest.mark.parametrize("generator", ["reach", "angles"])
def test_validation_targets_lie_between_the_others(generator):
    """None of them is a training or a held-out target, whatever the other number."""
    task = task_of(generator)
    more = task.shrink(task.steps, 4 * task.trials)
    own = task.draw(None, "validation").goal[-1, 0]
    for other in (task, more):
        for split in ("training", "held_out"):
            goal = other.draw(None, split).goal[-1, 0]
            assert np.abs(goal[:, None] - own).min() > 1e-6
    if generator == "angles":
        training = task.draw(None).goal[-1, 0]
        assert training.min() < own.min() and own.max() < training.max()


@pytest.mark.parametrize("generator", sorted(RANDOM_GENERATORS))
def test_random_validation_trials_are_drawn_as_training_trials(generator):
    task = task_of(generator)
    one, other = (
        task.draw(np.random.default_rng(3), split).goal
        for split in ("training", "validation")
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("outward", ["reach", "angles"])
def test_and_back_returns_to_the_start_after_half_of_the_horizon(outward):
    out, both = (
        task_of(outward).draw(None),
        task_of(f"{outward}_and_back", final_at=(0.5, 1.0)).draw(None),
    )
    np.testing.assert_array_equal(both.goal[:21], out.goal[:21])
    np.testing.assert_array_equal(
        both.goal[21:], np.broadcast_to(both.x0, both.goal[21:].shape)
    )
    assert both.arrivals == (20, 40)
    weights = both.cost.weights.state
    assert weights[[20, 40]].all() and not np.delete(weights, [20, 40], axis=0).any()


def test_follow_starts_at_rest_on_a_smooth_path():
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
    )  # figure eights are closed curves


def test_eights_are_half_as_high_as_wide_in_all_other_positions():
    """Lissajous figures of two waves to one.

    With s = sin a of the first position, the others are (sin 2a) / 2 = s cos a, so that
    their square is s^2 (1 - s^2).
    """
    low, high = np.array([-1.0, 0.0, 2.0]), np.array([1.0, 3.0, 2.5])
    spec = SimpleNamespace(
        plant=SimpleNamespace(positions=[0, 1, 2]),
        steps=24,
        numbers={"range": np.stack([low, high], axis=1)},
    )
    path = _eights(spec, np.random.default_rng(0), 5)
    # In units of a quarter of each range, about its middle.
    unit = (path - ((low + high) / 2)[:, None]) / ((high - low) / 4)[:, None]
    first, others = unit[:, :1], unit[:, 1:]
    assert path.shape == (25, 3, 5)
    np.testing.assert_allclose(
        others**2, np.broadcast_to(first**2 * (1 - first**2), others.shape), atol=1e-12
    )
    # One turn: the first position is a sine of the horizon, whatever its phase.
    np.testing.assert_allclose(first[12:] + first[:13], 0.0, atol=1e-12)
    assert np.abs(first).max() > 0.95


def test_strokes_minimise_jerk():
    """The sixth derivative of a minimum-jerk stroke vanishes (Euler-Lagrange)."""
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
    assert not scenario.cost.weights.state[:, 3].any()  # its target is NaN


def test_anywhere_trains_movements_of_every_length():
    """Every second training movement is shortened to a random part.

    Of pairs drawn uniformly in three dimensions less than 1 % are closer than a tenth
    of the range, 4/3 pi 0.1^3; of shortened ones, with a mean full length of 2/3, one
    in seven.
    """
    rng = np.random.default_rng(2)
    plant = plant_of("arm3")
    draw = GENERATORS["anywhere"](Task(plant, compile_plant(plant), "anywhere"), None)
    low, high = np.array(plant.tasks["anywhere"]["range"]).T[:, :, None]

    def fraction_near(split, trials):
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
        fraction_near("training", slice(0, None, 2))
        > 0.1
        > 0.01
        > max(
            fraction_near("training", slice(1, None, 2)),
            fraction_near("held_out", slice(None)),
        )
    )


def test_stay_has_the_start_as_its_goal_and_pushes():
    task = task_of("stay", push=0.5)
    scenario = task.draw(np.random.default_rng(0))
    np.testing.assert_array_equal(scenario.goal[-1], scenario.x0)
    assert task.noisy and task.random and scenario.disturbance.any()


def test_a_shorter_horizon_cuts_a_moving_goal():
    """electric draws its full path, whatever the horizon."""
    short, whole = (
        loop_of("electric", "follow", trials=3, steps=steps).scenario
        for steps in (40, 256)
    )
    np.testing.assert_array_equal(short.goal, whole.goal[:41])
    assert short.steps == 40


def test_training_starts_fill_their_range_to_its_corners():
    """Of 256 starts in a plane, each cell of an 8 x 8 grid has two to six.

    Random starts would leave some cells empty.
    """
    x0 = loop_of("cartpole", "swing_up", trials=256).scenario.x0
    cart, pole = (
        np.floor(8 * part).astype(int) for part in (x0[0] + 0.5, x0[1] - np.pi + 0.5)
    )
    counts = np.zeros((8, 8), dtype=int)
    np.add.at(counts, (cart, pole), 1)
    assert counts.min() >= 2 and counts.max() <= 6 and not x0[2:].any()


def test_a_task_can_transform_the_goal_that_the_network_sees():
    """electric shows its goal in the units of the observation, with a preview.

    The preview also covers times beyond a shortened horizon.
    """
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


def test_a_sees_function_with_a_wrong_shape_is_refused():
    plant = plant_of("electric")
    tasks = {"follow": {**plant.tasks["follow"], "sees": lambda goal: goal[:, :, 0]}}
    with pytest.raises(
        TaskError, match=r"sees of task .* returned an array \(257, 4\) of"
    ):
        Task(replace(plant, tasks=tasks), compile_plant(plant), "follow").draw(
            np.random.default_rng(0)
        )


def test_a_preview_is_the_future_change_of_the_goal():
    """arm2 sees its moving goal, and its change within 50, 100 and 200 ms."""
    scenario = loop_of("arm2", "follow", trials=4, steps=60).scenario
    goal, seen = scenario.goal, scenario.target
    assert seen.shape == (60, 4 + 3 * 2, 4)
    np.testing.assert_array_equal(seen[:, :4], goal[1:])
    np.testing.assert_allclose(seen[10, 6:8], goal[21, :2] - goal[11, :2], atol=1e-14)
    np.testing.assert_allclose(seen[-1, 4:], 0, atol=1e-14)  # the goal ends here


def circle_of(plant, trials=12, **options):
    """A reach task of a shipped plant with the user's circle of targets."""
    plant = plant_of(plant)
    options = TaskOptions(trials=trials, **options)
    return Task(plant, compile_plant(plant), "reach", options)


@pytest.mark.parametrize("plant", ["arm2", "arm2_todorov", "arm3"])
def test_targets_are_on_the_circle_that_the_user_chose(plant):
    """Held-out targets are on it too, halfway between the others."""
    centre, radius = np.array([[-0.05], [0.4]]), 0.12
    task = circle_of(plant, target_centre=(-0.05, 0.4), target_radius=radius)
    scenarios = [task.draw(None, split) for split in ("training", "held_out")]
    hands = [hand_of(task, scenario.goal[-1:])[0] for scenario in scenarios]
    for hand, shift in zip(hands, (0.0, 0.5), strict=True):
        angle = 2 * np.pi * (np.arange(12) + shift) / 12
        circle = centre + radius * np.array([np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(hand, circle, atol=1e-9)
    # The start stays that of the task.
    start = plant_of(plant).tasks["reach"]["start"]
    np.testing.assert_array_equal(scenarios[0].x0[: len(start), 3], start)
    assert not scenarios[0].goal[:, len(start) :].any()


def test_centre_and_radius_can_be_chosen_alone():
    own = circle_of("arm2")
    start = hand_of(own, own.draw(None).x0[None])[0, :, 0]
    small = circle_of("arm2", target_radius=0.03)
    moved = circle_of("arm2", target_centre=(0.1, 0.3))
    for task, centre, radius in ((small, start, 0.03), (moved, (0.1, 0.3), 0.0725)):
        hand = hand_of(task, task.draw(None).goal[-1:])[0]
        distances = np.linalg.norm(hand - np.reshape(centre, (2, 1)), axis=0)
        np.testing.assert_allclose(distances, radius, rtol=1e-7)


def test_curvature_of_a_chosen_circle_is_that_of_all_its_targets():
    """Sixteen targets suffice on the circle of the task, but not on a large one."""
    assert circle_of("arm2").curvature_trials == 16
    assert circle_of("arm2", target_radius=0.2).curvature_trials is None
    assert circle_of("arm2", target_centre=(0.1, 0.3)).curvature_trials is None


def test_a_plant_file_can_choose_the_centre():
    task = task_of("reach_and_back", centre=(0.1, 0.3), final_at=(0.5, 1.0))
    goal = task.draw(None).goal
    hand = hand_of(task, goal[20:21])[0]
    distances = np.linalg.norm(hand - [[0.1], [0.3]], axis=0)
    np.testing.assert_allclose(distances, NUMBERS["radius"], rtol=1e-7)
    with pytest.raises(TaskError, match=r"go of arm2: centre 0\.1: must be two fin"):
        task_of("reach", centre=0.1)


def test_every_point_within_reach_is_reached():
    """Points all around the shoulder, some of which Gauss-Newton misses."""
    angle = 2 * np.pi * np.arange(64) / 64
    task = circle_of("arm2", trials=64)
    for radius in (0.05, 0.3, 0.57):
        hand = radius * np.array([np.cos(angle), np.sin(angle)])
        params = np.tile(np.array(list(task.plant.params.values()))[:, None], 64)
        found = posture(task.plant, task.kernels, hand, (0.75613, 1.8553), params)
        x = np.concatenate([found, np.zeros((2, 64))])
        np.testing.assert_allclose(hand_of(task, x[None])[0], hand, atol=1e-8)


@pytest.mark.parametrize(
    "plant, options, words",
    [
        # The links of arm2 are 0.31 and 0.27 m long.
        (
            "arm2",
            {"target_centre": (0.3, 0.4), "target_radius": 0.3},
            r"the worst at \(0.\d+, 0.\d+\) m: there the hand gets to 0.580 m from the "
            r"arm's base, and the target is 0.800 m from it; choose",
        ),
        ("arm2", {"target_centre": (0.0, 0.0), "target_radius": 0.03}, "to 0.040 m"),
        ("arm3", {"target_radius": 1.0}, "there the hand gets to 0.730 m"),
    ],
)
def test_targets_out_of_reach_are_refused_in_one_line(plant, options, words):
    with pytest.raises(TaskError, match=words) as caught:
        circle_of(plant, trials=120, **options)
    assert "smaller `target_radius` or another `target_centre`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_held_out_targets_out_of_reach_are_refused_before_training():
    """The only training target is on the right of the circle, held-out on its left."""
    with pytest.raises(TaskError, match=r"1 of 1 targets .* at \(-0.450, 0.400\) m"):
        circle_of("arm2", trials=1, target_centre=(-0.15, 0.4), target_radius=0.3)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"target_centre": (0.1,)}, "must be two finite coordinates x, y"),
        ({"target_centre": (0.1, np.inf)}, "must be two finite coordinates x, y"),
        ({"target_radius": 0.0}, "`target_radius` 0.0: must be finite and above zero"),
        ({"target_radius": np.nan}, "`target_radius` nan: must be finite and above z"),
    ],
)
def test_circles_that_are_none_are_refused_in_one_line(options, words):
    with pytest.raises(UsageError, match=words) as caught:
        TaskOptions(**options)
    assert "\n" not in str(caught.value)


def test_targets_are_refused_by_tasks_without_a_circle():
    plant = plant_of("arm2")
    with pytest.raises(UsageError) as caught:
        options = TaskOptions(target_radius=0.1)
        Task(plant, compile_plant(plant), "anywhere", options)
    assert str(caught.value) == (
        "`target_radius` 0.1: task anywhere of arm2 has no circle of hand targets; "
        "leave it out, or choose `task` reach or out_and_back"
    )


def test_the_reach_is_told_from_the_base_of_the_arm():
    """An arm of length 2 m whose base is not at the origin."""
    base = np.array([1.0, 0.5])
    reached = base[:, None] + np.array([[0.6, 1.2], [0.8, 1.6]])
    arm = SimpleNamespace(
        plant=SimpleNamespace(name="crane"),
        hand=lambda q: reached,
        base=lambda q: base,
    )
    target = base[:, None] + np.array([[0.6, 1.8], [0.8, 2.4]])
    with pytest.raises(TaskError) as caught:
        _check_reach(arm, target, None)
    text = str(caught.value)
    assert text.startswith("1 of 2 targets are out of reach of plant crane, the worst")
    assert "at (2.800, 2.900) m: there the hand gets to 2.000 m from" in text
    assert "the target is 3.000 m from it" in text

    floating = SimpleNamespace(plant=arm.plant, hand=arm.hand, base=lambda q: None)
    with pytest.raises(TaskError, match="no closer to it than 100 cm"):
        _check_reach(floating, target, None)
