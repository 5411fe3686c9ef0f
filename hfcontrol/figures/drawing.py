"""Drawing of what a plant does: paths or positions with their goals, and the body that its file's links and marks give.

Lengths are drawn in metres, or in centimetres where all of them are short.
"""

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from hfcontrol.evaluation.evaluation import Comparison

OPTIMAL, BODY, GOAL = "0.72", "0.35", "#D55E00"
# A wheel on which lightness tells apart the hues that the colour-blind confuse.
WHEEL = LinearSegmentedColormap.from_list(
    "directions",
    ["#56B4E9", "#009E73", "#E69F00", "#D55E00", "#882255", "#0072B2", "#56B4E9"],
    N=360,
)
RAMP = LinearSegmentedColormap.from_list(
    "targets", colormaps["viridis"](np.linspace(0, 0.9))
)  # without its light yellow
VALUES = colormaps["RdBu_r"].resampled(
    17
)  # of marks: few colours, which the palette of a movie can hold
READABLE = 5  # trials with moving goals
FLAT = 0.5  # least extent of what is drawn true to scale, along any axis, by the largest one


def simulated(run):
    """The controller of a run on its training scenarios, without the optimum, which takes long to find."""
    loop = run.closed_loop()
    return Comparison(run, run.task(), loop, loop.rollout(run.theta), None)


def in_plane(plant):
    """Whether paths in the plane say all: not without a place, nor with one position, which sends all along one path."""
    return plant.path_indices is not None and len(plant.positions) > 1


def places(judged, x, plane):
    """Places (T+1, 2 or 3, N) [m] in the plane, or else positions, at states x; NaN where a trial has left the numbers."""
    with np.errstate(invalid="ignore"):
        values = (
            judged.outputs(x)[:, judged.run.plant.path_indices]
            if plane
            else x[:, judged.run.plant.positions]
        )
    return np.where(np.isfinite(values), values, np.nan)


def shown(judged, x=None):
    """Paths (T+1, 2 or 3, N) [m] where they say all, else positions, along the rollout or other states x."""
    return places(
        judged, judged.rollout.x if x is None else x, in_plane(judged.run.plant)
    )


def goals(judged):
    """What `shown` shows, of the goal at every time (T+1, k, N); NaN where nothing is asked for."""
    return shown(judged, judged.scenario.goal)


def stations(judged):
    """Times (indices) until which the goal stands still before it jumps, and the end; none of a goal that moves."""
    goal = np.nan_to_num(goals(judged))
    changes = (np.diff(goal, axis=0) != 0).any(axis=(1, 2))
    return (
        []
        if (changes[1:] & changes[:-1]).any()
        else [*np.flatnonzero(changes), len(changes)]
    )


def ordering(judged):
    """What tells the trials apart, as (values (N,), words for an axis, whether they go round a circle).

    The direction of the target [deg] where there are such all round; else the first position of target or start, whichever
    differs between the trials; else the number of the trial, as where goals move.
    """
    plant, goal, times = judged.run.plant, goals(judged), stations(judged)
    if times and in_plane(plant):
        line = (goal[times[0]] - shown(judged)[0])[:2]
        angles = np.degrees(np.arctan2(line[1], line[0])).round(9) % 360
        if np.diff(np.sort(angles), append=angles.min() + 360).max() < 180.001:
            return angles, "direction of target [deg]", True
    first = plant.positions[0]
    pairs = (
        (
            ("target", judged.scenario.goal[times[0], first]),
            ("start", judged.scenario.x0[first]),
        )
        if times
        else ()
    )
    for word, values in pairs:
        if np.ptp(values) > 0:
            return (
                values,
                f"{word} {label(plant.state[first], plant.units['state'][first])}",
                False,
            )
    return np.arange(1.0, judged.scenario.trials + 1), "trial", False


def chosen(judged, count):
    """Up to `count` trials spread evenly over directions or targets, in their order."""
    values, _, cyclic = ordering(judged)
    places = np.linspace(
        0, len(values) - (not cyclic), min(count, len(values)), endpoint=not cyclic
    )
    return np.argsort(values, kind="stable")[places.astype(int)]


def readable(judged):
    """The trials that one figure can show: all of them, or a few where every one has a moving goal of its own."""
    return (
        np.arange(judged.scenario.trials)
        if stations(judged)
        else chosen(judged, READABLE)
    )


