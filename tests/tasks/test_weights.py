"""Weights by component: the loss by loops over numbers, and the refusal of bad ones."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import loop_of, plant_of, weights_of

import hfcontrol as hf
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.modifiers import with_actuators
from hfcontrol.runs.settings import Settings
from hfcontrol.tasks.options import TaskOptions
from hfcontrol.tasks.task import Task
from hfcontrol.tasks.weights import WEIGHTS, weights_by_component

BY_COMPONENT = {
    "running": (0.1, 0.2, 0.03, 0.04),
    "final": (3.0, 2.0, 0.5, 0.7),
    "effort": (1e-3, 5e-3),
}
STATES = "shoulder, elbow, shoulder_rate, elbow_rate"
LENGTH_3 = f"has 3 weights; give one number for all positions, or 4 numbers: {STATES}"


def joint_loss(loop, rollout, trial):
    """The loss of one trial, number by number, in the formula of docs/training.md."""
    goal, steps, loss = loop.scenario.goal, loop.scenario.steps, 0.0
    for t in range(1, steps + 1):
        for i in range(4):
            weight = BY_COMPONENT["running"][i]
            if t == steps:
                weight += BY_COMPONENT["final"][i]
            loss += 0.5 * weight * (rollout.x[t, i, trial] - goal[t, i, trial]) ** 2
    return loss + effort(rollout, trial)


def hand_loss(loop, rollout, trial):
    """The same with the distance of the hand in place of the joint angles."""
    goal, steps, loss = loop.scenario.goal, loop.scenario.steps, 0.0
    z = loop.kernels.output(rollout.x, loop.scenario.params)[..., trial]
    hand = z[:, :2] - loop.scenario.goal_output[:, :2, trial]
    for t in range(1, steps + 1):
        last = t == steps
        weight = 0.2 + (3.0 if last else 0.0)  # the larger of both angles
        loss += 0.5 * weight * (hand[t, 0] ** 2 + hand[t, 1] ** 2)
        for i in (2, 3):
            weight = BY_COMPONENT["running"][i]
            weight += BY_COMPONENT["final"][i] if last else 0.0
            loss += 0.5 * weight * (rollout.x[t, i, trial] - goal[t, i, trial]) ** 2
    return loss + effort(rollout, trial)


def effort(rollout, trial):
    """The effort of one trial, number by number."""
    return sum(
        0.5 * BY_COMPONENT["effort"][j] * rollout.u[t, j, trial] ** 2
        for t in range(len(rollout.u))
        for j in range(2)
    )


@pytest.mark.parametrize("fused", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize(
    "space, loss_of",
    [("joint", joint_loss), ("hand", hand_loss)],
    ids=["joint", "hand"],
)
def test_loss_is_the_sum_over_components(space, loss_of, fused):
    loop = loop_of("arm2", space=space, fused=fused, trials=3, **BY_COMPONENT)
    rollout = loop.rollout(weights_of(loop))
    expected = [loss_of(loop, rollout, n) for n in range(3)]
    np.testing.assert_allclose(rollout.losses, expected, rtol=1e-12)


@pytest.mark.parametrize("space", ["joint", "hand"])
def test_a_vector_of_equal_weights_is_one_number(space, rng):
    """One number of `running` weighs the positions alone."""
    one = loop_of("arm2", space=space, running=0.1, effort=0.2, final=0.3)
    vectors = {"running": [0.1, 0.1, 0, 0], "effort": (0.2,) * 2, "final": (0.3,) * 4}
    many = loop_of("arm2", space=space, **vectors)
    x, u = rng.standard_normal((13, 4, 7)), rng.standard_normal((12, 2, 7))
    losses = one.scenario.cost.losses(x, u)
    np.testing.assert_array_equal(many.scenario.cost.losses(x, u), losses)


@pytest.mark.parametrize(
    "kind", [list, tuple, np.array], ids=["list", "tuple", "array"]
)
def test_settings_and_tasks_take_every_sequence(kind):
    plant = plant_of("arm2")
    numbers = {name: kind(weights) for name, weights in BY_COMPONENT.items()}
    tasks = {"go": {**plant.tasks["reach"], **numbers}}
    own = Task(replace(plant, tasks=tasks), compile_plant(plant))
    settings = Settings(**numbers)
    for name, weights in BY_COMPONENT.items():
        assert getattr(settings, name) == weights
        found = weights_by_component(plant, name, own.numbers[name])
        np.testing.assert_array_equal(found, weights)


def test_drives_of_actuators_have_no_weight():
    plant = with_actuators(plant_of("arm2"), 0.04)
    task = Task(plant, compile_plant(plant), "reach", TaskOptions(**BY_COMPONENT))
    weights = task.draw(None).cost.weights
    np.testing.assert_array_equal(weights.state[1, :4, 0], BY_COMPONENT["running"])
    assert plant.nx == 6 and not weights.state[:, 4:].any()
    np.testing.assert_array_equal(weights.control[0, :, 0], BY_COMPONENT["effort"])


@pytest.mark.parametrize("zero", [0.0, (0.0, 0.0), np.zeros(2)])
def test_weights_of_zero_leave_a_loss_of_zero_possible(zero):
    plant = plant_of("arm2")
    kernels = compile_plant(plant)
    assert Task(plant, kernels, None, TaskOptions(effort=zero)).optimum_is_zero
    options = TaskOptions(effort=zero, running=(0, 0, 0, 0.1))
    assert not Task(plant, kernels, None, options).optimum_is_zero


def test_shorter_horizons_shrink_every_final_weight():
    plant = plant_of("arm2")
    task = Task(plant, compile_plant(plant), None, TaskOptions(**BY_COMPONENT))
    final = task.shrink(20, 4).draw(None).cost.weights.state[-1, :, 0]
    expected = np.array(BY_COMPONENT["final"]) / 8 + BY_COMPONENT["running"]
    np.testing.assert_allclose(final, expected, rtol=1e-15)


# Settings, and the message in full: name, what came, what is expected.
BAD_LENGTHS = [
    ({"running": (1, 1, 1)}, f"`running` 1,1,1: {LENGTH_3}"),
    (
        {"effort": (1.0,)},
        "`effort` 1: has 1 weight; give one number for all, or 2 numbers: "
        "shoulder_torque, elbow_torque",
    ),
    (
        {"final": np.ones(5)},
        f"`final` 1,1,1,1,1: has 5 weights; give one number for all, or 4 numbers: "
        f"{STATES}",
    ),
]


@pytest.mark.parametrize("options, message", BAD_LENGTHS)
def test_wrong_lengths_are_refused_in_one_line(options, message):
    plant = plant_of("arm2")
    with pytest.raises(UsageError) as caught:
        Task(plant, compile_plant(plant), None, TaskOptions(**options))
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [-1, (1, -1), "1", ("1", 1), np.nan, (np.inf, 0), ()])
@pytest.mark.parametrize("name", WEIGHTS)
def test_entries_that_are_no_weights_are_refused_in_one_line(name, value):
    with pytest.raises(UsageError) as caught:
        Settings(**{name: value})
    assert str(caught.value).startswith(f"`{name}` ")
    assert "must be a finite number of at least 0, or one for each" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value, words",
    [
        ((1, 1, 1), LENGTH_3),
        ((1, -1, 1, 1), "zero or above; number 2 is -1"),
        ((1, 1, None, 1), "zero or above; number 3 is None"),
        (np.nan, "must be a finite number, zero or above"),
        (True, "must be a finite number, zero or above"),
        ("1,1,1,1", "must be a finite number, zero or above"),
        ([], "this one is empty"),
    ],
)
def test_unsuitable_weights_in_a_plant_file_are_refused(value, words):
    plant = plant_of("arm2")
    bad = replace(plant, tasks={"go": {**plant.tasks["reach"], "running": value}})
    with pytest.raises(TaskError) as caught:
        Task(bad, compile_plant(plant))
    assert str(caught.value).startswith(f"task go of arm2: running {value!r}: ")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    findings = {finding.name: finding for finding in hf.check_plant(bad)}
    assert not findings["tasks"].ok
    assert words in findings["tasks"].message


def test_settings_of_older_checkpoints_keep_the_weights_of_the_task():
    tree = Settings(running=0.1).tree()
    for name in ("final", "target_centre", "target_radius"):
        del tree[name]
    assert Settings.from_tree(tree) == Settings(running=0.1)
