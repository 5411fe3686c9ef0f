"""What `import hfcontrol as hf` offers."""

import signal

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol import api
from hfcontrol.errors import HFControlWarning


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
