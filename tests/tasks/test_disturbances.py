"""Disturbances: sizes, places and independence of the draws."""

import numpy as np
import pytest
from helpers import plant_of

from hfcontrol.errors import UsageError
from hfcontrol.runs.quantities import curl_range, parse_params, parse_ranges, parse_time
from hfcontrol.tasks.disturbances import LATEST, PUSH_SECONDS, Disturbances

STEPS, TRIALS = 50, 4000


def test_only_varying_parameters_are_drawn_and_fill_their_range():
    plant = plant_of("arm2")
    names = list(plant.params)
    drawn = Disturbances(vary=(("lower_mass", 1.0, 3.0),)).params(
        plant, np.random.default_rng(0), TRIALS
    )
    varied = drawn[names.index("lower_mass")]
    assert varied.min() >= 1.0 and varied.max() <= 3.0
    assert varied.mean() == pytest.approx(2.0, abs=4 * 2 / np.sqrt(12 * TRIALS))
    for name, value in plant.params.items():
        if name != "lower_mass":
            assert (drawn[names.index(name)] == value).all()


def test_a_push_changes_only_the_rates_and_happens_once():
    plant, size = plant_of("arm2"), 0.3
    pushes = Disturbances(push=size).pushes(
        plant, np.random.default_rng(1), STEPS, TRIALS
    )
    assert not pushes[:, plant.positions].any()
    duration_in_steps = round(PUSH_SECONDS / plant.dt)
    acting = pushes[:, 2:].any(axis=1)
    assert (acting.sum(axis=0) == duration_in_steps).all()
    first = acting.argmax(axis=0)
    assert acting[
        first + duration_in_steps - 1, np.arange(TRIALS)
    ].all()  # without a gap
    assert len(np.unique(first)) == int(LATEST * STEPS) - duration_in_steps + 1
    total = pushes.sum(axis=0)[2:]
    assert total.std() == pytest.approx(size, rel=0.05) and abs(
        np.corrcoef(total)[0, 1]
    ) < 4 / np.sqrt(TRIALS)


def test_a_requested_push_replaces_that_of_the_task():
    plant, rng = plant_of("arm2"), np.random.default_rng(2)
    assert Disturbances().pushes(plant, rng, STEPS, 8, default=0.1).any()
    assert not Disturbances(push=0.0).pushes(plant, rng, STEPS, 8, default=0.1).any()


def test_lengths_of_steps_fill_their_range_about_the_control_step():
    jitter, rng = 0.3, np.random.default_rng(2)
    excesses = Disturbances(jitter=jitter).excesses(rng, STEPS, TRIALS)
    assert not excesses[0].any()
    drawn = excesses[1:]
    assert jitter - 1e-3 < drawn.max() <= jitter and drawn.min() >= -jitter
    error = 4 * jitter / np.sqrt(3 * drawn.size)
    assert abs(drawn.mean()) < error and len(np.unique(drawn)) == drawn.size
    assert not Disturbances().excesses(None, STEPS, TRIALS).any()


@pytest.mark.parametrize("jitter", [-0.1, 1.0, np.nan, np.inf])
def test_no_step_is_empty(jitter):
    with pytest.raises(UsageError, match=r"`jitter` .*: must be a part of the control"):
        Disturbances(jitter=jitter)


def test_noise_is_independent_of_dimension_trial_and_time():
    plant = plant_of("arm2")
    sensory, motor, gain = Disturbances(sensory_noise=0.2, motor_fraction=0.05).noise(
        plant, np.random.default_rng(3), 20, 500
    )
    assert (
        sensory.std() == pytest.approx(0.2, rel=0.03)
        and gain.std() == pytest.approx(0.05, rel=0.03)
        and not motor.any()
    )
    flat = sensory.transpose(0, 2, 1).reshape(-1, plant.ny)
    assert np.abs(np.corrcoef(flat.T) - np.eye(plant.ny)).max() < 5 / np.sqrt(len(flat))
    assert abs(
        np.corrcoef(sensory[:-1].ravel(), sensory[1:].ravel())[0, 1]
    ) < 5 / np.sqrt(sensory.size)


def test_parameter_settings_are_parsed():
    plant = plant_of("arm2")
    assert parse_params(("a=1", "b = -2.5e-3")) == {"a": 1.0, "b": -0.0025}
    assert parse_ranges(("lower_mass=1..3",), plant) == (("lower_mass", 1.0, 3.0),)
    own = plant.params["upper_mass"]
    assert parse_ranges(("upper_mass=20%",), plant) == (
        ("upper_mass", pytest.approx(0.8 * own), pytest.approx(1.2 * own)),
    )
    assert (
        parse_time("40ms", "actuators")
        == parse_time("0.04", "actuators")
        == pytest.approx(0.04)
    )


@pytest.mark.parametrize(
    "read, message",
    [
        (
            lambda: parse_params(("friction",)),
            "`param` friction: must be a parameter and a finite number",
        ),
        (
            lambda: parse_params(("friction=soft",)),
            "`param` friction=soft: must be a parameter and a finite number",
        ),
        (
            lambda: parse_ranges(("lower_mass=3..1",), plant_of("arm2")),
            "`vary` lower_mass=3..1: must be a parameter with its range",
        ),
        (
            lambda: parse_ranges(("lower_mass=heavy",), plant_of("arm2")),
            "`vary` lower_mass=heavy: must be a parameter with its range",
        ),
        (
            lambda: parse_ranges(("wrist=0..1",), plant_of("arm2")),
            "`vary` wrist: plant arm2 has no such parameter",
        ),
        (
            lambda: curl_range(13.0, plant_of("linear")),
            "`curl_field` 13.0: plant linear has no hand",
        ),
        (
            lambda: parse_time("soon", "actuators"),
            "`actuators` soon: must be seconds such as 0.04",
        ),
    ],
)
def test_invalid_parameter_settings_are_refused_in_one_line(read, message):
    with pytest.raises(UsageError) as caught:
        read()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
