"""What travels between caller and worker: the plant, and the files of a run.

The caller has named its plant. It sends the text of the plant's file with the SHA-256
of all files that the plant is made of, and a worker runs exactly these.
"""

import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hfcontrol.arrays.files import expand_home, write_atomically
from hfcontrol.errors import CheckpointError, PlantError
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.registry import foreign_code, load_plant, sent_source
from hfcontrol.runs.folder import CHECKPOINT_NAME, CURRICULUM_FILE, RunFolder
from hfcontrol.runs.roots import RUN_STAMP
from hfcontrol.texts import file_name

# A part of a long learning curve, next to the checkpoints.
CURVE_NAME = re.compile(r"curve-[0-9a-f]{64}\.h5")

# Digits of a SHA-256 in a message.
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class SentPlant:
    """A plant that the caller has named.

    source: the text of its file; None for one that is no Python file of the user.
    digest: the SHA-256 of the code that loading it runs; empty if that is shipped.
    source_hash, inputs: those of the `Plant`.
    """

    name: str
    source: str | None
    digest: str
    source_hash: str
    inputs: dict[str, str]

    @classmethod
    def pack(cls, name: str) -> "SentPlant":
        """Return a plant of this machine; PlantError if it cannot be loaded."""
        plant = load_plant(name)
        code = foreign_code(name)
        is_own_file = code is not None and name.endswith(".py")
        source = plant.source if is_own_file else None
        digest = "" if code is None else code.digest
        if source is not None:
            digest = _digest(source)
        return cls(name, source, digest, plant.source_hash, dict(plant.inputs))

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use this plant wherever its name is loaded in this context.

        Raises PlantError if a file here is not the one that the caller has named;
        nothing of such a plant runs.
        """
        if self.source is None:
            code = foreign_code(self.name)
            found = "" if code is None else code.digest
        else:
            found = _digest(self.source)
        if found != self.digest:
            raise self._differs(self.name, found, self.digest)

        sent = self.source is not None
        with sent_source(self.name, self.source or "") if sent else nullcontext():
            self._check(load_plant(self.name))
            yield

    def _check(self, plant: Plant) -> None:
        """Raise PlantError if the plant is made of other files here."""
        if plant.source_hash != self.source_hash:
            raise self._differs(self.name, plant.source_hash, self.source_hash)
        for name in sorted({*self.inputs, *plant.inputs}):
            here, there = plant.inputs.get(name, ""), self.inputs.get(name, "")
            if here != there:
                path = expand_home(self.name).parent / name
                raise self._differs(str(path), here, there)

    def _differs(self, file: str, found: str, expected: str) -> PlantError:
        """Return the error for a file of another content than the caller's."""
        return PlantError(
            f"{file}: the worker on {socket.gethostname()} has it with the hash "
            f"{found[:SHOWN_DIGITS] or '(no file)'}, the caller with "
            f"{expected[:SHOWN_DIGITS] or '(no file)'}; give both the same file"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Parcel(NamedTuple):
    """The files of a run: the name of its folder, and their contents by name."""

    name: str
    files: dict[str, bytes]


def pack_run(path: Path, newest_only: bool = False) -> Parcel:
    """Return the files of a run folder: all, or what it can be resumed from."""
    folder = RunFolder(path)
    checkpoints = [file.path for file in folder.checkpoints()]
    if newest_only:
        checkpoints = checkpoints[-1:]
    others = [file for file in path.iterdir() if _is_part(file.name)]
    files = {file.name: file.read_bytes() for file in [*checkpoints, *others]}
    return Parcel(path.name, files)


def unpack_run(parcel: Parcel, root: Path) -> Path:
    """Write the files of a run into its folder under `root`, and return the folder.

    Raises CheckpointError for a name that is none of a run, and if a file cannot be
    written. A parcel comes from another machine: what is in it is data.
    """
    names = {"folder": parcel.name, **{name: name for name in parcel.files}}
    for kind, name in names.items():
        is_run = RUN_STAMP.search(name) and file_name(name) == name
        is_file = CHECKPOINT_NAME.fullmatch(name) or _is_part(name)
        if not (is_run if kind == "folder" else is_file):
            raise CheckpointError(f"{name!r}: a worker sent a file that no run has")
    path = root / parcel.name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"cannot create {path}: {error.strerror}; choose a writable folder with "
            "`out`"
        ) from None
    # Parts of the curve first: a checkpoint refers to them.
    for name in sorted(parcel.files, key=lambda name: not _is_part(name)):
        write_atomically(path / name, parcel.files[name])
    return path


def _is_part(name: str) -> bool:
    """Whether a file is one of a run that is no checkpoint."""
    return name == CURRICULUM_FILE or CURVE_NAME.fullmatch(name) is not None
