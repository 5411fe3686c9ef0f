"""Figures of the studies, each drawn from a result, which may be unfinished."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcontrol.figures.activity import LINES
from hfcontrol.figures.canvas import COLOURS
from hfcontrol.figures.output import figure_file
from hfcontrol.studies.gradients import pareto_front
from hfcontrol.studies.holds import lowest_losses
from hfcontrol.studies.methods import mean_and_interval, ratio_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = dict[str, Any]

NAMES = {
    "ctpg": "CTPG",
    "backsolve": "backsolve (Neural ODE)",
    "backsolve_checkpoints": "backsolve with checkpoints",
    "discrete": "discrete adjoint of the adaptive steps",
    "euler": "Euler, BPTT",
    "rk4": "RK4, BPTT",
}
BEGUN = {
    "source": "first order as in the source",
    "same": "first order with Hessian-free's first weights and tolerances",
}

COSTS = {
    "final": "final state only",
    "running": "running cost of the blog post",
    "effort": "running cost 0.05, effort 1e-3",
}

# The band of the seeds [%], that of `holds`, and the paper's where it states one.
BAND = (5, 95)
HALF = (25, 75)
BANDS = {"cartpole": HALF}

# States in which paths are drawn.
PLANES = {"diffdrive": ("x", "y"), "cartpole": ("pole", "pole_rate")}

# Least error, and least ratio minus one, on a logarithmic axis.
LEAST_ERROR = 1e-16
LEAST_EXCESS = 1e-6

# Line widths of the variants of `holds`.
WIDTHS = (4.2, 3.4, 2.8, 1.2, 0.9, 0.6)

AXES_OF_PRICES = {"rollouts": "rollouts", "seconds": "CPU time [s]"}

# Half the width of the robot's plane, and points of the curves of `methods`.
PLANE_EDGE = 7.5
GRID_POINTS = 80


def draw(result: Result, path: str | Path) -> None:
    """Draw the result of a study into a file.

    Raises UsageError if the file cannot be written.
    """
    kinds = {
        "gradients": _draw_gradients,
        "backsolve": _draw_backsolve,
        "orders": _draw_orders,
        "cells": _draw_cells,
        "methods": _draw_methods,
        "holds": _draw_holds,
    }
    kinds.get(result["study"], _draw_training)(result, path)


def _draw_gradients(result: Result, path: str | Path) -> None:
    """Draw the error of a gradient against evaluations and time, a row per plant."""
    plants = result["plants"]
    with figure_file(9.6, 3.6 * len(plants), path) as figure:
        rows = np.atleast_2d(figure.subplots(len(plants), 2, sharey="row"))
        for (name, found), (left, right) in zip(plants.items(), rows, strict=True):
            _draw_errors(left, found["points"], "passes")
            left.set(xlabel="evaluations, forward and backward")
            _draw_errors(right, found["points"], "seconds")
            right.set(xlabel="time [s]")
            left.set(
                ylabel="error of the gradient",
                title=f"{name}, {result['samples']} samples",
            )
        handles, labels = rows[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8)


def _draw_errors(ax: "Axes", rows: list[Result], price: str) -> None:
    """Draw all errors against a price as dots, and each estimator's front."""
    for colour, (estimator, label) in zip(COLOURS, NAMES.items(), strict=False):
        same = [row for row in rows if row["estimator"] == estimator]
        ax.plot(
            [row[price] for row in same],
            [max(row["error"], LEAST_ERROR) for row in same],
            ls="",
            marker=".",
            ms=3,
            color=colour,
            alpha=0.3,
        )
        front = pareto_front(same, price)
        prices = [x for x, _ in front]
        errors = [max(y, LEAST_ERROR) for _, y in front]
        ax.plot(prices, errors, color=colour, lw=1.5, label=label)
    ax.set(xscale="log", yscale="log")


