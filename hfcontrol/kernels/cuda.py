"""Kernels of a compiled plant on a GPU, by Numba for CUDA.

The only module that imports numba.cuda. The kernels come from the source pieces of the
CPU, rewritten in two ways: functions with `njit` become device functions, and
`np.empty` becomes a local array, whose size is known when the module is made. One
thread does what the CPU does for one trial, or for one time, perturbed variable and
trial of a Jacobian.
"""

import ast
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numba import config, cuda

from hfcontrol.arrays.device import to_device
from hfcontrol.arrays.types import Array
from hfcontrol.errors import DeviceError
from hfcontrol.kernels.base import STEP
from hfcontrol.kernels.cpu import CompiledKernels, by_trial
from hfcontrol.kernels.generate import INLINED, load_module, plant_pieces, read_piece
from hfcontrol.kernels.trajectories import Law
from hfcontrol.plant.contract import Plant

# Threads in a block of a kernel with independent threads.
THREADS = 128

# What the generated `plant_map` calls; other maps are residual functions.
MAPS = {
    "step": "plant_step(x, u, p, r)",
    "observe": "plant_observe(x, p, r)",
    "output": "plant_output(x, p, r)",
}


def map_pieces(plant: Plant, name: str) -> list[str]:
    """Return the source pieces of one map: one of MAPS, or a residual function.

    Those of the step simulate trajectories too.
    """
    body = MAPS.get(name, f"own_{name}(x, u, target, p, r)")
    plant_map = f"{INLINED}\ndef plant_map(x, u, target, p, r):\n    {body}\n"
    pieces = [*plant_pieces(plant), plant_map, read_piece("map")]
    if name == "step":
        pieces.append(read_piece("simulate"))
    return pieces


# First lines of a CUDA module.
HEADER = (
    "import math\n\nimport numpy as np\nfrom numba import boolean, cuda, float32, "
    "float64\n"
)


