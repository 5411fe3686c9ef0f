"""Files of trajectories: numbers of the rollout, names and units, plain formats."""

import csv
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from trainings import call, complaint, small_run

import hfcontrol as hf
from hfcontrol.errors import UsageError
from hfcontrol.evaluation import trajectories as export

STEPS, TRIALS = 10, 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny training of the two-link arm."""
    return hf.train(
        "arm2",
        hidden=(5, 4),
        trials=TRIALS,
        steps=STEPS,
        batches=2,
        rollouts=12,
        out=tmp_path_factory.mktemp("runs"),
    )


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """A run of a plant without parameters, output or links."""
    return small_run("pendulum", "swing", tmp_path_factory.mktemp("pendulum"))


def read_written(run, path, **options):
    """The written file: arrays of an npz by name, or columns of a csv as texts."""
    export.write_trajectories(run, path, **options)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    with path.open(newline="", encoding="utf-8") as file:
        heads, *rows = csv.reader(file)
    assert len(set(heads)) == len(heads)
    return dict(zip(heads, zip(*rows, strict=True), strict=True))


@pytest.mark.parametrize("split", ["training", "held_out"])
def test_npz_holds_the_rollout(run, tmp_path, split):
    loop, data = (
        run.closed_loop(split),
        read_written(run, tmp_path / "a.npz", split=split),
    )
    rollout = loop.rollout(run.theta)
    for name, values in (
        ("state", rollout.x),
        ("control", rollout.u),
        ("observation", rollout.y),
        ("loss", rollout.losses),
        ("target", loop.scenario.target),
        ("hidden", rollout.hidden(run.network)),
        ("parameter", loop.scenario.params),
    ):
        np.testing.assert_array_equal(data[name], values, err_msg=name)
    assert [str(data[name]) for name in ("run", "plant", "task", "split")] == [
        run.path.name,
        "arm2",
        "reach",
        split,
    ]
    assert all(values.dtype.kind in "fU" for values in data.values())


def test_csv_holds_the_same_numbers(run, tmp_path):
    data, columns = (
        read_written(run, tmp_path / "a.npz"),
        read_written(run, tmp_path / "a.csv"),
    )
    starts = {
        "state": "",
        "control": "",
        "observation": "observed ",
        "output": "output ",
        "target": "target ",
        "hidden": "hidden ",
    }
    for kind, start in starts.items():
        for k, (name, unit) in enumerate(
            zip(data[f"{kind}_names"], data[f"{kind}_units"], strict=True)
        ):
            column = np.array(
                columns.pop(f"{start}{name} [{unit}]" if unit else f"{start}{name}")
            )
            column = column.reshape(TRIALS, STEPS + 1).T
            assert len(data[kind]) == STEPS + 1 or set(column[-1]) == {""}
            np.testing.assert_array_equal(
                column[: len(data[kind])].astype(float), data[kind][:, k]
            )
    for k, name in enumerate(data["parameter_names"]):
        column = np.reshape(
            columns.pop(f"parameter {name}"), (TRIALS, STEPS + 1)
        ).astype(float)
        np.testing.assert_array_equal(
            column, np.tile(data["parameter"][k][:, None], STEPS + 1)
        )
    np.testing.assert_array_equal(
        np.array(columns.pop("trial"), dtype=int),
        np.repeat(np.arange(TRIALS) + 1, STEPS + 1),
    )
    np.testing.assert_array_equal(
        np.array(columns.pop("time [s]"), dtype=float), np.tile(data["time"], TRIALS)
    )
    np.testing.assert_array_equal(
        np.array(columns.pop("loss"), dtype=float), np.repeat(data["loss"], STEPS + 1)
    )
    assert not columns


def test_file_is_consistent(run, tmp_path):
    """The hand by the arm's geometry and the loss by its definition, from the file."""
    data = read_written(run, tmp_path / "a.npz")
    np.testing.assert_allclose(
        data["time"], run.plant.dt * np.arange(STEPS + 1), rtol=1e-15
    )
    lengths = dict(zip(data["parameter_names"], data["parameter"], strict=True))
    upper, lower = lengths["upper_length"], lengths["lower_length"]
    shoulder, both = data["state"][:, 0], data["state"][:, 0] + data["state"][:, 1]
    hand = [
        upper * np.cos(shoulder) + lower * np.cos(both),
        upper * np.sin(shoulder) + lower * np.sin(both),
    ]
    np.testing.assert_allclose(
        data["output"][:, :2], np.stack(hand, axis=1), atol=1e-14
    )
    numbers = run.trainer.task.numbers
    final = numbers["final"] * (data["state"][-1] - data["target"][-1]) ** 2
    effort = numbers["effort"] * data["control"] ** 2
    np.testing.assert_allclose(
        data["loss"], 0.5 * (final.sum(axis=0) + effort.sum(axis=(0, 1))), rtol=1e-12
    )


