"""How close the passes come to this machine's matrix products; growth with size.

Operations of one pass over N trials, T steps and P weights (multiplications and
additions): rollout 2 P N T, tangent 4 P N T, adjoint 4 P N T, and G @ v the last two:
8 P N T. What the plant and the activations cost is not counted, nor what `store_every`
computes again (2 P N T in tangent and adjoint each). The matrix-product rate is that of
float64 products of 1,024 x 1,024, measured in the same run with as many threads.
"""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import Row, show, table
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.threads import blas_threads, limited_threads, thread_count
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings


class Size(NamedTuple):
    """Trials, steps, units of each of two layers, and `store_every`."""

    trials: int
    steps: int
    units: int
    store_every: int = 1


SIZES = (
    Size(64, 40, 32),
    Size(512, 40, 32),
    Size(4096, 40, 32),
    Size(16384, 40, 32),
    Size(64, 400, 32),
    Size(64, 4000, 32),
    # The same with a 64th of the memory.
    Size(64, 4000, 32, 64),
    Size(64, 40, 16),
    Size(64, 40, 96),
    Size(64, 40, 256),
    Size(512, 40, 96),
)
SMALLEST_SIZE = Size(8, 10, 8)

PRODUCT = 1024  # rows of the matrices that are multiplied

# A time is the median of at least three calls, and of as many as fit into this time.
ENOUGH = 0.4  # [s]
LEAST_CALLS = 3
MOST_CALLS = 30

# Operations in multiples of 2 P N T.
OPERATIONS = {"rollout": 1, "jvp": 2, "vjp": 2, "product": 4}


def measure(seeds: Sequence[int], smallest: bool = False) -> list[Row]:
    """Return rows of size and threads with the rates of each pass."""
    sizes = (SMALLEST_SIZE,) if smallest else SIZES
    rows = []
    for threads in sorted({1, thread_count()}):
        with limited_threads(threads):
            with blas_threads(threads):
                rate = product_rate()
            for size in sizes:
                rates = measure_size(size)
                rows.append({"threads": threads, "product_rate": rate, **rates})

    header = (
        "threads",
        "trials",
        "steps",
        "units",
        "store every",
        "rollout",
        "jvp",
        "vjp",
        "G @ v",
        "ms",
        "kB per trial-step",
    )
    title = "rates [GFLOP/s] (fraction of this machine's matrix-product rate)"
    table(title, header, [size_cells(row) for row in rows])
    return rows


def size_cells(row: Row) -> list[Any]:
    """Return the cells of a row in the printed table."""
    sizes = [row["threads"], *(row[name] for name in Size._fields)]
    rates = []
    for name in OPERATIONS:
        fraction = row[name] / row["product_rate"]
        rates.append(f"{row[name]:.1f} ({fraction:.2f})")
    return [*sizes, *rates, show(row["ms"]), show(row["bytes"] / 1e3)]


def product_rate() -> float:
    """Return the rate of matrix products [GFLOP/s]."""
    a = np.random.default_rng(0).random((PRODUCT, PRODUCT))
    return 2 * PRODUCT**3 / median_seconds(lambda: a @ a) / 1e9


def median_seconds(function: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after one that does not count."""
    function()
    spent: list[float] = []
    while len(spent) < LEAST_CALLS or (sum(spent) < ENOUGH and len(spent) < MOST_CALLS):
        begin = time.perf_counter()
        function()
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent))


def measure_size(size: Size) -> Row:
    """Return the rates of arm2's passes, and the memory of a linearised rollout."""
    settings = Settings(
        trials=size.trials,
        steps=size.steps,
        hidden=(size.units, size.units),
        running=0.05,
        effort=1e-3,
        store_every=size.store_every,
    )
    trainer: Any = make_trainer(settings)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    theta = 0.1 * trainer.network.initial(np.random.default_rng(0))
    v = np.random.default_rng(1).standard_normal(theta.size)

    # The first call may compile, which would count as memory.
    loop.linearise(loop.rollout(theta))
    tracemalloc.start()
    linear = loop.linearise(loop.rollout(theta))
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    G = GaussNewton(linear)
    w = linear.jvp(v)
    times = {
        "rollout": median_seconds(lambda: loop.rollout(theta)),
        "jvp": median_seconds(lambda: linear.jvp(v)),
        "vjp": median_seconds(lambda: linear.vjp(w)),
        "product": median_seconds(lambda: G @ v),
    }
    trial_steps = size.trials * size.steps
    work = 2 * theta.size * trial_steps / 1e9
    rates = {name: OPERATIONS[name] * work / times[name] for name in OPERATIONS}
    return {
        **size._asdict(),
        "ms": 1e3 * times["product"],
        "bytes": memory / trial_steps,
        **rates,
    }
