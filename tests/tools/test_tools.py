"""Every script in tools/ runs at its smallest size and writes only to --out.

Each runs in a process, as from a shell: some set the number of threads before they
import anything.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"

# Arguments with which a script runs for a moment; {out} is an empty folder.
PYTHON_SCRIPTS = {
    "bench": ["--smallest", "--json", "{out}/bench.json"],
    "claims": ["--smallest", "--out", "{out}"],
    "density": ["tools/benchmarks"],
    "fuzz": ["--out", "{out}", "plants", "--count", "3"],
    "golden": ["--list"],
    "kill": ["--smallest", "--out", "{out}"],
    "make-docs": ["--out", "{out}"],
    "mutate": ["--list", "1", "hfcontrol/optim/excess.py"],
    "optima": ["--smallest"],
    "make-pictures": ["--smallest", "--out", "{out}"],
    "scale": ["model"],
    "soak": ["--smallest"],
    "stable_baselines": ["--steps", "64", "--trials", "2"],
    "study": ["--smallest"],
}

# They install hfcontrol and run everything: only their syntax is checked.
SHELL_SCRIPTS = ["demo", "docs", "environment", "package", "test"]

DATA = ["NOTES.md", "bench.json", "claims.json", "mutate.json", "optima.json"]

# Parts of tools/bench that need packages which are optional in tests.
OPTIONAL_SECTIONS = {"policies": "gymnasium"}


def contents():
    """The bytes of every file that a tool may write, by path."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    kept = [path for path in TOOLS.rglob("*") if "__pycache__" not in path.parts]
    files = [path for path in (*pages, *kept) if path.is_file()]
    return {path: path.read_bytes() for path in files}


@pytest.fixture
def run_tool(tmp_path):
    """A function that runs a script of tools/ and checks that the tree stays as it is.

    It returns the finished process.
    """

    def run(name):
        arguments = [word.format(out=tmp_path) for word in PYTHON_SCRIPTS[name]]
        before = contents()
        done = subprocess.run(
            [sys.executable, str(TOOLS / name), *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert contents() == before
        return done

    return run


def check(done):
    """Fail with the error of a process that failed; return what it printed."""
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def forms(rows):
    """The sets of names that rows have."""
    return {frozenset(row) for row in rows}


def test_every_file_of_tools_is_known_to_these_tests():
    files = {path.name for path in TOOLS.iterdir() if path.is_file()}
    assert files == {*PYTHON_SCRIPTS, *SHELL_SCRIPTS, *DATA}


def test_scripts_can_be_executed():
    for name in [*PYTHON_SCRIPTS, "demo", "docs", "package", "test"]:
        assert os.access(TOOLS / name, os.X_OK), name


@pytest.mark.parametrize("name", SHELL_SCRIPTS)
def test_shell_scripts_have_no_syntax_error(name):
    subprocess.run(["sh", "-n", TOOLS / name], check=True)


@pytest.mark.slow
def test_bench_measures_every_section_in_the_form_of_the_stored_rows(
    run_tool, tmp_path
):
    check(run_tool("bench"))
    found = json.loads((tmp_path / "bench.json").read_text())
    stored = json.loads((TOOLS / "bench.json").read_text())
    optional = {
        name for name, package in OPTIONAL_SECTIONS.items() if not find_spec(package)
    }
    for name in found.keys() - {"machines", "device"} - optional:
        assert found[name], name
        assert forms(found[name]) <= forms(stored[name]), name
    device, known = found["device"]["cpu"], stored["device"]["cpu"]
    assert device.keys() == known.keys()
    assert device["kinds"][0].keys() == known["kinds"][0].keys()
    assert device["products"]["rows"][0].keys() == known["products"]["rows"][0].keys()
    assert device["anywhere"].keys() == known["anywhere"].keys()


@pytest.mark.slow
def test_claims_are_measured_and_drawn_in_the_form_of_the_stored_ones(
    run_tool, tmp_path
):
    check(run_tool("claims"))
    found = json.loads((tmp_path / "claims.json").read_text())
    stored = json.loads((TOOLS / "claims.json").read_text())
    # A claim may wait for a section of tools/bench that has not been measured.
    assert set(stored) <= set(found)
    for name in stored:
        claim = found[name]
        rows = claim["found"]
        # A longer setting may follow, which does not run here.
        known = stored[name]["found"][: len(rows)]
        assert [row["command"] for row in rows] == [row["command"] for row in known]
        facts = [row["facts"].keys() for row in rows]
        assert facts == [row["facts"].keys() for row in known]
        assert all(row["sentence"] for row in rows)
        assert claim["verdict"]
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert pictures == {
        "post-error.png",
        "post-training.gif",
        "post-arm.gif",
        "post-second-arm.png",
        "compare-diffdrive.png",
        "compare-electric.png",
        "compare-cartpole.png",
        "compare-quadrotor.png",
    }


@pytest.mark.slow
def test_study_trains_with_every_variant(run_tool):
    done = run_tool("study")
    check(done)
    measured = {
        line.split(", ", 1)[1]
        for line in done.stderr.splitlines()
        if line.startswith("measured:")
    }
    assert {"all trials", "step: geodesic acceleration"} <= measured
    assert len(measured) >= 30


@pytest.mark.slow
def test_pictures_are_made(run_tool, tmp_path):
    check(run_tool("make-pictures"))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"gradients.png", "error.png", "reach.gif"}
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())


def test_docs_are_filled_with_the_stored_rows(run_tool, tmp_path):
    check(run_tool("make-docs"))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} | {"README.md"}
    assert {path.name for path in tmp_path.iterdir()} == pages
    results = (tmp_path / "results.md").read_text(encoding="utf-8")
    for name in ("main", "optima", "plants"):
        assert f"<!-- {name} -->\n|" in results


@pytest.mark.slow
def test_scaling_is_modelled(run_tool):
    assert "| Ethernet |" in check(run_tool("scale"))


def test_stable_baselines_trains_or_names_the_missing_package(run_tool):
    done = run_tool("stable_baselines")
    if find_spec("stable_baselines3"):
        assert "steps per second" in check(done)
    else:
        assert done.returncode == 1
        assert "pip install" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "density",
        "golden",
        pytest.param("kill", marks=pytest.mark.slow),
        "mutate",
        "optima",
        "soak",
    ],
)
def test_other_scripts_print_a_table(run_tool, name):
    assert check(run_tool(name))
