"""Passes and whole trainings on a device: `tools/bench device --device gpu`.

* Products G @ v, next to the device's own matrix products in the same run.
* What float32 costs in the ratio to optimal that a training reaches.
* `anywhere` on as many pairs as the device is made for.

On a GPU it is meant to take less than 8 minutes. On the CPU, sizes that are for a GPU
alone are left out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import (
    SMALLEST,
    SMALLEST_SECONDS,
    Row,
    machine,
    show,
    table,
)
from hfcontrol.arrays.device import array_module, device_name, resolve_device, to_device
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.evaluation.evaluation import hand_errors
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.settings import Settings, settings_for
from hfcontrol.studies.harness import Setup

DTYPES = ("float64", "float32")
REPEATS = 30
ENOUGH = 1.0  # [s] of calls whose median is taken
LEAST_CALLS = 3

COST: dict[str, Any] = {"running": 0.05, "effort": 1e-3}
COSTS: dict[str, dict[str, Any]] = {
    "running 0.05, effort 1e-3": COST,
    "effort 1e-4": {"effort": 1e-4},
}


class Size(NamedTuple):
    """Trials, steps, units of each of two layers, dtype, and whether a CPU runs it."""

    trials: int
    steps: int
    units: int
    dtype: str
    on_cpu: bool = True


PRODUCTS = (
    Size(64, 40, 32, "float64"),
    Size(64, 40, 32, "float32"),
    Size(512, 40, 32, "float64"),
    Size(512, 40, 32, "float32"),
    Size(512, 40, 96, "float64"),
    Size(512, 40, 96, "float32"),
    Size(4096, 40, 32, "float64", False),
    Size(4096, 100, 128, "float64", False),
    Size(4096, 100, 128, "float32", False),
    Size(65536, 40, 32, "float32", False),
)


@dataclass(frozen=True)
class Sizes:
    """Sizes of everything that is measured.

    products: sizes of G @ v; square: rows of the matrices that are multiplied.
    seeds, seconds: of each training by dtype.
    pairs, pairs_seconds: trials and seconds of the training from anywhere to anywhere.
    held_out: starts on which that controller is evaluated.
    problem: settings of every training.
    """

    products: Sequence[Size]
    square: int
    pairs: int
    pairs_seconds: float
    seeds: int = 3
    seconds: float = 15.0
    held_out: int = 1000
    problem: dict[str, Any] = field(default_factory=dict)


# Products of these sizes reach the highest rate of the device.
CPU = Sizes([size for size in PRODUCTS if size.on_cpu], 1024, 512, 30)
GPU = Sizes(PRODUCTS, 8192, 65536, 60)
SMALLEST_SIZES = Sizes(
    [Size(8, 10, 8, "float64"), Size(8, 10, 8, "float32")],
    square=64,
    pairs=8,
    pairs_seconds=SMALLEST_SECONDS,
    seeds=1,
    seconds=SMALLEST_SECONDS,
    held_out=8,
    problem=SMALLEST,
)


def measure(word: str, smallest: bool = False) -> Row:
    """Return all figures of a device, "cpu", "gpu" or "auto"."""
    device = resolve_device(word)
    name = machine()["processor"] if device == "cpu" else device_name()
    print(f"device: {name}", flush=True)
    sizes = CPU if device == "cpu" else GPU
    if smallest:
        sizes = SMALLEST_SIZES
    return {
        "device": device,
        "name": name,
        "products": measure_products(device, sizes),
        "kinds": measure_dtypes(device, sizes),
        "anywhere": measure_anywhere(device, sizes),
    }


def call_seconds(function: Callable[[], Any], device: str) -> float:
    """Return the seconds of a call, until the device has finished it."""
    begin = time.perf_counter()
    function()
    if device == "gpu":
        array_module(None).cuda.Device().synchronize()
    return time.perf_counter() - begin


def median_seconds(function: Callable[[], Any], device: str) -> float:
    """Return the median seconds of a call, after one that does not count."""
    call_seconds(function, device)
    spent: list[float] = []
    while len(spent) < LEAST_CALLS or (sum(spent) < ENOUGH and len(spent) < REPEATS):
        spent.append(call_seconds(function, device))
    return float(np.median(spent))


def product_rate(dtype: str, n: int, device: str) -> float:
    """Return the rate of products of n x n matrices [GFLOP/s]."""
    a = np.random.default_rng(0).random((n, n)).astype(dtype)
    if device == "gpu":
        a = to_device(a, dtype)
    return 2 * n**3 / median_seconds(lambda: a @ a, device) / 1e9


def measure_products(device: str, sizes: Sizes) -> Row:
    """Return rows of size with the time of G @ v and its part of the product rate."""
    rates = {dtype: product_rate(dtype, sizes.square, device) for dtype in DTYPES}
    rows = []
    for size in sizes.products:
        row = measure_size(size, device)
        row["fraction"] = row["rate"] / rates[size.dtype]
        rows.append(row)

    header = (
        "trials",
        "steps",
        "units",
        "dtype",
        "G @ v ms",
        "rollout ms",
        "Jacobians ms",
        "GFLOP/s",
        "of the products' rate",
    )
    lines = []
    for row in rows:
        figures = ("ms", "rollout_ms", "jacobians_ms", "rate", "fraction")
        sizes_of_row = [row[name] for name in Size._fields[:4]]
        lines.append([*sizes_of_row, *(show(row[name]) for name in figures)])
    title = (
        f"G @ v, arm2 (matrix products: {show(rates['float64'])} GFLOP/s in float64, "
        f"{show(rates['float32'])} in float32)"
    )
    table(title, header, lines)
    return {"rates": rates, "rows": rows}


def measure_size(size: Size, device: str) -> Row:
    """Return the times of arm2's operations at one size."""
    chosen = {
        "trials": size.trials,
        "steps": size.steps,
        "hidden": (size.units, size.units),
        "device": device,
        "dtype": size.dtype,
        **COST,
    }
    settings = settings_for(plant="arm2", **chosen)
    trainer: Any = make_trainer(settings)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    theta = trainer.move(0.1 * trainer.network.initial(np.random.default_rng(0)))
    v = trainer.move(np.random.default_rng(1).standard_normal(theta.size))
    rollout = loop.rollout(theta)
    G = GaussNewton(loop.linearise(rollout))

    seconds = median_seconds(lambda: G @ v, device)
    rollout_seconds = median_seconds(lambda: loop.rollout(theta), device)
    jacobians_seconds = median_seconds(lambda: loop.plant_jacobians(rollout), device)
    # Operations of a product, see limit.py.
    work = 8 * theta.size * size.trials * size.steps / 1e9
    return {
        "trials": size.trials,
        "steps": size.steps,
        "units": size.units,
        "dtype": size.dtype,
        "ms": 1e3 * seconds,
        "rollout_ms": 1e3 * rollout_seconds,
        "jacobians_ms": 1e3 * jacobians_seconds,
        "rate": work / seconds,
    }


