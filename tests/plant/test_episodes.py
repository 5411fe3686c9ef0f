"""Environments that answer anything: read, or refused in one line."""

import re

import numpy as np
import pytest

from hfcontrol.errors import NumberError, PlantError
from hfcontrol.plant.environment import Environment
from hfcontrol.plant.episodes import EnvironmentCopy

GOOD_RESET = (np.zeros(2), {})
GOOD_STEP = (np.zeros(2), -1.0, False, False, {})


class Scripted:
    """Answers a reset and a step with what it was given; an exception is raised."""

    def __init__(self, reset=GOOD_RESET, step=GOOD_STEP):
        self.answers = {"reset": reset, "step": step}

    def _answer(self, name):
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reset(self, seed=None):
        return self._answer("reset")

    def step(self, action):
        return self._answer("step")


def changed_step(**changes):
    """A good step with another entry."""
    names = ("observation", "reward", "terminated", "truncated", "info")
    return tuple({**dict(zip(names, GOOD_STEP, strict=True)), **changes}.values())


@pytest.mark.parametrize(
    "env, error, words",
    [
        (Scripted(reset=np.zeros(2)), PlantError, "reset returned 2 numbers"),
        (Scripted(reset=(np.zeros(3), {})), PlantError, "its space has 2 numbers"),
        (Scripted(reset=(["a", "b"], {})), PlantError, "at reset is a list"),
        (Scripted(reset=([0.0, np.inf], {})), NumberError, "y1 is inf at reset"),
        (Scripted(reset=OSError("no\nport")), PlantError, "reset: OSError: no port"),
        (Scripted(step=GOOD_STEP[1:]), PlantError, "step 1 of an episode returned 4"),
        (Scripted(step=None), PlantError, "returned a NoneType"),
        (Scripted(step=EOFError()), PlantError, "step 1 of an episode: EOFError"),
        (
            Scripted(step=changed_step(observation=[np.nan, 0.0])),
            NumberError,
            "observation y0 is nan at step 1",
        ),
        (
            Scripted(step=changed_step(observation=[[0.0], [1.0, 2.0]])),
            PlantError,
            "observation at step 1 of an episode is a list",
        ),
        (Scripted(step=changed_step(reward=-np.inf)), NumberError, "reward is -inf"),
        (Scripted(step=changed_step(reward=np.zeros(2))), PlantError, "be one number"),
        (Scripted(step=changed_step(reward=None)), PlantError, "reward at step 1"),
        (Scripted(step=changed_step(terminated="no")), PlantError, "terminated at"),
    ],
)
def test_wrong_answer_is_one_line(env, error, words):
    copy = EnvironmentCopy("gym:Toy-v0", env, 2)
    with pytest.raises(error, match=f"^gym:Toy-v0.*{re.escape(words)}") as caught:
        copy.reset(1)
        copy.step(0)
    assert "\n" not in str(caught.value)


def test_error_of_the_environment_has_its_line():
    with pytest.raises(PlantError, match=r"test_episodes\.py, line \d+\)$"):
        EnvironmentCopy("gym:Toy-v0", Scripted(step=KeyError("x")), 2).step(0)


def test_lists_scalars_and_arrays_of_one_entry_are_read():
    step = ([[1, 2]], np.array([3.0]), np.bool_(True), np.array(0), {})
    copy = EnvironmentCopy("gym:Toy-v0", Scripted(reset=((4, 5), {}), step=step), 2)
    np.testing.assert_array_equal(copy.reset(), [4.0, 5.0])
    observation, reward, terminated, truncated = copy.step(0)
    np.testing.assert_array_equal(observation, [1.0, 2.0])
    assert (reward, terminated, truncated) == (3.0, True, False)


def box(low, high, shape, dtype):
    """An environment with such a Box of actions."""
    low, high = (np.ravel(np.broadcast_to(a, shape)).astype(float) for a in (low, high))
    return Environment(
        "Toy-v0", None, 1, len(low), False, low, high, 0, None, shape, dtype
    )


@pytest.mark.parametrize(
    "low, high, shape, dtype, control, expected",
    [
        # Two bounds: units of half the range about its middle.
        (0, 4, (1,), "float32", [0.5], [3.0]),
        (-2, 2, (2, 2), "float32", [-3, 1, 0, 0.5], [[-2, 2], [0, 1]]),
        (-1, 1, (), "float64", [0.25], 0.25),
        # One bound or none: as they are, inside the bound.
        (0, np.inf, (2,), "float32", [-0.4, 7.5], [0.0, 7.5]),
        (-np.inf, 3, (2,), "float64", [-9.0, 3.5], [-9.0, 3.0]),
        (-np.inf, np.inf, (1,), "float32", [4.0], [4.0]),
        # Whole numbers are rounded; a Box without bounds has those of its dtype.
        (0, 10, (3,), "int64", [-5, 0.05, 1], [0, 5, 10]),
        (0, 255, (2,), "uint8", [-1, 1.5], [0, 255]),
        (-(2**63), 2**63 - 1, (2,), "int64", [2.6, -1e300], [3, -(2**53)]),
    ],
)
def test_action_has_shape_dtype_and_bounds(low, high, shape, dtype, control, expected):
    action = box(low, high, shape, dtype).action(np.array(control, dtype=float))
    assert action.shape == shape and action.dtype == dtype
    np.testing.assert_array_equal(action, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_that_are_no_binary_fractions_are_kept(dtype):
    low, high = np.array([-0.1, 0.1], dtype), np.array([0.7, 0.3], dtype)
    env = box(low, high, (2,), dtype)
    for control in ([-1.0, -1.0], [1.0, 1.0], [-2.0, 5.0]):
        action = env.action(np.array(control))
        assert (action >= low).all() and (action <= high).all()


def test_outputs_that_are_not_finite_are_no_action():
    with pytest.raises(NumberError, match=r"output \[nan\] is not finite"):
        box(-1, 1, (1,), "float32").action(np.array([np.nan]))


def test_spaces_are_described_with_shape_and_dtype():
    spaces = pytest.importorskip("gymnasium").spaces

    class Boxed:
        observation_space = spaces.Box(-1.0, 1.0, (2,))
        action_space = spaces.Box(0, 9, (2, 3), np.int64)
        spec = None

    env = Environment.describe("Toy-v0", None, Boxed())
    assert env.n_control == 6
    for control in (np.zeros(6), np.full(6, -9.0), np.linspace(-1, 1, 6)):
        assert Boxed.action_space.contains(env.action(control))
