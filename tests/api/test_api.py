"""What `import hfcontrol as hf` offers."""

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hfcontrol as hf
from hfcontrol import api
from hfcontrol.api import callbacks
from hfcontrol.errors import HFControlWarning
from hfcontrol.schema import whole_number


def test_dir_lists_the_public_names():
    assert dir(hf) == sorted(hf.__all__)
    assert set(hf.__all__) == {*api.__all__, "__version__"}
    assert set(api.__all__) == set(api.MODULES)
    assert {"train", "plot", "animate", "compare", "report"} <= set(dir(hf))


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
        (lambda: hf.train(observe=5), "`observe` 5: must be"),
        (lambda: hf.train(out=5), "`out` 5: must be the path of a folder"),
        (lambda: hf.train(start=5), "run 5: must be the path or name of a run"),
        (lambda: hf.train(on_event="x"), "`on_event` 'x': must be a function"),
        (lambda: hf.train(on_event=[print, 5]), "`on_event` 5: must be a function"),
        (lambda: hf.EarlyStop(holds=0), "`holds` 0, `gain` 0.01: must be"),
        (lambda: hf.evaluate(SHIPPED, noise=1), "unknown setting 'noise'"),
        (lambda: hf.compare(SHIPPED), "`runs`: must be a list of runs"),
        (lambda: hf.compare([]), "`runs`: name at least one"),
        (lambda: hf.simulate(SHIPPED, "exam"), "`split` exam: must be one of"),
        (lambda: hf.export(SHIPPED, "a.m"), "a.m: the suffix decides"),
        (lambda: hf.export(SHIPPED, "a.c", float32=True), "`float32` with a.c"),
        (lambda: hf.report([]), "the list of runs is empty"),
        (lambda: hf.report(SHIPPED, "a.pdf"), "a.pdf: the suffix decides"),
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


