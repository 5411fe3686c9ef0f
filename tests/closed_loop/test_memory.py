"""Stored steps: recomputing the activations between them changes no result.

It takes no memory either.
"""

import math
import tracemalloc
from dataclasses import replace

import numba
import numpy as np
import pytest
from helpers import flat, like, loop_of, relative, training_of, weights_of
from loop_cases import cases, hold_and_rollout, kinds
from trainings import SMALL, SMALL_OPTIONS, complaint

import hfcontrol as hf
from hfcontrol.arrays.threads import limited_threads
from hfcontrol.closed_loop.loop import ClosedLoop, PassOptions
from hfcontrol.errors import UsageError
from hfcontrol.runs.settings import Settings

# For twelve steps: complete segments, a remainder, a remainder of one step, a single
# segment, and more than the horizon.
EVERY = (2, 5, 11, 12, 40)

every_few = pytest.mark.parametrize("every", EVERY)


def storing(loop, every):
    """The same closed loop, storing one step out of `every`."""
    return ClosedLoop(
        loop.plant,
        loop.kernels,
        loop.network,
        loop.scenario,
        loop.wiring,
        PassOptions(store_every=every),
    )


def results(kind, loop):
    """Everything that a loop computes for a rollout of a hold, by name, and rows."""
    hold, rollout = hold_and_rollout(kind, loop)
    linear, rng = hold.linearise(rollout), np.random.default_rng(1)
    v, w = rng.standard_normal(loop.network.size), like(linear.cost.residuals, rng)
    found = {
        name: getattr(rollout, name) for name in ("x", "u", "command", "y", "losses")
    }
    found |= {
        "hidden": rollout.hidden(loop.network),
        "tangent": flat(linear.jvp(v)),
        "adjoint": linear.vjp(w),
        "gradient": linear.gradient,
        "structural": linear.structural_product(v),
    }
    return found, linear.rows(loop.scenario.cost.active_residuals()[-5:])


@cases
@kinds
def test_recomputed_activations_have_the_same_bits(options, kind):
    """Except for two roundings to 1e-12.

    Rows of the Jacobian add in a different order, and a plant in NumPy rounds
    differently.
    """
    loop = loop_of(**options)
    found, rows = results(kind, loop)
    for every in EVERY:
        again, rows_again = results(kind, storing(loop, every))
        assert relative(rows_again, rows) < 1e-12, every
        for name, value in found.items():
            if loop.plant.compiled:
                np.testing.assert_array_equal(
                    again[name], value, err_msg=f"{name} of {every}"
                )
            else:
                assert relative(again[name], value) < 1e-12, (name, every)


@every_few
@kinds
def test_adjoint_with_stored_steps_is_the_transpose_of_the_tangent(kind, every, rng):
    loop = storing(
        loop_of(
            delays=(2, 3),
            sensory_noise=0.1,
            motor_fraction=0.2,
            disturbed=True,
            trials=35,
        ),
        every,
    )
    hold, rollout = hold_and_rollout(kind, loop)
    linear = hold.linearise(rollout)
    v = rng.standard_normal(loop.network.size)
    w, Jv = like(linear.cost.residuals, rng), linear.jvp(v)
    size = math.sqrt(w.dot(w) * Jv.dot(Jv))
    assert size > 0
    assert abs(w.dot(Jv) - linear.vjp(w) @ v) < 1e-12 * size


@every_few
def test_rows_with_stored_steps_are_the_gradients(every):
    loop = storing(loop_of(trials=35, delays=(1, 1)), every)
    linear = loop.linearise(loop.rollout(weights_of(loop)))
    indices = loop.scenario.cost.active_residuals()
    rows, residuals = linear.rows(indices), linear.cost.scaled_residuals(indices)
    assert (
        relative(np.einsum("knp,kn->p", rows, residuals) / loop.trials, linear.gradient)
        < 1e-12
    )


@every_few
@pytest.mark.parametrize("plant", ["swing", "cart"], ids=["compiled", "not compiled"])
def test_only_stored_steps_are_kept(plant, every):
    """They agree with the plain passes, which always store every step."""
    loop = loop_of(plant, trials=35, steps=13)
    plain = ClosedLoop(
        loop.plant,
        loop.kernels,
        loop.network,
        loop.scenario,
        loop.wiring,
        PassOptions(fused=False, store_every=every),
    )
    theta = weights_of(loop)
    stored, whole = (
        storing(loop, every).rollout(theta).activations,
        plain.rollout(theta).activations[0],
    )
    assert whole.shape[0] == 14 and stored.shape == (
        2,
        13 // every + 1,
        loop.network.n_activations,
        18,
    )
    for block, trials in enumerate((slice(0, 18), slice(18, 35))):
        here = whole[::every, :, trials]
        np.testing.assert_allclose(
            stored[block, :, :, : here.shape[2]], here, rtol=1e-12, atol=1e-14
        )


