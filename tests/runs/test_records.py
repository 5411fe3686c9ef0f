"""The record of what a user has trained here, and runs of strangers, which run nothing.

A canary is a plant file or a module that leaves the file `ran` behind when it runs.
"""

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from trainings import call, complaint, write_cart

import hfcontrol as hf
from hfcontrol.errors import HFControlWarning, PlantError
from hfcontrol.figures import plots
from hfcontrol.plant.registry import foreign_code, plants_folder
from hfcontrol.runs import hdf5 as checkpoint
from hfcontrol.runs import records
from hfcontrol.runs.run import Run
from hfcontrol.runs.training import start_training

SHIPPED = Path(hf.__file__).parent.parent / "weights" / "arm2-reach"
NAME = "00001-loss1.0e-02.h5"
BRIEF = {"hidden": (3,), "batches": 2, "rollouts": 4, "strategy": "plain"}

CANARY = "\nopen('ran', 'a').close()\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with an empty record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HFCONTROL_DATA", str(tmp_path / "data"))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_run(path, plant, source=""):
    """A run like the shipped one, which names another plant; returns its folder."""
    path.mkdir(parents=True)
    tree = Run.load(SHIPPED).tree
    digest = hashlib.sha256(source.encode()).hexdigest()
    tree["plant"] = {**tree["plant"], "source": source, "hash": digest}
    tree["settings"] = {**tree["settings"], "plant": plant}
    checkpoint.save(path / NAME, tree)
    return path


def canary_of_arm2():
    """The source of arm2, which leaves `ran` behind when it runs."""
    return (plants_folder() / "arm2.py").read_text() + CANARY


def stranger_with_plant(folder):
    """A run whose plant file is in its own folder, with the digest that it should."""
    source = canary_of_arm2()
    run = write_run(folder / "weights" / "theirs", "weights/theirs/arm2.py", source)
    (run / "arm2.py").write_text(source)
    return run


def stranger_with_model(folder):
    """A run of a MuJoCo model in its own folder."""
    run = write_run(folder / "weights" / "theirs", "weights/theirs/model.xml")
    (run / "model.xml").write_text("<mujoco/>")
    return run


def stranger_with_module(folder):
    """A run of an environment whose module lies in the current folder."""
    (folder / "canary_module.py").write_text(CANARY)
    return write_run(folder / "weights" / "theirs", "gym:canary_module:X-v0")


def stranger_with_package(folder):
    """Likewise, in a package, whose `__init__` would run first."""
    package = folder / "canary_package"
    package.mkdir()
    for name in ("__init__", "inner"):
        (package / f"{name}.py").write_text(CANARY)
    return write_run(folder / "weights" / "theirs", "gym:canary_package.inner:X-v0")


def stranger_with_nothing(folder):
    """A run of a module that does not exist."""
    return write_run(folder / "weights" / "theirs", "gym:no_such_module:X-v0")


STRANGERS = [
    stranger_with_plant,
    stranger_with_model,
    stranger_with_module,
    stranger_with_package,
    stranger_with_nothing,
]

# What opens files, imports modules and compiles or executes sources.
EVENTS = ("open", "import", "compile", "exec")
watched: list[tuple[str, str]] = []


def watch(event, arguments):
    if event in EVENTS and hook_is_active[0]:
        watched.append((event, str(arguments[0])))


# A hook cannot be removed: there is one for the process, which a test turns on.
hook_is_active = [False]
sys.addaudithook(watch)


@pytest.fixture
def seen():
    """What Python has opened, imported and compiled in the test."""
    watched.clear()
    hook_is_active[0] = True
    yield watched
    hook_is_active[0] = False


def expect_nothing_ran(folder, seen):
    """Nothing of a stranger's was imported, compiled or executed."""
    assert not (folder / "ran").exists()
    assert seen
    for event, what in seen:
        # A file is read, by its descriptor or name, for its digest alone.
        assert event == "open" or not what.startswith(("canary", str(folder)))


