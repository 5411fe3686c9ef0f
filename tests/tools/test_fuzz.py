"""A few altered inputs of each kind of tools/fuzz, and faults that it must see.

The same inputs in every run: derandomised, without a database.
"""

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace

import pytest
from fuzzing import checkpoints, strategies, targets
from fuzzing.kinds import KINDS, Kind
from fuzzing.targets import Fault
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
FEW = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def run_few(name, tmp_path_factory):
    """Run a few inputs of a kind, and return what came of them."""
    kind = KINDS[name]
    outcomes = []

    @FEW
    @given(kind.draw())
    def run(example):
        outcomes.append(kind.run(example, tmp_path_factory.mktemp("fuzz")))

    run()
    return set(outcomes)


@pytest.mark.parametrize("name", ["checkpoints", "plants", "tasks", "models"])
def test_altered_inputs_are_used_or_refused_in_one_line(name, tmp_path_factory):
    if name == "models":
        pytest.importorskip("mujoco", reason="needs MuJoCo: pip install -e '.[mujoco]'")
    assert run_few(name, tmp_path_factory) == {"fine", "refused"}


def test_options_are_used_or_refused_in_one_line(tmp_path_factory, monkeypatch):
    """With a wrong number of trials: all options are read, and nothing is compiled."""
    targets.stop_before_updates(monkeypatch)
    from hfcontrol.cli.train import train

    words = ["train", "--trials", "x", "--out", "out"]

    @FEW
    @given(strategies.command_lines(train, words))
    def run(line):
        outcome = targets.try_command(line, tmp_path_factory.mktemp("fuzz"))
        assert outcome == "refused"

    run()


def test_index_that_was_accepted_and_is_wrong_is_a_fault(tmp_path, monkeypatch):
    """Without its proof, hfcontrol would accept this file."""
    monkeypatch.setattr("hfcontrol.plant.reader.prove_plant", lambda *a: None)
    text = strategies.GENERATED.format(
        substeps=1, constant=1, body="    if x[0] > 5:\n        dx[9] = 1.0"
    )
    with pytest.raises(Fault, match=r"dx\[9\] does not exist"):
        targets.try_plant_file(text, tmp_path)


@pytest.mark.parametrize("texts", [("two", "lines"), ("",), ("x" * 3000,)])
def test_message_that_is_not_one_printable_line_is_a_fault(texts):
    from hfcontrol.errors import HFControlError

    with pytest.raises(Fault):
        targets.check_message(HFControlError(*texts))


def test_canary_sings_if_its_file_is_opened():
    """Also if C code opens it, as HDF5 does."""
    bird = checkpoints.Canary()
    bird.check()
    import h5py

    with h5py.File(bird.path.with_suffix(".h5"), "r") as file:
        assert "x" in file
    with pytest.raises(Fault, match="plant"):
        bird.check()


def test_watch_sees_files_and_processes_elsewhere(tmp_path):
    """A hook cannot be removed, so this one watches in a process of its own."""
    script = f"""
import subprocess, sys
from pathlib import Path
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT)!r}]
from fuzzing.watch import Watch
inside = Path({str(tmp_path)!r}) / "inside"
inside.mkdir()
outside = inside.with_name("outside")
outside.write_text("secret")
watch = Watch(inside)
with watch.watching() as found:
    (inside / "a").write_text("fine")
    assert not found, found
    outside.read_text()
    outside.unlink()
    subprocess.run(["true"])
print([entry.split()[0] for entry in found])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "'open', 'os.remove', 'subprocess.Popen'" in done.stdout


@pytest.fixture
def fuzz():
    """The script tools/fuzz as a module."""
    loader = SourceFileLoader("fuzz", str(ROOT / "tools" / "fuzz"))
    module = module_from_spec(spec_from_loader("fuzz", loader))
    loader.exec_module(module)
    return module


def _fail(number, folder):
    raise KeyError("a fault")


def _crash(number, folder):
    os._exit(9)


def _hang(number, folder):
    while True:
        pass


@pytest.mark.parametrize(
    "run, outcome",
    [
        (lambda number, folder: "fine", "fine"),
        (_fail, "fault"),
        (_crash, "crash"),
        (_hang, "hang"),
    ],
)
def test_tool_counts_what_came_and_keeps_the_input(
    fuzz, tmp_path, monkeypatch, capfd, run, outcome
):
    kind = Kind(1, lambda: st.just(4), run)
    monkeypatch.setitem(fuzz.KINDS, "numbers", kind)
    monkeypatch.setattr(fuzz, "LONGEST", 1.0)
    options = SimpleNamespace(out=tmp_path, seed=0)
    assert fuzz.run_kind("numbers", 1, options) == {outcome: 1}
    kept = [path.name for path in (tmp_path / "numbers").glob(f"*.{outcome}")]
    if outcome == "fault":
        assert (tmp_path / "numbers" / "0000.input").read_text() == "4"
        assert "KeyError" in (tmp_path / "numbers" / "0000.txt").read_text()
    elif outcome != "fine":
        assert len(kept) == 1 and (tmp_path / "numbers" / "last").read_text() == "4"
