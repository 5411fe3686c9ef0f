"""Settings: what is asked for is what the trainer gets, and what does not fit is told in one line."""

import numpy as np
import pytest
from helpers import training_of

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.errors import UsageError
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.lbfgs import LBFGS
from hfcontrol.runs.factory import make_architecture
from hfcontrol.runs.quantities import delay_steps, motor_noises
from hfcontrol.runs.settings import Settings, settings_for


@pytest.mark.parametrize(
    "settings, told",
    [
        (
            {"plant": "arm2", "effort": 0.0, "target_ratio": 1.01},
            "optimal loss is zero",
        ),
        ({"plant": "arm2", "motor_noise": "5%", "target_ratio": 1.01}, "with noise"),
        ({"target_ratio": 0.9}, "1 is the optimum"),
        ({"target_loss": -1.0}, "--target-loss -1.0: a number above 0"),
        ({"batches": 0}, "--batches 0: a number above 0"),
        ({"rollouts": 0}, "--rollouts 0"),
        ({"max_seconds": 0.0}, "--max-seconds 0.0"),
        ({"hold": "tight"}, "--hold tight: known are auto, model"),
        ({"optimizer": "sgd"}, "--optimizer sgd: known are hf, adam"),
        ({"solver": "lu"}, "--solver lu: known are auto, cg"),
        ({"race": 0}, "--race 0"),
        ({"guide": -1}, "--guide -1: 0 or above"),
        (
            {"cell": "cfc", "scheme": "rk4"},
            "--scheme rk4 with --cell cfc: it belongs to the cells in continuous time, ctrnn, ltc, ",
        ),
        ({"cell": "cfc", "dtype": "float32"}, "--dtype float32 with --cell cfc: "),
        (
            {"unfold": 3},
            "--unfold 3 with --cell tanh: it belongs to the cells in continuous time, ctrnn, ltc, ",
        ),
        (
            {"time_constants": "20ms..1"},
            "--time-constants 20ms..1 with --cell tanh: it belongs to the cells in continuous time",
        ),
        (
            {"learning_rate": 0.1},
            "--learning-rate 0.1 with --optimizer hf: only adam, momentum, ppo and a2c have",
        ),
        ({"curvature_trials": 0}, "`curvature_trials` 0: must be at least 1"),
        (
            {"optimizer": "adam", "curvature_trials": 8},
            "--curvature-trials 8 with --optimizer adam: it belongs to hf",
        ),
        (
            {"optimizer": "adam", "cg_cap": 30},
            "--cg-cap 30 with --optimizer adam: it belongs to hf",
        ),
        (
            {"feedback_delay": "15ms"},
            "--feedback-delay 15ms: a whole number of control steps",
        ),
        ({"command_delay": "soon"}, "--command-delay soon: steps such as 3"),
        ({"motor_noise": "much"}, "--motor-noise much"),
        ({"control_limit": -1.0}, "--control-limit -1.0"),
        ({"hidden": (5, 0)}, "`hidden` 5,0"),
        ({"skip": (3,)}, "`skip` 3"),
        ({"clip": 0.1}, "--clip 0.1 with --optimizer hf: it belongs to ppo and a2c"),
        ({"optimizer": "ppo", "clip": 0.0}, "`clip` 0.0: a number above 0"),
        ({"optimizer": "ppo", "discount": 2.0}, "`discount` 2.0: a number from 0 to 1"),
        ({"optimizer": "ppo", "epochs": 0}, "`epochs` 0: a number from 1"),
        (
            {"optimizer": "ppo", "damping": 2.0},
            "--damping 2.0 with --optimizer ppo: it belongs to hf",
        ),
        (
            {"optimizer": "ppo", "grow": 4},
            "--grow 4 with --optimizer ppo: it is of training by derivatives",
        ),
        (
            {"optimizer": "a2c", "hold": "model"},
            "--hold model with --optimizer a2c: it is of training by derivatives",
        ),
        (
            {"optimizer": "a2c", "estimator": "ctpg", "recurrent": ()},
            "--estimator ctpg with --optimizer a2c",
        ),
    ],
)
def test_a_wrong_option_is_told_in_one_line(settings, told):
    with pytest.raises(UsageError) as caught:
        training_of(**settings)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_the_limits_of_the_plant_file_are_taken():
    trainer, _ = training_of(control_limit="plant")
    np.testing.assert_array_equal(trainer.wiring.limit, [0.8, np.inf])


def test_a_limit_is_for_every_control():
    for limit, expected in ((0.5, 0.5), ("0.5", 0.5), (None, np.inf), ("none", np.inf)):
        np.testing.assert_array_equal(
            training_of(control_limit=limit)[0].wiring.limit, [expected, expected]
        )