@pytest.mark.parametrize("split, shift", [("training", 0.0), ("held_out", 0.5)])
def test_targets_are_those_of_the_split(run, tmp_path, split, shift):
    """On the circle around the start, the held-out ones between the trained ones."""
    data = read_written(run, tmp_path / "a.npz", split=split)
    upper, lower = (run.plant.params[f"{name}_length"] for name in ("upper", "lower"))
    q1, q2 = data["target"][-1, :2]
    hand = np.array(
        [
            upper * np.cos(q1) + lower * np.cos(q1 + q2),
            upper * np.sin(q1) + lower * np.sin(q1 + q2),
        ]
    )
    angle = 2 * np.pi * (np.arange(TRIALS) + shift) / TRIALS
    circle = run.trainer.task.numbers["radius"] * np.array(
        [np.cos(angle), np.sin(angle)]
    )
    np.testing.assert_allclose(hand - data["output"][0, :2], circle, atol=1e-9)


def test_columns_have_names_and_units(run, pendulum, tmp_path):
    columns = read_written(run, tmp_path / "arm.csv")
    for head in (
        "shoulder [rad]",
        "elbow_rate [rad/s]",
        "shoulder_torque [N m]",
        "output hand_x_rate [m/s]",
        "hidden 2.4",
    ):
        assert head in columns
    columns, data = (
        read_written(pendulum, tmp_path / "pendulum.csv"),
        read_written(pendulum, tmp_path / "pendulum.npz"),
    )
    assert "observed angle_rate [rad/s]" in columns and "hidden 1.4" in columns
    assert not [name for name in (*columns, *data) if name.startswith("parameter")]


def test_conditions_appear_in_the_file(run, tmp_path):
    """Delays, a varied parameter and the number of trials appear in the file."""
    settings = run.settings.changed(
        feedback_delay=3, command_delay=2, vary=("upper_mass=20%",)
    )
    data = read_written(run, tmp_path / "a.npz", settings=settings, trials=5)
    seen = np.maximum(np.arange(STEPS) - 3, 0)
    np.testing.assert_array_equal(
        data["observation"], data["state"][seen]
    )  # without sensory noise
    assert not data["control"][:2].any() and data["control"][2:].all()
    mass = (
        data["parameter"][list(data["parameter_names"]).index("upper_mass")]
        / run.plant.params["upper_mass"]
    )
    assert len(set(mass)) == 5 and np.all(np.abs(mass - 1) <= 0.2)


def test_target_in_hand_space_has_the_names_of_the_hand(tmp_path):
    run = hf.train(
        "arm2",
        space="hand",
        hidden=(4,),
        trials=4,
        steps=5,
        batches=1,
        rollouts=3,
        out=tmp_path,
    )
    data = read_written(run, tmp_path / "a.npz")
    assert data["target_names"].tolist() == ["hand_x", "hand_y"] and data[
        "target_units"
    ].tolist() == ["m", "m"]
    assert data["target"].shape == (5, 2, 4)


@pytest.mark.parametrize("suffix", export.WRITERS)
def test_the_same_run_gives_the_same_file(run, tmp_path, suffix):
    files = [tmp_path / f"{k}{suffix}" for k in range(2)]
    for file in files:
        export.write_trajectories(run, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == files


def test_nothing_is_pickled(run, tmp_path):
    export.write_trajectories(run, tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        assert all(
            b"'descr': '|O'" not in file.read(name)[:200] for name in file.namelist()
        )


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("a.txt", {}, ".npz, .csv"),
        ("a", {}, ".npz, .csv"),
        ("none/a.csv", {}, "No such file"),
        ("a.npz", {"split": "exam"}, "training, held_out"),
        ("a.npz", {"trials": 0}, "at least 1"),
    ],
)
def test_mistakes_are_reported_in_one_line(run, tmp_path, name, options, words):
    with pytest.raises(UsageError, match=words) as error:
        export.write_trajectories(run, tmp_path / name, **options)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file(run, tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("before")
    whole = run.rollout()
    one_too_many = replace(
        whole, params={}, losses=np.append(whole.losses, 0.0)
    )  # fails after the rows of all other trials
    monkeypatch.setattr(hf.Run, "rollout", lambda *_: one_too_many)
    with pytest.raises(IndexError):
        export.write_trajectories(run, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_command_prints_the_path_of_the_file(capsys, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, "simulate", run.path)
    assert (status, err) == (0, f"run {run.path}\n")
    assert out == f"{run.path / run.path.name}.npz\n"
    with np.load(out.strip()) as file:
        assert file["state"].shape == (STEPS + 1, 4, TRIALS)
    status, out, _ = call(
        capsys,
        "simulate",
        run.path,
        "--split",
        "held-out",
        "--trials",
        3,
        "--sensory-noise",
        0.1,
        "--out",
        "some.csv",
    )
    assert status == 0 and out == f"{tmp_path / 'some.csv'}\n"
    data = read_written(
        run,
        tmp_path / "b.npz",
        split="held_out",
        trials=3,
        settings=run.settings.changed(sensory_noise=0.1),
    )
    with open("some.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["elbow [rad]"]) for row in rows] == data["state"][
        :, 1
    ].T.ravel().tolist()
    for option, value, words in (
        ("--split", "exam", "held_out"),
        ("--out", "a.txt", ".npz"),
        ("--feedback-delay", 99, "steps"),
    ):
        assert words in complaint(capsys, "simulate", run.path, option, value, status=2)
