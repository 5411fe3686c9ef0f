"""Settings: values reach the trainer unchanged, and misfits are refused in words."""

import inspect
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from helpers import training_of
from pydantic import BaseModel
from trainings import write_cart

from hfcontrol.arrays.device import DEVICES
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.settings import (
    DERIVATIVE_OPTIMIZERS,
    POLICY_OPTIMIZERS,
    RATE_OPTIMIZERS,
    OptimizerName,
)
from hfcontrol.closed_loop.continuous import ESTIMATORS, FIXED
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import CELLS, is_continuous, is_staged
from hfcontrol.network.settings import CONTINUOUS_CELLS, LEAKY_CELLS
from hfcontrol.network.stages import SCHEMES
from hfcontrol.optim.first_order import Adam, Momentum
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.lbfgs import LBFGS
from hfcontrol.plant.registry import load_plant, plant_names
from hfcontrol.policy_gradient.trainer import PolicyTrainer
from hfcontrol.runs import factory
from hfcontrol.runs.factory import make_architecture
from hfcontrol.runs.quantities import parse_delay, parse_motor_noise
from hfcontrol.runs.settings import (
    MODELS,
    ConditionKeywords,
    Settings,
    SettingsDict,
    TrainKeywords,
    settings_for,
)
from hfcontrol.schema import (
    Assignments,
    GivenAssignments,
    GivenWords,
    Words,
    alternatives,
    join_words,
    option_of,
    options,
)
from hfcontrol.tasks.settings import ConditionSettings
from hfcontrol.training.holds import CHOICES

# What was refused, and words of the message.
REFUSED = [
    ({"plant": "arm2", "effort": 0.0, "target_ratio": 1.01}, "optimal loss is zero"),
    ({"plant": "arm2", "motor_noise": "5%", "target_ratio": 1.01}, "with noise"),
    ({"target_ratio": 0.9}, "1 is the optimum"),
    ({"target_loss": -1.0}, "`target_loss` -1.0: must be a number above 0"),
    ({"batches": 0}, "`batches` 0: must be a whole number of at least 1"),
    ({"rollouts": 0}, "`rollouts` 0"),
    ({"max_seconds": 0.0}, "`max_seconds` 0.0"),
    ({"hold": "tight"}, "`hold` tight: must be auto, model"),
    (
        {"optimizer": "sgd"},
        f"`optimizer` sgd: must be {join_words(get_args(OptimizerName))}",
    ),
    ({"solver": "lu"}, "`solver` lu: must be auto, cg"),
    ({"race": 0}, "`race` 0"),
    ({"guide": -1}, "`guide` -1: must be a whole number of at least 0"),
    (
        {"cell": "cfc", "scheme": "rk4"},
        "`scheme` rk4 with `cell` cfc: applies only to cells in continuous time, "
        "ctrnn, ctrnn_rates, ltc, ",
    ),
    ({"cell": "cfc", "dtype": "float32"}, "`dtype` float32 with `cell` cfc: "),
    (
        {"unfold": 3},
        "`unfold` 3 with `cell` tanh: applies only to cells in continuous time, ctrnn, "
        "ctrnn_rates, ltc, ",
    ),
    (
        {"time_constants": "20ms..1"},
        "`time_constants` 20ms..1 with `cell` tanh: applies only to cells with time ",
    ),
    (
        {"learning_rate": 0.1},
        "`learning_rate` 0.1 with `optimizer` hf: applies only to "
        f"{join_words(RATE_OPTIMIZERS, 'and')}",
    ),
    ({"curvature_trials": 0}, "`curvature_trials` 0: must be a whole number of at le"),
    (
        {"optimizer": "adam", "curvature_trials": 8},
        "`curvature_trials` 8 with `optimizer` adam: applies only to hf",
    ),
    (
        {"optimizer": "adam", "cg_cap": 30},
        "`cg_cap` 30 with `optimizer` adam: applies only to hf",
    ),
    (
        {"feedback_delay": "15ms"},
        "`feedback_delay` 15ms: must be a whole number of control steps",
    ),
    ({"command_delay": "soon"}, "`command_delay` soon: must be steps such as 3"),
    ({"motor_noise": "much"}, "`motor_noise` much"),
    ({"control_limit": -1.0}, "`control_limit` -1.0"),
    ({"hidden": (5, 0)}, "`hidden` 5,0"),
    ({"hidden": 5}, "`hidden` 5"),
    ({"skip": (3,)}, "`skip` 3"),
    (
        {"clip": 0.1},
        "`clip` 0.1 with `optimizer` hf: applies only to ppo, a2c and reinforce",
    ),
    ({"optimizer": "ppo", "n_steps": 3}, "`n_steps` 3 with `plant` arm2: applies"),
    (
        {"optimizer": "reinforce", "gae_lambda": 0.9},
        "`gae_lambda` 0.9 with `optimizer` reinforce: applies only to ppo and a2c",
    ),
    ({"jitter": 1.0}, "`jitter` 1.0: must be a number of at least 0 and below 1"),
    ({"optimizer": "a2c", "jitter": 0.3}, "`jitter` with `optimizer` a2c: policy"),
    ({"optimizer": "ppo", "clip": 0.0}, "`clip` 0.0: must be a number above 0"),
    (
        {"optimizer": "ppo", "discount": 2.0},
        "`discount` 2.0: must be a number from 0 to 1",
    ),
    ({"optimizer": "ppo", "epochs": 0}, "`epochs` 0: must be a whole number of at lea"),
    (
        {"optimizer": "ppo", "damping": 2.0},
        "`damping` 2.0 with `optimizer` ppo: applies only to hf",
    ),
    (
        {"optimizer": "ppo", "grow": 4},
        "`grow` 4 with `optimizer` ppo: applies only to training by derivatives",
    ),
    (
        {"optimizer": "a2c", "hold": "model"},
        "`hold` model with `optimizer` a2c: applies only to training by derivatives",
    ),
    (
        {"optimizer": "a2c", "estimator": "ctpg", "recurrent": ()},
        "`estimator` ctpg with `optimizer` a2c",
    ),
]


