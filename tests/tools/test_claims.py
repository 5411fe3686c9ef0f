"""The measurements of tools/claims, against closed forms and second computations."""

import sys
from argparse import Namespace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np
import pytest
from helpers import central_difference, hold_of, loop_of, weights_of

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from sources import ctpg, policies, post
from sources.ctpg import (
    judge_backsolve,
    judge_gradients,
    judge_quadrotor,
    judge_stages,
    judge_swing_up,
    judge_training,
)
from sources.measure import (
    QUANTITIES,
    Measured,
    describe,
    facts_of_study,
    worst_of,
)
from sources.policies import judge_cartpole, judge_cells, judge_motor
from sources.post import judge_holds, judge_return, judge_speed
from sources.probes import (
    MOTOR,
    gradient_cosine,
    read_cells,
    read_gradients,
    read_holds,
    read_methods,
    read_motor,
    read_policies,
    relative_errors,
    single_precision_jacobians,
)


def test_single_precision_differences_of_a_linear_step(rng):
    """With an exact binary step and small integers, float32 makes no error."""
    A = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 4.0], [0.0, 5.0, 6.0]])
    B = np.array([[1.0, 0.0], [2.0, -3.0], [0.0, 4.0]])
    x, u = rng.integers(-5, 5, (3, 7)), rng.integers(-5, 5, (2, 7))
    found = single_precision_jacobians(
        lambda x, u: A @ x + B @ u, x.astype(float), u.astype(float), 0.25
    )
    for J, expected in zip(found, (A, B), strict=True):
        repeated = np.broadcast_to(expected[:, :, None], J.shape)
        np.testing.assert_array_equal(J, repeated)
        assert not relative_errors(J, expected[:, :, None]).any()


def test_single_precision_differences_lose_digits_as_the_step_shrinks(rng):
    """A rounding of 6e-8 of numbers around 1 becomes 6e-8 / (2 eps)."""
    x, u = rng.uniform(0.5, 1.0, (1, 500)), np.zeros((1, 500))
    errors = {}
    for eps in (1e-6, 1e-2):
        A, _ = single_precision_jacobians(lambda x, u: np.sin(x), x, u, eps)
        errors[eps] = np.median(relative_errors(A, np.cos(x)[None]))
    assert 3e-3 < errors[1e-6] < 0.1
    assert errors[1e-2] < 1e-4


def gradient_by_differences(rollout, theta):
    """Gradient (P,) of the loss of rollouts, by central differences."""
    directions = np.eye(theta.size)
    return np.array(
        [
            central_difference(lambda at: rollout(at).loss, theta, direction)
            for direction in directions
        ]
    )


def test_cosine_of_gradients_by_differences():
    """The gradient without the feedback path is that of replayed observations."""
    loop = loop_of()
    theta = weights_of(loop)
    hold = hold_of("inputs", loop, theta)
    exact = gradient_by_differences(loop.rollout, theta)
    stale = gradient_by_differences(hold.rollout, theta)
    expected = exact @ stale / np.linalg.norm(exact) / np.linalg.norm(stale)
    assert gradient_cosine(loop, theta) == pytest.approx(expected, abs=1e-7)
    assert expected < 0.999


def test_words_show_the_median_and_the_worst_seed():
    assert describe("updates", [3, 5, 9]) == "5 (9) updates"
    assert describe("cosine_initial", [0.5]) == "cosine 0.5 at the initial weights"
    assert worst_of("success", [99, 90]) == 90


@pytest.mark.parametrize(
    "stop, words", [("target", "does not need weeks"), ("rollouts", "Not repeated")]
)
def test_verdict_about_the_time_follows_the_trainings(stop, words):
    facts = {"stop": ["target", stop], "updates": [20, 30]}
    assert words in judge_speed([Measured("", [0, 1], facts)])


@pytest.mark.parametrize(
    "error, learned, words",
    [
        (9.0, 0.1, "Confirmed; a network that is trained on both movements learns it."),
        (0.1, 5.0, "Not confirmed; a network that is trained on both movements does "),
    ],
)
def test_verdict_about_the_return_follows_the_errors(error, learned, words):
    single = Measured("", [0], {"return_error": [error]})
    both = Measured("", [0], {"error": [learned]})
    assert judge_return([single, both]).startswith(words)


@pytest.fixture(scope="module")
def claims():
    """The script tools/claims as a module."""
    path = Path(__file__).parents[2] / "tools" / "claims"
    loader = SourceFileLoader("claims", str(path))
    module = module_from_spec(spec_from_loader("claims", loader))
    loader.exec_module(module)
    return module


