"""Tests of GPU code, on a GPU or in a simulator.

With NUMBA_ENABLE_CUDASIM=1, which must be set before Numba is imported, kernels run in
Numba's simulator and a stand-in replaces CuPy. test_simulated.py runs the tests in this
way, each file in its own process. On a machine with a GPU, `pytest -m gpu` runs them on
it. Otherwise these tests are not collected.
"""

import os
import sys

import pytest

from hfcontrol.arrays import device as backend
from hfcontrol.closed_loop.passes import cuda_layout
from hfcontrol.kernels.cuda import device as cuda_device

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
collect_ignore_glob = (
    [] if SIMULATED or backend.resolve_device("auto") == "gpu" else ["test_*.py"]
)

if SIMULATED:
    sys.path.insert(0, os.path.dirname(__file__))
    import stand_in

    # The simulator polls the threads of a block until all of them wait or have ended.
    # Python would let it poll for 5 ms before one of them runs.
    sys.setswitchinterval(1e-5)


def pytest_collection_modifyitems(items):
    for item in items:
        if os.path.dirname(__file__) in str(item.path):
            item.add_marker(pytest.mark.gpu)
            if not SIMULATED and "device" in item.fixturenames:
                item.add_marker(pytest.mark.skip("only the stand-in counts transfers"))


@pytest.fixture(autouse=SIMULATED)
def device(monkeypatch):
    """The stand-in for CuPy; kernels run in the simulator, in warps of 4 threads."""
    for name, module in stand_in.make_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    forget_cupy = backend._cupy.cache_clear
    forget_cupy()
    monkeypatch.setattr(cuda_device, "THREADS", 8)
    monkeypatch.setattr(cuda_layout, "WARP", 4)
    launch, launch_blocks = cuda_device.launch, cuda_device.launch_blocks
    monkeypatch.setattr(
        cuda_device,
        "launch",
        lambda kernel, threads, *arguments: launch(
            kernel, threads, *map(stand_in.kernel_argument, arguments)
        ),
    )
    monkeypatch.setattr(
        cuda_device,
        "launch_blocks",
        lambda kernel, blocks, threads, shared, *arguments: launch_blocks(
            kernel, blocks, threads, shared, *map(stand_in.kernel_argument, arguments)
        ),
    )
    yield stand_in.ndarray
    forget_cupy()