@pytest.mark.parametrize("settings, words", REFUSED)
def test_wrong_settings_are_refused_in_one_line(settings, words):
    with pytest.raises(UsageError) as caught:
        training_of(**settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        Settings(rase=3, trials=0, effort="1", optimizer="sgd", skip="x")
    assert str(caught.value).split("; ") == [
        "`trials` 0: must be a whole number of at least 1",
        "`effort` 1: must be a finite number of at least 0, or one for each component "
        "such as 1,1,0.1,0.1",
        "`skip` x: must be layer numbers such as 2,3, or all or none",
        f"`optimizer` sgd: must be {join_words(get_args(OptimizerName))}",
        "unknown setting 'rase'",
        "did you mean 'race'?",
    ]


def test_all_misfits_are_reported_at_once():
    with pytest.raises(UsageError) as caught:
        Settings(scheme="rk4", clip=0.1, rtol=1e-3)
    message = str(caught.value)
    assert message.count("applies only") == 3
    assert all(f"`{name}`" in message for name in ("scheme", "clip", "rtol"))


@pytest.mark.parametrize("value", ["3", True, 2.5, float("nan")])
def test_texts_and_fractions_are_no_whole_numbers(value):
    with pytest.raises(UsageError, match="must be a whole number"):
        Settings(trials=value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("effort", 0),
        ("effort", np.float64(0.5)),
        ("rtol", 1),
        ("seed", np.int64(3)),
        ("feedback_delay", 3),
        ("motor_noise", 1),
        ("control_limit", 2),
    ],
)
def test_numbers_keep_their_type(name, value):
    settings = Settings(estimator="ctpg" if name == "rtol" else None, **{name: value})
    assert type(settings.tree()[name]) is type(value)
    assert settings.tree()[name] == value


