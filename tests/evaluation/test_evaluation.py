"""Evaluation: each number computed again by other means, and under which conditions."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from trainings import CART, PENDULUM, SMALL, write_cart

import hfcontrol as hf
from hfcontrol.cli.output import print_evaluation
from hfcontrol.errors import TaskError, UsageError
from hfcontrol.evaluation.evaluation import (
    LEAST_RATIO,
    ZERO_FRACTION,
    _state_motion,
    compare_with_optimum,
    evaluate,
    is_beaten,
    path_deviation,
    ratio_to_optimal,
    summarise,
)
from hfcontrol.evaluation.finiteness import describe_not_finite
from hfcontrol.plant.probe import list_calls


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(folder):
    """A controller that reaches roughly: clearly worse than the optimum."""
    return hf.train("arm2", out=folder, **{**SMALL, "steps": 20, "rollouts": 60})


@pytest.fixture(scope="module")
def parked(folder):
    """A controller of a plant without a hand, trained until it converged."""
    return hf.train(
        str(write_cart(folder)), out=folder, hidden=(4,), batches=8, hold="scenario"
    )


def rotated(points, angle):
    """Points (..., 2, N) turned about the origin."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ij,tjn->tin", turn, points)


@pytest.mark.parametrize("angle", [0.0, 1.0, np.pi / 2, 4.0])
def test_path_deviation_in_closed_form(angle):
    """A line, two semicircles (half their diameter off), a parabola (its height)."""
    s = np.linspace(0, 1, 201)
    half = np.stack([(1 - np.cos(np.pi * s)) / 2, np.sin(np.pi * s) / 2])
    paths = np.stack(
        [[s, 0 * s], half, -7 * half, [s, 1.2 * s * (1 - s)]], axis=2
    ).transpose(1, 0, 2)
    paths = rotated(paths, angle) + np.array([0.3, -2.0])[:, None]
    np.testing.assert_allclose(
        path_deviation(paths, paths[-1]), [0, 0.5, 0.5, 0.3], atol=1e-12
    )


def test_path_deviation_is_about_the_goal():
    """A path that misses its goal deviates from the line it should have taken."""
    s = np.linspace(0, 1, 11)
    paths = np.stack([s, s])[:, :, None].transpose(1, 0, 2)
    np.testing.assert_allclose(path_deviation(paths, np.array([[2.0], [0.0]])), 0.5)


@pytest.mark.parametrize("split", ["training", "held_out"])
def test_every_number_equals_an_independent_computation(run, split):
    """From the trajectories, trial by trial, with the plant's plain functions."""
    numbers, comparison = evaluate(run)["sets"][split], compare_with_optimum(run, split)
    x, u, goal, plant, trials = (
        comparison.rollout.x,
        comparison.rollout.u,
        comparison.scenario.goal,
        run.plant,
        SMALL["trials"],
    )
    effort = run.trainer.task.numbers["effort"]

    def hand(state):
        z = [0.0] * plant.nz
        arguments = next(
            call[2]
            for call in list_calls(plant, tuple(state), (0.0,) * plant.nu)
            if call[0] == "output"
        )
        plant.functions["output"](*arguments, z)
        return np.array(z[:2])

    def losses(x, u):
        return [
            0.5 * sum((x[-1, :, n] - goal[-1, :, n]) ** 2)
            + 0.5 * effort * (u[:, :, n] ** 2).sum()
            for n in range(trials)
        ]

    loss, optimal = losses(x, u), losses(comparison.optimum.x, comparison.optimum.u)
    errors = [
        100 * np.hypot(*(hand(x[-1, :, n]) - hand(goal[-1, :, n])))
        for n in range(trials)
    ]
    speeds = [
        100 * np.hypot(*(hand(x[-1, :, n]) - hand(x[-2, :, n]))) / plant.dt
        for n in range(trials)
    ]
    approx = pytest.approx
    assert numbers["trials"] == trials
    assert (numbers["loss"], numbers["optimal_loss"]) == (
        approx(np.mean(loss)),
        approx(np.mean(optimal)),
    )
    assert numbers["ratio"] == approx(np.mean(loss) / np.mean(optimal))
    assert numbers["ratio_quantiles"] == {
        q: approx(np.quantile(np.divide(loss, optimal), float(q)))
        for q in ("0.5", "0.9", "0.99")
    }
    assert numbers["error"] == {
        "mean": approx(np.mean(errors)),
        "max": approx(max(errors)),
        "unit": "cm",
    }
    assert numbers["final_speed"] == {
        "mean": approx(np.mean(speeds)),
        "max": approx(max(speeds)),
        "unit": "cm/s",
    }
    assert numbers["peak_control"] == approx(
        np.abs(u).reshape(len(u), plant.nu, -1).max(axis=(0, 2))
    )
    asked = run.trainer.task.numbers["success"]
    succeeded = [
        errors[n] < 100 * asked["hand"]
        and np.linalg.norm(x[-1, 2:, n]) < asked["rates"]
        for n in range(trials)
    ]
    assert numbers["success"] == np.mean(succeeded)
    paths = np.array(
        [[hand(x[t, :, n]) for n in range(trials)] for t in range(len(x))]
    ).transpose(0, 2, 1)
    away = path_deviation(
        paths, np.array([hand(goal[-1, :, n]) for n in range(trials)]).T
    )
    assert numbers["path_deviation"] == {
        "mean": approx(away.mean()),
        "max": approx(away.max()),
    }


