"""Tests of what runs on a GPU. With NUMBA_ENABLE_CUDASIM=1, which has to be set before Numba is imported, kernels run in its simulator
and a stand-in takes CuPy's place: test_simulated.py runs them so in a process of their own. Where there is a GPU, `pytest -m gpu`
runs the same tests on it. Otherwise there is nothing to run."""

import os
import sys

import pytest

from hfcontrol.arrays import device as backend
from hfcontrol.closed_loop.passes import cuda_layout
from hfcontrol.kernels import cuda

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
collect_ignore_glob = (
    [] if SIMULATED or backend.resolve_device("auto") == "gpu" else ["test_*.py"]
)

if SIMULATED:
    sys.path.insert(0, os.path.dirname(__file__))
    import stand_in


def pytest_collection_modifyitems(items):
    for item in items:
        if os.path.dirname(__file__) in str(item.path):
            item.add_marker(pytest.mark.gpu)
            if not SIMULATED and "device" in item.fixturenames:
                item.add_marker(
                    pytest.mark.skip("counts what only the stand-in counts")
                )


@pytest.fixture(autouse=SIMULATED)
def device(monkeypatch):
    """The stand-in takes the place of CuPy, and kernels run in the simulator, in warps of 4 threads."""
    for name, module in stand_in.module().items():
        monkeypatch.setitem(sys.modules, name, module)
    forget = backend._cupy.cache_clear
    forget()
    monkeypatch.setattr(cuda, "THREADS", 8)
    monkeypatch.setattr(cuda_layout, "WARP", 4)
    launch, launch_blocks = cuda.launch, cuda.launch_blocks
    monkeypatch.setattr(
        cuda,
        "launch",
        lambda kernel, threads, *arguments: launch(
            kernel, threads, *map(stand_in.launched, arguments)
        ),
    )
    monkeypatch.setattr(
        cuda,
        "launch_blocks",
        lambda kernel, blocks, threads, shared, *arguments: launch_blocks(
            kernel, blocks, threads, shared, *map(stand_in.launched, arguments)
        ),
    )
    yield stand_in.ndarray
    forget()