def test_settings_can_be_hashed_and_pickled():
    settings = Settings(hidden=[3, 4], vary=("load=0..1",))
    assert settings.hidden == (3, 4)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(Settings(hidden=(3, 4), vary=("load=0..1",)))


@pytest.mark.parametrize(
    "given, stored",
    [
        ({"observe": "shoulder, elbow"}, ("shoulder", "elbow")),
        ({"freeze": "out"}, ("out",)),
        ({"param": "load=1,friction=0"}, ("load=1", "friction=0")),
        ({"param": {"load": np.float64(1)}}, ("load=1",)),
        (
            {"vary": {"load": (0, 0.5), "friction": "20%"}},
            ("load=0..0.5", "friction=20%"),
        ),
        ({"observe": ""}, ()),
    ],
)
def test_texts_may_be_one_text_and_assignments_a_dictionary(given, stored):
    (name,) = given
    assert getattr(Settings(**given), name) == stored


def test_settings_are_immutable():
    settings = Settings()
    with pytest.raises(AttributeError, match=r"use changed\(seed=3\)"):
        settings.seed = 3
    assert settings.changed(seed=3).seed == 3
    assert settings.seed == 0


# The declarations


def test_keywords_agree_with_the_models():
    assert {"plant", *get_type_hints(TrainKeywords)} == set(Settings.model_fields)

    # Pydantic's own annotations cannot always be evaluated.
    fields = {}
    for model in reversed(Settings.__mro__[: Settings.__mro__.index(BaseModel)]):
        hints = inspect.get_annotations(model)
        for name, hint in hints.items():
            # What is stored as texts may be given in other forms.
            if hint is Words:
                hints[name] = GivenWords
            elif hint is Assignments:
                hints[name] = GivenAssignments
        own = SimpleNamespace(__annotations__=hints)
        fields |= get_type_hints(own, vars(sys.modules[model.__module__]))
    expected = {name: fields[name] for name in Settings.model_fields}
    assert get_type_hints(SettingsDict) == expected | {"plant": str | Path}
    conditions = get_type_hints(ConditionKeywords)
    assert conditions == {name: expected[name] for name in conditions}
    assert set(ConditionSettings.model_fields) <= set(conditions)


@pytest.mark.parametrize("steps", [60.0, np.float64(60.0)])
def test_whole_numbers_are_integers(steps):
    settings = Settings(steps=steps, trials=4)
    assert settings.steps == 60 and type(settings.steps) is int
    with pytest.raises(UsageError, match=r"`steps` 60\.5: must be a whole"):
        Settings(steps=60.5)


def test_every_model_is_in_the_list_of_models():
    listed = [name for model in MODELS.values() for name in model.model_fields]
    assert listed == list(Settings.model_fields)


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_has_help_and_a_metavar(name):
    declared = option_of(Settings, name)
    assert declared.help.endswith(".")
    assert declared.metavar or declared.type is bool


def choices(name):
    """The words that a setting allows, or none if it allows others too."""
    for part in alternatives(Settings.model_fields[name].annotation):
        if get_origin(part) is Literal:
            return get_args(part)
    return ()


def test_choices_agree_with_the_library():
    assert set(choices("device")) == set(DEVICES)
    assert set(choices("cell")) == set(CELLS)
    assert set(choices("scheme")) == set(SCHEMES)
    assert set(choices("estimator")) == set(ESTIMATORS)
    assert set(choices("hold")) == set(CHOICES)
    assert set(CONTINUOUS_CELLS) == set(filter(is_continuous, CELLS))
    leaks = {"rate", "leak"}
    leaky = {name for name in CELLS if leaks & set(CELLS[name].PARAMETERS)}
    assert set(LEAKY_CELLS) == leaky


