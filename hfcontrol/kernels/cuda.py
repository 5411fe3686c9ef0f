"""The kernels of a compiled plant on a GPU, made by Numba for CUDA from the very source that the CPU's are made from.

The only module that imports numba.cuda. A source piece is rewritten for CUDA in two ways: `njit` becomes a device function, and
`np.empty` becomes a local array, of a size that is known by name when the module is made. One thread does what the CPU does for
one trial, or one time, perturbed variable and trial of a Jacobian.
"""

import ast

from numba import config, cuda

from hfcontrol.arrays.device import to_device
from hfcontrol.errors import DeviceError
from hfcontrol.kernels.cpu import CompiledKernels, map_pieces
from hfcontrol.kernels.generate import load_module, read_piece

THREADS = 128  # in a block of a kernel whose threads are independent
HEADER = "import math\n\nimport numpy as np\nfrom numba import boolean, cuda, float32, float64\n"


class _ForDevice(ast.NodeTransformer):
    """Rewrites a source piece for CUDA; `sizes` gives the numbers behind the names of array sizes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def visit_FunctionDef(self, node):
        if any(
            ast.unparse(decorator).startswith("njit")
            for decorator in node.decorator_list
        ):
            node.decorator_list = [ast.parse("cuda.jit(device=True)", mode="eval").body]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node):
        return None if node.module.startswith("numba") else node

    def visit_Call(self, node):
        self.generic_visit(node)
        if ast.unparse(node.func) != "np.empty":
            return node
        shape = eval(
            compile(ast.Expression(node.args[0]), "size", "eval"), {}, self.sizes
        )
        shape = (
            tuple(max(n, 1) for n in shape)
            if isinstance(shape, tuple)
            else max(shape, 1)
        )  # none may be empty
        kind = (
            ast.unparse(node.keywords[0].value).replace("np.bool_", "boolean")
            if node.keywords
            else "float64"
        )
        return ast.parse(f"cuda.local.array({shape}, {kind})", mode="eval").body


def device_source(pieces, sizes):
    """The text of a CUDA module of some source pieces."""

    def rewritten(text):
        return ast.unparse(
            ast.fix_missing_locations(_ForDevice(sizes).visit(ast.parse(text)))
        )

    return "\n\n\n".join([HEADER, *map(rewritten, pieces)]) + "\n"


def plant_sizes(plant):
    """The numbers behind the names of array sizes in the pieces of a plant."""
    return {
        "NX": plant.n_body,
        "NU": plant.nu,
        "nx": plant.nx,
        "nu": plant.nu,
        "ny": plant.ny,
        "N_OBSERVABLE": plant.n_observable,
    }


def load_device_module(stem, pieces, sizes):
    """The CUDA module of some source pieces, whose kernels are compiled at their first launch, or loaded from Numba's cache."""
    return load_module(f"cuda_{stem}", [device_source(pieces, sizes)])


def launch(kernel, threads, *arguments):
    """Runs a kernel of so many threads, each for itself."""
    kernel[-(-threads // THREADS), THREADS](*map(_seen, arguments))


def launch_blocks(kernel, blocks, threads, shared, *arguments):
    """Runs a kernel of blocks of threads, which share so many bytes."""
    kernel[blocks, threads, 0, shared](*map(_seen, arguments))


def _seen(argument):
    """An argument as Numba's dispatcher knows it, also within a tuple: an array of CuPy's as one of Numba's on the same memory.

    Numba need not wait for the stream that CuPy names: both use the default one.
    """
    if isinstance(argument, tuple):
        return tuple(map(_seen, argument))
    return (
        cuda.as_cuda_array(argument, sync=False)
        if hasattr(argument, "__cuda_array_interface__")
        else argument
    )


class CudaKernels(CompiledKernels):
    """Kernels of a plant on a GPU: what they are given they take there, and their results stay there."""

    device = "gpu"

    def __init__(self, plant):
        if (
            getattr(cuda, "implementation", "") != "NVIDIA"
            and not config.ENABLE_CUDASIM
        ):
            raise DeviceError(
                "--device gpu: numba-cuda is not installed; pip install -e '.[gpu]' in hfcontrol's folder, or give --device cpu"
            )
        super().__init__(plant)

    def _device_module(self, name, nt=0):
        """The module of a map that is given nt numbers of a target."""
        if (name, nt) not in self._modules:
            plant = self.plant
            nr = {"step": plant.nx, "observe": plant.ny, "output": plant.nz}.get(
                name
            ) or len(plant.residuals[name])
            pieces = [
                *map_pieces(plant, name),
                read_piece("cuda_map"),
                *([read_piece("cuda_simulate")] if name == "step" else []),
            ]
            self._modules[name, nt] = load_device_module(
                f"{plant.name}_{name}",
                pieces,
                {"nr": nr, "nt": nt, **plant_sizes(plant)},
            )
        return self._modules[name, nt]

    def _run(self, name, kernel, *arguments):
        x, last = arguments[0], arguments[-1]
        if kernel == "map_values":
            threads, module = (
                len(last) * last.shape[2],
                self._device_module(name, arguments[2].shape[1]),
            )
        elif kernel == "map_slopes":
            variables = x.shape[1] + arguments[1].shape[1]
            threads, module = (
                len(last) * variables * last.shape[3],
                self._device_module(name, arguments[2].shape[1]),
            )
        else:
            threads, module = last.shape[2], self._device_module(name)
        launch(
            getattr(module, f"device_{kernel.removeprefix('map_')}"),
            threads,
            *arguments,
        )

    @staticmethod
    def _own(a):
        return to_device(a)
