"""How many trials are judged: planned by operations, said in the table."""

import numpy as np
import pytest
from helpers import loop_of
from trainings import SMALL

import hfcontrol as hf
from hfcontrol.cli.output import print_evaluation
from hfcontrol.closed_loop.counts import Counts
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import judging
from hfcontrol.evaluation.evaluation import compare_with_optimum, evaluate
from hfcontrol.evaluation.judging import (
    choose_judged,
    judging_operations,
    training_operations,
)
from hfcontrol.optim.operations import measure_problem


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {**SMALL, "trials": 40, "rollouts": 4}
    return hf.train("arm2", out=tmp_path_factory.mktemp("runs"), **settings)


def test_operations_of_judging_by_hand():
    """arm2 has 4 states and 2 controls."""
    loop = loop_of(plant="arm2")
    step = loop.kernels.step_operations
    per_step = 2 * 6 * step + 4 * 64 + 6 * 16 * 2 + judging.OVERHEAD
    expected = judging.ITERATIONS * loop.scenario.steps * per_step
    assert judging_operations(loop.kernels, loop.scenario.steps) == expected


def test_operations_of_a_training_by_hand():
    loop = loop_of(plant="arm2")
    T, step = loop.scenario.steps, loop.kernels.step_operations
    step_of_pass = measure_problem(loop).per_pass / T / judging.PASS_SPEED
    jacobians = training_operations(loop, Counts(jacobian_steps=5), 9)
    assert jacobians == 5 * step
    passes = training_operations(loop, Counts(tangent_steps=2, adjoint_steps=3), 9)
    assert passes == pytest.approx(5 * step_of_pass)
    rollouts = training_operations(loop, Counts(rollouts=2), 9)
    assert rollouts == pytest.approx(2 * 9 * T * (step + step_of_pass / 2))


@pytest.mark.parametrize("part, judged", [(0.5, 5), (0.25, 3), (4.0, 7)])
def test_a_tenth_of_a_long_training_is_spent_on_judging(monkeypatch, part, judged):
    """Seven trials; the training is as long as judging so many of them ten times."""
    monkeypatch.setattr(judging, "LEAST_JUDGED", 3)
    monkeypatch.setattr(judging, "LEAST_OPERATIONS", 0.0)
    loop = loop_of(plant="arm2", trials=7)
    trained = 10.001 * 10 * part * judging_operations(loop.kernels, loop.scenario.steps)
    found = choose_judged(loop, "auto", trained, sets=1)
    shares = choose_judged(loop, "auto", 2 * trained, sets=2)
    assert found.size == judged
    np.testing.assert_array_equal(found, shares)
    assert len(set(found)) == judged and found.min() >= 0 and found.max() < 7


def test_a_short_training_is_judged_for_ten_seconds():
    loop = loop_of(plant="arm2", trials=7)
    assert choose_judged(loop, "auto", 0.0, sets=2).size == 7


def test_plants_in_python_have_a_number_of_operations(tmp_path):
    loop = loop_of(plant="arm2")
    loop.kernels.step_operations = None
    many = judging_operations(loop.kernels, loop.scenario.steps)
    del loop.kernels.step_operations
    assert many > judging_operations(loop.kernels, loop.scenario.steps)


def test_all_and_none(run):
    loop = run.closed_loop()
    assert choose_judged(loop, "all", 0.0, 2).size == 40
    assert choose_judged(loop, "none", 0.0, 2).size == 0


@pytest.mark.parametrize("judge", ["", "most", "16", "ALL"])
def test_a_wrong_choice_is_refused_before_anything_is_computed(run, judge):
    with pytest.raises(UsageError, match="must be one of auto, all, none"):
        evaluate(run, judge=judge)


def test_the_ratio_is_that_of_the_judged_trials(run, monkeypatch, capsys):
    """The optimum of a trial does not depend on which others are judged, here."""
    monkeypatch.setattr(judging, "LEAST_OPERATIONS", 0.0)
    some = evaluate(run)
    numbers = some["sets"]["held_out"]
    whole = compare_with_optimum(run, "held_out")
    judged = choose_judged(whole.loop, "auto", 0.0, 2)
    assert numbers["judged"] == judged.size == judging.LEAST_JUDGED
    assert numbers["trials"] == 40
    losses, best = whole.rollout.losses, whole.optimum.losses
    assert numbers["loss"] == pytest.approx(losses.mean())
    assert numbers["optimal_loss"] == pytest.approx(best[judged].mean(), rel=1e-6)
    ratio = losses[judged].mean() / best[judged].mean()
    assert numbers["ratio"] == pytest.approx(ratio, rel=1e-6)

    print_evaluation(some)
    table = capsys.readouterr().out.splitlines()
    row = next(line for line in table if line.startswith("judged trials"))
    assert row.split()[2:] == ["16", "of", "40", "16", "of", "40"]


def test_the_table_of_all_trials_has_no_row_about_it(run, capsys):
    print_evaluation(evaluate(run, judge="all"))
    text = capsys.readouterr().out
    assert "judged" not in text and "ratio to optimal" in text


def test_without_judging_there_is_no_optimum(run, monkeypatch, capsys):
    def search(*arguments):
        raise AssertionError

    monkeypatch.setattr("hfcontrol.evaluation.evaluation.optimum", search)
    result = evaluate(run, judge="none")
    numbers = result["sets"]["training"]
    assert numbers["judged"] == 0
    assert numbers["ratio"] is numbers["optimal_loss"] is None
    print_evaluation(result)
    text = capsys.readouterr().out
    assert "optim" not in text and "loss" in text and "success" in text
