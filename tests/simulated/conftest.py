"""These tests run CUDA kernels in Numba's simulator, which has to be asked for before Numba is imported: test_simulated.py runs them
in a process of their own."""

import os
import sys

import pytest

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
collect_ignore_glob = [] if SIMULATED else ["test_*.py"]

if SIMULATED:
    sys.path.insert(0, os.path.dirname(__file__))
    import stand_in

    @pytest.fixture(autouse=True)
    def device(monkeypatch):
        """The stand-in takes the place of CuPy, and kernels run in the simulator, in warps of 4 threads."""
        from hfcontrol import backend
        from hfcontrol.kernels import cuda
        from hfcontrol.sweeps import cuda as sweeps

        for name, module in stand_in.module().items():
            monkeypatch.setitem(sys.modules, name, module)
        forget = backend._cupy.cache_clear
        forget()
        monkeypatch.setattr(cuda, "THREADS", 8)
        monkeypatch.setattr(sweeps, "LANES", 4)
        launch, launch_blocks = cuda.launch, cuda.launch_blocks
        monkeypatch.setattr(cuda, "launch", lambda kernel, threads, *arguments: launch(
            kernel, threads, *map(stand_in.launched, arguments)))
        monkeypatch.setattr(cuda, "launch_blocks", lambda kernel, blocks, threads, shared, *arguments: launch_blocks(
            kernel, blocks, threads, shared, *map(stand_in.launched, arguments)))
        yield stand_in.ndarray
        forget()