def _draw_backsolve(result: Result, path: str | Path) -> None:
    """Draw the loss and the error of the reconstructed start."""
    with figure_file(9.0, 3.6, path) as figure:
        left, right = figure.subplots(1, 2)
        for k, (name, found) in enumerate(result["methods"].items()):
            style = {"color": COLOURS[k], "label": NAMES[name], "ls": LINES[k]}
            left.plot(found["loss"], **style)
            right.plot(np.maximum(found["error"], LEAST_ERROR), **style)
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


def _by_method(courses: list[Result]) -> dict[str, list[Result]]:
    """Return the courses of each method, in their order."""
    found: dict[str, list[Result]] = {}
    for course in courses:
        found.setdefault(course["method"], []).append(course)
    return found


def _draw_curves(
    ax: "Axes",
    courses: list[Result],
    price: str,
    band: tuple[int, int] = BAND,
) -> None:
    """Draw the median held-out cost over seeds, with a band, for each method."""
    for k, (method, same) in enumerate(_by_method(courses).items()):
        length = min(len(course["held_out"]) for course in same)
        prices = [np.array(course[price][:length], dtype=float) for course in same]
        costs = np.array([_finite_costs(course, length) for course in same])
        x = np.median(prices, axis=0)
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(
            x,
            np.median(costs, axis=0),
            color=colour,
            ls=LINES[k // len(COLOURS)],
            label=NAMES.get(method, method),
        )
        if len(same) > 1:
            low, high = np.percentile(costs, band, axis=0, method="nearest")
            ax.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    labels = {"evaluations": "evaluations", "seconds": "time [s]"}
    ax.set(yscale="log", ylabel="held-out cost", xlabel=labels[price])
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 4))


def _finite_costs(course: Result, length: int) -> list[float]:
    """Return the first held-out costs of a course, with None as infinity."""
    return [np.inf if cost is None else cost for cost in course["held_out"][:length]]


def _draw_training(result: Result, path: str | Path) -> None:
    """Draw a whole training: costs above, paths below if the plant has a plane."""
    paths = result["paths"]
    plane = PLANES.get(result["study"])
    by_stage = result["study"] == "diffdrive"
    panels = 0
    if plane is not None:
        panels = len(paths["parts"] if by_stage else paths["methods"])

    height = 3.6 + 3.4 * (panels > 0)
    with figure_file(max(8.4, 3.2 * panels), height, path) as figure:
        rows = figure.subfigures(1 + (panels > 0), 1, squeeze=False)[:, 0]
        left, right = rows[0].subplots(1, 2, sharey=True)
        band = BANDS.get(result["study"], BAND)
        _draw_curves(left, result["courses"], "evaluations", band)
        _draw_curves(right, result["courses"], "seconds", band)
        left.legend(fontsize=8)
        figure.suptitle(_training_title(result))
        if plane is None:
            return

        grid = rows[1].subplots(1, panels, sharex=True, sharey=True, squeeze=False)
        axes = grid[0]
        places = [paths["state"].index(name) for name in plane]
        if by_stage:
            _draw_stages(axes, paths, places)
        else:
            _draw_visited(axes, result["visited"], places)
        for ax in axes:
            ax.set(xlabel=plane[0].replace("_", " "))
        axes[0].set(ylabel=plane[1].replace("_", " "))


def _training_title(result: Result) -> str:
    """Return the title of a figure of a whole training."""
    words = "Hessian-free" if result["optimizer"] == "hf" else "first-order"
    seeds = result["seeds"]

    def counted(number: int, word: str) -> str:
        return f"{number} {word}" + ("s" if number > 1 else "")

    # Results of older studies do not say how they differ.
    difference = result.get("difference", "")
    return (
        f"{result['study']}, {words}: {counted(result['updates'], 'update')}, "
        f"{counted(result['trials'], 'trial')}, {counted(seeds, 'seed')}"
        + (f"; {difference}" if difference else "")
    )


