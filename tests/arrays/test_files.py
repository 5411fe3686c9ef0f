"""Files are written whole or not at all, and the reason is told."""

import errno
import os
from pathlib import Path

import pytest

from hfcontrol.arrays.files import atomic_write, expand_home
from hfcontrol.errors import UsageError


def test_the_first_error_is_told_on_a_read_only_file_system(monkeypatch, tmp_path):
    """Removing the temporary file fails there, too, although there is none."""

    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    path = tmp_path / "a.png"
    told = f"cannot write {path}: Read-only file system; choose another file with `out`"
    with pytest.raises(UsageError) as caught, atomic_write(path, (".png",)):
        pass
    assert str(caught.value) == told


def test_a_block_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path, (".txt",)) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_the_home_folder_in_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home("~/a/b.py") == Path("/home/me/a/b.py")
    assert expand_home("a~/b.py") == Path("a~/b.py")
    assert expand_home("~nobody-of-this-name/b") == Path("~nobody-of-this-name/b")
