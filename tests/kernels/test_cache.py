"""The cache folder of the kernels is another one after any of their sources changes."""

import shutil

from hfcontrol.kernels.cache import (
    cache_folder,
    hash_sources,
    kernel_folder,
    kernel_sources,
)


def test_edited_source_changes_the_hash(tmp_path):
    helper, kernel = tmp_path / "helper.py", tmp_path / "kernel.py"
    helper.write_text("a = 1\n")
    kernel.write_text("b = 1\n")
    before = hash_sources([helper, kernel])
    assert hash_sources([helper, kernel]) == before

    helper.write_text("a = 2\n")
    assert hash_sources([helper, kernel]) != before


def test_renamed_source_changes_the_hash(tmp_path):
    old = tmp_path / "old.py"
    old.write_text("a = 1\n")
    new = shutil.copy(old, tmp_path / "new.py")
    assert hash_sources([old]) != hash_sources([new])


def test_kernel_folder_is_named_by_the_sources_of_all_kernels():
    names = {path.name for path in kernel_sources()}
    assert {"jit.py", "matrices.py", "derivatives.py", "tables.py"} <= names
    assert kernel_folder().parent == cache_folder()
    assert kernel_folder().name == f"kernels_{hash_sources(kernel_sources())}"
