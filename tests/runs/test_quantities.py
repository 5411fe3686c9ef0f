"""Texts that are read as numbers: what cannot be read is told in one line."""

import pytest

from hfcontrol.errors import UsageError
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.quantities import (
    curl_range,
    parse_delay,
    parse_motor_noise,
    parse_params,
    parse_ranges,
    parse_time,
    parse_time_range,
)

READERS = {
    "feedback_delay": lambda text: parse_delay(text, 0.01, "feedback_delay"),
    "pulse": lambda text: parse_time(text, "pulse"),
    "time_constants": lambda text: parse_time_range(text, "time_constants"),
    "motor_noise": parse_motor_noise,
    "param": lambda text: parse_params([text]),
    "vary": lambda text: parse_ranges([f"curl={text}"], load_plant("arm2")),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "1\r2", "7\u202e", ""])
def test_what_cannot_be_read_is_told_in_one_visible_line(name, text):
    with pytest.raises(UsageError, match=f"^`{name}` .*: must be ") as caught:
        READERS[name](text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text, steps", [("3", 3), ("40ms", 4), ("0", 0), (2, 2), ("30.0ms", 3)]
)
def test_delays_are_steps_or_milliseconds(text, steps):
    assert parse_delay(text, 0.01, "feedback_delay") == steps


@pytest.mark.parametrize("text", ["-1", "0.5", "5ms", "inf", "nan"])
def test_delays_are_whole_numbers_of_steps(text):
    with pytest.raises(UsageError, match="a whole number of control steps of 10 ms"):
        parse_delay(text, 0.01, "feedback_delay")


def test_times_and_ranges_are_seconds():
    assert parse_time("2s", "pulse") == 2.0
    assert parse_time("40ms", "pulse") == 0.04
    assert parse_time_range("20ms..0.2", "time_constants") == (0.02, 0.2)


def test_motor_noise_is_in_units_or_a_part_of_the_control():
    assert parse_motor_noise("0.3") == (0.3, 0.0)
    assert parse_motor_noise("5%") == (0.0, 0.05)


def test_a_percentage_is_relative_to_the_own_value_of_the_plant():
    plant = load_plant("arm2")
    (found,) = parse_ranges(["upper_mass=20%"], plant)
    own = plant.params["upper_mass"]
    assert (found.low, found.high) == pytest.approx((0.8 * own, 1.2 * own))


def test_the_curl_field_is_symmetric():
    (found,) = curl_range(3.0, load_plant("arm2"))
    assert (found.name, found.low, found.high) == ("curl", -3.0, 3.0)
