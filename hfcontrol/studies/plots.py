"""Figures of the comparisons, each drawn from what its study told (compare/), which may be a part of it."""

import numpy as np

from hfcontrol.figures.output import figure_file
from hfcontrol.figures.plots import COLOURS, LINES
from hfcontrol.studies.gradients import front
from hfcontrol.studies.methods import at, mean_and_interval

NAMES = {
    "ctpg": "CTPG",
    "backsolve": "backsolve (Neural ODE)",
    "backsolve_checkpoints": "backsolve with checkpoints",
    "discrete": "discrete adjoint of the adaptive steps",
    "euler": "Euler, BPTT",
    "rk4": "RK4, BPTT",
}
BAND = (5, 95)  # [%] of the seeds
BEGUN = {
    "source": "first order as in the source",
    "same": "first order with Hessian-free's first weights and tolerances",
}
PLANES = {
    "diffdrive": ("x", "y"),
    "cartpole": ("pole", "pole_rate"),
}  # states that paths are drawn in
FLOOR, LEAST = 1e-16, 1e-6  # of errors, and of ratios above one, on a logarithmic axis


def draw(result, path):
    """Draws a study's result into a file; raises UsageError where that cannot be written."""
    kind = {
        "gradients": _gradients,
        "backsolve": _backsolve,
        "orders": _orders,
        "cells": _cells,
        "methods": _methods,
    }.get(result["study"], _training)
    kind(result, path)


def _gradients(result, path):
    plants = result["plants"]
    with figure_file(9.6, 3.6 * len(plants), path) as figure:
        rows = np.atleast_2d(figure.subplots(len(plants), 2, sharey="row"))
        for (name, found), pair in zip(plants.items(), rows):
            for ax, price, label in zip(
                pair,
                ("passes", "seconds"),
                ("evaluations, forward and backward", "time [s]"),
            ):
                for k, (estimator, told) in enumerate(NAMES.items()):
                    points = [p for p in found["points"] if p["estimator"] == estimator]
                    ax.plot(
                        [p[price] for p in points],
                        [max(p["error"], FLOOR) for p in points],
                        ls="",
                        marker=".",
                        ms=3,
                        color=COLOURS[k],
                        alpha=0.3,
                    )
                    ax.plot(
                        *zip(*((x, max(y, FLOOR)) for x, y in front(points, price))),
                        color=COLOURS[k],
                        lw=1.5,
                        label=told,
                    )
                ax.set(xscale="log", yscale="log", xlabel=label)
            pair[0].set(
                ylabel="error of the gradient",
                title=f"{name}, {result['samples']} samples",
            )
        figure.legend(
            *rows[0, 0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=3,
            fontsize=8,
        )


def _backsolve(result, path):
    with figure_file(9.0, 3.6, path) as figure:
        left, right = figure.subplots(1, 2)
        for k, (name, found) in enumerate(result["methods"].items()):
            style = {"color": COLOURS[k], "label": NAMES[name], "ls": LINES[k]}
            left.plot(found["loss"], **style)
            right.plot(np.maximum(found["error"], FLOOR), **style)
        left.axhline(result["optimum"], color="0.6", lw=0.8)
        left.set(
            xlabel="updates",
            ylabel="loss",
            ylim=(0, 60),
            title=f"regulator, {result['seconds']:g} s; the line is the optimum",
        )
        right.set(
            xlabel="updates", ylabel="error of the reconstructed start", yscale="log"
        )
        left.legend()


def _by_method(courses):
    """The courses of each method, in the order in which they came."""
    found = {}
    for course in courses:
        found.setdefault(course["method"], []).append(course)
    return found


def _curves(ax, courses, price):
    """The median cost over seeds and the band of most of them, by method, against evaluations or seconds."""
    for k, (method, same) in enumerate(_by_method(courses).items()):
        length = min(len(course["held_out"]) for course in same)
        x = np.median(
            [np.array(course[price][:length], dtype=float) for course in same], axis=0
        )
        y = np.array(
            [
                [np.inf if v is None else v for v in course["held_out"][:length]]
                for course in same
            ]
        )
        ax.plot(
            x,
            np.median(y, axis=0),
            color=COLOURS[k % len(COLOURS)],
            ls=LINES[k // len(COLOURS)],
            label=NAMES.get(method, method),
        )
        if len(same) > 1:
            ax.fill_between(
                x,
                *np.percentile(y, BAND, axis=0, method="nearest"),
                color=COLOURS[k % len(COLOURS)],
                alpha=0.15,
                lw=0,
            )
    ax.set(
        yscale="log",
        ylabel="held-out cost",
        xlabel={"evaluations": "evaluations", "seconds": "time [s]"}[price],
    )
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 4))