@pytest.mark.parametrize(
    "value, steps", [(3, 3), ("3", 3), (0, 0), ("40ms", 4), ("0ms", 0), (2.0, 2)]
)
def test_a_delay_is_steps_or_milliseconds(value, steps):
    assert delay_steps(value, 0.01, "feedback-delay") == steps


@pytest.mark.parametrize("value", [-1, "-10ms", 1.5, "nan", "inf"])
def test_a_delay_of_no_whole_steps_is_refused(value):
    with pytest.raises(UsageError, match="whole number of control steps of 10 ms"):
        delay_steps(value, 0.01, "command-delay")


def test_motor_noise_is_in_control_units_or_in_percent():
    assert motor_noises(0.2) == motor_noises("0.2") == (0.2, 0.0) and motor_noises(
        "5%"
    ) == (0.0, 0.05)


@pytest.mark.parametrize(
    "options, skip, recurrent",
    [
        ({"hidden": (4,)}, (), (1,)),
        ({"hidden": (4, 4)}, (2,), (1, 2)),
        ({"hidden": (4, 4, 4)}, (2,), (1, 2, 3)),
        ({"hidden": (4, 4, 4), "skip": "all", "recurrent": "none"}, (2, 3), ()),
        ({"hidden": (4, 4, 4), "skip": (3,), "recurrent": (1,)}, (3,), (1,)),
    ],
)
def test_words_for_connections(options, skip, recurrent):
    architecture = make_architecture(Settings(**options), 0.01)
    assert (architecture.skip, architecture.recurrent) == (skip, recurrent)


@pytest.mark.parametrize(
    "options, expected",
    [
        (
            {"solver": "cg", "damping": 0.1, "structural": 0.2, "cg_cap": 30},
            HessianFree("cg", 0.1, 0.2, 30),
        ),
        ({"optimizer": "adam", "learning_rate": 0.1}, Adam(0.1)),
        ({"optimizer": "adam"}, Adam()),
        ({"optimizer": "momentum", "learning_rate": 0.2}, Momentum(0.2)),
        ({"optimizer": "lbfgs"}, LBFGS()),
    ],
)
def test_the_optimizer_has_the_options_asked_for(options, expected):
    assert training_of(**options)[0].optimizer == expected


@pytest.mark.parametrize(
    "options, recurrent",
    [
        ({}, ()),
        ({"recurrent": "all"}, "all"),
        ({"observe": ("sin_angle", "cos_angle")}, "all"),
        ({"feedback_delay": "100ms"}, "all"),
        ({"vary": ("mass=0.5..1.5",)}, "all"),
        ({"push": 1.0}, ()),
    ],
)
def test_a_task_without_recurrence_has_it_where_the_state_is_hidden(options, recurrent):
    assert (
        settings_for(plant="pendulum", task="swing_up", **options).recurrent
        == recurrent
    )


@pytest.mark.parametrize(
    "name, told",
    [
        ("batch", "batch: a training has no such setting; batches or"),
        ("foo", "`hfcontrol train --help` lists them"),
    ],
)
def test_a_setting_that_there_is_not(name, told):
    with pytest.raises(UsageError, match=told):
        settings_for(**{name: 3})


def test_a_tree_gives_the_settings_back():
    settings = Settings(
        hidden=(3, 2, 1), skip=(3,), effort=1e-3, motor_noise="5%", control_limit=None
    )
    assert (
        Settings.from_tree(
            {**settings.tree(), "of another version": 1, "hidden": [3, 2, 1]}
        )
        == settings
    )
    assert settings.changed(seed=4) != settings


def test_the_streams_of_a_seed_differ():
    settings = Settings(seed=1)
    streams = [
        stream(settings.seed, which)
        for which in (Stream.WEIGHTS, Stream.SCENARIOS, Stream.HELD_OUT)
    ]
    streams += [
        stream(settings.seed, Stream.WEIGHTS, 1),
        stream(Settings(seed=2).seed, Stream.WEIGHTS),
    ]
    assert len({rng.bytes(16) for rng in streams}) == len(streams)
    assert stream(settings.seed, Stream.WEIGHTS).bytes(16) == stream(
        Settings(seed=1).seed, Stream.WEIGHTS
    ).bytes(16)


@pytest.mark.parametrize(
    "settings, trials",
    [
        ({"plant": "arm2"}, 16),
        ({"plant": "arm3", "task": "out_and_back"}, 16),
        ({"plant": "arm2", "curvature_trials": 5}, 5),
        ({"plant": "arm2", "motor_noise": "5%"}, None),
        ({"plant": "arm2", "vary": ("load=0..1",)}, None),
        ({"plant": "arm2", "task": "anywhere"}, None),
    ],
)
def test_targets_on_a_circle_give_the_curvature_of_sixteen(settings, trials):
    """But not where every trial is disturbed in its own way."""
    assert training_of(**settings)[0].optimizer.curvature_trials == trials
