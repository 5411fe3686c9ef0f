"""Predicted operations and memory: against counts by hand, and what they bound."""

import numpy as np
import pytest
from helpers import loop_of, weights_of

from hfcontrol.optim import operations
from hfcontrol.optim.hessian_free import HessianFree
from hfcontrol.optim.operations import (
    ProblemSize,
    affordable_trials,
    explicit_memory,
    measure_problem,
    preconditioner_cost,
    preconditioner_trials,
    products_cost,
    rows_cost,
    rows_memory,
)
from hfcontrol.tasks.cost import ResidualIndex

SMALL = ProblemSize(weights=3714, trials=64, steps=40, per_pass=600_000)
LARGE = ProblemSize(weights=800_000, trials=64, steps=150, per_pass=480_000_000)


def test_the_size_of_a_problem_counts_its_products_by_hand():
    loop = loop_of(plant="arm2")
    size = measure_problem(loop, 5)
    P, T = loop.network.size, loop.scenario.steps
    # A is 4 x 4, B is 4 x 2 and C is 4 x 4
    assert size == (P, 5, T, T * (4 * P + 2 * (16 + 8 + 16)))
    assert measure_problem(loop).trials == loop.trials


def test_costs_of_rows_by_hand():
    size = ProblemSize(weights=10, trials=2, steps=3, per_pass=7)
    assert products_cost(size) == 30 * 2 * 2 * 7
    assert rows_cost(size, 6) == 6 * 7 + 36 * 10 + 72
    assert preconditioner_cost(size, 6) == rows_cost(size, 6) + 30 * (240 + 72)
    assert rows_memory(size, 6) == 8 * (60 + 72)


def test_a_small_problem_takes_the_final_residuals_of_all_trials():
    assert preconditioner_trials(SMALL, 4) == 64


@pytest.mark.parametrize("size, residuals", [(SMALL, 40), (LARGE, 30)])
def test_the_preconditioner_keeps_to_its_share_and_memory(size, residuals):
    trials = preconditioner_trials(size, residuals)
    most = operations.PRECONDITIONER_SHARE * products_cost(size)

    def fits(trials):
        m = trials * residuals
        in_memory = rows_memory(size, m) <= operations.ROW_BYTES
        return preconditioner_cost(size, m) <= most and in_memory

    assert 0 < trials < 64 and fits(trials) and not fits(trials + 1)


def test_without_room_for_a_single_trial_there_is_no_preconditioner(monkeypatch):
    """The step then works without: conjugate gradients alone."""
    monkeypatch.setattr(operations, "ROW_BYTES", 0.0)
    loop = loop_of(delays=(1, 1))
    assert preconditioner_trials(measure_problem(loop), 3) == 0
    method = HessianFree("cg")
    rollout = loop.rollout(weights_of(loop))
    state, new, report = method.step(method.init(rollout.theta), rollout, Exact(loop))
    assert (
        report.accepted and new.loss < rollout.loss and np.isfinite(state.theta).all()
    )


class Exact:
    """The closed loop itself as the objective of an update."""

    def __init__(self, loop):
        self.loop = loop
        self.rollout, self.linearise = loop.rollout, loop.linearise


def test_the_explicit_jacobian_is_that_of_the_solver():
    """Of 3 final residuals among 9: all rows in residual space, else final ones."""
    size = ProblemSize(weights=1000, trials=4, steps=3, per_pass=12_000)
    indices = [ResidualIndex(0, time, i) for time in (1, 2, 3) for i in range(3)]
    assert explicit_memory(size, indices, "residual") == rows_memory(size, 36)
    final = 3 * preconditioner_trials(size, 3)
    assert 0 < final <= 12
    assert explicit_memory(size, indices, "cg") == rows_memory(size, final)


def test_curvature_of_all_trials_unless_products_take_too_long():
    assert affordable_trials(SMALL) == 64
    trials = affordable_trials(LARGE)
    cost = products_cost(LARGE._replace(trials=trials))
    one_more = products_cost(LARGE._replace(trials=trials + 1))
    assert cost <= operations.PRODUCT_OPERATIONS < one_more


def test_curvature_keeps_its_least_number_of_trials():
    vast = LARGE._replace(per_pass=10**15)
    assert affordable_trials(vast) == operations.LEAST_CURVED
    assert affordable_trials(vast._replace(trials=5)) == 5


def test_the_reason_of_the_solver_names_what_is_left_out(monkeypatch):
    loop = loop_of(delays=(1, 1))
    assert "preconditioner" not in HessianFree("cg").choose_solver(loop)[1]
    monkeypatch.setattr(operations, "PRODUCT_OPERATIONS", 1.0)
    monkeypatch.setattr(operations, "LEAST_CURVED", 2)
    size = measure_problem(loop, 2)
    monkeypatch.setattr(operations, "ROW_BYTES", rows_memory(size, 3))
    reason = HessianFree("cg").choose_solver(loop)[1]
    assert reason.endswith(
        "; preconditioner of 1 trials, 3 rows; curvature of 2 of 7 trials"
    )
