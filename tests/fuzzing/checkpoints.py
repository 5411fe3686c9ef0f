"""Altered checkpoints with a right digest, and damaged files of compiled code."""

import copy
import hashlib
import io
import os
import tempfile
from ctypes import CDLL
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from numba import types

import hfcontrol as hf
from fuzzing.strategies import CANARY, ROOT
from fuzzing.targets import Fault, outcome
from hfcontrol.kernels import stored_code
from hfcontrol.kernels.stored_code import compile_pointed_to
from hfcontrol.runs import hdf5

SHIPPED = ROOT / "weights" / "arm2-reach"
NAME = "00001-loss1.0e-02.h5"
DIGEST = hdf5.DIGEST_SIZE

# Values that an entry may be given; CANARY becomes the path of a file.
VALUES = [None, True, 0, -1, 1, 3, 2**70, 1.5, -1.0, float("inf"), float("nan"), ""]
VALUES += ["x", "\x1b[31m", "a\nb", "auto", f"{CANARY}.py", f"{CANARY}.xml", 10**9]
VALUES += ["gym:canary_module:X-v0", "hf", "adam", "ppo", "arm3", "linear", "gru"]
VALUES += [np.zeros(0), np.zeros(3714), np.full(3714, np.nan), np.ones((2, 2))]
VALUES += [np.array(1), np.arange(13), [], [1, "a"], (), (32, -1), {}, {"a": 1}]

# What HDF5 can put in the place of an entry.
FORMS = ("soft", "external", "storage", "virtual", "filter", "reference", "bytes")
FORMS += ("header", "header", "header")


@cache
def shipped_tree() -> dict[str, Any]:
    """The tree of the shipped run."""
    return hf.Run.load(SHIPPED).tree


def paths_of(
    tree: dict[str, Any], where: tuple[str, ...] = ()
) -> list[tuple[str, ...]]:
    """The paths of all entries of a tree, of groups too."""
    paths = []
    for name, value in tree.items():
        paths.append((*where, name))
        if isinstance(value, dict):
            paths += paths_of(value, (*where, name))
    return paths


@st.composite
def alterations(draw):
    """Changes of a checkpoint, each an action, the path of an entry, and a value."""
    # Integers rather than choices among thousands of objects, which are slow to draw.
    count = len(paths_of(shipped_tree()))
    changes = []
    for _ in range(draw(st.integers(1, 3))):
        action = draw(st.sampled_from(["value", "value", "remove", "move", "form"]))
        last = {"value": len(VALUES), "form": len(FORMS)}.get(action, count)
        other = draw(st.integers(0, last - 1))
        changes.append((action, draw(st.integers(0, count - 1)), other))
    return changes, draw(st.integers(0, 2**32 - 1))


def altered_checkpoint(example: Any, canary: Path, folder: Path) -> bytes:
    """The content of a checkpoint with these changes, and its digest."""
    changes, number = example
    tree = copy.deepcopy(shipped_tree())
    paths = paths_of(tree)
    forms = []
    for action, place, other in changes:
        *groups, name = paths[place]
        group = _find(tree, groups)
        if not isinstance(group, dict):
            continue  # an earlier change has removed it
        if action == "value":
            value = VALUES[other]
            is_text = isinstance(value, str)
            group[name] = value.replace(CANARY, str(canary)) if is_text else value
        elif action == "remove":
            group.pop(name, None)
        elif action == "move":
            # A copy: a later change must not reach the shipped run's own tree.
            group[name] = copy.deepcopy(_find(shipped_tree(), paths[other]))
        else:
            forms.append(FORMS[other])

    path = folder / NAME
    hdf5.save(path, tree)
    if not forms:
        return path.read_bytes()
    buffer = io.BytesIO(path.read_bytes()[:-DIGEST])
    rng = np.random.default_rng(number)
    with h5py.File(buffer, "r+") as file:
        # Headers first: other forms may replace the header.
        for form in sorted(forms, key=lambda form: form != "header"):
            names = list(file)
            name = names[rng.integers(len(names))]
            if form == "header":
                text = bytearray(file[hdf5.HEADER][()])
                text[rng.integers(len(text))] = rng.integers(32, 127)
                _replace(file, hdf5.HEADER, bytes(text))
            elif form != "bytes":
                del file[name]
                _put_form(file, name, form, str(canary) + ".h5")
    content = bytearray(buffer.getvalue())
    if "bytes" in forms:
        for at in rng.integers(0, len(content), 3):
            content[at] = rng.integers(256)
    return bytes(content) + hashlib.sha256(content).digest()


def _replace(file: h5py.File, name: str, text: bytes) -> None:
    del file[name]
    file.create_dataset(name, data=np.array(text, dtype=object), dtype=hdf5.TEXT_TYPE)


