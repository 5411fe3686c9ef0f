"""What a device does with the passes and with whole trainings, meant to take less than 8 minutes on a GPU: `tools/bench device --device gpu`.

Products G @ v beside the device's own matrix products, in the same run; what float32 costs in the ratio to optimal that a training
reaches, and brings in time; `anywhere` on as many pairs as the device is for; and 32 seeds of the main job at once beside one alone.
On the CPU sizes that are for a GPU alone are left out.
"""

import tempfile
import time

import numpy as np

from benchmarks.report import machine, show, table
from hfcontrol.api.training import train
from hfcontrol.arrays.device import array_module, device_name, resolve_device, to_device
from hfcontrol.arrays.random import Stream, stream
from hfcontrol.closed_loop.loop import ClosedLoop
from hfcontrol.evaluation.evaluation import hand_errors
from hfcontrol.kernels import compile_plant
from hfcontrol.optim.curvature import GaussNewton
from hfcontrol.optim.yardstick import optimum
from hfcontrol.runs.factory import make_trainer
from hfcontrol.runs.seeds import train_seeds
from hfcontrol.runs.settings import settings_for

# trials, steps, units of each of two layers, kind of number, and whether a CPU is asked too
PRODUCTS = [
    (64, 40, 32, "float64", True),
    (64, 40, 32, "float32", True),
    (512, 40, 32, "float64", True),
    (512, 40, 32, "float32", True),
    (512, 40, 96, "float64", True),
    (512, 40, 96, "float32", True),
    (4096, 40, 32, "float64", False),
    (4096, 100, 128, "float64", False),
    (4096, 100, 128, "float32", False),
    (65536, 40, 32, "float32", False),
]
SQUARE = {"cpu": 1024, "gpu": 8192}  # of the matrix products
REPEATS, ENOUGH = 30, 1.0
COST = {"running": 0.05, "effort": 1e-3}
PAIRS, PAIRS_SECONDS = {"cpu": 512, "gpu": 65536}, {"cpu": 30, "gpu": 60}
HELD = 1000  # starts on which a controller is judged
TRAINED = 15.0  # seconds of each training by kind of number
MANY, MANY_ROLLOUTS = (
    range(32),
    130,
)  # of each: some 90 updates, lest one seed that takes ten times as many as the others decide alone


def measure(word):
    """All of it on a device, "cpu", "gpu" or "auto", as one dict."""
    device = resolve_device(word)
    name = machine()["processor"] if device == "cpu" else device_name()
    print(f"device: {name}", flush=True)
    return {
        "device": device,
        "name": name,
        "products": products(device),
        "kinds": kinds(device),
        "anywhere": anywhere(device),
        "seeds": many_seeds(device),
    }


def _waited(f, device):
    """Seconds of a call, done when the device is."""
    begin = time.perf_counter()
    f()
    if device == "gpu":
        array_module(None).cuda.Device().synchronize()
    return time.perf_counter() - begin


def _median(f, device):
    _waited(f, device)
    spent = []
    while len(spent) < 3 or (sum(spent) < ENOUGH and len(spent) < REPEATS):
        spent.append(_waited(f, device))
    return float(np.median(spent))


def products(device):
    """Rows of size with the time of G @ v and its part of the device's matrix-product rate, both measured here."""
    rates = {}
    for dtype in ("float64", "float32"):
        n = SQUARE[device]
        a = np.random.default_rng(0).random((n, n)).astype(dtype)
        a = a if device == "cpu" else to_device(a, dtype)
        rates[dtype] = 2 * n**3 / _median(lambda a=a: a @ a, device) / 1e9
    rows = []
    for trials, steps, units, dtype, small in PRODUCTS:
        if device == "cpu" and not small:
            continue
        settings = settings_for(
            plant="arm2",
            trials=trials,
            steps=steps,
            hidden=(units, units),
            device=device,
            dtype=dtype,
            **COST,
        )
        trainer = make_trainer(settings)
        loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
        theta = trainer.move(0.1 * trainer.network.initial(np.random.default_rng(0)))
        v = trainer.move(np.random.default_rng(1).standard_normal(theta.size))
        rollout = loop.rollout(theta)
        G, work = (
            GaussNewton(loop.linearise(rollout)),
            8 * theta.size * trials * steps / 1e9,
        )
        seconds = _median(lambda G=G, v=v: G @ v, device)
        rows.append(
            {
                "trials": trials,
                "steps": steps,
                "units": units,
                "dtype": dtype,
                "ms": 1e3 * seconds,
                "rollout_ms": 1e3
                * _median(lambda loop=loop, theta=theta: loop.rollout(theta), device),
                "jacobians_ms": 1e3
                * _median(
                    lambda loop=loop, rollout=rollout: loop.plant_jacobians(rollout), device
                ),
                "rate": work / seconds,
                "fraction": work / seconds / rates[dtype],
            }
        )
    table(
        f"G @ v, arm2 (matrix products: {show(rates['float64'])} GFLOP/s in float64, {show(rates['float32'])} in float32)",
        (
            "trials",
            "steps",
            "units",
            "numbers",
            "G @ v ms",
            "rollout ms",
            "Jacobians ms",
            "GFLOP/s",
            "of the products' rate",
        ),
        [
            (
                r["trials"],
                r["steps"],
                r["units"],
                r["dtype"],
                show(r["ms"]),
                show(r["rollout_ms"]),
                show(r["jacobians_ms"]),
                show(r["rate"]),
                f"{r['fraction']:.2f}",
            )
            for r in rows
        ],
    )
    return {"rates": rates, "rows": rows}