def train_setup(settings: Settings) -> tuple[Setup, Any]:
    """Return a setup and the state after its training, without a curriculum."""
    setup = Setup(settings)
    *_, (last, _) = setup.events(setup.initial_state())
    return setup, last.state


def measure_dtypes(device: str, sizes: Sizes) -> list[Row]:
    """Return rows of dtype with the held-out ratio after equally long trainings."""
    rows = []
    for cost in COSTS:
        for dtype in DTYPES:
            for seed in range(sizes.seeds):
                chosen = {
                    **sizes.problem,
                    **COSTS[cost],
                    "device": device,
                    "dtype": dtype,
                    "seed": seed,
                    "max_seconds": sizes.seconds,
                }
                setup, state = train_setup(settings_for(plant="arm2", **chosen))
                row = {
                    "cost": cost,
                    "dtype": dtype,
                    "seed": seed,
                    "ratio": setup.held_out().ratio(state.theta),
                    "updates": state.updates,
                    "seconds": state.seconds,
                }
                rows.append(row)

    header = ("cost", "dtype", "seed", "held-out ratio", "updates", "seconds")
    lines = []
    for row in rows:
        ratio = f"{row['ratio']:.6f}"
        about = [row["cost"], row["dtype"], row["seed"]]
        lines.append([*about, ratio, row["updates"], f"{row['seconds']:.1f}"])
    table(f"float32, arm2 reach, at most {sizes.seconds:g} s", header, lines)
    return rows


def measure_anywhere(device: str, sizes: Sizes) -> Row:
    """Return held-out ratio and worst hand error after training on random reaches."""
    chosen = {
        **sizes.problem,
        "trials": sizes.pairs,
        "max_seconds": sizes.pairs_seconds,
        "device": device,
    }
    setup, state = train_setup(settings_for(plant="arm2", task="anywhere", **chosen))
    held_out = setup.held_out(sizes.held_out)
    errors = hand_errors(held_out.loop, held_out.loop.rollout(state.theta))
    # arm2 has a hand.
    assert errors is not None
    row = {
        "pairs": sizes.pairs,
        "ratio": held_out.ratio(state.theta),
        "worst_cm": 100 * float(errors.max()),
        "updates": state.updates,
        "seconds": state.seconds,
    }
    header = ("pairs", "held-out ratio", "worst hand error [cm]", "updates", "seconds")
    ratio, worst = f"{row['ratio']:.4f}", f"{row['worst_cm']:.2f}"
    line = [row["pairs"], ratio, worst, row["updates"], f"{row['seconds']:.1f}"]
    table("anywhere, arm2", header, [line])
    return row
