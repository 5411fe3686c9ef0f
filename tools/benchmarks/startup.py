"""Seconds from typing a command to its end, cold (an empty kernel cache) and warm."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.report import show, table

SMALL = ["train", "--plant", "arm2", "--batches", "2", "--rollouts", "1", "--quiet"]
COMMANDS = {
    "--help": ["--help"],
    "plants": ["plants"],
    "train (no updates)": SMALL,
    "info": ["info"],
    "evaluate": ["evaluate"],
    "plot-error": ["plot-error"],
    "check arm2": ["check", "arm2"],
}


def measure(seeds):
    """Rows of command with cold and warm seconds (median of three)."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in COMMANDS.items():
            cache = tempfile.mkdtemp(dir=folder)
            cold = timed(arguments, folder, cache)
            warm = [timed(arguments, folder, cache) for _ in range(3)]
            rows.append({"command": name, "cold": cold, "warm": float(np.median(warm))})
    table(
        "start-up [s]",
        ("command", "cold", "warm"),
        [(r["command"], show(r["cold"]), show(r["warm"])) for r in rows],
    )
    return rows


def timed(arguments, folder, cache):
    """Seconds of one command in a folder with a kernel cache of its own."""
    program = Path(sys.executable).parent / "hfcontrol"
    begin = time.perf_counter()
    subprocess.run(
        [program, *arguments],
        cwd=folder,
        env={**os.environ, "HFCONTROL_CACHE": cache},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin
