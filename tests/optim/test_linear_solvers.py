"""Solvers of the damped system against dense linear algebra."""

import numpy as np
import pytest
from helpers import loop_of, weights_of
from linear_problems import close, spd

from hfcontrol.optim.curvature import GaussNewton, Identity, ResidualJacobian
from hfcontrol.optim.linear_solvers import conjugate_gradients, residual_space, woodbury

LAM = 0.01


class Setting:
    """A small problem of few residuals (m < P) with its dense matrix (P, P)."""

    def __init__(self):
        loop = loop_of("arm2", effort=0.0)
        self.linear = loop.linearise(loop.rollout(weights_of(loop)))
        self.G, self.rows = (
            GaussNewton(self.linear),
            ResidualJacobian(self.linear, loop.scenario.cost.active_residuals()),
        )
        self.g, self.size = self.linear.gradient, loop.network.size
        self.dense = np.array([self.G @ e for e in np.eye(self.size)])
        self.damped = self.dense + LAM * np.eye(self.size)
        self.exact = np.linalg.solve(self.damped, -self.g)
        self.none = np.zeros(self.size)


@pytest.fixture(scope="module")
def setting():
    return Setting()


def test_four_solvers_agree(setting):
    """Converged CG, residual space, Cholesky in weight space, LU.

    A condition number of about 1e4 leaves errors of 1e-9.
    """
    s = setting
    assert len(s.rows.matrix) < s.size
    cg = conjugate_gradients(
        s.G + LAM * Identity(), -s.g, s.none, cap=500, tolerance=0.0, floor=501
    )
    L = np.linalg.cholesky(s.damped)
    assert close(np.linalg.solve(L.T, np.linalg.solve(L, -s.g)), s.exact, 1e-9)
    d, Jd = residual_space(s.rows, LAM)
    assert close(d, s.exact, 1e-9) and close(Jd, s.rows.matrix @ s.exact, 1e-9)
    assert close(cg.directions[-1], s.exact, 1e-9)


def test_residual_space_solves_for_gradient_of_other_trials(setting, rng):
    s, g = setting, rng.standard_normal(setting.size)
    d, Jd = residual_space(s.rows, LAM, g)
    exact = np.linalg.solve(s.damped, -g)
    assert close(d, exact, 1e-9) and close(Jd, s.rows.matrix @ exact, 1e-7)


def test_values_fall_and_equal_the_model(rng):
    A, b = spd(rng)
    start = rng.standard_normal(b.size)
    solution = conjugate_gradients(A, b, start, tolerance=0.0, cap=29)
    assert len(solution.directions) == len(solution.values) > 4
    for d, value in zip(solution.directions, solution.values, strict=True):
        assert value == pytest.approx(0.5 * d @ A @ d - b @ d, rel=1e-9)
    assert (
        np.all(np.diff(solution.values) < 0)
        and solution.values[0] < 0.5 * start @ A @ start - b @ start
    )


@pytest.mark.parametrize(
    "options, stop",
    [
        ({"cap": 7, "tolerance": 0.0}, "cap"),
        ({"tolerance": 1e-3, "cap": 10_000}, "progress"),
        ({"tolerance": 1.0, "floor": 3}, "progress"),
    ],
)
def test_stop_reasons(options, stop, rng):
    A, b = spd(rng, size=200, condition=1e6)
    solution = conjugate_gradients(A, b, np.zeros(b.size), **options)
    assert solution.stop == stop
    assert solution.iterations == (7 if stop == "cap" else solution.iterations) < 10_000
    if options.get("floor"):
        assert solution.iterations == 3


def test_cg_stops_by_relative_progress(rng):
    """Too little progress over k = max(10, i / 10) iterations, and not before."""
    A, b = spd(rng, size=300, condition=1e5)
    tolerance = 2e-3
    stop = conjugate_gradients(
        A, b, np.zeros(b.size), tolerance=tolerance, cap=1000
    ).iterations
    values = [0.0]
    for i in range(1, stop + 1):
        values.append(
            conjugate_gradients(A, b, np.zeros(b.size), tolerance=0.0, cap=i).values[-1]
        )
    slow = [
        (values[i] - values[i - max(10, i // 10)]) / values[i]
        < max(10, i // 10) * tolerance
        for i in range(10, stop + 1)
    ]
    assert stop > 120 and slow == [False] * (stop - 10) + [True]


def test_cg_stops_at_direction_without_curvature():
    A, b = np.diag([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.5])
    solution = conjugate_gradients(A, b, np.zeros(3))
    assert solution.stop == "curvature" and solution.iterations < 3
    nothing = conjugate_gradients(-np.eye(3), b, np.zeros(3))
    assert nothing.stop == "curvature" and nothing.directions == []


def test_first_iterate_is_multiple_of_gradient(setting):
    s = setting
    (first,) = conjugate_gradients(s.G, -s.g, s.none, cap=1).directions
    np.testing.assert_allclose(
        first, -(s.g @ s.g) / (s.g @ s.dense @ s.g) * s.g, rtol=1e-9, atol=1e-15
    )


def test_warm_start_at_solution_stays_there(setting):
    s = setting
    solution = conjugate_gradients(s.damped, -s.g, s.exact, cap=3)
    assert close(solution.directions[-1], s.exact, 1e-10) and not np.shares_memory(
        solution.directions[-1], s.exact
    )


def test_progress_of_warm_start_counts_from_its_value(rng):
    """Near the solution there is little to gain, so CG stops as early as it may."""
    A, b = spd(rng, size=100, condition=1e6)
    near = np.linalg.solve(A, b) * 1.01
    solution = conjugate_gradients(A, b, near, tolerance=1e-3)
    assert solution.stop == "progress" and solution.iterations == 10
    assert conjugate_gradients(A, b, np.zeros(b.size), tolerance=1e-3).iterations > 10


@pytest.mark.parametrize("shift", [1e-3, LAM, 10.0])
def test_woodbury_equals_dense_inverse(setting, shift, rng):
    s, v = setting, rng.standard_normal(setting.size)
    exact = np.linalg.solve(s.dense + shift * np.eye(s.size), v)
    assert close(woodbury(s.rows, shift)(v), exact, 1e-8)


def test_exact_inverse_as_preconditioner_needs_one_iteration(setting):
    s = setting
    solution = conjugate_gradients(
        s.G + LAM * Identity(), -s.g, s.none, woodbury(s.rows, LAM), cap=1
    )
    assert solution.iterations == 1 and close(solution.directions[-1], s.exact, 1e-9)


def test_preconditioner_changes_path_but_not_solution(rng):
    A, b = spd(rng)
    scale = 1 / np.diag(A)
    solution = conjugate_gradients(
        A, b, np.zeros(b.size), lambda r: scale * r, cap=200, tolerance=0.0, floor=201
    )
    assert close(solution.directions[-1], np.linalg.solve(A, b), 1e-9)