def test_controller_is_no_better_than_the_optimum(run):
    for numbers in evaluate(run)["sets"].values():
        assert numbers["ratio"] > 1 and numbers["ratio_quantiles"]["0.5"] > 1
        assert numbers["error"]["mean"] <= numbers["error"]["max"]
        assert numbers["optimum_is_beaten"] is False


def test_an_optimum_that_is_not_the_best_known_is_beaten(run):
    comparison = compare_with_optimum(run)
    for factor, beaten in ((0.998, True), (0.9995, False)):
        losses = comparison.rollout.losses / factor
        poor = replace(comparison.optimum, losses=losses)
        numbers = summarise(replace(comparison, optimum=poor))
        assert numbers["ratio"] == pytest.approx(factor)
        assert numbers["optimum_is_beaten"] is beaten


def test_near_the_optimum_the_ratio_is_one(folder):
    """Training stops at the ratio that the evaluation finds, which is never below 1."""
    run = hf.train(
        "arm2",
        out=folder,
        trials=8,
        steps=20,
        hidden=(8, 8),
        running=0.05,
        effort=1e-3,
        target_ratio=1.02,
    )
    assert run.info()["stop"] == "target"
    numbers = evaluate(run)["sets"]["training"]
    assert 1 - 1e-6 < numbers["ratio"] <= 1.02 + 1e-9
    assert evaluate(run)["sets"]["held_out"]["ratio"] > 1 - 1e-6


def test_held_out_targets_are_between_the_training_targets(run):
    """Halfway between two neighbours on the circle, and at the same distance."""

    def around(split):
        scenario = run.closed_loop(split).scenario
        start = run.closed_loop(split).kernels.output(
            scenario.x0[None], scenario.params
        )[0, run.plant.hand]
        line = scenario.goal_output[-1, run.plant.hand] - start
        return np.unwrap(np.arctan2(line[1], line[0])), np.hypot(*line)

    (trained, distance), (held_out, other) = around("training"), around("held_out")
    np.testing.assert_allclose(held_out[:-1], (trained[:-1] + trained[1:]) / 2)
    np.testing.assert_allclose(other, distance)


def test_evaluation_is_repeatable(run):
    assert (
        evaluate(run) == evaluate(run.path) == evaluate(str(run.folder.newest().path))
    )


def test_task_sets_the_number_of_evaluation_trials(folder):
    text = PENDULUM.replace("LINKS", "").replace(
        '"trials": 4', '"trials": 4, "judged": JUDGED'
    )
    for number, count in ((3, 3), (5, 4)):  # at most as many as in training
        path = folder / f"judged_{number}.py"
        path.write_text(text.replace("JUDGED", str(number)))
        run = hf.train(str(path), hidden=(4,), batches=2, rollouts=6, out=folder)
        assert [numbers["trials"] for numbers in evaluate(run)["sets"].values()] == [
            count,
            count,
        ]
    assert evaluate(run, trials=6)["sets"]["held_out"]["trials"] == 6
    path.write_text(text.replace("JUDGED", "0"))
    with pytest.raises(
        TaskError, match="task swing of judged_5: judged 0: must be a whole number"
    ):
        hf.train(str(path), out=folder)


def test_final_error_counts_states_with_a_weight_at_the_end(folder):
    """The rates of this pendulum are free; their size is reported as final speed."""
    text = PENDULUM.replace("LINKS", "").replace('"steps"', '"final": (1, 0), "steps"')
    path = folder / "free_rates.py"
    path.write_text(text)
    run = hf.train(str(path), hidden=(4,), batches=2, rollouts=3, out=folder)
    comparison = compare_with_optimum(run)
    off = np.abs(comparison.rollout.x[-1] - comparison.scenario.goal[-1])
    numbers = evaluate(run)["sets"]["training"]
    assert numbers["error"]["mean"] == pytest.approx(off[0].mean(), rel=1e-12)
    assert numbers["final_speed"]["mean"] == pytest.approx(off[1].mean(), rel=1e-12)


