"""What the sections share: one training with marks, tables, and a description of the machine."""

import os
import platform

import numpy as np

from hfcontrol.arrays.random import Stream, stream
from hfcontrol.evaluation.evaluation import hand_errors
from hfcontrol.runs.factory import make_trainer, prepare
from hfcontrol.runs.settings import Settings


def machine():
    """The machine and the versions that the figures belong to."""
    import numba
    import scipy

    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(
                line.split(":")[1].strip()
                for line in file
                if line.startswith("model name")
            )
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "scipy": scipy.__version__,
    }


def training(thresholds, by="loss", **settings):
    """One training; the first time each threshold of true loss, or of its ratio to optimal, was reached.

    Returns a dict: `marks` {threshold: {seconds, updates, rollouts, products}}, the last `loss`, `ratio`, mean hand error
    [mm] and where the hand error first went below 1 mm.
    """
    settings = Settings(**settings)
    trainer = make_trainer(settings)
    prepare(trainer, settings)
    loop = trainer.loop(stream(settings.seed, Stream.SCENARIOS))
    optimal = trainer.optimal(loop) if by == "ratio" else None
    state = trainer.init(
        trainer.network.initial(stream(settings.seed, Stream.WEIGHTS)),
        stream(settings.seed, Stream.SCENARIOS),
    )
    marks, products, last = {}, 0, min(thresholds)
    for event in trainer.run(state):
        state = event.state
        products += event.report.iterations if event.kind == "update" else 0
        reached = state.loss if by == "loss" else state.loss / optimal
        spent = {
            "seconds": state.seconds,
            "updates": state.updates,
            "rollouts": state.rollouts,
            "products": products,
        }
        for threshold in thresholds:
            if reached <= threshold:
                marks.setdefault(str(threshold), spent)
        if event.kind != "update" or event.rollout.linear_model.replaces_plant is False:
            errors = hand_errors(event.loop, event.rollout)
            if errors is not None and errors.mean() < 1e-3:
                marks.setdefault("hand < 1 mm", spent)
        if (
            reached <= last
            and event.kind != "update"
            or str(last) in marks
            and settings.hold != "model"
        ):
            break
    return {
        "marks": marks,
        "loss": state.loss,
        "ratio": optimal and state.loss / optimal,
        "updates": state.updates,
        "rollouts": state.rollouts,
        "seconds": state.seconds,
        "stop": event.stop.word if event.stop else "target",
        "hand_mm": None if errors is None else 1e3 * float(errors.mean()),
        "theta": state.theta,
    }


def spread(values):
    """Median and worst of the values that there are, with the count of those missing."""
    there = [v for v in values if v is not None]
    missing = len(values) - len(there)
    if not there:
        return {"median": None, "worst": None, "missing": missing}
    return {"median": float(np.median(there)), "worst": max(there), "missing": missing}


def show(number, digits=3):
    """A number for a table."""
    return "-" if number is None else f"{number:.{digits}g}"


def table(title, header, rows):
    """Prints a table with columns as wide as their contents."""
    cells = [header, *rows]
    widths = [max(len(str(row[i])) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for row in cells:
        print(
            "  ".join(
                str(cell).ljust(width) for cell, width in zip(row, widths)
            ).rstrip(),
            flush=True,
        )