def test_a_longer_setting_and_the_others_keep_the_results_of_each_other(
    claims, monkeypatch, tmp_path
):
    """Here a command's quantity is its number of words; the verdict shows all."""

    def measure_step(step, seeds, deadline, smallest, folders):
        measured.append((step.command, folders.pictures.name))
        facts = {"ratio": [len(step.command.split())]}
        return Measured(step.command, [0], facts), []

    monkeypatch.setattr(claims, "measure_step", measure_step)
    claim = post.Claim(
        "name",
        "text",
        (post.Step("short"),),
        lambda found: " ".join(str(one.median("ratio")) for one in found),
        long=post.Step("a longer setting"),
    )
    folders = claims.Folders(tmp_path / "runs", tmp_path / "pictures")
    rows, verdicts, measured = [], [], []
    for long in (True, False, True):
        options = Namespace(seeds=[0], long=long, smallest=False, minutes=1)
        found = claims.measure_claim(claim, options, folders, {}, rows)
        rows = found["found"]
        verdicts.append(found["verdict"])
    assert verdicts == ["3.0", "1.0 3.0", "1.0 3.0"]
    # Its figure is not replaced by one of the shorter setting.
    longer = ("a longer setting", "pictures")
    assert measured == [longer, ("short", "runs"), longer]


def test_claims_have_different_names_and_commands():
    claims = (*post.CLAIMS, *ctpg.CLAIMS, *policies.CLAIMS)
    names = [claim.name for claim in claims]
    steps = [step for claim in claims for step in claim.steps]
    commands = [step.command for step in steps]
    assert len(set(names)) == len(names)
    assert len(set(commands)) == len(commands)
    assert {name for step in steps for name in step.shown} <= set(QUANTITIES)


def test_claim_about_held_inputs_reads_the_rows_of_the_study():
    """Relative to the optimum, or the loss itself if the optimum is zero."""
    rows = [
        {
            "cost": cost,
            "batches": n,
            "optimal": optimal,
            "lowest": lowest,
            "rollouts": 100.0 / n,
        }
        for cost, n, optimal, lowest in (
            ("final", 1, 0.0, [1e-4, 3e-4]),
            ("final", 8, 0.0, [1.0, 1.0]),
            ("final", 32, 0.0, [1e-2, 2e-2]),
            ("running", 1, 2.0, [4.0, 6.0]),
            ("running", 32, 2.0, [3.0, 3.0]),
        )
    ]
    common = {"part": "holds", "variant": "inputs", "of": 2}
    facts = read_holds({"holds": [{**common, **row} for row in rows]})
    seeds = facts.pop("seeds")
    assert seeds == [0, 1]
    assert facts["running_1"] == [2.0, 3.0]
    assert facts["running_32"] == [1.5, 1.5]
    assert facts["final_32"] == [1e-2, 2e-2]
    assert facts["running_1_rollouts"] == [100.0]
    verdict = judge_holds([Measured("", seeds, facts)])
    assert verdict.count("is confirmed") == 2


def course(method, seed, held_out, evaluations=7):
    """One training of a study, as far as claims read it."""
    costs = {"held_out": held_out, "evaluations": [0, evaluations]}
    return {"method": method, "seed": seed, **costs}


@pytest.mark.parametrize(
    "ours, euler, source, evaluations, words",
    [
        (1.0, 2.0, 0.1, 28, "Confirmed: CTPG ends lower"),
        (2.0, 1.0, 0.1, 28, "Not confirmed: Euler's method ends lower"),
        (1.0, 1.05, 0.1, 28, "Not confirmed: with as many evaluations both"),
        (1.0, 1.05, 1.0, 28, "Confirmed for the paper's steps of Euler's method, "),
        (1.0, 1.05, 1.0, 3, "Not confirmed: with as many evaluations both"),
        (9.0, 9.0, 0.1, 28, "Not repeated: CTPG learns nothing"),
    ],
)
def test_verdict_about_a_training_follows_the_costs_of_all_seeds(
    ours, euler, source, evaluations, words
):
    """`source` is Euler with the paper's steps, after other evaluations."""
    courses = []
    for seed in (0, 1):
        courses += [
            course("ctpg", seed, [8.0, ours]),
            course("euler, 1 x evaluations", seed, [8.0, euler]),
            course("euler, 10 ms", seed, [8.0, source], evaluations),
        ]
    seeds, facts = facts_of_study({"courses": courses})
    assert seeds == [0, 1] and facts["ctpg_evaluations"] == [7, 7]
    verdict = judge_training([Measured("", seeds, facts)])
    assert verdict.startswith(words)
    assert ("take 4 times" in verdict) == verdict.startswith("Confirmed for")


@pytest.mark.parametrize(
    "ours, euler, words",
    [
        (60.0, 700.0, "Confirmed: CTPG ends at 60"),
        (60.0, 70.0, "Not confirmed: both"),
        (500.0, 700.0, "Not repeated: neither"),
    ],
)
def test_verdict_about_the_quadrotor_asks_whether_it_is_stable(ours, euler, words):
    courses = [
        course("ctpg", 0, [9e3, ours]),
        course("euler, 1 x evaluations", 0, [9e3, euler]),
    ]
    seeds, facts = facts_of_study({"courses": courses})
    assert judge_quadrotor([Measured("", seeds, facts)]).startswith(words)