def test_number_of_trials_can_be_chosen(run):
    sets = evaluate(run, trials=3)["sets"]
    assert [numbers["trials"] for numbers in sets.values()] == [3, 3]
    assert sets["training"] != evaluate(run)["sets"]["training"]
    for trials in (0, -1):
        with pytest.raises(UsageError, match="`trials`"):
            evaluate(run, trials=trials)


@pytest.mark.parametrize(
    "conditions",
    [
        {"feedback_delay": 2},
        {"command_delay": "20ms"},
        {"sensory_noise": 0.1},
        {"motor_noise": "50%"},
        {"control_limit": 0.05},
        {"steps": 25},
        {"effort": 1e-3},
    ],
    ids=str,
)
def test_conditions_can_differ_from_training(run, conditions):
    usual, numbers = (
        evaluate(run, settings)["sets"]
        for settings in (None, run.settings.changed(**conditions))
    )
    for split in usual:
        assert numbers[split]["loss"] != usual[split]["loss"]
    if "control_limit" in conditions:
        assert max(numbers["training"]["peak_control"]) <= conditions["control_limit"]
    assert evaluate(run)["sets"] == usual


def test_command_delay_also_applies_to_the_optimum(run):
    delayed = run.settings.changed(command_delay=5)
    comparison = compare_with_optimum(run, settings=delayed)
    assert not comparison.optimum.u[:5].any() and comparison.optimum.u[5:].any()
    assert (
        evaluate(run, delayed)["sets"]["training"]["optimal_loss"]
        > evaluate(run)["sets"]["training"]["optimal_loss"]
    )


@pytest.mark.parametrize(
    "conditions, error",
    [
        ({"space": "hand"}, UsageError),
        ({"task": "no such"}, TaskError),
        ({"feedback_delay": 20}, TaskError),
        ({"motor_noise": "much"}, UsageError),
    ],
    ids=str,
)
def test_impossible_conditions_are_refused(run, conditions, error):
    with pytest.raises(error):
        evaluate(run, run.settings.changed(**conditions))


def test_ratio_is_none_if_the_optimum_is_zero(folder):
    run = hf.train("arm2", out=folder, **SMALL, effort=0.0)
    for numbers in evaluate(run)["sets"].values():
        assert (
            numbers["ratio"] is None
            and numbers["ratio_quantiles"] is None
            and numbers["optimal_loss"] < numbers["loss"]
        )


@pytest.mark.parametrize("zero, optimal, ratio", [(True, 1.0, None), (False, 1.0, 4.0)])
def test_the_ratio_is_loss_by_optimum(zero, optimal, ratio):
    task = SimpleNamespace(optimum_is_zero=zero)
    assert ratio_to_optimal(4.0, optimal, task) == ratio


@pytest.mark.parametrize("part, is_zero", [(0.0, True), (1.0, True), (1.01, False)])
def test_an_optimum_is_zero_next_to_the_loss(part, is_zero):
    """Whatever the unit of the loss."""
    task = SimpleNamespace(optimum_is_zero=False)
    for loss in (1e-9, 1.0, 1e9):
        optimal = part * ZERO_FRACTION * loss
        assert (ratio_to_optimal(loss, optimal, task) is None) is is_zero


@pytest.mark.parametrize(
    "ratio, beaten", [(None, False), (0.9 * LEAST_RATIO, True), (LEAST_RATIO, False)]
)
def test_a_ratio_below_one_shows_that_the_optimum_is_beaten(ratio, beaten):
    assert is_beaten(ratio) is beaten


def test_plant_without_a_hand_has_errors_of_the_state(parked):
    numbers = evaluate(parked)
    assert numbers["plant"].endswith("cart.py") and parked.plant.source == CART
    for one in numbers["sets"].values():
        assert (
            one["path_deviation"] is None
            and one["error"]["unit"] == one["final_speed"]["unit"] == ""
        )
        assert one["error"]["mean"] >= one["final_speed"]["mean"] > 0
        assert one["ratio"] >= 1


