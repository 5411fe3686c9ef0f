"""Export of a controller to a file for other programs: C source, npz or ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.files import atomic_write
from hfcontrol.deploy.c_source import c_source
from hfcontrol.deploy.controller import Controller
from hfcontrol.deploy.npz import npz_arrays
from hfcontrol.deploy.onnx import onnx_model
from hfcontrol.errors import UsageError
from hfcontrol.runs.run import Run
from hfcontrol.texts import file_name

SUFFIXES = (".c", ".npz", ".onnx")

# Settings of a training that an exported controller does not hold.
PLANT_SIDE = ("feedback_delay", "command_delay", "sensory_noise", "motor_noise")


def export_controller(
    controller: Controller,
    path: Path,
    title: str,
    run: str,
    dtype: npt.DTypeLike = np.float64,
) -> None:
    """Write a controller to a file, in the format that the suffix names.

    `title` and the name of the `run` are written too. A C file compiles for float with
    -DHFCONTROL_FLOAT; its functions are named after the file. The numbers of an ONNX
    graph have the `dtype`, float64 or float32.

    Raises UsageError for another suffix, for a cell that the format has no code for,
    or if the file cannot be written.
    """
    with atomic_write(path, SUFFIXES) as temporary:
        suffix = path.suffix.lower()
        if suffix == ".npz":
            arrays: dict[str, Any] = npz_arrays(controller, title, run)
            np.savez_compressed(temporary, **arrays)
        elif suffix == ".onnx":
            model = onnx_model(controller, f"{title}, from the run {run}", dtype)
            temporary.write_bytes(model.SerializeToString())
        else:
            name = _c_identifier(path.stem)
            source = c_source(controller, name, title, run)
            temporary.write_text(source, encoding="utf-8")


def default_path(run: Run, suffix: str = ".c") -> Path:
    """Return the file that a run is exported to by default: next to it, with its name.

    Nothing is added to a run that is shipped: its file goes into the current folder.
    """
    stem = file_name(run.path.resolve().name)
    if suffix == ".c":
        # The file's name becomes part of the names of functions.
        stem = stem.replace("-", "_")
    return run.output_folder / f"{stem}{suffix}"


def export_run(
    run: Run, path: Path, bare: bool = False, is_single: bool = False
) -> Path:
    """Write the controller of a run to a file, c, npz or onnx by its ending.

    bare: write it although it was trained with delays or noise.
    is_single: an ONNX graph in single precision.

    Returns the path. Raises UsageError as `export_controller` does, and for a single
    precision that a format does not hold.
    """
    if is_single and path.suffix.lower() != ".onnx":
        raise UsageError(
            f"`float32` with {path}: only an ONNX graph has its dtype inside; compile "
            "the C source with -DHFCONTROL_FLOAT"
        )
    if not bare:
        check_exportable(run)
    title = f"{run.tree['plant']['name']} {run.task_name}, a controller"
    dtype = "float32" if is_single else "float64"
    name = run.path.resolve().name
    export_controller(Controller.load(run), path, title, name, dtype)
    return path


def check_exportable(run: Run) -> None:
    """Check that a run was trained without delays and noise.

    Raises UsageError if it was trained with some: no exported file holds them.
    """
    settings = run.settings
    changed = [
        f"`{name}` {getattr(settings, name)}"
        for name in PLANT_SIDE
        if not settings.is_default(name)
    ]
    if changed:
        raise UsageError(
            f"{run.path} was trained with {' '.join(changed)}, which an exported "
            "controller does not hold; use `bare` if the plant that it will control "
            "brings delays and noise itself"
        )


def _c_identifier(stem: str) -> str:
    """Return a file's stem as the start of C names."""
    characters = [c if c.isalnum() and c.isascii() else "_" for c in stem]
    if not characters or characters[0].isdigit():
        raise UsageError(
            f"{stem}.c: its functions are named after it; choose a name that begins "
            "with a letter"
        )
    return "".join(characters)