@pytest.mark.parametrize(
    "ours, euler, words",
    [
        (4.0, 4.0, "Not repeated: CTPG does not swing the pole up, nor does Euler"),
        (4.0, 1.0, "Not repeated: CTPG does not swing the pole up, Euler's method do"),
        (1.0, 4.0, "Confirmed: CTPG ends lower"),
    ],
)
def test_verdict_about_the_cartpole_asks_whether_the_pole_is_up(ours, euler, words):
    courses = [
        course("ctpg", 0, [6.0, ours]),
        course("euler, 1 x evaluations", 0, [6.0, euler]),
        course("euler, 10 ms", 0, [6.0, euler]),
    ]
    seeds, facts = facts_of_study({"courses": courses})
    assert judge_swing_up([Measured("", seeds, facts)]).startswith(words)


@pytest.mark.parametrize("last, words", [(30.0, "Repeated"), (60.0, "Not repeated")])
def test_verdict_about_the_stages_asks_whether_the_cost_falls(last, words):
    courses = [
        course("ctpg", 0, [83.0, last]),
        course("euler, 1 x evaluations", 0, [83.0, 30.0]),
    ]
    seeds, facts = facts_of_study({"courses": courses})
    assert judge_stages([Measured("", seeds, facts)]).startswith(words)


@pytest.mark.parametrize(
    "ours, theirs, words",
    [
        (2.0, 40.0, "Confirmed"),
        (2.0, 2.0, "Not confirmed"),
        (9.0, 40.0, "Not repeated"),
    ],
)
def test_verdict_about_integrating_backward_follows_the_losses(ours, theirs, words):
    losses = {"ctpg_loss": [ours], "backsolve_loss": [theirs], "backsolve_lowest": [2]}
    assert judge_backsolve([Measured("", [0], losses)]).startswith(words)


def cell_row(cell, median, missing):
    """A row of `tools/bench cells`."""
    seconds = {"median": median, "missing": missing}
    return {"cell": cell, "task": "balance", "seeds": [0], "seconds": seconds}


def test_claims_read_what_benchmarks_stored():
    """The names of rows are those of tools/bench; numbers are made up."""
    prices = {"ctpg": 10.0, "discrete": 9.0, "rk4": 30.0, "euler": 5000.0}
    comparisons = [
        {
            "study": "gradients",
            "plant": plant,
            "estimator": name,
            "samples": 2,
            "evaluations": {"price": price},
        }
        for plant in ("linear", "diffdrive")
        for name, price in prices.items()
    ]
    returns = {
        "16-unit LTC": 500.0,
        "16-unit MLP": 500.0,
        "no velocities, 16-unit LTC": 480.0,
        "no velocities, 16-unit MLP": 40.0,
        "A2C, 16-unit MLP": 400.0,
    }
    bench = {
        "comparisons": [{"study": "orders"}, *comparisons],
        "policies": [
            {
                "environment": "CartPole-v1",
                "network": name,
                "returns": [value],
                "seeds": [0],
            }
            for name, value in returns.items()
        ],
        "motor": [
            {"task": task, "network": network, "successes": [0.9], "seeds": [0]}
            for task, network in MOTOR.values()
        ],
        "cells": [
            cell_row("a", 2.0, 0),
            cell_row("b", None, 1),
        ],
        "methods": [
            {
                "method": method,
                "task": task,
                "ratio": [1.2, 1.1, 1.3],
                "reached": 3,
                "of": 5,
            }
            for method in ("Hessian-free", "PPO", "Adam")
            for task in ("reach", "balance")
        ],
    }
    gradients = Measured("", [0, 1], read_gradients(bench))
    assert "more than 500 times" in judge_gradients([gradients])
    solved = judge_cartpole([Measured("", [0], read_policies(bench))])
    assert solved.startswith("Confirmed. Without velocities every seed with a memory")
    assert judge_cells([Measured("", [0], read_cells(bench))]) == (
        "Confirmed for all cells but `b, balance`, which miss it at some seed."
    )
    (a2c,) = [claim for claim in policies.CLAIMS if claim.name == "a2c"]
    solved = a2c.judge([Measured("", [0], read_policies(bench))])
    assert solved == "0 of 1 trainings solve it (475 or more)."
    learned = judge_motor([Measured("", [0], read_motor(bench))])
    assert learned.count("0 of 1") == 2 and learned.endswith("80 % in 1 of 1.")
    methods = read_methods(bench)
    assert methods["ppo_reached"] == [3, 3] and methods["seeds"] == [0, 1, 2, 3, 4]
    assert methods["hf_balance"] == [1.2, 1.1, 1.3]