def _draw_stages(axes: Any, paths: Result, places: list[int]) -> None:
    """Draw held-out paths at every stage of the training, all methods together."""
    for stage, (ax, part) in enumerate(zip(axes, paths["parts"], strict=True)):
        for k, rollouts in enumerate(paths["methods"].values()):
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
            xlim=(-PLANE_EDGE, PLANE_EDGE),
            ylim=(-PLANE_EDGE, PLANE_EDGE),
        )


def _draw_visited(axes: Any, visited: Result, places: list[int]) -> None:
    """Draw the states on which the first seed trained, a panel per method."""
    panels = zip(axes, visited.items(), strict=True)
    for k, (ax, (method, rollouts)) in enumerate(panels):
        for rollout in rollouts:
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


def _draw_orders(result: Result, path: str | Path) -> None:
    """Draw Hessian-free and the first-order courses, a row per way to start."""
    with figure_file(9.0, 6.8, path) as figure:
        rows = figure.subplots(2, 2, sharey=True)
        ways = result["ratios"].items()
        for (left, right), (begun, ratios) in zip(rows, ways, strict=True):
            courses = [
                course
                for course in result["courses"]
                if course.get("begun", begun) == begun
            ]
            for ax, price in ((left, "evaluations"), (right, "seconds")):
                _draw_curves(ax, courses, price)
                ax.set(xscale="log")
            right.legend(fontsize=8, loc="upper right")
            words = [f"{ratio:.1f}" if ratio else "not reached" for ratio in ratios]
            left.set_title(
                f"{BEGUN[begun]}; times fewer evaluations, seed by seed: "
                f"{', '.join(words)}",
                loc="left",
                fontsize=9,
            )
        figure.suptitle(
            f"{result['plant']}: Hessian-free beside {result['kind']}, "
            f"{result['updates']} updates"
        )


def _draw_methods(result: Result, path: str | Path) -> None:
    """Draw the held-out ratio minus one against plant steps and against time."""
    with figure_file(9.6, 3.9, path) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_ratios(left, result["courses"], "plant_steps")
        left.set(xlabel="plant steps, of single trials")
        _draw_ratios(right, result["courses"], "seconds")
        right.set(xlabel="time [s]")
        left.set(ylabel="held-out ratio to optimal, less one")
        left.legend(fontsize=8)
        trainings = len(result["courses"])
        figure.suptitle(
            f"{result['plant']} {result['task']}, {trainings} trainings: "
            "interquartile mean, bootstrap interval"
        )


def _draw_ratios(ax: "Axes", courses: list[Result], price: str) -> None:
    """Draw the interquartile mean of the ratio minus one, with its interval."""
    for k, (name, same) in enumerate(_by_method(courses).items()):
        spent = [value for course in same for value in course[price] if value > 0]
        # A logarithmic axis starts where every course has a point above zero.
        begin = max(course[price][0] or min(spent) for course in same)
        grid = np.geomspace(begin, max(spent), GRID_POINTS)
        rows = [
            mean_and_interval([ratio_at(course, price, x) for course in same])
            for x in grid
        ]
        mean, low, high = np.array(rows, dtype=float).T - 1
        ax.plot(grid, mean, color=COLOURS[k], ls=LINES[k % len(LINES)], label=name)
        ax.fill_between(grid, low, high, color=COLOURS[k], alpha=0.15, lw=0)
    ax.set(xscale="log", yscale="log")


def _draw_cells(result: Result, path: str | Path) -> None:
    """Draw errors of gradients by time constant, and ratios of every cell."""
    trainings = result["trainings"]
    groups = list(
        dict.fromkeys((row["plant"], row["task"], row["same"]) for row in trainings)
    )
    width = max(8.4, 2.9 * (1 + len(groups)))
    with figure_file(width, 3.8, path) as figure:
        first, *axes = figure.subplots(1, 1 + len(groups), squeeze=False)[0]
        _draw_gradient_errors(first, result["gradients"])
        for ax, group in zip(axes, groups, strict=True):
            plant, task, sizing = group
            rows = [
                row
                for row in trainings
                if (row["plant"], row["task"], row["same"]) == group
            ]
            _draw_cell_ratios(ax, rows)
            ax.set_title(f"{plant} {task}, same {sizing}", fontsize=9)


