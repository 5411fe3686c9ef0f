"""The network along recorded inputs, with starts within a sequence.

Against the plain step and finite differences; and what must not matter.
"""

import numpy as np
import pytest
from helpers import relative

from hfcontrol.closed_loop.passes.sequences import Sequences
from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS, is_continuous
from hfcontrol.network.network import Network

T, N = 7, 5
SCHEMES = [
    *((cell, {}) for cell in CELLS if not is_continuous(cell)),
    *(
        (cell, {"scheme": "fused", "unfold": 2})
        for cell in CELLS
        if is_continuous(cell)
    ),
    ("ltc", {"scheme": "rk4"}),
    ("gru", {"recurrent": ()}),
]
cells = pytest.mark.parametrize(
    "cell, more",
    SCHEMES,
    ids=["-".join([cell, *map(str, more.values())]) for cell, more in SCHEMES],
)


def setting(cell, more, rng, learn_start=True):
    """A network, its passes, weights, inputs, and starts at any step."""
    options = {"recurrent": (1, 2), "learn_start": learn_start, **more}
    network = Network(Architecture((4, 3), cell, (2,), **options), 3, 2)
    theta = network.initial(rng) + 0.2 * rng.standard_normal(network.size)
    starts = rng.random((T, N)) < 0.3
    starts[0] = True
    return network, Sequences(network), theta, rng.standard_normal((T, 3, N)), starts


def plain(network, theta, inputs, starts):
    """Outputs (T, 2, N) by the plain step of the network."""
    first = np.zeros((network.n_activations, 1))
    first[network.hidden, 0] = theta[network.start] if network.start else 0.0
    activations, outputs = np.zeros((network.n_activations, inputs.shape[2])), []
    for seen, begins in zip(inputs, starts, strict=True):
        activations = network.step(theta, np.where(begins, first, activations), seen)
        outputs.append(activations[network.outputs])
    return np.array(outputs)


@cells
def test_outputs_equal_plain_steps_and_adjoint_equals_differences(cell, more, rng):
    network, passes, theta, inputs, starts = setting(cell, more, rng)
    activations = passes.activations(theta, inputs, starts)
    np.testing.assert_allclose(
        passes.merge_blocks(activations, network.outputs, N)[1:],
        plain(network, theta, inputs, starts),
        atol=1e-13,
    )
    out_bar, v = rng.standard_normal((T, 2, N)), rng.standard_normal(theta.size)
    ends = [
        (out_bar * plain(network, theta + s * v, inputs, starts)).sum()
        for s in (1e-6, -1e-6)
    ]
    assert passes.adjoint(theta, starts, activations, out_bar) @ v == pytest.approx(
        (ends[0] - ends[1]) / 2e-6, rel=1e-7
    )


def test_what_was_in_memory_before_does_not_matter(rng, monkeypatch):
    """Also where the last block has columns without a trial."""
    _, passes, theta, *_ = setting("tanh", {}, rng)
    trials = 35
    inputs = rng.standard_normal((T, 3, trials))
    starts = np.arange(T)[:, None] % 3 == np.arange(trials) % 3
    out_bar = rng.standard_normal((T, 2, trials))
    found = []
    for old in (0.0, np.nan):

        def empty(shape, dtype=float, old=old):
            return np.full(shape, old, dtype)

        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", empty)
            activations = passes.activations(theta, inputs, starts)
            gradient = passes.adjoint(theta, starts, activations, out_bar)
        blocks, *_, width = activations.shape
        assert blocks * width > trials
        found.append((activations, gradient))
    for zeros, nans in zip(*found, strict=True):
        np.testing.assert_array_equal(zeros, nans)


@cells
def test_two_sequences_in_one_column_equal_two_columns(cell, more, rng):
    network, passes, theta, inputs, _ = setting(cell, more, rng)
    long, short = np.zeros((2, T, N), dtype=bool)
    long[0] = short[0] = long[4] = True
    whole, out_bar = (
        passes.activations(theta, inputs, long),
        rng.standard_normal((T, 2, N)),
    )
    parts = [
        (
            passes.activations(theta, inputs[some], short[: len(inputs[some])]),
            inputs[some],
            out_bar[some],
        )
        for some in (slice(0, 4), slice(4, T))
    ]
    outputs = [
        passes.merge_blocks(activations, network.outputs, N)[1:]
        for activations, _, _ in parts
    ]
    np.testing.assert_array_equal(
        np.concatenate(outputs), passes.merge_blocks(whole, network.outputs, N)[1:]
    )
    apart = sum(
        passes.adjoint(theta, short[: len(seen)], activations, bar)
        for activations, seen, bar in parts
    )
    assert relative(passes.adjoint(theta, long, whole, out_bar), apart) < 1e-13


def test_the_order_of_the_trials_does_not_matter(rng):
    _, passes, theta, inputs, starts = setting("ltc", {}, rng, learn_start=False)
    out_bar, order = rng.standard_normal((T, 2, N)), rng.permutation(N)
    found = [
        passes.adjoint(theta, s, passes.activations(theta, i, s), bar)
        for i, s, bar in (
            (inputs, starts, out_bar),
            (inputs[..., order], starts[..., order], out_bar[..., order]),
        )
    ]
    assert relative(*found) < 1e-14


def test_a_start_forgets_everything_before_it(rng):
    network, passes, theta, inputs, starts = setting("ctrnn", {}, rng)
    starts[:], starts[0], starts[3] = False, True, True
    other = inputs.copy()
    other[:3] += 1.0
    outputs = [
        passes.merge_blocks(passes.activations(theta, i, starts), network.outputs, N)[
            1:
        ]
        for i in (inputs, other)
    ]
    np.testing.assert_array_equal(outputs[0][3:], outputs[1][3:])
    assert np.abs(outputs[0][2] - outputs[1][2]).min() > 0
