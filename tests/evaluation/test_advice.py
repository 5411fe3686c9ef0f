"""What limits a result is said in words that follow from numbers."""

import pytest

from hfcontrol.cli.progress import find_signs, print_advice
from hfcontrol.evaluation.advice import (
    GAP,
    GOOD_RATIO,
    LEAST_GAP,
    POOR_RATIO,
    SATURATED,
    Signs,
    Way,
    best_ways,
    find_causes,
)
from hfcontrol.evaluation.evaluation import LEAST_RATIO

# A training that ended at its optimum.
GOOD = Signs(
    stop="converged",
    training=1.001,
    held_out=1.002,
    saturated=0.0,
    trials=64,
    hidden=(32, 32),
    chance=(),
    sees_part=False,
    remembers=True,
    climbs=False,
    used=(),
    seed=3,
)
MORE = Way("train", ("--trials", "256"))
LARGER = Way("train", ("--hidden", "64,64"))
QUIET = ("--motor-noise", "0", "--jitter", "0")


def option(*words):
    return Way("train", words)


# What differs from GOOD, the first words of the causes, and the commands.
CASES = [
    ({}, [], []),
    ({"training": None, "held_out": None}, [], []),
    ({"stop": "time", "training": 4.0, "held_out": 4.0}, [], []),
    (
        {"held_out": 0.98},
        ["optimum"],
        [Way("evaluate", ("--trials", "256", "--judge", "all"))],
    ),
    ({"training": 1.02, "held_out": 1.2, "stop": "time"}, ["trials"], [MORE]),
    # The excess is large on both: this is no overfitting.
    ({"training": 1.2, "held_out": 1.5, "stop": "time"}, [], []),
    (
        {"training": 9.0, "held_out": 9.0},
        ["minimum"],
        [option("--grow", "12"), option("--race", "4")],
    ),
    (
        {"training": 9.0, "held_out": 9.0, "used": ("grow",)},
        ["minimum"],
        [option("--race", "4"), option("--guide", "32")],
    ),
    (
        {"training": 9.0, "held_out": 9.0, "climbs": True},
        ["minimum"],
        [option("--seed", "4"), LARGER],
    ),
    (
        {"training": 2.0, "held_out": 9.0, "stop": "failed"},
        ["trials", "minimum"],
        [MORE, option("--grow", "12")],
    ),
    (
        {"stop": "stalled"},
        ["roughness"],
        [option("--guide", "32"), option("--race", "4")],
    ),
    (
        {"training": 1.3, "held_out": 1.3, "saturated": 0.6},
        ["saturation", "network"],
        [LARGER],
    ),
    ({"training": 1.03, "held_out": 1.03, "stop": "validated"}, ["network"], [LARGER]),
    (
        {"training": 1.1, "held_out": 1.1, "sees_part": True, "remembers": False},
        ["observation"],
        [option("--recurrent", "all")],
    ),
    ({"training": 1.1, "held_out": 1.1, "sees_part": True}, ["observation"], [LARGER]),
    (
        {"training": 1.1, "held_out": 1.1, "chance": ("motor_noise", "jitter")},
        ["noise"],
        [Way("evaluate", QUIET)],
    ),
]


@pytest.mark.parametrize("changes, words, ways", CASES)
def test_causes_and_commands_follow_from_numbers(changes, words, ways):
    causes = find_causes(GOOD._replace(**changes))
    assert [cause.sentence.partition(":")[0] for cause in causes] == words
    assert not any("\n" in cause.sentence for cause in causes)
    assert best_ways(causes) == ways


# A ratio at its bar, what else differs from GOOD, and the cause from there on.
BARS = {
    "held-out trials": ("held_out", 1 + LEAST_GAP, {"training": 1.0}, "trials"),
    # A training that beats its optimum has no excess.
    "beaten optimum": ("held_out", 1 + LEAST_GAP, {"training": 0.9995}, "trials"),
    "excess": ("held_out", 1 + GAP * 0.1 + LEAST_GAP, {"training": 1.1}, "trials"),
    "network": ("training", GOOD_RATIO, {"held_out": None}, "network"),
    "minimum": ("training", POOR_RATIO, {"held_out": None}, "minimum"),
    "noise": ("held_out", GOOD_RATIO, {"chance": ("push",), "training": None}, "noise"),
    "saturation": ("saturated", SATURATED, {"training": 1.3}, "saturation"),
}


@pytest.mark.parametrize("field, bar, changes, word", BARS.values(), ids=BARS)
def test_a_cause_begins_at_its_bar(field, bar, changes, word):
    found = []
    for value in (bar - 1e-6, bar + 1e-6):
        causes = find_causes(GOOD._replace(**{**changes, field: value}))
        found.append(word in [c.sentence.partition(":")[0] for c in causes])
    assert found == [False, True]


def test_noise_is_named_as_it_was_drawn():
    signs = GOOD._replace(held_out=1.1, training=1.1, chance=("motor_noise", "push"))
    (cause,) = find_causes(signs)
    assert cause.sentence.endswith("(motor noise, push)")


def test_an_optimum_is_beaten_below_its_bar():
    found = [
        find_causes(GOOD._replace(held_out=ratio)) for ratio in (LEAST_RATIO, 0.9989)
    ]
    assert not found[0] and found[1][0].sentence.startswith("optimum: ")


def test_signs_come_from_an_evaluation_and_are_printed(trained, capsys):
    evaluation = {
        "sets": {
            "training": {"ratio": 1.0, "saturated": None},
            "held_out": {"ratio": 1.5, "saturated": None},
        },
        "noisy": False,
    }
    signs = find_signs("time", evaluation, trained)
    assert signs == GOOD._replace(
        stop="time",
        training=1.0,
        held_out=1.5,
        trials=4,
        hidden=(3,),
        sees_part=True,
        climbs=trained.settings.strategy == "auto",
        used=("grow",),
        seed=1,
    )
    print_advice(signs, trained)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("trials: too few (4); ratio 1.5 on held-out trials")
    assert lines[1] == "try: hfcontrol train --plant linear --trials 16"
    assert find_signs("time", {"return": {}}, trained) is None


@pytest.fixture
def trained(tmp_path):
    """A training that has not begun."""
    from hfcontrol.runs.settings import settings_for
    from hfcontrol.runs.training import start_training

    chosen = {"trials": 4, "steps": 5, "hidden": (3,), "grow": 2, "seed": 1}
    settings = settings_for(plant="linear", feedback_delay=1, **chosen)
    command = "hfcontrol train --plant linear"
    return start_training(settings, tmp_path, command=command)