def colouring(judged):
    """The colours of the trials (N, 4), and the colour scale they are taken from."""
    values, _, cyclic = ordering(judged)
    ends, colours = (
        ((0, 360), WHEEL) if cyclic else ((values.min(), values.max()), RAMP)
    )
    scale = ScalarMappable(Normalize(*ends), colours)
    return scale.to_rgba(values), scale


def label(name, unit):
    """Words for an axis: a name and its unit, beneath it where the line would be long."""
    words, unit = name.replace("_", " "), unit.replace("^2", "²")
    return words + (
        f"\n[{unit}]"
        if unit and len(words + unit) > 20
        else f" [{unit}]"
        if unit
        else ""
    )


def lengths(plant, paths):
    """The factor and the unit in which lengths of the plant's place are drawn: cm where its paths (T, k, N) are short."""
    unit = plant.units["output"][plant.path_indices[0]] or "m"
    extent = np.nanmax(paths, axis=(0, 2)) - np.nanmin(paths, axis=(0, 2))
    return (100, "cm") if unit == "m" and extent.max() < 1 else (1, unit)


def roomy(low, high):
    """The corners (2, d) of a box about the one from low to high (d,), nowhere flatter than FLAT."""
    room = np.maximum(high - low, FLAT * np.max(high - low)) / 2
    return np.array([(low + high) / 2 - room, (low + high) / 2 + room])


def thickness(trajectories):
    """Width of lines [points], the thinner the more of them there are (T, k, N)."""
    return float(np.clip(8 / np.sqrt(trajectories.shape[2]), 0.6, 1.8))


def traces(axes, time, ours, best, words, colours):
    """Draws trajectories (T, k, N) against time (T,) [s] into k axes, optimal ones beneath; returns the lines [k][N]."""
    lines, width = [], thickness(ours)
    for k, ax in enumerate(axes):
        if best is not None:
            ax.plot(time, best[:, k], color=OPTIMAL, lw=width)
        ax.set_prop_cycle(color=colours)
        lines.append(ax.plot(time, ours[:, k], lw=width))
        ax.set_ylabel(words[k])
    axes[-1].set_xlabel("time [s]")
    return lines


class Paths:
    """Paths in the plane, a third coordinate against time beneath, or positions against time; `move` replaces them.

    With starts and goals. Goals that move are dotted, and replaced by `move_goals`; then only a few trials are drawn, unless
    their numbers are given.
    """

    def __init__(self, figure, judged, trials=None, optimum=True):
        plant, self.times = judged.run.plant, stations(judged)
        if trials is None:
            trials = readable(judged)
        self.trials, self.colours, self.aims, self.lines = (
            trials,
            colouring(judged)[0][trials],
            [],
            [],
        )
        parts = [
            shown(judged),
            goals(judged),
            shown(judged, judged.optimum.x) if optimum else None,
        ]
        if in_plane(plant):
            self.scale, unit = lengths(plant, parts[0])
            self.flat, words = 2, [label(plant.output[i], unit) for i in plant.path_indices]
        else:
            self.scale, self.flat = 1, 0
            words = [
                label(plant.state[i], plant.units["state"][i]) for i in plant.positions
            ]
        parts = [None if a is None else self.scale * a[:, :, trials] for a in parts]
        heights = [3] * (self.flat > 0) + [1] * (len(words) - self.flat)
        grid = figure.subplots(
            len(heights), 1, height_ratios=heights, sharex=not self.flat, squeeze=False
        )
        self.axes = list(grid[:, 0])
        if self.flat:
            self._in_plane(self.axes[0], *parts, words)
        if words[self.flat :]:
            time, axes = plant.dt * np.arange(len(parts[0])), self.axes[self.flat > 0 :]
            self._against_time(
                axes,
                time,
                *(None if a is None else a[:, self.flat :] for a in parts),
                words[self.flat :],
            )

    def _in_plane(self, ax, ours, goal, best, words):
        width = thickness(ours)
        if best is not None:
            ax.plot(*best[:, :2].transpose(1, 0, 2), color=OPTIMAL, lw=1.5 * width)
        ax.set_prop_cycle(color=self.colours)
        self.lines.append(ax.plot(*ours[:, :2].transpose(1, 0, 2), lw=width))
        for t in self.times:
            ax.scatter(*goal[t, :2], **self._ring(goal[t], width))
        if not self.times:
            self.aims.append(ax.plot(*goal[:, :2].transpose(1, 0, 2), ls=":", lw=width))
        self.starts = ax.scatter(*ours[0, :2], s=9 * width, c="black", zorder=3)
        ax.update_datalim(roomy(ax.dataLim.min, ax.dataLim.max))
        ax.set(xlabel=words[0], ylabel=words[1], aspect="equal")
        ax.locator_params(nbins=6)

    def _against_time(self, axes, time, ours, goal, best, words):
        self.lines += traces(axes, time, ours, best, words, self.colours)
        for k, ax in enumerate(axes):
            for t in self.times:
                ax.scatter(
                    np.full(goal.shape[2], time[t]),
                    goal[t, k],
                    clip_on=False,
                    **self._ring(goal[t, k : k + 1], thickness(ours)),
                )
            if not self.times:
                self.aims.append(ax.plot(time, goal[:, k], ls=":", lw=thickness(ours)))

    def _ring(self, goal, width):
        """The look of goals (k, N): each in the colour of its trial, black where all are the same."""
        same = goal.shape[1] > 1 and not np.ptp(goal, axis=1).any()
        return {
            "s": 20 * width,
            "c": "white",
            "edgecolors": "black" if same else self.colours,
            "zorder": 3,
        }

    def move(self, data):
        """Draws other trajectories (T+1, k, n) of the trials drawn in place of the present ones; NaN is not drawn."""
        self._set(self.lines, data)

    def move_goals(self, goal):
        """Draws other goals (T+1, k, n) in place of the present ones, where goals move."""
        self._set(self.aims, goal)

    def _set(self, groups, data):
        data = self.scale * data
        for k, lines in enumerate(groups):
            for n, line in enumerate(lines):
                if self.flat and k == 0:
                    line.set_data(*data[:, :2, n].T)
                else:
                    line.set_ydata(data[:, k + (self.flat > 0), n])