def _draw_gradient_errors(ax: "Axes", gradients: Result) -> None:
    """Draw the relative error of each way against the time constant."""
    for k, way in enumerate(next(iter(gradients.values()))):
        times = []
        errors = []
        for tau, found in gradients.items():
            error = found[way]
            if error is not None and np.isfinite(error):
                times.append(float(tau))
                errors.append(error)
        style: dict[str, Any] = {"color": COLOURS[k], "ls": LINES[k]}
        ax.plot(times, errors, label=way, marker="o", ms=4, **style)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="time constant [s]",
        ylabel="relative error of the gradient",
    )
    ax.legend(fontsize=8)


def _draw_cell_ratios(ax: "Axes", rows: list[Result]) -> None:
    """Draw the held-out ratios of all cells, a line per cell."""
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    for k, cell in enumerate(cells):
        excess = [
            max(row["ratio"] - 1, LEAST_EXCESS) for row in rows if row["cell"] == cell
        ]
        ax.plot(
            excess,
            [k] * len(excess),
            ls="",
            marker="o",
            ms=4,
            color=COLOURS[0],
            alpha=0.7,
        )
    ax.set(xscale="log", xlabel="held-out ratio, less one")
    ax.set_yticks(range(len(cells)), cells)
    ax.invert_yaxis()


def _draw_holds(result: Result, path: str | Path) -> None:
    """Draw the lowest loss so far: a row per cost and price, a column per N."""
    rows = [(cost, price) for cost in result["targets"] for price in AXES_OF_PRICES]
    columns = result["batches"]
    size = (max(6.0, 3.0 * len(columns)), 0.8 + 2.5 * len(rows))
    with figure_file(*size, path) as figure:
        grid = figure.subplots(
            len(rows), len(columns), sharex="row", sharey="row", squeeze=False
        )
        for axes, (cost, price) in zip(grid, rows, strict=True):
            for ax, most in zip(axes, columns, strict=True):
                courses = [
                    course
                    for course in result["courses"]
                    if (course["cost"], course["batches"]) == (cost, most)
                ]
                _draw_lowest(ax, courses, price, result["optimal"][cost])
                ax.set(xscale="log", yscale="log", xlabel=AXES_OF_PRICES[price])
            less = ", less the optimum" if result["optimal"][cost] else ""
            axes[0].set(ylabel=f"{COSTS[cost]}:\nloss{less}")
        for ax, most in zip(grid[0], columns, strict=True):
            ax.set_title(f"N = {most}")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=6, fontsize=9)


def _draw_lowest(ax: "Axes", courses: list[Result], price: str, optimal: float) -> None:
    """Draw the lowest loss so far: the median over seeds and the middle half."""
    groups: dict[str, list[Result]] = {}
    for course in courses:
        groups.setdefault(course["variant"], []).append(course)
    for k, (variant, same) in enumerate(groups.items()):
        begin = max(course[price][0] for course in same)
        end = max(course[price][-1] for course in same)
        grid = np.geomspace(begin, max(end, begin), GRID_POINTS)
        losses = np.array([lowest_losses(course, price, grid) for course in same])
        median = np.median(losses, axis=0)

        # A line ends where most seeds have reached the target.
        count = 1 + np.count_nonzero(median > same[0]["target"])
        x = grid[:count]
        low, high = np.percentile(losses[:, :count], HALF, axis=0) - optimal
        colour = COLOURS[k]
        # Thinner and thinner, so that lines that coincide all show.
        ax.plot(x, median[:count] - optimal, color=colour, lw=WIDTHS[k], label=variant)
        ax.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