def _trained(settings):
    """The trainer, the weights after a training and its seconds; compiled before the clock starts."""
    trainer = make_trainer(settings)
    prepare(trainer, settings)
    theta = trainer.network.initial(stream(settings.seed, Stream.WEIGHTS))
    *_, last = trainer.run(trainer.init(theta, stream(settings.seed, Stream.SCENARIOS)))
    return trainer, last.state


def _judged(settings, trainer, theta, trials):
    """Held-out ratio and worst hand error [cm] of weights (P,), found on the CPU in float64."""
    kernels = compile_plant(trainer.plant)
    scenario = trainer.task.draw(
        stream(settings.seed, Stream.HELD_OUT), "held_out", trials
    )
    loop = ClosedLoop(trainer.plant, kernels, trainer.network, scenario, trainer.wiring)
    rollout = loop.rollout(theta)
    best = optimum(kernels, trainer.plant, scenario, trainer.wiring).losses.mean()
    return float(rollout.loss / best), 100 * float(hand_errors(loop, rollout).max())


def kinds(device):
    """Rows of the kind of number with the held-out ratio that trainings of the same length reach."""
    rows = []
    for cost, words in (
        (COST, "running 0.05, effort 1e-3"),
        ({"effort": 1e-4}, "effort 1e-4"),
    ):
        for dtype in ("float64", "float32"):
            for seed in range(3):
                settings = settings_for(
                    plant="arm2",
                    device=device,
                    dtype=dtype,
                    seed=seed,
                    max_seconds=TRAINED,
                    **cost,
                )
                trainer, state = _trained(settings)
                ratio, _ = _judged(settings, trainer, state.theta, None)
                rows.append(
                    {
                        "cost": words,
                        "dtype": dtype,
                        "seed": seed,
                        "ratio": ratio,
                        "updates": state.updates,
                        "seconds": state.seconds,
                    }
                )
    table(
        f"what float32 costs, arm2 reach, at most {TRAINED:g} s",
        ("cost", "numbers", "seed", "held-out ratio", "updates", "seconds"),
        [
            (
                r["cost"],
                r["dtype"],
                r["seed"],
                f"{r['ratio']:.6f}",
                r["updates"],
                f"{r['seconds']:.1f}",
            )
            for r in rows
        ],
    )
    return rows


def anywhere(device):
    """Held-out ratio and worst hand error after a training from anywhere to anywhere."""
    settings = settings_for(
        plant="arm2",
        task="anywhere",
        trials=PAIRS[device],
        device=device,
        max_seconds=PAIRS_SECONDS[device],
    )
    trainer, state = _trained(settings)
    ratio, worst = _judged(settings, trainer, state.theta, HELD)
    row = {
        "pairs": PAIRS[device],
        "ratio": ratio,
        "worst_cm": worst,
        "updates": state.updates,
        "seconds": state.seconds,
    }
    table(
        "anywhere, arm2",
        ("pairs", "held-out ratio", "worst hand error [cm]", "updates", "seconds"),
        [
            (
                row["pairs"],
                f"{ratio:.4f}",
                f"{worst:.2f}",
                row["updates"],
                f"{row['seconds']:.1f}",
            )
        ],
    )
    return row


def many_seeds(device):
    """Seconds of 32 seeds of the main job, all at once on a GPU, and of one, with all checkpoints; the kernels were made before."""
    asked = {"plant": "arm2", "rollouts": MANY_ROLLOUTS, "device": device}

    def seconds(seeds):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            if len(seeds) > 1:
                train_seeds(settings_for(**asked), list(seeds), folder)
            else:
                train(**asked, out=folder)
            return time.perf_counter() - begin

    spent = {}
    for seeds in (MANY[:1], MANY):
        if device == "gpu" or len(seeds) == 1:
            seconds(seeds)
        spent[len(seeds)] = seconds(seeds)
    times = spent[len(MANY)] / spent[1]
    table(
        f"seeds of the main job, {MANY_ROLLOUTS} rollouts each",
        ("seeds", "seconds", "times those of one"),
        [(n, f"{s:.2f}", f"{s / spent[1]:.1f}") for n, s in spent.items()],
    )
    return {"seconds": {str(n): s for n, s in spent.items()}, "times": times}
