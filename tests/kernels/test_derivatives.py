"""Tangent and adjoint of the closed loop, at the smallest sizes and without a plant."""

import numpy as np
import pytest
from helpers import relative

from hfcontrol.closed_loop.passes.cpu import kernel_tables
from hfcontrol.kernels.derivatives import (
    Cotangents,
    LinearPlant,
    adjoint,
    gram,
    tangent,
)
from hfcontrol.kernels.network_step import NetworkFunctions
from hfcontrol.kernels.segments import StoredActivations, all_activations
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS as ALL_CELLS
from hfcontrol.network.cells import is_continuous, is_staged
from hfcontrol.network.network import Network

T, N, WIDTH = 4, 3, 2
BLOCKS = 2
NX, NU, NY, NT = 2, 1, 2, 1
CLOSED_FORMS = [c for c in ALL_CELLS if is_staged(c) and not is_continuous(c)]
CELLS = {
    "tanh": {"cell": "tanh"},
    "linear": {"cell": "linear"},
    "ctrnn": {"cell": "ctrnn", "scheme": "fused"},
    "ltc, rk4": {"cell": "ltc", "scheme": "rk4"},
    "conductance": {"cell": "ltc_conductance", "scheme": "fused"},
} | {cell: {"cell": cell} for cell in CLOSED_FORMS}
cells = pytest.mark.parametrize("options", CELLS.values(), ids=CELLS.keys())


class Case:
    """A network along random inputs, with the Jacobians of a random plant."""

    def __init__(self, options, rng):
        architecture = Architecture((2, 3), learn_start=True, **options)
        self.network = Network(architecture, NT + NY, NU)
        self.theta = self.network.initial(rng)
        self.theta += 0.1 * rng.standard_normal(self.network.size)
        self.tables = kernel_tables(self.network, NetworkFunctions._fields)
        self.plant = LinearPlant(
            rng.standard_normal((T, NX, NX, N)),
            rng.standard_normal((T, NX, NU, N)),
            rng.standard_normal((T, NY, NX, N)),
            rng.standard_normal((T, NU, N)),
            1,
            1,
            False,
        )
        target = rng.standard_normal((T, NT, N))
        y = rng.standard_normal((T, NY, N))
        activations = self._run(target, y)
        seen = (target, np.ones((len(y), y.shape[2])), y)
        self.stored = StoredActivations(1, *seen, activations)
        self.sparse = StoredActivations(2, *seen, activations[:, ::2].copy())

    def _run(self, target, y):
        units = self.network.n_activations
        activations = np.zeros((BLOCKS, T + 1, units, WIDTH))
        start = self.theta[self.network.start][:, None]
        activations[:, 0, self.network.hidden] = start
        inputs = np.zeros((T, NT + NY, BLOCKS * WIDTH))
        inputs[:, :, :N] = np.concatenate((target, y), axis=1)
        for block in range(BLOCKS):
            trials = slice(block * WIDTH, (block + 1) * WIDTH)
            for t in range(T):
                before = activations[block, t]
                now = self.network.step(self.theta, before, inputs[t, :, trials])
                activations[block, t + 1] = now
        return activations

    def tangent(self, v, stored):
        dx, du = np.empty((T + 1, NX, N)), np.empty((T, NU, N))
        kept = np.empty((BLOCKS, 2, self.network.n_activations, WIDTH))
        tangent(0, BLOCKS, self.theta, v, self.tables, self.plant, stored, dx, du, kept)
        return dx, du

    def adjoint(self, x_bar, u_bar, stored, by_trial=False):
        none = np.empty((BLOCKS, 0, self.network.n_activations, WIDTH))
        size = self.network.size
        sums = np.zeros((1, BLOCKS, 0 if by_trial else size))
        J = np.empty((1, N if by_trial else 0, size))
        cotangents = Cotangents(x_bar[None], u_bar[None], none)
        adjoint(
            0,
            BLOCKS,
            self.theta,
            self.tables,
            self.plant,
            stored,
            cotangents,
            sums,
            J,
        )
        return J[0] if by_trial else sums[0].sum(axis=0)


@cells
def test_adjoint_is_the_transpose_of_the_tangent(options, rng):
    case = Case(options, rng)
    v = rng.standard_normal(case.network.size)
    dx, du = case.tangent(v, case.stored)
    x_bar, u_bar = rng.standard_normal(dx.shape), rng.standard_normal(du.shape)
    product = np.sum(x_bar * dx) + np.sum(u_bar * du)
    for stored in (case.stored, case.sparse):
        theta_bar = case.adjoint(x_bar, u_bar, stored)
        assert abs(product - theta_bar @ v) < 1e-12 * max(abs(product), 1.0)


@cells
def test_cotangents_by_trial_add_up_to_their_sum(options, rng):
    case = Case(options, rng)
    x_bar = rng.standard_normal((T + 1, NX, N))
    u_bar = rng.standard_normal((T, NU, N))
    total = case.adjoint(x_bar, u_bar, case.stored)
    for stored in (case.stored, case.sparse):
        rows = case.adjoint(x_bar, u_bar, stored, by_trial=True)
        assert relative(rows.sum(axis=0), total) < 1e-13


@cells
def test_recomputed_activations_and_tangents_equal_stored_ones(options, rng):
    case = Case(options, rng)
    # Work units of the adjoint stay as they are.
    out = np.zeros_like(case.stored.activations)
    all_activations(0, BLOCKS, case.theta, case.tables, case.sparse, out)
    # The last block has a trial that does not exist.
    assert relative(out[0], case.stored.activations[0]) < 1e-13
    assert relative(out[1, :, :, 0], case.stored.activations[1, :, :, 0]) < 1e-13

    v = rng.standard_normal(case.network.size)
    for exact, again in zip(
        case.tangent(v, case.stored), case.tangent(v, case.sparse), strict=True
    ):
        assert relative(again, exact) < 1e-13


def test_gram_matrix_in_chunks(rng):
    J, out = rng.standard_normal((5, 3)), np.empty((5, 5))
    # Three chunks of two rows make six products.
    gram(0, 6, J, 2, out)
    np.testing.assert_allclose(out, J @ J.T, rtol=1e-14)