def test_rules_name_values_that_exist():
    for option in options(Settings):
        for rule in option.only_with:
            assert set(rule.values) <= {*choices(rule.other), None}
            assert set(rule.harmless) <= set(choices(option.name))


def test_rules_agree_with_the_library():
    (_, _, dtype_rule) = option_of(Settings, "dtype").only_with
    assert set(dtype_rule.values) == {cell for cell in CELLS if not is_staged(cell)}
    (step_rule,) = option_of(Settings, "solver_step").only_with
    assert set(step_rule.values) == set(FIXED)


# What settings become


def test_limits_of_the_plant_file_apply():
    trainer, _ = training_of(control_limit="plant")
    np.testing.assert_array_equal(trainer.wiring.limits.high, [0.8, np.inf])


@pytest.mark.parametrize(
    "limit, expected",
    [(0.5, 0.5), ("0.5", 0.5), (None, np.inf), ("none", np.inf), ((0.5, 0.5), 0.5)],
)
def test_a_limit_applies_to_every_control(limit, expected):
    trainer, _ = training_of(control_limit=limit)
    np.testing.assert_array_equal(trainer.wiring.limits.high, [expected, expected])


@pytest.mark.parametrize(
    "limit", [((0, 5), (None, 2.0)), "0..5,..2", "0..5, ..2.0", ([0, 5], [None, 2])]
)
def test_a_limit_may_have_two_bounds(limit):
    trainer, _ = training_of(control_limit=limit)
    limits = trainer.wiring.limits
    np.testing.assert_array_equal(limits.bounds, [[0, -np.inf], [5, 2]])


@pytest.mark.parametrize(
    "limit, words",
    [
        ("0..5,1,2", "`control_limit` 0..5,1,2: holds 3 entries"),
        ("5..0", "must hold pairs of a lower and a larger upper bound"),
        ("a..5", "must be a positive number, or a range such as 0..5, 0.. or ..5"),
        (((0, 5), -1), "`control_limit` 0..5,-1: must hold numbers above zero"),
        (((0, 5, 1), 1), "must be a positive number, a range LOW..HIGH, plant or"),
    ],
)
def test_wrong_bounds_of_a_limit_are_named(limit, words):
    with pytest.raises(UsageError) as caught:
        training_of(control_limit=limit)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value, steps", [(3, 3), ("3", 3), (0, 0), ("40ms", 4), ("0ms", 0), (2.0, 2)]
)
def test_a_delay_is_steps_or_milliseconds(value, steps):
    assert parse_delay(value, 0.01, "feedback_delay") == steps


@pytest.mark.parametrize("value", [-1, "-10ms", 1.5, "nan", "inf"])
def test_a_delay_must_be_whole_steps(value):
    with pytest.raises(UsageError, match="whole number of control steps of 10 ms"):
        parse_delay(value, 0.01, "command_delay")


def test_motor_noise_is_in_control_units_or_in_percent():
    assert parse_motor_noise(0.2) == (0.2, 0.0)
    assert parse_motor_noise("0.2") == (0.2, 0.0)
    assert parse_motor_noise("5%") == (0.0, 0.05)


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
    assert architecture.skip == skip
    assert architecture.recurrent == recurrent


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
def test_the_optimizer_gets_its_settings(options, expected):
    assert training_of(**options)[0].optimizer == expected


def test_every_optimizer_has_its_own_builder():
    assert set(factory.OPTIMIZERS) == set(DERIVATIVE_OPTIMIZERS)
    assert len(set(factory.OPTIMIZERS.values())) == len(factory.OPTIMIZERS)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_every_optimizer_is_built(name):
    trainer, _ = training_of(optimizer=name)
    assert isinstance(trainer, PolicyTrainer) == (name in POLICY_OPTIMIZERS)
    assert trainer.optimizer


