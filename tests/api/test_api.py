"""What `import hfcontrol as hf` offers."""

import signal
from pathlib import Path

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol import api
from hfcontrol.errors import HFControlWarning
from hfcontrol.schema import whole_number


def test_dir_lists_the_public_names():
    assert dir(hf) == sorted(hf.__all__)
    assert set(hf.__all__) == {*api.__all__, "__version__"}
    assert set(api.__all__) == set(api.MODULES)


@pytest.mark.parametrize("name", api.__all__)
def test_public_names_are_documented(name):
    assert getattr(hf, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = hf.trian


def test_train_refuses_unknown_settings():
    with pytest.raises(hf.HFControlError, match="did you mean 'effort'"):
        hf.train("arm2", efort=1e-4)


def test_resume_refuses_other_settings_than_limits(tmp_path):
    run = hf.train(
        "arm2", out=tmp_path, trials=4, steps=4, hidden=(3,), batches=2, rollouts=3
    )
    with pytest.raises(hf.HFControlError, match="`effort`"):
        hf.resume(run.path, effort=1e-4)


def test_events_of_training_reach_the_callback(tmp_path):
    kinds = []
    hf.train(
        "arm2",
        out=tmp_path,
        trials=4,
        steps=4,
        hidden=(3,),
        batches=2,
        rollouts=3,
        on_event=lambda event: kinds.append(event.kind),
    )
    assert kinds[0] == "start" and kinds[-1] == "done"
    assert {"update", "hold"} <= set(kinds)


@pytest.mark.parametrize("settings", [{}, {"grow": 2}], ids=["training", "curriculum"])
def test_an_interrupt_ends_training_and_returns_the_run(tmp_path, settings):
    """As a notebook's stop button does; the resumed run is one without interruption."""
    small = {"plant": "arm2", "trials": 4, "steps": 4, "hidden": (3,), "rollouts": 20}
    small |= {"batches": 2, "strategy": "plain", "out": tmp_path, **settings}
    events = []

    def interrupt(event):
        events.append(event)
        if len(events) == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(HFControlWarning, match="hf.resume"):
        run = hf.train(**small, on_event=interrupt)
    resumed = hf.resume(run.path)
    assert len(events) < len(resumed.state.history) + resumed.state.updates
    assert np.array_equal(resumed.theta, hf.train(**small).theta)


def test_a_handler_of_the_program_keeps_the_interrupts(tmp_path):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *arguments: seen.append("own"))
    small = {"trials": 4, "steps": 4, "hidden": (3,), "rollouts": 3}
    try:
        hf.train(
            "arm2",
            **small,
            strategy="plain",
            out=tmp_path,
            on_event=lambda event: signal.raise_signal(signal.SIGINT),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) > 2


SHIPPED = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: hf.train(5), "`plant` 5: must be"),
        (lambda: hf.train(steps="5"), "`steps` '5': must be a whole number"),
        (lambda: hf.train(observe="positions"), "`observe` positions: must be names"),
        (lambda: hf.train(out=5), "`out` 5: must be the path of a folder"),
        (lambda: hf.train(start=5), "run 5: must be the path or name of a run"),
        (lambda: hf.train(on_event="x"), "`on_event` 'x': must be a function"),
        (lambda: hf.resume(["a"]), r"run \['a'\]: must be"),
        (lambda: hf.resume(SHIPPED, on_event=1), "`on_event` 1"),
        (lambda: hf.resume(SHIPPED, rollouts="60"), "`rollouts` '60': must be"),
        (lambda: hf.evaluate(5), "run 5: must be"),
        (lambda: hf.evaluate(SHIPPED, trials="5"), "`trials` '5': must be a whole"),
        (lambda: hf.evaluate(SHIPPED, trials=2.5), "`trials` 2.5: must be a whole"),
        (lambda: hf.evaluate(SHIPPED, trials=True), "`trials` True: must be a whole"),
        (lambda: hf.evaluate(SHIPPED, trials=0), "`trials` 0: must be .* at least 1"),
        (lambda: hf.evaluate(SHIPPED, settings=5), "`settings` 5: must be"),
        (lambda: hf.evaluate(SHIPPED, settings={"a": 1}), "unknown setting 'a'"),
        (lambda: hf.evaluate(SHIPPED, judge=None), "`judge` None: must be"),
        (lambda: hf.benchmark(5), "run 5: must be"),
        (lambda: hf.benchmark(SHIPPED, controllers="pd"), "must be a list of names"),
        (lambda: hf.check_plant("arm2"), r"must be a plant, as load_plant\('arm2'\)"),
        (lambda: hf.Run.load(5), "run 5: must be"),
        (lambda: hf.Controller.load(SHIPPED, dt="x"), "`dt` 'x': must be a number"),
        (lambda: hf.Controller.load(SHIPPED).act("a", "b"), "arrays of numbers"),
        (lambda: hf.Controller.load(SHIPPED).act([[1], [1, 2]], 0), "of numbers"),
    ],
)
def test_values_of_other_types_are_refused_in_one_line(call, words):
    with pytest.raises(hf.HFControlError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_run_is_taken_where_a_path_is():
    run = hf.Run.load(SHIPPED)
    assert hf.Run.load(run) is run
    counts = [5, 5.0, np.int64(5), np.float32(5)]
    assert [whole_number("trials", count) for count in counts] == [5] * 4
