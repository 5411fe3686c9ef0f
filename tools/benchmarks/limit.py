"""How near the passes come to this machine's matrix products, and how time and memory grow.

Operations of one pass over N trials, T steps and P weights (multiplications and additions): rollout 2 P N T, tangent
4 P N T, adjoint 4 P N T, and G @ v the last two: 8 P N T. What the plant and the activations cost is not counted, nor
what `store_every` computes again (2 P N T in tangent and adjoint each). The matrix-product rate is that of float64
products of 1,024 x 1,024, measured in the same run with as many threads.
"""

import time
import tracemalloc

import numba
import numpy as np

from benchmarks.report import show, table
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.arrays.threads import blas_threads
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings

# trials, steps, units of each of two layers, steps from one stored step to the next
SIZES = [
    (64, 40, 32, 1),
    (512, 40, 32, 1),
    (4096, 40, 32, 1),
    (16384, 40, 32, 1),
    (64, 400, 32, 1),
    (64, 4000, 32, 1),
    (64, 4000, 32, 64),
    (64, 40, 16, 1),
    (64, 40, 96, 1),
    (64, 40, 256, 1),
    (512, 40, 96, 1),
]
FEW, REPEATS = 0.4, 30


def measure(seeds):
    """Rows of size and threads with the rates of each pass."""
    rows = []
    for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):
        numba.set_num_threads(threads)
        with blas_threads(threads):
            product = (
                2
                * 1024**3
                / seconds(lambda a=np.random.default_rng(0).random((1024, 1024)): a @ a)
                / 1e9
            )
        for size in SIZES:
            rows.append({"threads": threads, "product_rate": product, **case(*size)})
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    table(
        "rates [GFLOP/s] (fraction of this machine's matrix-product rate)",
        (
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
        ),
        [
            (
                r["threads"],
                r["trials"],
                r["steps"],
                r["units"],
                r["store_every"],
                *(
                    f"{r[name]:.1f} ({r[name] / r['product_rate']:.2f})"
                    for name in ("rollout", "jvp", "vjp", "product")
                ),
                show(r["ms"]),
                show(r["bytes"] / 1e3),
            )
            for r in rows
        ],
    )
    return rows


def seconds(f):
    """Median seconds of a call, over as many as fit into a fraction of a second."""
    f()
    spent = []
    while len(spent) < 3 or (sum(spent) < FEW and len(spent) < REPEATS):
        begin = time.perf_counter()
        f()
        spent.append(time.perf_counter() - begin)
    return float(np.median(spent))


def case(trials, steps, units, store_every):
    """Rates of the passes of arm2 with two layers of so many units, and the memory of a linearised rollout."""
    settings = Settings(
        trials=trials,
        steps=steps,
        hidden=(units, units),
        running=0.05,
        effort=1e-3,
        store_every=store_every,
    )
    trainer = make_trainer(settings)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    theta = 0.1 * trainer.network.initial(np.random.default_rng(0))
    v = np.random.default_rng(1).standard_normal(theta.size)
    loop.linearise(loop.rollout(theta))
    tracemalloc.start()
    linear = loop.linearise(loop.rollout(theta))
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    G, w, work = (
        GaussNewton(linear),
        linear.jvp(v),
        2 * theta.size * trials * steps / 1e9,
    )
    times = {
        "rollout": seconds(lambda: loop.rollout(theta)),
        "jvp": seconds(lambda: linear.jvp(v)),
        "vjp": seconds(lambda: linear.vjp(w)),
        "product": seconds(lambda: G @ v),
    }
    counts = {"rollout": 1, "jvp": 2, "vjp": 2, "product": 4}
    return {
        "trials": trials,
        "steps": steps,
        "units": units,
        "store_every": store_every,
        "ms": 1e3 * times["product"],
        "bytes": memory / (trials * steps),
        **{name: counts[name] * work / times[name] for name in times},
    }
