"""The memory that a process may use, and how memory is written."""

import os
import resource

import numpy as np
import pytest

from hfcontrol.arrays import memory
from hfcontrol.arrays.memory import format_bytes, usable_memory


def test_usable_memory_is_at_most_that_of_the_machine():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < usable_memory() <= machine


def test_the_limit_of_the_process_counts(monkeypatch):
    limits = {resource.RLIMIT_AS: (10**8, resource.RLIM_INFINITY)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    assert usable_memory() == 10**8


@pytest.mark.parametrize("text, limit", [("12345\n", 12345), ("max\n", np.inf)])
def test_the_limit_of_the_container_counts(tmp_path, monkeypatch, text, limit):
    path = tmp_path / "memory.max"
    path.write_text(text, encoding="ascii")
    without = usable_memory()
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", path)
    assert usable_memory() == min(limit, without)


@pytest.mark.parametrize("count, text", [(4.04e9, "4.0 GB"), (12.3e6, "12 MB")])
def test_bytes_as_text(count, text):
    assert format_bytes(count) == text