@pytest.mark.parametrize("name", RATE_OPTIMIZERS)
def test_the_optimizer_gets_its_learning_rate(name):
    optimizer = training_of(optimizer=name, learning_rate=0.2)[0].optimizer
    is_policy = name in POLICY_OPTIMIZERS
    assert (optimizer.learning_rate if is_policy else optimizer.rate) == 0.2


def test_a_name_without_a_builder_is_an_internal_failure(monkeypatch):
    monkeypatch.delitem(factory.OPTIMIZERS, "momentum")
    with pytest.raises(NotImplementedError, match="`optimizer` momentum: nothing buil"):
        training_of(optimizer="momentum")


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
def test_a_hidden_state_turns_recurrence_on(options, recurrent):
    """The task itself turns it off, since its network observes the whole state."""
    settings = settings_for(plant="pendulum", task="swing_up", **options)
    assert settings.recurrent == recurrent


@pytest.mark.parametrize(
    "name, words",
    [
        ("batch", "unknown setting 'batch'; did you mean 'batches'?"),
        ("noise", "did you mean 'sensory_noise' or 'motor_noise'?"),
        ("foo", "`hfcontrol train --help` lists all settings"),
    ],
)
def test_an_unknown_setting_is_refused(name, words):
    with pytest.raises(UsageError, match=words):
        settings_for(**{name: 3})


def test_settings_survive_a_checkpoint():
    settings = Settings(
        hidden=(3, 2, 1), skip=(3,), effort=1e-3, motor_noise="5%", control_limit=None
    )
    tree = {**settings.tree(), "of another version": 1, "hidden": [3, 2, 1]}
    assert Settings.from_tree(tree) == settings
    assert settings.changed(seed=4) != settings


def test_random_streams_of_seeds_differ():
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

    again = stream(Settings(seed=1).seed, Stream.WEIGHTS)
    assert stream(settings.seed, Stream.WEIGHTS).bytes(16) == again.bytes(16)


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
def test_targets_on_a_circle_need_the_curvature_of_sixteen_trials(settings, trials):
    """Unless every trial is disturbed in another way."""
    assert training_of(**settings)[0].optimizer.curvature_trials == trials


@pytest.mark.parametrize(
    "given",
    [
        {"optimizer": "ppo"},
        {"optimizer": "adam"},
        {"estimator": "ctpg"},
        {"estimator": "rk4", "optimizer": "lbfgs"},
        {"cell": "cfc"},
    ],
    ids=str,
)
@pytest.mark.parametrize("plant", plant_names())
def test_what_a_task_suggests_gives_way_to_what_is_chosen(plant, given):
    """Nobody has given it, so nobody may be told to leave it out."""
    for task in load_plant(plant).tasks:
        settings = settings_for(plant=plant, task=task, **given)
        assert all(getattr(settings, name) == value for name, value in given.items())


def test_settings_of_a_task_that_need_each_other_go_together(tmp_path):
    """An optimizer of the task, with its rate, gives way to another one's."""
    path = write_cart(
        tmp_path,
        train=(
            '"effort"',
            '"train": {"optimizer": "adam", "learning_rate": 0.1}, "effort"',
        ),
    )
    own = settings_for(plant=path)
    assert (own.optimizer, own.learning_rate) == ("adam", 0.1)
    chosen = settings_for(plant=path, cg_cap=7)
    assert (chosen.optimizer, chosen.learning_rate, chosen.cg_cap) == ("hf", None, 7)
    with pytest.raises(UsageError, match="`grow` 2 with `optimizer` ppo"):
        settings_for(plant=path, optimizer="ppo", grow=2)


@pytest.mark.parametrize(
    "optimizer, kept", [("hf", None), ("adam", None), ("ppo", 0.99)]
)
def test_a_former_default_is_kept_only_where_it_had_an_effect(optimizer, kept):
    settings = Settings(optimizer=optimizer)
    older = {**settings.tree(), "discount": 0.99}
    assert Settings.from_tree(older) == settings.changed(discount=kept)
