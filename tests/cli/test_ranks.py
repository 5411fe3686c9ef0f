"""`mpiexec hfcontrol train`: real processes, where MPI is installed."""

import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from trainings import CART, ENVIRONMENT, SMALL, command

import hfcontrol as hf
from hfcontrol.cli.ranks import shared_by_mpi
from hfcontrol.errors import UsageError
from hfcontrol.runs.run import Run

MPIEXEC = shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or find_spec("mpi4py") is None,
    reason="needs mpi4py and mpiexec: pip install mpi4py mpich",
)

# Two blocks of trials.
TRIALS = 16

# A simulator that fails on the second process alone, after the first hold.
FAILING = CART.replace(
    "def step_batch(x, u, p, dt):\n",
    "calls = []\n\n\ndef step_batch(x, u, p, dt):\n"
    "    calls.append(1)\n"
    "    import os\n"
    "    rank = os.environ.get('PMI_RANK', os.environ.get('OMPI_COMM_WORLD_RANK'))\n"
    "    if len(calls) > 250 and rank == '1':\n"
    "        raise ValueError('the licence has expired')\n",
)


def run_mpi(processes, *arguments):
    """Run the command line in processes started by MPI."""
    words = [MPIEXEC, "-n", str(processes), *command(*arguments)]
    return subprocess.run(
        words, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


@needs_mpi
def test_processes_train_as_one_and_one_of_them_speaks(tmp_path):
    file = tmp_path / "cart.py"
    file.write_text(CART)
    settings = {**SMALL, "trials": TRIALS}
    run = hf.train(str(file), out=tmp_path / "one", **settings)
    done = run_mpi(
        2,
        *("train", "--plant", file, "--out", tmp_path / "two", "--trials", TRIALS),
        *("--steps", 10, "--hidden", "5,4", "--batches", 4, "--rollouts", 12),
        *("--strategy", "plain", "--log", "csv", "--no-judge"),
    )
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "two").iterdir()
    assert (Run.load(folder).theta == run.theta).all()
    assert done.stdout.count("kernels ready") == 1
    _, *lines = (folder / "log.csv").read_text().splitlines()
    assert len(lines) == len(set(lines))


@needs_mpi
def test_a_process_that_fails_ends_all_with_one_line(tmp_path):
    file = tmp_path / "cart.py"
    file.write_text(FAILING)
    done = run_mpi(
        2,
        *("train", "--plant", file, "--out", tmp_path / "runs", "--trials", TRIALS),
        *("--steps", 10, "--hidden", 4, "--batches", 1, "--strategy", "plain"),
        *("--hold", "scenario", "--quiet", "--no-judge"),
    )
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("hfcontrol")]
    assert len(ours) == 1, done.stderr
    assert ours[0].startswith("hfcontrol: process 1 of 2: ")
    assert "the licence has expired" in ours[0]
    [folder] = (tmp_path / "runs").iterdir()
    assert Run.load(folder).state.updates > 0


def test_without_mpi4py_one_line_says_so(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match="mpi4py cannot be used"), shared_by_mpi():
        pass