SMALL = {"trials": 4, "steps": 4, "hidden": (3,), "strategy": "plain"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs that differ in their seed and in one setting."""
    folder = tmp_path_factory.mktemp("api")
    first = hf.train("arm2", **SMALL, batches=2, rollouts=5, out=folder)
    second = hf.train("arm2", **SMALL, batches=3, rollouts=5, seed=1, out=folder)
    return first, second


def test_what_functions_return_shows_as_one_line(runs):
    run, _ = runs
    loss = f"{run.state.loss:.3g}"
    assert repr(run) == (
        f"Run({str(run.path)!r}: arm2 reach, loss {loss} after {run.state.updates} "
        "updates)"
    )
    shown = [run, run.plant, run.history, run.rollout(), hf.compare(runs)]
    for value in [*shown, hf.evaluate(run, judge="none")]:
        assert "\n" not in repr(value) and len(repr(value)) < 200


def test_history_and_weights_are_those_of_the_run(runs):
    run, _ = runs
    history = run.history
    assert history.loss.tolist() == [point.loss for point in run.state.curve]
    assert history.update[0] == 0 and history.update[-1] == run.state.updates
    assert history.rollouts[-1] <= run.state.rollouts
    assert np.all(np.diff(history.seconds) >= 0) and len(history) == len(history.loss)
    weights = run.weights
    assert sum(map(np.size, weights.values())) == run.theta.size
    views = run.network.views(run.network.weights(run.theta))
    assert all(np.array_equal(weights[name], views[name]) for name in views)
    # Copies: the run stays what it is.
    name = next(iter(weights))
    weights[name][:] = np.nan
    assert np.all(np.isfinite(run.weights[name]))


def test_a_rollout_is_named_and_becomes_tables(runs):
    run, _ = runs
    found = run.rollout("held_out", trials=3, motor_noise="5%")
    settings = run.settings.changed(motor_noise="5%")
    loop = run.closed_loop("held_out", settings, trials=3)
    rollout = loop.rollout(run.theta)
    for values, expected in (
        (found.states, rollout.x),
        (found.controls, rollout.u),
        (found.observations, rollout.y),
        (found.activations, rollout.hidden(run.network)),
    ):
        np.testing.assert_array_equal(values, expected)
    assert found.outputs.shape == (5, 4, 3) and found.targets.shape[::2] == (4, 3)
    assert not np.array_equal(found.states, run.rollout("held_out", trials=3).states)

    table = found.to_dataframe()
    assert len(table) == 5 * 3 and table["trial"].tolist() == 5 * [1] + 5 * [2] + 5 * [
        3
    ]
    for trial in range(3):
        column = table[table["trial"] == trial + 1]["elbow [rad]"]
        np.testing.assert_array_equal(column, rollout.x[:, 1, trial])
        torque = table[table["trial"] == trial + 1]["shoulder_torque [N m]"]
        np.testing.assert_array_equal(torque[:4], rollout.u[:, 0, trial])
        assert np.isnan(torque.iloc[4])
    data = found.to_xarray()
    elbow = data["state"].sel(state_name="elbow", trial=2)
    np.testing.assert_array_equal(elbow, rollout.x[:, 1, 1])
    assert (
        data["state"].attrs["units"][1] == "rad" and data.attrs["split"] == "held_out"
    )
    assert len(run.history.to_dataframe()) == len(run.history)


def test_a_missing_package_is_named(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(hf.HFControlError, match="pip install pandas"):
        runs[0].history.to_dataframe()
    with pytest.raises(hf.HFControlError, match="pip install xarray"):
        runs[0].rollout().to_xarray()


def test_conditions_are_keywords_of_an_evaluation(runs):
    run, _ = runs
    noisy = hf.evaluate(run, motor_noise="5%", judge="none")
    by_settings = hf.evaluate(run, {"motor_noise": "5%"}, judge="none")
    assert noisy["noisy"] and noisy == by_settings
    assert noisy["sets"] != hf.evaluate(run, judge="none")["sets"]
    assert hf.evaluate(run).ratio == hf.evaluate(run)["sets"]["held_out"]["ratio"]


def test_runs_are_compared_in_a_table(runs):
    table = hf.compare(list(runs))
    first, second = table.rows
    assert (first["batches"], second["batches"]) == (2, 3)
    assert (first["seed"], second["seed"]) == (0, 1)
    assert "hidden" not in first and list(first) == list(second)
    for row, run in zip(table.rows, runs, strict=True):
        assert row["run"] == run.path.name
        assert row["ratio"] == hf.evaluate(run)["sets"]["held_out"]["ratio"]
    assert table.to_dataframe()["seed"].tolist() == [0, 1]


def test_cards_escape_texts_and_show_numbers(runs):
    run, _ = runs
    for value in (run, run.plant, run.rollout(), hf.evaluate(run), hf.compare(runs)):
        card = value._repr_html_()
        assert card.count("<table") == card.count("</table") >= 1
    assert "data:image/png;base64," in run._repr_html_()
    # The checkpoint of a stranger may hold anything as its task.
    tree = {**run.tree, "task": "<script>alert(1)</script>\u202e"}
    card = type(run)(run.path, tree)._repr_html_()
    assert "<script>" not in card and "&lt;script&gt;" in card and r"\u202e" in card


def test_a_callback_ends_the_training_in_order(tmp_path):
    """The resumed run is the one without an end in between."""
    small = {**SMALL, "plant": "arm2", "batches": 2, "rollouts": 12}
    seen = []

    def stop(event):
        seen.append(event.kind)
        if len(seen) == 4:
            raise hf.StopTraining

    run = hf.train(**small, out=tmp_path, on_event=[stop, lambda event: None])
    assert run.info()["stop"] == "interrupted" and seen[-1] == "done"
    whole = hf.train(**small, out=tmp_path / "whole")
    assert whole.state.updates > run.state.updates
    assert np.array_equal(hf.resume(run).theta, whole.theta)


def hold_event(loss, kind="hold"):
    """An event at the end of a hold, with a loss."""
    return SimpleNamespace(kind=kind, state=SimpleNamespace(loss=loss))


def test_early_stop_waits_for_holds_that_gain_too_little():
    stop = hf.EarlyStop(holds=2, gain=0.1)
    for loss in (1.0, 0.5, 0.47, 0.4, 0.38):
        stop(hold_event(loss))
    stop(hold_event(9.0, "update"))
    with pytest.raises(hf.StopTraining):
        stop(hold_event(0.39))
    # Another rung begins from other weights.
    stop(hold_event(0.39, "rung"))
    for loss in (2.0, 1.99):
        stop(hold_event(loss))
    with pytest.raises(hf.StopTraining):
        stop(hold_event(1.98))


def test_a_bar_shows_the_training(tmp_path, capsys):
    run = hf.train("arm2", **SMALL, rollouts=4, out=tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert f"{run.state.updates} updates" in shown and "loss=" in shown
    hf.train("arm2", **SMALL, rollouts=4, out=tmp_path)
    assert capsys.readouterr() == ("", "")


def test_notebooks_are_told_from_other_shells(monkeypatch):
    shells = {"ZMQInteractiveShell": True, "TerminalInteractiveShell": False}
    for name, is_one in shells.items():
        shell = type(name, (), {})()
        found = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", found)
        assert callbacks.is_notebook() is is_one
    monkeypatch.delitem(sys.modules, "IPython")
    assert not callbacks.is_notebook()


def test_files_are_written_where_they_are_asked_for(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, _ = runs
    found = hf.simulate(run, trials=2, out="a.csv")
    assert found.trials == 2 and hf.simulate(run, trials=2).trials == 2
    assert hf.export(run, "arm.npz") == Path("arm.npz")
    hf.plot(run, "loss", out="loss.png")
    assert {path.name for path in tmp_path.iterdir()} == {
        "a.csv",
        "arm.npz",
        "loss.png",
    }
    # Without a name, a file goes next to its run, and is named after it.
    assert hf.export(run) == run.path / f"{run.path.name.replace('-', '_')}.c"
    assert len(list(tmp_path.iterdir())) == 3
    assert run.output_folder == run.path
    # Nothing is added to a run that comes with hfcontrol.
    assert hf.Run.load(SHIPPED).output_folder == Path()
