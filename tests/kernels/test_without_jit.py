"""Kernels run as Python where Numba is switched off, for debuggers and coverage."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

# Of the closed loops those of two plants, and the test that runs all their passes.
CHOSEN = "not test_loop or (transpose and fused and (both or arm2))"

# Tests of small sizes that together run every kernel.
FILES = (
    "closed_loop/test_loop.py",
    "closed_loop/test_sequences.py",
    "kernels/test_derivatives.py",
    "kernels/test_integrators.py",
    "kernels/test_jit.py",
    "kernels/test_plant_functions.py",
    "kernels/test_rollout.py",
    "kernels/test_solver.py",
    "kernels/test_tanh.py",
    "kernels/test_trajectories.py",
)


def test_kernels_run_as_python():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", CHOSEN]
    run = subprocess.run(
        [*command, *(str(TESTS / name) for name in FILES)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout[-3000:]
