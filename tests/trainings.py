"""Small trainings and the command line, for tests of runs, commands and evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hfcontrol as hf
from hfcontrol.cli.app import main

# The size of a small training, as settings and as options of the command line. Random
# weights are so far from good that it stops at its limit of rollouts.
SMALL = {
    "trials": 8,
    "steps": 10,
    "hidden": (5, 4),
    "batches": 4,
    "rollouts": 12,
    "strategy": "plain",
}
OPTIONS_TEXT = (
    "--trials 8 --steps 10 --hidden 5,4 --batches 4 --rollouts 12 --strategy plain"
)
SMALL_OPTIONS = OPTIONS_TEXT.split()

# A user's plant, which is not compiled and has no hand.
CART = """
import numpy as np

STATE, CONTROL = ("place", "place_rate"), ("push",)
DT = 0.1


def step_batch(x, u, p, dt):
    return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] * np.abs(x[1]))])


def draw(rng, trials, split):
    places = (np.arange(trials) + (0.5 if split == "held_out" else 0.0)) / trials
    return np.zeros((2, trials)), np.stack([places, np.zeros(trials)])


TASKS = {"park": {"draw": draw, "trials": 8, "steps": 10, "effort": 1e-3}}
"""

# A plant with one position and no hand; a test may replace LINKS by a function.
PENDULUM = """
import math
import numpy as np
STATE, CONTROL = ("angle", "angle_rate"), ("torque",)
UNITS = {"state": ("rad", "rad/s"), "control": ("N m",)}
DT, INTEGRATOR = 0.02, "semi_implicit"
def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0] - 9.81 * math.sin(x[0])
LINKS
TASKS = {"swing": {"generator": "angles", "start": (0.0,), "targets": (-0.5, 0.5),
                   "trials": 4, "steps": 10, "effort": 1e-3}}
"""

# A puck that is pushed in the plane, without a hand. It draws its outline, an eye, and
# marks that show how it is pushed.
PUCK = """
import numpy as np
STATE, CONTROL = ("x", "y", "x_rate", "y_rate"), ("push_x", "push_y")
UNITS = {"state": ("m", "m", "m/s", "m/s"), "control": ("N", "N")}
DT, INTEGRATOR, LIMIT = 0.05, "semi_implicit", 2.0
def dynamics(x, u, p, dx):
    for i in range(2):
        dx[i] = x[2 + i]
        dx[2 + i] = u[i]
def links(x, p):
    corners = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]]
    gap = [[np.nan, np.nan]]
    points = np.vstack([np.array(corners), gap, [[0.0, 0.5]], gap, [[0.0, 0.0]]])
    return x[:2] + 0.1 * points
def marks(x, u, p):
    return np.array([[2.0, 0.0, u[0] / 2.0], [0.0, 2.0, u[1] / 2.0]])
BASE = {"trials": 8, "steps": 12, "effort": 1e-3}
TASKS = {"follow": {**BASE, "generator": "follow",
                    "range": ((-2.0, 2.0), (-1.0, 1.0)), "running": 1.0},
         "back": {**BASE, "generator": "angles_and_back", "start": (0.0, 0.0),
                  "targets": ((1.0, 0.0), (1.0, 1.0)), "final_at": (0.5, 1.0)},
         "around": {**BASE, "generator": "around", "start": (0.0,) * 4,
                    "spread": (2.0, 2.0, 0.0, 0.0),
                    "target": (0.0, np.nan, 0.0, 0.0)}}
"""

# A balloon with its basket: like the puck, but in space, where z points down.
BALLOON = """
import numpy as np
STATE = ("x", "y", "z", "x_rate", "y_rate", "z_rate")
CONTROL = ("push_x", "push_y", "push_z")
UNITS = {"state": ("m",) * 3 + ("m/s",) * 3, "control": ("N",) * 3}
DT, INTEGRATOR = 0.05, "semi_implicit"
def dynamics(x, u, p, dx):
    for i in range(3):
        dx[i] = x[3 + i]
        dx[3 + i] = u[i]
def links(x, p):
    return x[:3] * (1.0, 1.0, -1.0) + np.array([[0.0, 0.0, -0.5], [0.0, 0.0, 0.0]])
TASKS = {"rise": {"generator": "angles", "start": (0.0, 0.0, 0.0),
                  "targets": ((-1.0, 1.0, -3.0), (1.0, 1.0, -3.0)),
                  "trials": 4, "steps": 10, "effort": 1e-3}}
"""

ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1"}


def small_run(name, task, folder):
    """A tiny training of the pendulum (without links), the puck or the balloon."""
    path = Path(folder) / f"{name}.py"
    path.write_text(
        {"pendulum": PENDULUM.replace("LINKS", ""), "puck": PUCK, "balloon": BALLOON}[
            name
        ]
    )
    return hf.train(
        str(path),
        task=task,
        hidden=(4,),
        batches=2,
        rollouts=6,
        strategy="plain",
        out=folder,
    )


# A machine that compiles slowly prints no lines that tests do not expect.
PATIENT = "from hfcontrol.cli import terminal; terminal.HEARTBEAT_SECONDS = 3600.0\n"


def command(*arguments):
    """The words that run the command line in a new process."""
    return [
        sys.executable,
        "-c",
        f"{PATIENT}from hfcontrol.cli import main; main()",
        *map(str, arguments),
    ]


def in_process(*arguments, **options):
    """Start the command line in a new process, with its output in text pipes."""
    options = {
        "env": ENVIRONMENT,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        **options,
    }
    return subprocess.Popen(command(*arguments), **options)


def call(capsys, *arguments):
    """Run the command line in this process; returns (exit status, stdout, stderr)."""
    capsys.readouterr()
    try:
        main(list(map(str, arguments)))
        status = 0
    except SystemExit as end:
        status = end.code
    return (status, *capsys.readouterr())


def complaint(capsys, *arguments, status):
    """The one line on stderr with which the command line refuses wrong input."""
    ended, out, err = call(capsys, *arguments)
    assert ended == status, (out, err)
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert err.startswith("hfcontrol")
    return err


def strict_json(line):
    """The value of a line of JSON; NaN and Infinity fail the test."""
    return json.loads(
        line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON")
    )


def write_cart(folder, **changes):
    """Write the cart's file in a folder; each change (old, new) replaces one text."""
    source = CART
    for old, new in changes.values():
        assert old in source
        source = source.replace(old, new)
    path = Path(folder) / "cart.py"
    path.write_text(source)
    return path
