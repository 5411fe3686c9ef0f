"""Compiled code on disk: used if it is whole and nobody else can write it.

Small functions are compiled into a folder of their own. Whether code was compiled or
loaded is seen in the files, and in what the compiler counts.
"""

import errno
import os
import stat
import sys
import warnings
from types import FunctionType, ModuleType

import numba
import numpy as np
import pytest
from numba import njit, types

from hfcontrol.arrays.files import read_regular_file
from hfcontrol.errors import HFControlWarning
from hfcontrol.kernels import cache, compile_plant, stored_code
from hfcontrol.kernels.stored_code import StoredCode, compile_pointed_to, fingerprint
from hfcontrol.plant.reader import read_plant

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

SIGNATURE = types.float64(types.float64)
SCALE = 2.0


def scaled(x):
    return SCALE * x


def calling(x):
    return scaled(x)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder that takes the place of the cache."""
    monkeypatch.setattr(stored_code, "kernel_folder", lambda: tmp_path)
    monkeypatch.setattr(stored_code, "_said", set())
    monkeypatch.setattr(stored_code, "_fingerprints", {})
    return tmp_path


def renewed(function, **constants):
    """A copy of a function with other constants, as another process would have it."""
    names = {**function.__globals__, **constants}
    return FunctionType(function.__code__, names, function.__name__)


def compiled(**constants):
    """A compiled copy of `scaled`."""
    return compile_pointed_to(renewed(scaled, **constants), SIGNATURE)


def code_files(folder, suffix="code"):
    return sorted(folder.glob(f"*.{suffix}"))


def test_code_is_compiled_once_and_loaded_afterwards(folder):
    assert compiled().cache_hits == 0
    assert compiled().cache_hits == 1
    (file,) = code_files(folder)
    assert not file.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert compiled().ctypes(3.0) == 6.0


def test_another_constant_is_other_code(folder):
    """The same bytecode, with 2, 0.5 and, in a function that it calls, 3."""
    assert compiled().ctypes(1.0) == 2.0
    halved = compiled(SCALE=0.5)
    assert halved.cache_hits == 0 and halved.ctypes(1.0) == 0.5

    for scale in (2.0, 3.0):
        inner = njit(renewed(scaled, SCALE=scale))
        outer = compile_pointed_to(renewed(calling, scaled=inner), SIGNATURE)
        assert outer.cache_hits == 0 and outer.ctypes(1.0) == scale


def test_same_function_of_another_plant_is_other_code(folder):
    """Numba imports the module of compiled code again, which is gone with its plant."""
    for number, module in enumerate(("first_plant", "second_plant")):
        function = renewed(scaled, __name__=module)
        function.__module__ = module
        assert compile_pointed_to(function, SIGNATURE).cache_hits == 0
        assert len(code_files(folder)) == number + 1


@pytest.mark.parametrize(
    "first, second",
    [
        (1, 1.0),
        (1.0, np.nextafter(1.0, 2.0)),
        ((1.0, 2.0), (1.0, 3.0)),
        ((1.0, 2.0), ((1.0, 2.0),)),
        (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
        (np.array([1, 2]), np.array([1.0, 2.0])),
        ("a", "b"),
        (True, 1),
    ],
)
def test_fingerprint_tells_constants_apart(folder, first, second):
    prints = [fingerprint(renewed(scaled, SCALE=value)) for value in (first, second)]
    assert prints[0] != prints[1]
    assert prints[0] == fingerprint(renewed(scaled, SCALE=first))


def test_damaged_code_is_set_aside_and_compiled_again(folder, rng):
    """Single bits, cut files, other files' content, zeros, and much of nothing."""
    compiled()
    (file,) = code_files(folder)
    whole = file.read_bytes()
    compiled(SCALE=0.5)
    (other,) = set(code_files(folder)) - {file}
    damages = [b"", whole[:10], whole[:-1], bytes(len(whole)), other.read_bytes()]
    damages += [whole + b"x", b"x" + whole, whole[::-1]]
    for bit in rng.integers(0, 8 * len(whole), 30):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damages.append(bytes(flipped))

    for damage in damages:
        file.write_bytes(damage)
        with pytest.warns(HFControlWarning, match="is set aside .* compiled again"):
            again = compiled()
        assert again.cache_hits == 0 and again.ctypes(3.0) == 6.0
        assert file.with_suffix(".damaged").read_bytes() == damage
        # What was written in its place is whole.
        assert compiled().cache_hits == 1


def test_code_that_is_no_regular_file_is_set_aside(folder):
    compiled()
    (file,) = code_files(folder)
    elsewhere = folder / "elsewhere"
    file.rename(elsewhere)
    makers = [lambda: file.symlink_to(elsewhere), file.mkdir, lambda: os.mkfifo(file)]
    for make in makers:
        make()
        with pytest.warns(HFControlWarning, match="set aside"):
            assert compiled().cache_hits == 0
        damaged = file.with_suffix(".damaged")
        damaged.rmdir() if damaged.is_dir() else damaged.unlink()
        file.unlink()
    assert elsewhere.exists()