def _training(result, path):
    paths = result["paths"]
    plane = PLANES.get(result["study"])
    stages = (
        0
        if plane is None
        else len(paths["parts"])
        if result["study"] == "diffdrive"
        else len(paths["methods"])
    )
    with figure_file(max(8.4, 3.2 * stages), 3.6 + 3.4 * (stages > 0), path) as figure:
        upper, *lower = figure.subfigures(1 + (stages > 0), 1, squeeze=False)[:, 0]
        for ax, price in zip(
            upper.subplots(1, 2, sharey=True), ("evaluations", "seconds")
        ):
            _curves(ax, result["courses"], price)
        upper.axes[0].legend(fontsize=8)
        words, seeds = (
            "Hessian-free" if result["optimizer"] == "hf" else "first-order",
            result["seeds"],
        )
        figure.suptitle(
            f"{result['study']}, {words}: {result['updates']} updates, {result['trials']} trials, {seeds} seed{'s' * (seeds > 1)}"
        )
        if stages:
            axes = lower[0].subplots(
                1, stages, sharex=True, sharey=True, squeeze=False
            )[0]
            (_stages if result["study"] == "diffdrive" else _visited)(
                axes, paths, [paths["state"].index(name) for name in plane]
            )
            for ax in axes:
                ax.set(xlabel=plane[0].replace("_", " "))
            axes[0].set(ylabel=plane[1].replace("_", " "))


def _stages(axes, paths, places):
    """Held-out paths at every stage of the training, the methods over each other."""
    for stage, (ax, part) in enumerate(zip(axes, paths["parts"])):
        for k, (method, rollouts) in enumerate(paths["methods"].items()):
            if rollouts[stage] is not None:
                x = np.array(rollouts[stage])
                ax.plot(
                    x[:, places[0]],
                    x[:, places[1]],
                    color=COLOURS[k],
                    lw=1,
                    ls=LINES[k],
                    alpha=0.8,
                )
        ax.plot(0, 0, marker="+", color="black")
        ax.set(
            title=f"after {100 * part:.0f} % of the updates",
            aspect="equal",
            xlim=(-7.5, 7.5),
            ylim=(-7.5, 7.5),
        )


def _visited(axes, paths, places):
    """The states on the held-out paths of all stages, a panel for each method."""
    for k, (ax, (method, rollouts)) in enumerate(zip(axes, paths["methods"].items())):
        for rollout in (r for r in rollouts if r is not None):
            x = np.array(rollout)
            ax.plot(
                x[:, places[0]].ravel(),
                x[:, places[1]].ravel(),
                ls="",
                marker=".",
                ms=2,
                color=COLOURS[k],
                alpha=0.4,
            )
        ax.set(title=f"states visited, {NAMES.get(method, method)}")


