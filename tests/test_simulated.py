"""The tests of tests/device without a GPU, in the CUDA simulator of Numba.

Each runs in its own process, because the simulator must be requested before Numba
is imported.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "device"


# They take the simulator 20 s and more.
SLOW = {"test_passes", "test_training"}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in sorted(path.stem for path in FOLDER.glob("test_*.py"))
]


@pytest.mark.parametrize("name", NAMES)
def test_gpu_code_in_the_simulator(name):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(FOLDER / f"{name}.py"),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