COMMANDS = [
    "evaluate",
    "benchmark",
    "plot",
    "animate",
    "simulate",
    "export",
    "train --resume",
    "train --from",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_runs_a_strangers_plant(folder, capsys, words, seen):
    """It refuses in one line, which says how to allow it."""
    run = stranger_with_plant(folder)
    # Without a name, the newest run in ./weights is this one.
    for names in ([run], [] if "--" not in words else [run]):
        text = complaint(capsys, *words.split(), *names, status=2)
        assert f"{run.name} wants to run the plant file {run}/arm2.py" in text
        assert "name it: --plant " in text
    expect_nothing_ran(folder, seen)


@pytest.mark.parametrize("stranger", STRANGERS)
def test_python_runs_no_strangers_plant(folder, stranger, seen):
    run = stranger(folder)
    for use in (hf.evaluate, hf.Controller.load, hf.resume, hf.benchmark):
        with pytest.raises(PlantError, match=f"{run} wants to run the .*`plant="):
            use(run)
    expect_nothing_ran(folder, seen)


@pytest.mark.parametrize("stranger", STRANGERS[:3])
def test_what_needs_no_plant_runs_none(folder, capsys, stranger, seen):
    """A checkpoint has the controller, and the learning curve."""
    run = stranger(folder)
    tree = dict(Run.load(run).tree)
    tree["interface"] = Run.load(SHIPPED).interface.tree()
    checkpoint.save(run / NAME, tree)
    # The shipped run has needed its plant, which was compiled.
    seen.clear()
    for words in ("info", "export", "export --format npz"):
        assert call(capsys, *words.split(), run)[0] == 0
    with pytest.warns(HFControlWarning, match="drawn without movements: .*wants to"):
        plots.plot_error(Run.load(run), "curve.png")
    assert Path("curve.png").exists()
    expect_nothing_ran(folder, seen)


def test_a_named_plant_runs(folder):
    """In every use: the user has read the file, or trusts its author."""
    run = stranger_with_plant(folder)
    plant = run / "arm2.py"
    named = Run.load(run, plant=plant)
    assert named.plant.name == "arm2" and (folder / "ran").exists()
    assert hf.Controller.load(run, plant=plant).dt == named.plant.dt
    # A name holds for one use.
    with pytest.raises(PlantError, match="not trained on here"):
        Run.load(run).plant  # noqa: B018


def test_a_named_plant_that_is_missing_is_not_said_to_be_that_of_the_training(folder):
    """Whether the run was loaded before or not."""
    path = stranger_with_plant(folder)
    for where in (path, Run.load(path)):
        with pytest.raises(PlantError, match=r"^cannot read the plant file none\.py"):
            Run.load(where, plant="none.py").plant  # noqa: B018


def test_a_plant_is_trusted_as_it_was_trained_on(folder, capsys):
    """Also by later processes; a change of a byte ends it, until it is named."""
    plant = write_cart(folder)
    run = hf.train(plant, **BRIEF)
    assert Run.load(run.path).plant.name == "cart"
    plant.write_text(plant.read_text() + CANARY)
    text = complaint(capsys, "evaluate", run.path, status=2)
    assert "has changed since you trained on it" in text and str(plant) in text
    assert not (folder / "ran").exists()
    with pytest.warns(HFControlWarning, match="changed since"):
        hf.resume(run.path, plant=plant, force=True, rollouts=6)
    assert (folder / "ran").exists()
    assert Run.load(run.path).plant_changed is False


def test_a_place_that_is_not_in_the_record_is_not_even_opened(folder, monkeypatch):
    """A stranger may name any file."""
    (folder / "secret.py").write_text("")
    monkeypatch.setattr(
        "hfcontrol.plant.registry._digest", lambda path: pytest.fail("opened")
    )
    with pytest.raises(PlantError, match="which you have not trained on here"):
        records.check_trusted(str(folder / "secret.py"), folder)


def test_a_copy_of_a_trusted_plant_is_not_trusted(folder):
    """The place counts too: what a file reads beside it may be another's."""
    plant = write_cart(folder)
    run = hf.train(plant, **BRIEF)
    copy = folder / "copy" / "cart.py"
    copy.parent.mkdir()
    shutil.copy(plant, copy)
    tree = dict(run.tree)
    tree["settings"] = {**tree["settings"], "plant": str(copy)}
    checkpoint.save(run.folder.newest().path, tree)
    with pytest.raises(PlantError, match="not trained on here"):
        Run.load(run.path).plant  # noqa: B018


def test_foreign_code_is_all_but_what_is_shipped(folder):
    assert foreign_code("arm2") is None
    assert foreign_code(str(plants_folder() / "arm2.py")) is None
    assert foreign_code("gym:CartPole-v1") is None
    (folder / "arm2.py").write_text("")
    code = foreign_code("arm2.py")
    assert code.place == str(folder / "arm2.py")
    assert code.digest == hashlib.sha256(b"").hexdigest()
    (folder / "link.py").symlink_to(plants_folder() / "arm2.py")
    assert foreign_code("link.py") is None
    os.mkfifo(folder / "pipe.py")
    assert foreign_code("pipe.py").digest == ""


def code_of(folder):
    """A plant file of the folder, as code that could be trusted."""
    path = folder / "mine.py"
    path.write_text("x = 1\n")
    return foreign_code(str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"plants": []}',
        b'{"plants": {"PLACE": "DIGEST"}}',
        b'{"plants": {"PLACE": [1, {"DIGEST": 1}]}}',
        b'{"outs": ["FOLDER"]}',
        b'{"outs": {"FOLDER": 3}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_record_counts_as_empty(folder, content):
    code = code_of(folder)
    records.remember_plant(str(folder / "mine.py"))
    assert records.is_trained(code)
    content = content.replace(b"PLACE", code.place.encode())
    content = content.replace(b"FOLDER", str(Path.cwd()).encode())
    records.record_file().write_bytes(content.replace(b"DIGEST", code.digest.encode()))
    assert not records.is_trained(code) and records.last_out() is None
    # It is replaced by one that is whole.
    records.remember_plant(str(folder / "mine.py"))
    assert records.is_trained(code)


@pytest.mark.parametrize("what", ["file", "folder", "link", "pipe"])
def test_a_record_that_others_may_write_counts_as_empty(folder, what):
    code = code_of(folder)
    records.remember_plant(str(folder / "mine.py"))
    file = records.record_file()
    assert file.stat().st_mode & 0o777 == 0o600
    if what == "file":
        file.chmod(0o660)
    elif what == "folder":
        file.parent.chmod(0o777)
    else:
        file.rename(folder / "other.json")
        if what == "link":
            file.symlink_to(folder / "other.json")
        else:
            os.mkfifo(file)
    assert not records.is_trained(code)


def test_without_a_record_trainings_work(folder, monkeypatch):
    """The run at hand is usable: its user has just named the plant."""
    (folder / "file").write_text("")
    monkeypatch.setenv("HFCONTROL_DATA", str(folder / "file" / "data"))
    run = hf.train(write_cart(folder), **BRIEF)
    assert run.plant.name == "cart"
    with pytest.raises(PlantError, match="name it"):
        Run.load(run.path).plant  # noqa: B018


def test_the_record_keeps_the_last_versions_and_plants(folder, monkeypatch):
    monkeypatch.setattr(records, "MOST_VERSIONS", 2)
    monkeypatch.setattr(records, "MOST_PLANTS", 2)
    for name in ("a", "b", "c"):
        for version in range(3):
            (folder / f"{name}.py").write_text(f"x = {version}\n")
            records.remember_plant(f"{name}.py")
    kept = json.loads(records.record_file().read_text())["plants"]
    assert list(kept) == [str(folder / "b.py"), str(folder / "c.py")]
    last = hashlib.sha256(b"x = 2\n").hexdigest()
    assert all(len(d) == 2 and d[-1] == last for d in kept.values())


def test_the_record_keeps_the_last_folders_trained_in(folder, monkeypatch):
    monkeypatch.setattr(records, "MOST_FOLDERS", 2)
    for name in ("a", "b", "a", "c"):
        (folder / name).mkdir(exist_ok=True)
        monkeypatch.chdir(folder / name)
        records.remember_out("w")
    kept = json.loads(records.record_file().read_text())["outs"]
    assert list(kept) == [str(folder / "a"), str(folder / "c")]
    # A folder that is gone has no last run, and is no error.
    (folder / "c").rmdir()
    assert records.last_out() is None
    records.remember_out(folder / "w")


def test_a_plant_is_recorded_when_its_training_starts(folder):
    plant = write_cart(folder)
    settings = hf.Settings(plant=plant, **BRIEF)
    assert not records.is_trained(foreign_code(str(plant)))
    start_training(settings, out="w")
    assert records.is_trained(foreign_code(str(plant)))
    assert records.last_out() == folder / "w"


def test_a_controller_is_what_was_trained(folder):
    """Its limits, control step and names are those of the training, without a plant."""
    plant = write_cart(folder, dt=("DT = 0.1", "DT, LIMIT = 0.1, 3.0"))
    run = hf.train(plant, **BRIEF)
    before = hf.Controller.load(run)
    target, seen = np.array([1.0, 0.0]), np.array([0.5, -2.0])
    u = before.act(target, seen)
    for change in (
        lambda: write_cart(folder, dt=("DT = 0.1", "DT = 0.02")),
        plant.unlink,
    ):
        change()
        after = hf.Controller.load(run.path, dt=0.1)
        np.testing.assert_array_equal(after.act(target, seen), u)
        assert after.dt == 0.1 and after.limits.high.tolist() == [3.0]
        assert (after.observes, after.controls) == (before.observes, before.controls)


def test_an_older_checkpoint_of_a_shipped_plant_needs_no_more():
    """The shipped run has no interface; the shipped plant fills it in."""
    run = Run.load(SHIPPED)
    assert "interface" not in run.tree
    assert hf.Controller.load(run).dt == run.plant.dt == run.interface.dt
