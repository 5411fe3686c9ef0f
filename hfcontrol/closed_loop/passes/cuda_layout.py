"""How passes on a GPU divide their work and their memory.

`BlockLayout` divides trials and units among blocks of threads. `Sections` divides one
array of activations among the input and the layers.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.device import processor_count
from hfcontrol.arrays.types import Array
from hfcontrol.errors import DeviceError
from hfcontrol.kernels.cuda.arguments import NetworkTables
from hfcontrol.network.architecture import Layer
from hfcontrol.network.network import Network

# Threads that a GPU runs in lockstep.
WARP = 32

# Bytes that a block of threads can share without special permission.
SHARED_BYTES = 48 * 1024

# Possible numbers of trials in a block. The largest is taken that still leaves a block
# for every multiprocessor.
TRIALS_PER_BLOCK = (32, 16, 8, 4, 2, 1)

# Most trials of a thread: it uses each weight that it reads once per trial.
MOST_TRIALS_PER_THREAD = 8

# Most units of a thread at a time: it uses each activation that it reads once per unit.
MOST_UNITS_PER_THREAD = 4

# With the registers that a kernel uses, a block of more threads would not start.
MOST_THREADS = 256


class BlockLayout(NamedTuple):
    """How trials and units are divided among blocks of threads.

    `threads` are those of a block, along units and along trials; `shared_bytes` are
    those of a block.
    """

    trials_per_block: int
    trials_per_thread: int
    units_per_thread: int
    threads: tuple[int, int]
    blocks: int
    shared_bytes: int


def choose_layout(network: Network, itemsize: int, trials: int) -> BlockLayout:
    """The layout for a number of trials.

    Raises DeviceError if the activations of a trial do not fit into shared memory.
    """
    # A block shares the activations of two steps: of this one and of the one before.
    bytes_per_trial = 2 * network.n_activations * itemsize
    fitting = [n for n in TRIALS_PER_BLOCK if n * bytes_per_trial <= SHARED_BYTES]
    if not fitting:
        raise DeviceError(
            f"`device` gpu: the {network.n_activations} activations of this network "
            f"take {bytes_per_trial} bytes per trial, and a block of threads shares "
            f"{SHARED_BYTES}; use fewer units, or `device` cpu"
        )

    tile = fitting[-1]
    for candidate in fitting:
        blocks = -(-trials // candidate)
        if blocks >= processor_count():
            tile = candidate
            break

    widest = max(layer.size for layer in network.layers)
    together = min(tile, MOST_TRIALS_PER_THREAD)
    # A thread that reads a weight for one trial only gains nothing from more units.
    units = 1
    if together > 1:
        units = min(MOST_UNITS_PER_THREAD, -(-widest // WARP))

    groups = tile // together
    warps = -(-widest // (WARP * units))
    threads = (min(WARP * warps, MOST_THREADS // groups), groups)
    return BlockLayout(
        trials_per_block=tile,
        trials_per_thread=together,
        units_per_thread=units,
        threads=threads,
        blocks=-(-trials // tile),
        shared_bytes=tile * bytes_per_trial,
    )


class Sections:
    """The sections of an array of activations: of the input and of each layer.

    Each is (T+1, N, size) and lies behind the one before, as in kernels/cuda/layers.py.
    `starts` and `ends` are their edges in the flat array.
    """

    def __init__(self, network: Network, steps: int, trials: int) -> None:
        self.network, self.steps = network, steps
        sizes = [network.n_input, *[layer.size for layer in network.layers]]
        self.shapes = [(steps + 1, trials, size) for size in sizes]
        self.ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        self.starts = np.concatenate([[0], self.ends[:-1]])

        # Section by the first unit of a source; the input begins with unit 0.
        self.indices = {0: 0}
        for k, layer in enumerate(network.layers):
            self.indices[layer.units.start] = k + 1

    @property
    def length(self) -> int:
        """Number of entries of the flat array."""
        return int(self.ends[-1])

    def split(self, flat: Array) -> list[Array]:
        """Views of the sections of an array, (T+1, N, size) each."""
        edges = zip(self.starts, self.ends, strict=True)
        parts = [flat[start:end] for start, end in edges]
        shapes = self.shapes
        return [a.reshape(shape) for a, shape in zip(parts, shapes, strict=True)]

    def split_each(self, arrays: Array) -> list[Array]:
        """Views of the layers' sections of K arrays, without the start.

        (K, T, N, size) each.
        """
        views = []
        # The first section is that of the input, and the first time the start.
        for k in range(1, len(self.shapes)):
            section = arrays[:, self.starts[k] : self.ends[k]]
            by_time = section.reshape(len(arrays), *self.shapes[k])
            views.append(by_time[:, 1:])
        return views


class CudaActivations:
    """The activations of a rollout, in one array with sections."""

    def __init__(self, sections: Sections, flat: Array) -> None:
        self.sections, self.flat = sections, flat

    @cached_property
    def layer_inputs(self) -> list[Array]:
        """What each layer multiplies by its matrix (T N, columns).

        The last column is 1, for the bias.
        """
        views = self.sections.split(self.flat)
        layers = self.sections.network.layers
        return [self._layer_input(layer, views) for layer in layers]

    def _layer_input(self, layer: Layer, views: Sequence[Array]) -> Array:
        """`layer_inputs` of one layer, from views of the sections."""
        sections = self.sections
        parts = []
        for source in layer.sources:
            section = views[sections.indices[source.units.start]]
            # The first entry in time is the start, which only recurrence reads.
            first = 1 - source.lag
            part = section[first : first + sections.steps]
            parts.append(part.reshape(-1, part.shape[-1]))
        ones = np.ones_like(parts[0][..., :1])
        return np.concatenate([*parts, ones], axis=-1)


def make_tables(network: Network, sections: Sections) -> NetworkTables:
    """The architecture of a network as the kernels take it, still on the CPU."""
    layers = network.layers
    sources = [source for layer in layers for source in layer.sources]
    counts = [len(layer.sources) for layer in layers]
    tables = (
        [layer.units.start for layer in layers],
        [layer.size for layer in layers],
        [layer.cell == "tanh" for layer in layers],
        [layer.weights.start for layer in layers],
        [0, *np.cumsum(counts)],
        [source.units.start for source in sources],
        [source.size for source in sources],
        [source.lag for source in sources],
        sections.starts,
    )
    return NetworkTables(*[np.array(table, dtype=np.int64) for table in tables])