def _find(tree: Any, path: Any) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _put_form(file: h5py.File, path: str, form: str, elsewhere: str) -> None:
    """Put something that hfcontrol does not write in the place of an entry."""
    if form == "soft":
        file[path] = h5py.SoftLink("/task")
    elif form == "external":
        file[path] = h5py.ExternalLink(elsewhere, "/")
    elif form == "storage":
        file.create_dataset(path, (8,), "f8", external=[(elsewhere, 0, 64)])
    elif form == "virtual":
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource(elsewhere, "x", (8,))
        file.create_virtual_dataset(path, layout)
    elif form == "filter":
        file.create_dataset(path, data=np.zeros(100), compression="gzip")
    else:
        file[path] = file.ref


class Canary:
    """Files that nothing may open or run; inotify also sees what C code opens."""

    OPENED = 0x20  # IN_OPEN

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        self.path = self.folder / "plant"
        source = (ROOT / "plants" / "arm2.py").read_text()
        mark = f"\nopen({str(self.folder / 'ran')!r}, 'w').close()\n"
        self.path.with_suffix(".py").write_text(source + mark)
        model = (ROOT / "plants" / "mjcf" / "reacher2.xml").read_text()
        self.path.with_suffix(".xml").write_text(model)
        with h5py.File(self.path.with_suffix(".h5"), "w") as file:
            file["x"] = np.zeros(8)
        libc = CDLL(None)
        self.watch = libc.inotify_init1(os.O_NONBLOCK)
        libc.inotify_add_watch(self.watch, os.fsencode(self.folder), self.OPENED)

    def check(self) -> None:
        """Raise Fault if a file was opened since the last time."""
        try:
            events = os.read(self.watch, 4096)
        except BlockingIOError:
            return
        names = events.replace(b"\0", b" ").decode(errors="replace")
        raise Fault(f"a file that nobody named was opened: {names}")


@cache
def canary() -> Canary:
    """The canary of this process."""
    return Canary()


def try_checkpoint(example: Any, folder: Path) -> str:
    """Load a checkpoint, and use it as info, evaluate, resume and a robot do."""
    run = folder / "run"
    run.mkdir()
    # Shared between the process that draws and its children.
    bird = canary()
    content = altered_checkpoint(example, bird.path, folder)
    (run / NAME).write_bytes(content)
    result = outcome(_read, run)
    if result == "fine":
        for use in (_resume, _control):
            outcome(use, run)
    bird.check()
    return result


def _read(folder: Path) -> None:
    run = hf.Run.load(folder, allow_unfinished=True)
    run.info()
    run.state, run.theta, run.conditioning, run.curriculum  # noqa: B018


def _resume(folder: Path) -> None:
    run = hf.Run.load(folder, allow_unfinished=True)
    run.task()
    if run.network.size != run.theta.size:
        raise Fault(f"{run.network.size} weights and {run.theta.size} numbers")


def _control(folder: Path) -> None:
    controller = hf.Controller.load(folder)
    controller.act(np.zeros(len(controller.observes)), np.zeros(controller.n_target))


SIGNATURE = types.float64(types.float64)


def scaled(x):
    """What is compiled and damaged."""
    return 2.0 * x


@cache
def compiled_content() -> tuple[str, bytes]:
    """The name and content of the file of the compiled function."""
    with tempfile.TemporaryDirectory(prefix="hfcontrol-") as folder:
        _compile(Path(folder))
        (file,) = Path(folder).glob("*.code")
        return file.name, file.read_bytes()


def _compile(folder: Path) -> Any:
    """Compile a copy of the function with a folder in the place of the cache."""
    before = stored_code.kernel_folder
    stored_code.kernel_folder = lambda: folder
    try:
        renewed = FunctionType(scaled.__code__, scaled.__globals__, "scaled")
        return compile_pointed_to(renewed, SIGNATURE)
    finally:
        stored_code.kernel_folder = before


def try_cache(damage: Any, folder: Path) -> str:
    """Damage a file of compiled code and ask for it; the result must be right."""
    kind, place, other, byte = damage
    name, content = compiled_content()
    place, other = sorted((place % len(content), other % len(content)))
    path = folder / name
    altered = bytearray(content)
    if kind == "flip":
        altered[place] ^= byte
    elif kind == "cut":
        del altered[place:]
    elif kind == "grow":
        altered += content[place:other] + bytes([byte])
    elif kind == "zero":
        altered[place:other] = bytes(other - place)
    elif kind == "copy":
        altered[place:] = altered[: len(altered) - place]
    elif kind == "swap":
        altered = altered[place:] + altered[:place]
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(folder / "elsewhere")
        (folder / "elsewhere").write_bytes(content)
    else:
        path.write_bytes(altered)
    return outcome(_use_compiled, folder)


def _use_compiled(folder: Path) -> None:
    result = _compile(folder).ctypes(3.0)
    if result != 6.0:
        raise Fault(f"the function returned {result}")