def _orders(result, path):
    """Hessian-free beside the first-order courses begun in either way, a row each."""
    with figure_file(9.0, 6.8, path) as figure:
        for pair, (begun, ratios) in zip(
            figure.subplots(2, 2, sharey=True), result["ratios"].items()
        ):
            courses = [c for c in result["courses"] if c.get("begun", begun) == begun]
            for ax, price in zip(pair, ("evaluations", "seconds")):
                _curves(ax, courses, price)
                ax.set(xscale="log")
            pair[1].legend(fontsize=8, loc="upper right")
            told = ", ".join(
                f"{ratio:.1f}" if ratio else "not reached" for ratio in ratios
            )
            pair[0].set_title(
                f"{BEGUN[begun]}; times fewer evaluations, seed by seed: {told}",
                loc="left",
                fontsize=9,
            )
        figure.suptitle(
            f"{result['plant']}: Hessian-free beside {result['kind']}, {result['updates']} updates"
        )


def _methods(result, path):
    """The interquartile mean of the held-out ratio less one, with its interval, against plant steps and against time."""
    with figure_file(9.6, 3.9, path) as figure:
        axes = figure.subplots(1, 2, sharey=True)
        for ax, price, label in zip(
            axes,
            ("plant_steps", "seconds"),
            ("plant steps, of single trials", "time [s]"),
        ):
            for k, (name, same) in enumerate(_by_method(result["courses"]).items()):
                spent = [p for course in same for p in course[price] if p > 0]
                grid = np.geomspace(
                    max(c[price][0] or min(spent) for c in same), max(spent), 80
                )
                told = (
                    np.array(
                        [
                            mean_and_interval([at(c, price, x) for c in same])
                            for x in grid
                        ],
                        dtype=float,
                    )
                    - 1
                )
                ax.plot(
                    grid,
                    told[:, 0],
                    color=COLOURS[k],
                    ls=LINES[k % len(LINES)],
                    label=name,
                )
                ax.fill_between(
                    grid, told[:, 1], told[:, 2], color=COLOURS[k], alpha=0.15, lw=0
                )
            ax.set(xscale="log", yscale="log", xlabel=label)
        axes[0].set(ylabel="held-out ratio to optimal, less one")
        axes[0].legend(fontsize=8)
        figure.suptitle(
            f"{result['plant']} {result['task']}, {len(result['courses'])} trainings: interquartile mean, "
            "bootstrap interval"
        )


def _cells(result, path):
    groups = list(
        dict.fromkeys((t["plant"], t["task"], t["same"]) for t in result["trainings"])
    )
    with figure_file(max(8.4, 2.9 * (1 + len(groups))), 3.8, path) as figure:
        first, *axes = figure.subplots(1, 1 + len(groups), squeeze=False)[0]
        times = list(result["gradients"])
        for k, way in enumerate(next(iter(result["gradients"].values()))):
            errors = [result["gradients"][tau][way] for tau in times]
            shown = [
                (float(tau), e)
                for tau, e in zip(times, errors)
                if e is not None and np.isfinite(e)
            ]
            first.plot(
                *zip(*shown), color=COLOURS[k], ls=LINES[k], marker="o", ms=4, label=way
            )
        first.set(
            xscale="log",
            yscale="log",
            xlabel="time constant [s]",
            ylabel="relative error of the gradient",
        )
        first.legend(fontsize=8)
        for ax, group in zip(axes, groups):
            rows = [
                t
                for t in result["trainings"]
                if (t["plant"], t["task"], t["same"]) == group
            ]
            cells = list(dict.fromkeys(t["cell"] for t in rows))
            for k, cell in enumerate(cells):
                above = [max(t["ratio"] - 1, LEAST) for t in rows if t["cell"] == cell]
                ax.plot(
                    above,
                    [k] * len(above),
                    ls="",
                    marker="o",
                    ms=4,
                    color=COLOURS[0],
                    alpha=0.7,
                )
            ax.set(xscale="log", xlabel="held-out ratio, less one")
            ax.set_title(f"{group[0]} {group[1]}, same {group[2]}", fontsize=9)
            ax.set_yticks(range(len(cells)), cells)
            ax.invert_yaxis()
