"""Gives altered inputs to hfcontrol: they are used, or refused in one line."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hfcontrol.errors import HFControlError, HFControlWarning, PlantError, TaskError
from hfcontrol.evaluation import index_check
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.tasks.entries import KNOWN, check_entries
from hfcontrol.tasks.generators import GENERATORS
from hfcontrol.tasks.scenario import SPLITS
from hfcontrol.tasks.task import Task

# Names of the entries of tasks, and one that no task has.
ENTRIES = (*sorted(KNOWN), "unknown")

LONGEST_LINE = 2000


class Fault(AssertionError):
    """What should not have come of an input."""


def check_message(error: HFControlError) -> None:
    """Raise Fault for a message that is not one line of printable text."""
    lines = str(error).split("\n")
    # The faults of a plant's tasks have a line each.
    several = isinstance(error, PlantError | TaskError)
    if (len(lines) > 1 and not several) or not all(line.strip() for line in lines):
        raise Fault(f"not one line: {str(error)!r}") from error
    for line in lines:
        controls = [c for c in line if ord(c) < 32 or 127 <= ord(c) < 160]
        if controls or len(line) > LONGEST_LINE:
            raise Fault(f"not printable, or too long: {line!r:.500}") from error


def outcome(call: Any, *arguments: Any) -> str:
    """Return "fine" or "refused" for a call; raises Fault for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", HFControlWarning)
        try:
            call(*arguments)
        except HFControlError as error:
            check_message(error)
            return "refused"
        except MemoryError:
            return "refused"  # the command line says so in one line
    return "fine"


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write an input and return its path."""
    path = folder / name
    if isinstance(content, str):
        content = content.encode(errors="surrogatepass")
    path.write_bytes(content)
    return path


def try_plant_file(text: str, folder: Path) -> str:
    """Load a plant file, which proves its indices, and run its functions as Python.

    This is what `check` does before it compiles anything. A file that is accepted must
    keep to its arrays also far from typical states.
    """
    path = _write(folder, "altered.py", text)
    return outcome(_load_and_run, path)


def _load_and_run(path: Path) -> None:
    plant = load_plant(path)
    check_entries(plant)
    if not plant.compiled:
        return
    rng = np.random.default_rng(0)
    for factor in index_check.WIDE:
        x = factor * plant.typical_state * rng.standard_normal(plant.nx)
        u = factor * plant.typical_control * rng.standard_normal(plant.nu)
        message = index_check._find_wrong_index(plant, x, u)
        if message:
            raise Fault(f"accepted, but: {message}")


POINT = """
import numpy as np
STATE, CONTROL, OUTPUT = ("a", "a_rate"), ("f",), ("hand_x", "hand_y")
DT = 0.1
def step_batch(x, u, p, dt):
    return np.stack([x[0] + dt * x[1], x[1] + dt * u[0]])
def output(x, p, z):
    z[0], z[1] = np.cos(x[0]), np.sin(x[0])
TASKS = {"go": {"generator": "angles", "start": (0,), "targets": (0, 1), "trials": 2,
                "steps": 2}}
"""


def point_plant(folder: Path) -> Plant:
    """A plant with a hand that is not compiled."""
    return load_plant(_write(folder, "point.py", POINT))


def try_task(entries: dict[str, Any], plant: Plant) -> str:
    """Check the entries of a task, and draw its scenarios."""
    altered = Plant(**{**vars(plant), "tasks": {"go": entries}})
    return outcome(_draw_all, altered)


def _draw_all(plant: Plant) -> None:
    kernels = compile_plant(plant)
    for name in plant.tasks:
        task = Task(plant, kernels, name)
        for split in SPLITS:
            task.draw(np.random.default_rng(0), split, trials=min(task.trials, 4))


def try_model(content: bytes, folder: Path) -> str:
    """Load an MJCF file, draw its tasks and make a step."""
    path = _write(folder, "altered.xml", content)
    return outcome(_step_model, path)


def _step_model(path: Path) -> None:
    plant = load_plant(path)
    _draw_all(plant)
    x, u = np.zeros((plant.nx, 2)), np.zeros((plant.nu, 2))
    compile_plant(plant).step(x, u, np.zeros((0, 2)))


class FirstUpdate(Exception):
    """Raised where a training would make its first update."""


def stop_before_updates(monkeypatch: Any) -> None:
    """Let trainings end where the first update, or the first process, would start.

    Everything before that is real: options, settings, plant, network, task, trainer,
    compilation, the first rollout and the run folder.
    """
    from hfcontrol.jobs import seeds, sweep
    from hfcontrol.training.ladder import Ladder

    def stop(*arguments: Any, **options: Any) -> None:
        raise FirstUpdate

    monkeypatch.setattr(Ladder, "events", stop)
    for module in (seeds, sweep):
        monkeypatch.setattr(module, "run_trainings", stop)


def try_command(words: list[str], folder: Path) -> str:
    """Run a command line in this process; see `stop_before_updates`."""
    from click.testing import CliRunner

    from hfcontrol.cli.app import main

    before = Path.cwd()
    os.chdir(folder)
    status: Any = 0
    try:
        with CliRunner().isolation() as streams:
            try:
                main(words)
            except SystemExit as end:
                status = end.code
            except FirstUpdate:
                pass
            said = streams[1].getvalue().decode(errors="replace")
    finally:
        os.chdir(before)
    lines = said.splitlines()
    if status not in (0, 1, 2) or "Traceback" in said:
        raise Fault(f"status {status}: {said!r:.500}")
    if status and not (lines and lines[-1].startswith("hfcontrol")):
        raise Fault(f"status {status} without a line: {said!r:.500}")
    for line in lines:
        check_message(HFControlError(line))
    return "refused" if status else "fine"


GENERATOR_NAMES = tuple(GENERATORS)
