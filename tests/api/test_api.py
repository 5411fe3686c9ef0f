"""What `import hfcontrol as hf` offers."""

import pytest

import hfcontrol as hf
from hfcontrol import api


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