def poses(judged, x, trials):
    """The points of `links` (n, T+1, k, 2 or 3) [m] of some trials at states x (T+1, nx, N); None without links."""
    links, params = judged.run.plant.functions.get("links"), judged.scenario.params
    with np.errstate(invalid="ignore"):
        return links and np.array(
            [[links(state, params[:, n]) for state in x[:, :, n]] for n in trials],
            dtype=float,
        )


def marked(judged, trials):
    """The marks (n, T+1, k, 3): x, y [m] and a value, of some trials; None without marks. The last control stays."""
    marks, params, u = (
        judged.run.plant.functions.get("marks"),
        judged.scenario.params,
        judged.rollout.u,
    )
    u = np.concatenate([u, u[-1:]])
    with np.errstate(invalid="ignore"):
        return marks and np.array(
            [
                [
                    marks(*pair, params[:, n])
                    for pair in zip(judged.rollout.x[:, :, n], u[:, :, n])
                ]
                for n in trials
            ],
            dtype=float,
        )


class Body:
    """Links drawn into axes, from all the points (..., k, 2 or 3) they will have; `pose` sets those of the moment.

    A row of NaN lifts the pen. Strokes that end where they begin are solid, the others rods with joints.
    """

    def __init__(self, ax, points, colour=BODY):
        points = points.reshape(-1, *points.shape[-2:])
        ends = [-1, *np.flatnonzero(np.isnan(points[0]).all(axis=1)), points.shape[1]]
        self.parts = []
        for stroke in (slice(a + 1, b) for a, b in zip(ends[:-1], ends[1:])):
            closed = stroke.stop - stroke.start > 2 and np.allclose(
                points[:, stroke.start], points[:, stroke.stop - 1]
            )
            self.parts.append(
                (stroke, self._drawn(ax, points[0, stroke], closed, colour))
            )

    def _drawn(self, ax, points, closed, colour):
        """The function that sets the points of a stroke, which is drawn."""
        if points.shape[1] == 3:
            (line,) = ax.plot(
                *points.T, "-" if closed else "o-", color=colour, lw=2.5, ms=4
            )
            return lambda now: line.set_data_3d(*now.T)
        if closed:
            (solid,) = ax.fill(
                *points.T,
                facecolor="0.85",
                edgecolor=colour,
                lw=1.5,
                alpha=0.85,
                zorder=4,
            )
            return solid.set_xy
        (rod,) = ax.plot(
            *points.T,
            "o-",
            color=colour,
            lw=6,
            ms=8,
            mfc="white",
            mew=2,
            alpha=0.85,
            zorder=4,
        )
        return lambda now: rod.set_data(*now.T)

    def pose(self, points):
        """Draws the links at points (k, 2 or 3)."""
        for stroke, draw in self.parts:
            draw(points[stroke])
