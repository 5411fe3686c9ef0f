"""Which derivative is not finite: its names, its place and its trials."""

from types import SimpleNamespace

import numpy as np
import pytest

from hfcontrol.arrays.communicator import ALONE
from hfcontrol.closed_loop.faults import _in_cost, _in_jacobian, _in_plant
from hfcontrol.closed_loop.shares import Shares
from hfcontrol.kernels.structure import DENSE


def loop_of(**parts):
    """A loop whose six trials are all in one process."""

    def gather(a, trials):
        return a[..., trials]

    return SimpleNamespace(shares=Shares(6, ALONE), gather=gather, **parts)


STATES = np.arange(5 * 2 * 6, dtype=float).reshape(5, 2, 6)
LINEAR = SimpleNamespace(
    rollout=SimpleNamespace(x=STATES),
    loop=loop_of(plant=SimpleNamespace(state=("p", "q"))),
)
TABLE = np.array([[0, 1, 2], [2, 0, 1]])


@pytest.mark.parametrize("stored, by", [({}, "c"), ({"table": TABLE}, "e")])
def test_the_first_fault_is_named_and_all_its_trials_are_told(stored, by):
    """Derivatives (T, m, n, N); a table tells the columns of those without zeros."""
    J = np.zeros((4, 2, 3, 6))
    J[2, 1, 0, 3] = np.nan
    J[3, 0, 2, 1] = np.inf
    fault = _in_jacobian(LINEAR, J, ("a", "b"), ("c", "d", "e"), **stored)
    p, q = STATES[2, :, 3]
    assert fault.text == (
        f"the derivative of b by {by} is not finite in trial 3 at step 2, where "
        f"p is {p:.4g}, q is {q:.4g}"
    )
    assert fault.trials == (1, 3)


def test_finite_derivatives_have_no_fault():
    assert _in_jacobian(LINEAR, np.zeros((4, 2, 3, 6)), "ab", "cde") is None


def derivatives(entries, place=None):
    """Derivatives of 4 steps and 6 trials, infinite at a place (step, row, column)."""
    J = np.zeros((4, *entries, 6))
    if place:
        J[(*place, 5)] = np.inf
    return J


@pytest.mark.parametrize(
    "bad, text",
    [
        (0, "of q by p is not finite in trial 5 at step 3"),
        (1, "of q by v is not finite in trial 5 at step 3"),
        (2, "of z by q is not finite in trial 5 at step 3"),
    ],
)
def test_a_fault_in_the_plant_is_named(bad, text):
    """In A, B or C, of 2 states, 2 controls and 3 observations."""
    places = [(3, 1, 0), (3, 1, 1), (3, 2, 1)]
    A, B, C = (
        derivatives(entries, places[i] if i == bad else None)
        for i, entries in enumerate([(2, 2), (2, 2), (3, 2)])
    )
    plant = SimpleNamespace(state="pq", control="uv", observation="xyz")
    linear = SimpleNamespace(
        rollout=LINEAR.rollout,
        loop=loop_of(plant=plant),
        plant_jacobians=(A, B, C, None, None, DENSE, DENSE),
    )
    fault = _in_plant(linear)
    assert text in fault.text and fault.trials == (5,)


@pytest.mark.parametrize(
    "bad, text",
    [
        ("output", "of hand by q"),
        ("by_state", "of work by q"),
        ("by_control", "of work by v"),
        (None, ""),
    ],
)
def test_a_fault_in_the_cost_is_named(bad, text):
    """In the output, or in a residual function of states and controls."""
    output, by_state, by_control = (
        derivatives((2, 2), (1, 1, 1) if name == bad else None)
        for name in ("output", "by_state", "by_control")
    )
    plant = SimpleNamespace(
        state="pq", control="uv", output=("arm", "hand"), residuals={"r": ("a", "work")}
    )
    cost = SimpleNamespace(output=output, custom=(by_state, by_control))
    scenario = SimpleNamespace(cost=SimpleNamespace(custom="r"))
    linear = SimpleNamespace(
        rollout=LINEAR.rollout,
        loop=loop_of(plant=plant, scenario=scenario),
        cost=cost,
    )
    fault = _in_cost(linear)
    assert (text in fault.text) if bad else fault is None
    # Imitation has residuals of its own, one for each control.
    scenario.cost.custom = None
    fault = _in_cost(linear)
    assert text.replace("work", "v") in fault.text if bad else fault is None
    cost.custom = None
    assert (_in_cost(linear) is None) is (bad != "output")