class _CudaRewriter(ast.NodeTransformer):
    """Rewrites a source piece for CUDA; `sizes` are the values of array sizes."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Make a compiled function a device function."""
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        if any(decorator.startswith("njit") for decorator in decorators):
            node.decorator_list = [ast.parse("cuda.jit(device=True)", mode="eval").body]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        """Drop imports from Numba: HEADER has those of CUDA."""
        return None if (node.module or "").startswith("numba") else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Make `np.empty` a local array."""
        self.generic_visit(node)
        if ast.unparse(node.func) != "np.empty":
            return node
        code = compile(ast.Expression(node.args[0]), "size", "eval")
        shape = eval(code, {}, dict(self.sizes))
        # CUDA has no empty local arrays.
        if isinstance(shape, tuple):
            shape = tuple(max(n, 1) for n in shape)
        else:
            shape = max(shape, 1)
        dtype = "float64"
        if node.keywords:
            dtype = ast.unparse(node.keywords[0].value).replace("np.bool_", "boolean")
        return ast.parse(f"cuda.local.array({shape}, {dtype})", mode="eval").body


def device_source(pieces: Iterable[str], sizes: Mapping[str, int]) -> str:
    """Return the text of a CUDA module of some source pieces."""
    texts = [HEADER]
    for piece in pieces:
        tree = _CudaRewriter(sizes).visit(ast.parse(piece))
        texts.append(ast.unparse(ast.fix_missing_locations(tree)))
    return "\n\n\n".join(texts) + "\n"


def plant_sizes(plant: Plant) -> dict[str, int]:
    """Return the values of the names of array sizes in the pieces of a plant."""
    return {
        "NX": plant.n_body,
        "NU": plant.nu,
        "nx": plant.nx,
        "nu": plant.nu,
        "ny": plant.ny,
        "N_OBSERVABLE": plant.n_observable,
    }


def load_device_module(
    stem: str, pieces: Iterable[str], sizes: Mapping[str, int]
) -> ModuleType:
    """Return the CUDA module of some source pieces.

    Its kernels are compiled, or loaded from Numba's cache, at their first launch.
    """
    return load_module(f"cuda_{stem}", [device_source(pieces, sizes)])


def launch(kernel: Any, threads: int, *arguments: Any) -> None:
    """Run a kernel with `threads` independent threads."""
    kernel[-(-threads // THREADS), THREADS](*map(_to_numba, arguments))


def launch_blocks(
    kernel: Any,
    blocks: tuple[int, int],
    threads: tuple[int, int],
    shared: int,
    *arguments: Any,
) -> None:
    """Run a kernel with blocks of threads; each block shares `shared` bytes."""
    kernel[blocks, threads, 0, shared](*map(_to_numba, arguments))


def _to_numba(argument: Any) -> Any:
    """Return an argument as Numba's dispatcher knows it, also within a tuple.

    A CuPy array becomes a Numba array on the same memory.
    """
    if isinstance(argument, tuple):
        return tuple(map(_to_numba, argument))
    if not hasattr(argument, "__cuda_array_interface__"):
        return argument
    # No synchronisation: CuPy and Numba both use the default stream.
    return cuda.as_cuda_array(argument, sync=False)


class CudaKernels(CompiledKernels):
    """Kernels of a plant on a GPU; their arguments and results are there."""

    device = "gpu"

    def __init__(self, plant: Plant) -> None:
        simulated = config.ENABLE_CUDASIM  # type: ignore[attr-defined]
        if getattr(cuda, "implementation", "") != "NVIDIA" and not simulated:
            raise DeviceError(
                "`device` gpu: numba-cuda is not installed; pip install -e '.[gpu]' in "
                "hfcontrol's folder, or use `device` cpu"
            )
        super().__init__(plant)
        self._modules: dict[Any, ModuleType] = {}

    def _device_module(self, name: str, nt: int = 0) -> ModuleType:
        """Return the module of a map for targets with `nt` entries."""
        key = (name, nt)
        if key not in self._modules:
            plant = self.plant
            sizes = {"nr": self._map_size(name), "nt": nt, **plant_sizes(plant)}
            pieces = [*map_pieces(plant, name), read_piece("cuda_map")]
            if name == "step":
                pieces.append(read_piece("cuda_simulate"))
            module = load_device_module(f"{plant.name}_{name}", pieces, sizes)
            self._modules[key] = module
        return self._modules[key]

    def _map_size(self, name: str) -> int:
        """Return the number of values of a map."""
        plant = self.plant
        sizes = {"step": plant.nx, "observe": plant.ny, "output": plant.nz}
        return sizes.get(name) or len(plant.residuals[name])

    def _run(self, name: str, kernel: str, *arguments: Array) -> None:
        last = arguments[-1]
        if kernel == "map_values":
            x, _, target = arguments[:3]
            threads = len(last) * last.shape[2]
            module = self._device_module(name, target.shape[1])
        elif kernel == "map_slopes":
            x, u, target = arguments[:3]
            variables = x.shape[1] + u.shape[1]
            threads = len(last) * variables * last.shape[3]
            module = self._device_module(name, target.shape[1])
        else:
            threads = last.shape[2]
            module = self._device_module(name)
        function = getattr(module, f"device_{kernel.removeprefix('map_')}")
        launch(function, threads, *arguments)

    def _simulate(
        self,
        p: Array,
        law: Law,
        v: Array,
        disturbance: Array,
        taper: Array,
        u: Array,
        x: Array,
    ) -> None:
        p = by_trial(p)
        if not law.gains.shape[0]:
            self._run("step", "simulate", u, p, disturbance, taper, x)
            return
        gains, reference, limit, gain, noise = law
        inputs = (v, gains, reference, p, limit, gain, noise, disturbance)
        # The last argument decides the number of threads.
        self._run("step", "regulate", *inputs, taper, x, u)

    def _values(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> Array:
        out = np.empty_like(x, shape=(len(x), size, x.shape[2]))
        self._run(name, "map_values", x, u, target, by_trial(p), out)
        return out

    def _slopes(
        self, name: str, x: Array, u: Array, target: Array, p: Array, size: int
    ) -> tuple[Array, Array]:
        K, nx, N = x.shape
        A = np.empty_like(x, shape=(K, size, nx, N))
        B = np.empty_like(x, shape=(K, size, u.shape[1], N))
        hx = self._own(STEP * self.plant.typical_state)
        hu = self._own(STEP * self.plant.typical_control)
        self._run(name, "map_slopes", x, u, target, by_trial(p), hx, hu, A, B)
        return A, B

    @staticmethod
    def _own(a: Any) -> Array:
        return to_device(a)