def test_attributes_are_those_that_a_reader_needs():
    """And none of those that change a dict."""
    numbers = {"loss": 2.0, "ratio": 1.5, "success": 0.25}
    sets = {"training": {**numbers, "loss": 1.0}, "held_out": numbers}
    found = hf.Evaluation({"plant": "arm2", "task": "reach", "sets": sets})
    assert (found.loss, found.ratio, found.success) == (2.0, 1.5, 0.25)
    assert found.training["loss"] == 1.0 and found.held_out is sets["held_out"]
    own = {"training", "held_out", "ratio", "loss", "success"}
    shown = {name for name in dir(found) if not name.startswith("_")}
    assert shown == own | {"get", "items", "keys", "values"}

    returned = hf.Evaluation({"plant": "gym:Cart-v1", "return": {"mean": 1.0}})
    assert (returned.training, returned.held_out) == ({}, {})
    assert (returned.ratio, returned.loss, returned.success) == (None, None, None)


@pytest.mark.parametrize(
    "rates, goals, speed",
    [
        ([], (0.0, 0.0), None),  # a tank
        ([1], (0.0, np.nan), None),  # a rate may be anything at the end
        ([1], (0.0, 1.0), [2.0, 3.0]),
        ([0, 1], (np.nan, 1.0), [2.0, 3.0]),
    ],
)
def test_final_speed_is_that_of_rates_with_a_goal(rates, goals, speed):
    """Two trials end with the second state at 3 and 4."""
    goal = np.array([goals, goals]).T[None]
    comparison = SimpleNamespace(
        loop=SimpleNamespace(
            plant=SimpleNamespace(n_body=2, rates=np.array(rates, dtype=int)),
            scenario=SimpleNamespace(arrivals=[0], goal=goal),
        ),
        rollout=SimpleNamespace(x=np.array([[[1.0, 2.0], [3.0, 4.0]]])),
        scenario=SimpleNamespace(goal=goal),
        task=SimpleNamespace(final_states=[0]),
    )
    found = _state_motion(comparison)[1]
    assert (None if found is None else found.tolist()) == speed


def test_public_names_stay_callable():
    """A module of the same name must not replace a function."""
    for _ in range(2):
        assert all(
            callable(getattr(hf, name)) for name in hf.__all__ if name != "__version__"
        )


def fake_comparison(x, losses, best=None, judged=None):
    """A comparison of which only what may be not finite is there."""
    plant = SimpleNamespace(state=("level", "rate"))
    return SimpleNamespace(
        loop=SimpleNamespace(plant=plant),
        rollout=SimpleNamespace(x=x, losses=losses),
        optimum=None if best is None else SimpleNamespace(losses=best),
        judged=judged,
    )


def test_trials_that_are_not_finite_are_counted_and_the_first_is_named():
    x, losses = np.ones((5, 2, 4)), np.ones(4)
    assert describe_not_finite(fake_comparison(x, losses, losses)) == []
    x[3:, 1, 2], losses[2] = np.nan, np.nan
    x[2:, 0, 3], losses[3] = -np.inf, np.inf
    (sentence,) = describe_not_finite(fake_comparison(x, losses))
    assert sentence == (
        "2 of 4 trials are not finite under this controller: rate is nan in trial 2 at "
        "step 3, after 1"
    )
    best = np.array([1.0, np.inf])
    *_, sentence = describe_not_finite(fake_comparison(x, losses, best, [0, 3]))
    assert sentence.startswith("1 of 2 trials is not finite under any controls")
    assert "trial 3" in sentence
    costly = np.array([1.0, np.inf, 1, 1])
    (sentence,) = describe_not_finite(fake_comparison(np.ones((5, 2, 4)), costly))
    assert sentence.endswith("the cost of trial 1 is inf")


def test_a_controller_that_is_not_finite_is_reported_without_warnings(run, capsys):
    """Infinite losses have no ratio; no warning of NumPy comes on top."""
    comparison = compare_with_optimum(run, judge="all", trials=4)
    x = comparison.rollout.x.copy()
    x[-1, 0, 1] = np.inf
    losses = np.array([1.0, np.inf, 1.0, 1.0])
    rollout = replace(comparison.rollout, x=x, losses=losses)
    found = summarise(replace(comparison, rollout=rollout))
    assert found["ratio"] is None and "trial 1 at step 20" in found["not_finite"][0]
    print_evaluation({"sets": {"held_out": found}, "noisy": False})
    shown = capsys.readouterr().out
    assert "held-out: 1 of 4 trials is not finite" in shown
    assert "optimum is zero" not in shown and "better than" not in shown


def test_settings_that_differ_are_a_dictionary(run):
    changed = {"effort": 1e-3}
    found = evaluate(run, changed, trials=np.int64(2), judge="none")
    whole = evaluate(run, run.settings.changed(**changed), trials=2, judge="none")
    assert found == whole and found["sets"]["training"]["trials"] == 2