def test_a_linearisation_reads_the_stored_steps():
    """With the activations of one stored step changed, the tangent is different."""
    loop = storing(loop_of(), 5)
    rollout = loop.rollout(weights_of(loop))
    v = weights_of(loop, seed=1)
    tangent = flat(loop.linearise(rollout).jvp(v))
    stored = rollout.activations.copy()
    stored[:, 2] += 0.1
    assert (
        relative(
            flat(loop.linearise(replace(rollout, activations=stored)).jvp(v)), tangent
        )
        > 1e-3
    )


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")
def test_stored_steps_give_the_same_bits_on_any_number_of_threads():
    loop, found = storing(loop_of(trials=70, delays=(1, 1), sensory_noise=0.1), 5), []
    for threads in (1, 2):
        with limited_threads(threads):
            found.append(results("scenario", loop))
    (a, rows_a), (b, rows_b) = found
    np.testing.assert_array_equal(rows_a, rows_b)
    for name, value in a.items():
        np.testing.assert_array_equal(b[name], value, err_msg=name)


def bytes_per_trial_step(trials, steps, every):
    """Memory of arm2 with 32 + 32 units: of a linearised rollout and of its products.

    The second is the peak beyond the first, without the rows that are returned.
    """
    loop = storing(
        loop_of("arm2", trials=trials, steps=steps, hidden=(32, 32), effort=1e-3), every
    )
    theta = weights_of(loop, size=0.1)
    v, indices = weights_of(loop, seed=1), loop.scenario.cost.active_residuals()[-2:]

    def products(linear):
        linear.vjp(linear.jvp(v))
        linear.rows(indices)

    products(loop.linearise(loop.rollout(theta)))
    tracemalloc.start()
    linear = loop.linearise(loop.rollout(theta))
    held = tracemalloc.get_traced_memory()[0]
    products(linear)
    more = (
        tracemalloc.get_traced_memory()[1]
        - held
        - 8 * len(indices) * trials * loop.network.size
    )
    tracemalloc.stop()
    return held / (trials * steps), more / (trials * steps)


# Bytes of one step of one trial: targets, observations, two layers, outputs.
ACTIVATIONS = 8 * (4 + 4 + 32 + 32 + 2)


@pytest.mark.parametrize("every", [1, 16, pytest.param(64, marks=pytest.mark.slow)])
def test_memory_grows_with_trials_times_steps_as_stated(every):
    """The docstring of passes/cpu.py states it."""
    for size in ((64, 160), (64, 640), (256, 160)):
        held, _ = bytes_per_trial_step(*size, every)
        stated = ACTIVATIONS / every + 8 * 70
        assert 0.5 * stated < held < stated


def test_fewer_stored_steps_take_less_memory():
    few = np.array([4, 16, 64])
    whole, *held = [bytes_per_trial_step(64, 640, every)[0] for every in (1, *few)]
    np.testing.assert_allclose(
        whole - np.array(held), ACTIVATIONS * (1 - 1 / few), rtol=0.02
    )


def test_products_never_hold_the_activations_of_all_steps():
    """Tangents and cotangents of trajectories are smaller than these activations.

    The deltas of the Jacobian's rows, one per unit and residual, would be larger.
    """
    (_, whole), (_, few) = (bytes_per_trial_step(64, 640, every) for every in (1, 16))
    assert whole > ACTIVATIONS > few


@pytest.mark.parametrize("hold", ["scenario", "model"])
@pytest.mark.parametrize("solver", ["cg", "residual"])
def test_training_with_stored_steps_gives_the_same_weights(hold, solver):
    """A dozen updates amplify roundings of the Jacobian's rows to at most 1e-6."""
    ends = []
    for every in (1, 5):
        trainer, state = training_of(
            store_every=every,
            hold=hold,
            solver=solver,
            running=0.0,
            effort=0.0,
            rollouts=12,
        )
        assert trainer.loop(np.random.default_rng(0)).passes.store_every == every
        *_, end = trainer.run(state)
        ends.append(end.state)
    assert ends[0].updates == ends[1].updates > 0
    assert relative(ends[1].theta, ends[0].theta) < 1e-6


def test_a_run_is_evaluated_with_the_stored_steps_of_its_training(tmp_path):
    run = hf.train("arm2", out=tmp_path, store_every=3, **SMALL)
    few, whole = (
        run.closed_loop(),
        run.closed_loop(settings=run.settings.changed(store_every=1)),
    )
    a, b = few.rollout(run.theta), whole.rollout(run.theta)
    assert a.activations.shape[1] < b.activations.shape[1]
    np.testing.assert_array_equal(a.hidden(run.network), b.hidden(run.network))


@pytest.mark.parametrize("every", [0, -4])
def test_store_every_below_one_is_refused_in_one_line(
    every, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    message = f"{every}: must be a whole number of at least 1"
    with pytest.raises(UsageError, match=f"`store_every` {message}"):
        Settings(store_every=every)
    assert f"--store-every {message}" in complaint(
        capsys, "train", *SMALL_OPTIONS, "--store-every", every, status=2
    )
    assert "--store-every" in complaint(
        capsys, "train", *SMALL_OPTIONS, "--store-every", "few", status=2
    )
    assert not list(tmp_path.iterdir())
