"""Seconds of whole commands, cold (with an empty kernel cache) and warm."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.report import Row, show, table

# The commands after the first training read the run that it wrote.
COMMANDS = {
    "--help": ["--help"],
    "plants": ["plants"],
    "train (no updates)": [
        *("train", "--plant", "arm2", "--batches", "2", "--rollouts", "1", "--quiet")
    ],
    "info": ["info"],
    "evaluate": ["evaluate"],
    "plot-error": ["plot-error"],
    "check arm2": ["check", "arm2"],
}
WARM_REPEATS = 3

# With `smallest`: a command that compiles nothing, because that takes a minute.
SMALLEST_COMMANDS = ("--help",)


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows of command with cold and warm seconds (median of three)."""
    names = SMALLEST_COMMANDS if smallest else tuple(COMMANDS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            cache = tempfile.mkdtemp(dir=folder)
            cold = time_command(COMMANDS[name], folder, cache)
            warm = []
            for _ in range(1 if smallest else WARM_REPEATS):
                warm.append(time_command(COMMANDS[name], folder, cache))
            rows.append({"command": name, "cold": cold, "warm": float(np.median(warm))})
    lines = [[row["command"], show(row["cold"]), show(row["warm"])] for row in rows]
    table("start-up [s]", ("command", "cold", "warm"), lines)
    return rows


def time_command(arguments: Sequence[str], folder: str, cache: str) -> float:
    """Return the seconds of one command in a folder, with its own kernel cache."""
    program = Path(sys.executable).parent / "hfcontrol"
    begin = time.perf_counter()
    subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env={**os.environ, "HFCONTROL_CACHE": cache},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin
