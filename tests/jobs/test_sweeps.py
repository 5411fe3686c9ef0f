"""Sweeps: which trainings a file means, that none is made twice, and wrong files."""

import csv

import numpy as np
import pytest
from trainings import call, complaint, write_cart

import hfcontrol as hf
from hfcontrol.errors import TrainingError, UsageError
from hfcontrol.figures.tradeoff import find_front, plot_tradeoff
from hfcontrol.jobs.sweep_file import make_sweep, read_sweep
from hfcontrol.jobs.sweep_table import SweepTable

FILE = """
seeds = "0-1"
[settings]
plant = "PLANT"
strategy = "plain"
batches = 1
rollouts = 4
[grid]
hidden = [[3], [4]]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a plant of the user, and a sweep of four trainings on it."""
    place = tmp_path_factory.mktemp("sweep")
    path = write_cart(place)
    (place / "sizes.toml").write_text(FILE.replace("PLANT", str(path)))
    return place


def rows_of(out):
    with open(out / "sweep.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_grid_points_and_seeds_are_combined(tmp_path):
    sweep = make_sweep(
        {"plant": "pendulum"},
        {"hidden": [(4,), (8,)]},
        [{"cell": "gru"}, {"cell": "tanh", "rollouts": 3}],
        [2, 5],
        tmp_path,
    )
    found = [
        (s.hidden, s.cell, s.rollouts, s.seed)
        for s in (point.settings for point in sweep.trainings())
    ]
    wanted = [
        (hidden, cell, rollouts, seed)
        for cell, rollouts in (("gru", None), ("tanh", 3))
        for hidden in ((4,), (8,))
        for seed in (2, 5)
    ]
    assert found == wanted and sweep.count == 8


def test_equal_settings_are_trained_once(tmp_path):
    sweep = make_sweep({"plant": "pendulum"}, {"effort": [0.1, 0.1]}, out=tmp_path)
    assert len(sweep.trainings()) == 1


def test_a_sweep_is_resumed_and_grows(folder, tmp_path, capsys, monkeypatch):
    """Each run is that of its settings alone; the second call trains what is new."""
    out = tmp_path / "out"
    options = ["--out", out, "--jobs", "1", "--no-judge"]
    status, text, _ = call(capsys, "sweep", folder / "sizes.toml", *options)
    assert status == 0 and (out / "sweep.png").exists()
    assert text.splitlines()[0].split()[:2] == ["hidden", "seed"]
    first = rows_of(out)
    assert [(row["hidden"], row["seed"]) for row in first] == [
        ("3", "0"),
        ("3", "1"),
        ("4", "0"),
        ("4", "1"),
    ]
    run = hf.Run.load(out / first[3]["run"], plant=folder / "cart.py")
    alone = hf.train(out=tmp_path, **run.settings.tree())
    assert np.array_equal(run.theta, alone.theta)
    assert float(first[3]["loss"]) == alone.state.loss
    assert float(first[3]["held_out_loss"]) > 0

    # Half of it is lost: one run has not finished, one is gone.
    last = hf.Run.load(out / first[2]["run"], plant=folder / "cart.py")
    for file in last.folder.checkpoints()[1:]:
        file.path.unlink()
    started = []
    from hfcontrol.jobs import training_job

    start = training_job.start_training

    def note(settings, *arguments, **keywords):
        started.append(settings.seed)
        return start(settings, *arguments, **keywords)

    monkeypatch.setattr(training_job, "start_training", note)
    longer = tmp_path / "longer.toml"
    text = (folder / "sizes.toml").read_text()
    longer.write_text(text.replace('"0-1"', "[0, 1, 7]"))
    status, text, _ = call(capsys, "sweep", longer, *options)
    assert status == 0 and "3 of 6 trainings have finished before" in text
    assert started == [7, 7]
    second = {(row["hidden"], row["seed"]): row for row in rows_of(out)}
    assert len(second) == 6
    for row in first:
        again = second[row["hidden"], row["seed"]]
        assert again["run"] == row["run"] and again["loss"] == row["loss"]


def test_python_gives_a_table(folder, tmp_path):
    pytest.importorskip("pandas")
    table = hf.sweep(
        plant=str(folder / "cart.py"),
        grid={"effort": (1e-3, 1e-2)},
        out=tmp_path,
        jobs=1,
        hidden=(3,),
        batches=1,
        rollouts=3,
        strategy="plain",
    )
    frame = table.to_dataframe()
    assert list(frame["effort"]) == [1e-3, 1e-2]
    assert (frame["ratio"] >= 0.99).all()


def test_a_training_that_fails_is_named(folder, tmp_path):
    with pytest.raises(TrainingError, match="horizon of 10 steps"):
        hf.sweep(
            plant=str(folder / "cart.py"),
            out=tmp_path,
            jobs=1,
            feedback_delay=30,
            strategy="plain",
        )


@pytest.mark.parametrize(
    "old, new, line",
    [
        ("[grid]", "[grids]", "unknown entry 'grids'; did you mean 'grid'?"),
        ("batches", "batchs", "unknown setting 'batchs'; did you mean 'batches'?"),
        ("hidden =", "hiden =", "unknown setting 'hiden'; did you mean 'hidden'?"),
        ("[[3], [4]]", "3", "hidden 3 must be a list of values"),
        ("[[3], [4]]", "[-3]", "at hidden -3, seed 0: --hidden -3: must be"),
        ('"0-1"', '"0..1"', "seeds 0..1: whole numbers"),
        ("rollouts = 4", "seed = 4", "settings: seed belongs into seeds"),
        ("[grid]", "[grid", "not a TOML file"),
        ("[grid]", "[[points]]\nhidden = [3]\n[grid]", "grid: hidden is in points too"),
        ("[grid]", "[points]", "points: write each as a table of its own, [[points]]"),
    ],
)
def test_wrong_files_are_refused_in_one_line(folder, tmp_path, capsys, old, new, line):
    path = tmp_path / "wrong.toml"
    text = (folder / "sizes.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    said = complaint(capsys, "sweep", path, "--out", tmp_path, status=2)
    assert line in said


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none\.toml: No such file"):
        read_sweep(tmp_path / "none.toml")


def test_the_front_holds_what_nothing_beats(rng):
    """Compared with the definition, point by point."""
    points = rng.integers(0, 12, (60, 2)).astype(float)
    points[5] = np.nan
    front = points[find_front(points)]
    for point in points[np.isfinite(points[:, 0])]:
        beaten = any((q <= point).all() and (q < point).any() for q in points)
        assert beaten != (point == front).all(axis=1).any()
    assert (np.diff(front[:, 0]) > 0).all() and (np.diff(front[:, 1]) < 0).all()


def test_the_figure_names_columns_without_numbers(tmp_path):
    row = {"seed": 0, "loss": 1.0, "return": None, "held_out_loss": 2.0}
    rest = {"ratio": None, "seconds": 3.0, "stop": "time"}
    table = SweepTable([{**row, **rest}], [], tmp_path)
    assert plot_tradeoff(table).axes[0].get_ylabel() == "held-out loss"
    with pytest.raises(UsageError, match="one of seed, loss, held_out_loss, seconds"):
        plot_tradeoff(table, x="stop")