def test_pickle_with_a_right_digest_that_is_no_code_is_set_aside(folder):
    compiled()
    (file,) = code_files(folder)
    for payload in (b"no pickle", b"N."):
        digest = stored_code._digest(file.name, payload)
        file.write_bytes(stored_code.MARK + digest + payload)
        with pytest.warns(HFControlWarning, match="set aside"):
            assert compiled().ctypes(1.0) == 2.0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_folder_that_takes_no_files_is_said_once(folder, monkeypatch, number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(stored_code.tempfile, "mkstemp", fail)
    with pytest.warns(HFControlWarning, match=os.strerror(number)) as caught:
        assert compiled().ctypes(1.0) == 2.0
        assert compiled(SCALE=0.5).ctypes(1.0) == 0.5
    assert len(caught) == 1
    assert list(folder.iterdir()) == []


def test_disk_that_is_full_in_the_middle_leaves_no_part(folder, monkeypatch):
    def fail(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stored_code.os, "replace", fail)
    with pytest.warns(HFControlWarning, match="No space left"):
        compiled()
    assert list(folder.iterdir()) == []


def test_nothing_is_kept_without_a_folder(monkeypatch):
    monkeypatch.setattr(stored_code, "kernel_folder", lambda: None)
    assert compiled().cache_hits == compiled().cache_hits == 0
    assert StoredCode(scaled).cache_path == ""


@pytest.fixture
def choose(monkeypatch, tmp_path):
    """A function that chooses the cache folder for a HFCONTROL_CACHE."""
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))

    def chosen(folder):
        monkeypatch.setenv("HFCONTROL_CACHE", str(folder))
        return cache.cache_folder.__wrapped__()

    return chosen


def test_folder_of_this_user_alone_is_used(choose, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose(tmp_path / "new" / "cache") == tmp_path / "new" / "cache"
    assert (tmp_path / "new" / "cache").stat().st_mode & 0o777 == 0o700
    # Others may look at it.
    (tmp_path / "new" / "cache").chmod(0o755)
    assert choose(tmp_path / "new" / "cache") == tmp_path / "new" / "cache"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o720, 0o702])
def test_folder_that_others_can_write_is_not_used(choose, tmp_path, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.warns(HFControlWarning, match="can be written by other users") as said:
        chosen = choose(folder)
    assert chosen == tmp_path / f"hfcontrol-{os.getuid()}"
    assert f"compiled code goes to {chosen}" in str(said[0].message)
    assert "\n" not in str(said[0].message)


def test_link_is_not_used(choose, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.warns(HFControlWarning, match="is a link"):
        assert choose(tmp_path / "link") != tmp_path / "link"


def test_temporary_folder_that_another_user_made_is_not_used(
    choose, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    mine = os.getuid()
    (tmp_path / f"hfcontrol-{mine + 1}").mkdir()
    monkeypatch.setattr(cache.os, "getuid", lambda: mine + 1)
    # The file makes the first choice impossible, the owner the second one.
    with pytest.warns(HFControlWarning, match="belongs to another user"):
        assert choose(tmp_path / "file" / "cache") is None


def test_without_any_folder_code_is_not_kept(choose, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache.Path, "mkdir", fail)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", fail)
    with pytest.warns(HFControlWarning, match="Read-only file system.* is not kept"):
        assert choose(tmp_path / "cache") is None


def test_regular_files_alone_are_read(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_regular_file(file, 5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, more than 4"):
        read_regular_file(file, 4)
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError):
            read_regular_file(tmp_path / name, 5)


FROM_ELSEWHERE = """
from elsewhere import MASS
STATE, CONTROL = ("place", "place_rate"), ("force",)
DT, INTEGRATOR = 1.0, "euler"

def dynamics(x, u, p, dx):
    dx[0] = x[1]
    dx[1] = u[0] / MASS
"""


def test_constant_of_a_plant_that_stands_in_another_file_is_noticed(
    tmp_path, monkeypatch
):
    """In one process the file of the plant is the same, its constants are not."""
    monkeypatch.syspath_prepend(tmp_path)
    steps = []
    for mass in (1.0, 2.0):
        module = ModuleType("elsewhere")
        module.MASS = mass
        monkeypatch.setitem(sys.modules, "elsewhere", module)
        kernels = compile_plant(read_plant(FROM_ELSEWHERE, "mass.py"))
        after = kernels.step(np.zeros((2, 1)), np.ones((1, 1)), np.zeros((0, 1)))
        steps.append(after[1, 0])
    assert steps == [1.0, 0.5]


UNWRITTEN = """
STATE, CONTROL, DT = ("a", "b"), ("c",), 1.0

def step(x, u, p, dt, x_next):
    x_next[0] = x[0] + u[0]
    if x[0] < 9.0:
        x_next[1] = x[1]
"""


def test_entry_that_is_left_out_is_nan_and_not_what_was_there_before():
    kernels = compile_plant(read_plant(UNWRITTEN, "unwritten.py"))
    x = np.array([[0.0, 10.0, 1.0], [5.0, 5.0, 5.0]])
    after = kernels.step(x, np.zeros((1, 3)), np.zeros((0, 3)))
    np.testing.assert_array_equal(after[1], [5.0, np.nan, 5.0])
