"""The files that an MJCF model is made of: its own, and those that it names."""

import errno
import hashlib
import html
import os
import re
from collections.abc import Iterable
from pathlib import Path

import mujoco

from hfcontrol.arrays.files import read_regular_file

# Attributes that name files, such as `file` and `fileright`, and the folders of files.
ASSET = re.compile(r"""\b(file\w*|meshdir|texturedir|assetdir)\s*=\s*(["'])(.*?)\2""")

MOST_BYTES = 2**30


def read_regular(path: Path) -> bytes:
    """Return the content of a file; OSError for a folder, a pipe or a device."""
    return read_regular_file(path, MOST_BYTES, follow=True)


def read_text(path: Path) -> str:
    """Return a file as text; bytes that are not UTF-8 become escapes, as in Python."""
    return read_regular(path).decode("utf-8", errors="backslashreplace")


def check_files(path: Path) -> None:
    """Raise OSError if a model, or a file that it names, is no regular file.

    MuJoCo would wait for a pipe for ever. Files that are missing are left to it.
    """
    read_regular(path)
    models, checked = [path], {path}
    while models:
        model = models.pop()
        by_path = {path.parent / value for _, value in _named_values([model])}
        for other in (by_path | stripped_files([model], path.parent)) - checked:
            checked.add(other)
            if other.is_file():
                if other.suffix.lower() == ".xml":
                    models.append(other)
            elif other.exists() and not other.is_dir():
                raise OSError(errno.EINVAL, "it is no regular file", str(other))


def read_model_files(path: Path) -> str:
    """Return the text of a model, and what else tells whether it has changed.

    That is the text of each file that it includes, and the SHA-256 of each mesh,
    texture or height field. MuJoCo itself says which files these are.
    """
    folder = path.parent
    others = {Path(name) for name in mujoco.mju_getXMLDependencies(str(path))}
    texts = [read_text(path)]
    others |= stripped_files([path, *others], folder)
    # Sorted, because MuJoCo lists them in any order.
    for other in sorted(others, key=lambda other: os.path.relpath(other, folder)):
        if not other.is_file() or other.samefile(path):
            continue
        if other.suffix.lower() == ".xml":
            texts.append(read_text(other))
            continue
        digest = hashlib.sha256(read_regular(other)).hexdigest()
        texts.append(f"{os.path.relpath(other, folder)} {digest}")
    return "\n".join(texts)


def stripped_files(models: Iterable[Path], folder: Path) -> set[Path]:
    """Return the files that models name by a path of which only the name counts.

    MuJoCo does not list them: with `strippath` it looks for the name alone in `folder`
    and in the folders of the compiler. All places where it may find one are returned.
    """
    values = _named_values(models)
    folders = {folder, *(folder / v for k, v in values if k.endswith("dir"))}
    names = {Path(v).name for k, v in values if not k.endswith("dir")}
    return {place / name for place in folders for name in names if name}


def _named_values(models: Iterable[Path]) -> list[tuple[str, str]]:
    """Return the attributes of models that name files or folders, with their values."""
    texts = [read_text(m) for m in models if m.suffix.lower() == ".xml" and m.is_file()]
    found = ASSET.findall("\n".join(texts))
    return [(key, html.unescape(value)) for key, _, value in found]
