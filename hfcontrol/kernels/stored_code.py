"""Compiled code on disk: one file for a function and the types of its arguments.

A file holds a digest and what Numba needs to load the code again. The name is a hash of
everything that the code was compiled from: the signature, the processor, the bytecode
of the function and of all compiled functions that it calls, and the constants that they
read, which compiled code keeps for good. A damaged file is set aside, and its function
is compiled again.

The files are machine code and pickles: whoever can write them can run anything. So
cache.py chooses a folder that nobody else can write to, and links are not followed. The
digest shows damage, not malice.
"""

import hashlib
import os
import pickle
import tempfile
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from hfcontrol.arrays.files import read_regular_file
from hfcontrol.errors import HFControlWarning
from hfcontrol.kernels.cache import kernel_folder

MARK = b"hfcontrol code 1\n"
DIGEST_SIZE = hashlib.sha256().digest_size

# More is no code of ours; the largest kernel has a few megabytes.
MOST_BYTES = 256 * 2**20


class StoredCode:
    """The compiled variants of one function on disk, as Numba's dispatchers use them.

    This is the interface of `numba.core.caching.Cache`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    @property
    def cache_path(self) -> str:
        """The folder of the files, or an empty text."""
        return str(kernel_folder() or "")

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Return the code for a signature, or None if it is not on disk."""
        target_context.refresh()
        path = self._path(signature, target_context.codegen())
        if path is None:
            return None
        try:
            content = read_regular_file(path, MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _set_aside(path, error.strerror or str(error))
        payload = _verified(path.name, content)
        if payload is None:
            return _set_aside(path, "its digest is wrong")
        try:
            state = pickle.loads(payload)
            return CompileResult._rebuild(target_context, *state)
        except Exception as error:  # of whatever Numba makes of it
            return _set_aside(path, f"{type(error).__name__}: {error}")

    def save_overload(self, signature: Any, result: Any) -> None:
        """Write the code for a signature; a folder that is full is said once."""
        path = self._path(signature, result.codegen)
        lifted = any(not part.can_cache for part in result.lifted)
        # Code that keeps addresses of this process is of no use to another.
        if path is None or lifted or result.library.has_dynamic_globals:
            return
        payload = dumps(result._reduce())
        content = MARK + _digest(path.name, payload) + payload
        try:
            _write(path, content)
        except OSError as error:
            _warn_once(
                f"compiled code cannot be kept in {path.parent}: {error.strerror}; "
                "every command compiles it again. Make room, or name another folder by "
                "HFCONTROL_CACHE"
            )

    def flush(self) -> None:
        """Do nothing: the names of the files change with what they hold."""

    def _path(self, signature: Any, codegen: Any) -> Path | None:
        """Return the file for a signature, or None without a folder."""
        folder = kernel_folder()
        if folder is None:
            return None
        target = (repr(signature), codegen.magic_tuple())
        digest = hashlib.sha256(repr(target).encode())
        digest.update(fingerprint(self.function))
        return folder / f"{self.function.__name__}-{digest.hexdigest()[:32]}.code"


def compile_pointed_to(function: Callable[..., Any], signature: Any) -> Any:
    """Return a function as C function: its code is loaded from disk, or compiled."""
    normal = sigutils.normalize_signature(signature)
    compiled: Any = CFunc(function, normal, {}, {"error_model": "numpy"})
    # Set by hand, because Numba offers its own cache only.
    compiled._cache = StoredCode(function)
    compiled.compile()
    return compiled


def _verified(name: str, content: bytes) -> bytes | None:
    """Return the payload of a file's content, or None if it is damaged."""
    start = len(MARK) + DIGEST_SIZE
    payload = content[start:]
    is_whole = content[:start] == MARK + _digest(name, payload)
    return payload if is_whole else None


def _digest(name: str, payload: bytes) -> bytes:
    # With the name: a file that was renamed holds another function.
    return hashlib.sha256(name.encode() + b"\n" + payload).digest()


def _set_aside(path: Path, reason: str) -> None:
    """Rename a file that cannot be used, and say so."""
    with suppress(OSError):
        os.replace(path, path.with_suffix(".damaged"))
    warnings.warn(
        f"compiled code {path}: {' '.join(reason.split())}; it is set aside as "
        f"{path.stem}.damaged and compiled again",
        HFControlWarning,
        stacklevel=2,
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file that is whole, or not there."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


_said: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        warnings.warn(message, HFControlWarning, stacklevel=3)


# By function, not by code: equal code may read other constants.
_fingerprints: dict[Callable[..., Any], bytes] = {}


def fingerprint(function: Callable[..., Any]) -> bytes:
    """Return a hash of what a function is compiled from.

    It covers bytecode and the constants that the function reads, and the same of all
    compiled functions that it calls. The text of other Python code is not part of it.
    """
    if function not in _fingerprints:
        # A function that is being described is known by its code alone.
        _fingerprints[function] = function.__code__.co_code
        digest = hashlib.sha256()
        for part in _describe_function(function):
            # The length separates each part from the next one.
            digest.update(f"{len(part)} ".encode())
            digest.update(part)
        _fingerprints[function] = digest.digest()
    return _fingerprints[function]


def _describe_function(function: Callable[..., Any]) -> Iterator[bytes]:
    """Yield what the code of a function depends on.

    Numba looks its module up again: the same function of another plant is another one.
    """
    yield f"{function.__module__}.{function.__qualname__}".encode()
    yield from _describe_values(function.__defaults__ or ())
    cells = function.__closure__ or ()
    yield from _describe_values(cell.cell_contents for cell in cells)
    names: set[str] = set()
    for code in _all_code(function.__code__):
        yield code.co_code
        constants = (c for c in code.co_consts if not isinstance(c, types.CodeType))
        yield from _describe_values(constants)
        names.update(code.co_names)
    for name in sorted(names):
        value = function.__globals__.get(name)
        yield name.encode()
        yield from _describe(value)
        # Attributes of modules, such as tables.FIRST.
        if isinstance(value, types.ModuleType):
            attributes = (getattr(value, n, None) for n in sorted(names))
            yield from _describe_values(attributes)


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _all_code(constant)


def _describe_values(values: Iterable[Any]) -> Iterator[bytes]:
    for value in values:
        yield from _describe(value)


def _describe(value: Any) -> Iterator[bytes]:
    """Yield a value as bytes that are the same in every process."""
    function = getattr(value, "py_func", None) or getattr(value, "_pyfunc", None)
    if function is not None:
        yield fingerprint(function)
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, tuple):
        yield f"{type(value).__name__} {len(value)}".encode()
        yield from _describe_values(value)
    elif isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        yield f"{type(value).__name__} {value!r}".encode()
    else:
        name = getattr(value, "__name__", type(value).__name__)
        yield f"{name} {getattr(value, '_fields', '')}".encode()
