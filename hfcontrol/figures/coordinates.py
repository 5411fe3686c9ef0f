"""What of a rollout is drawn: its coordinates and goals, and the order of its trials.

A plant with a place in the plane is drawn by its paths there; any other plant by its
positions against time.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import Comparison
from hfcontrol.optim.yardstick import Optimum
from hfcontrol.plant.calls import draw_links, draw_marks, stack_drawings
from hfcontrol.plant.contract import Plant
from hfcontrol.runs.run import Run
from hfcontrol.texts import plain_label

# Directions by hue, from the colours of Okabe and Ito (2008). Hues that the
# colour-blind confuse differ in lightness.
DIRECTION_COLOURS = LinearSegmentedColormap.from_list(
    "directions",
    ["#56B4E9", "#009E73", "#E69F00", "#D55E00", "#882255", "#0072B2", "#56B4E9"],
    N=360,
)

# Targets or starts along a line, without the light yellow at the end of viridis.
TARGET_COLOURS = LinearSegmentedColormap.from_list(
    "targets", colormaps["viridis"](np.linspace(0, 0.9))
)

# Trials with moving goals that one figure can show.
READABLE_TRIALS = 5

# Directions at the ticks of an axis [deg].
QUARTERS = (0, 90, 180, 270, 360)

# Axis labels longer than this have their unit on a second line.
LONG_LABEL = 20


class TrialOrder(NamedTuple):
    """What distinguishes the trials: a value of each (N,), its label, and its kind.

    `is_cyclic` is true for directions: 360 degrees are the same as 0.
    """

    values: Array
    label: str
    is_cyclic: bool


class LengthUnit(NamedTuple):
    """The unit in which lengths are drawn: its name, and the number of it per metre."""

    factor: float
    name: str


def get_optimum(comparison: Comparison) -> Optimum:
    """Return the optimal movements of a comparison that has them."""
    assert comparison.optimum is not None
    return comparison.optimum


def simulate_training(run: Run) -> Comparison:
    """Return the controller's rollout on the training scenarios, without the optimum.

    The optimum is left out because it takes long to find.
    """
    loop = run.closed_loop()
    return Comparison(run, run.task(), loop, loop.rollout(run.theta), None)


def is_drawn_in_plane(plant: Plant) -> bool:
    """Whether paths in the plane show the movement.

    They do not for a plant without a place, nor for one with a single position, which
    always moves along the same path.
    """
    return plant.path_indices is not None and len(plant.positions) > 1


def has_task_in_plane(comparison: Comparison) -> bool:
    """Whether a figure of a run shows paths in the plane, rather than its states.

    The place of a movement tells how good it was if it can be chosen: if it is a part
    of the state, or if every position has a control of its own. The tip of a pole that
    is balanced by a cart only moves along with what the task is about.
    """
    plant = comparison.run.plant
    if not is_drawn_in_plane(plant):
        return False
    if plant.nu >= len(plant.positions):
        return True
    places = drawn_coordinates(comparison)[:, :2]
    states = comparison.rollout.x
    return all(
        any(np.array_equal(place, state) for state in states.transpose(1, 0, 2))
        for place in places.transpose(1, 0, 2)
    )


def locations(comparison: Comparison, x: Array, in_plane: bool) -> Array:
    """Return the places (T+1, 2 or 3, N) [m] in the plane, or the positions, at x.

    A state that is not finite has the location NaN.
    """
    plant = comparison.run.plant
    with np.errstate(invalid="ignore"):
        if in_plane:
            values = comparison.outputs(x)[:, plant.path_indices]
        else:
            values = x[:, plant.positions]
    return np.where(np.isfinite(values), values, np.nan)


def drawn_coordinates(comparison: Comparison, x: Array | None = None) -> Array:
    """Return the drawn coordinates (T+1, k, N) along the rollout or at states x.

    They are places [m] if the plant is drawn in the plane, and positions otherwise.
    """
    states = comparison.rollout.x if x is None else x
    return locations(comparison, states, is_drawn_in_plane(comparison.run.plant))


def goal_coordinates(comparison: Comparison) -> Array:
    """Return the drawn coordinates (T+1, k, N) of the goal; NaN where there is none."""
    return drawn_coordinates(comparison, comparison.scenario.goal)


def standing_goal_times(comparison: Comparison) -> list[int]:
    """Return the times (indices) just before the goal jumps, and the last time.

    The list is empty if the goal moves all the time.
    """
    goal = np.nan_to_num(goal_coordinates(comparison))
    changes = (np.diff(goal, axis=0) != 0).any(axis=(1, 2))
    moves = (changes[1:] & changes[:-1]).any()
    return [] if moves else [*np.flatnonzero(changes), len(changes)]


def order_trials(comparison: Comparison) -> TrialOrder:
    """Return what distinguishes the trials.

    It is the direction of the target [deg] if there are targets all round; otherwise
    the first position of target or start, whichever differs between the trials;
    otherwise, and for goals that move, the number of the trial.
    """
    plant, scenario = comparison.run.plant, comparison.scenario
    times = standing_goal_times(comparison)
    if times and is_drawn_in_plane(plant):
        goal = goal_coordinates(comparison)[times[0]]
        line = (goal - drawn_coordinates(comparison)[0])[:2]
        angles = np.degrees(np.arctan2(line[1], line[0])).round(9) % 360
        gaps = np.diff(np.sort(angles), append=angles.min() + 360)
        # No half of the circle is empty; two opposite targets count.
        if gaps.max() < 180.001:
            return TrialOrder(angles, "direction of target [deg]", True)

    if times:
        first = plant.positions[0]
        unit = plant.units["state"][first]
        candidates = {
            "target": scenario.goal[times[0], first],
            "start": scenario.x0[first],
        }
        for name, values in candidates.items():
            if np.ptp(values) > 0:
                label = f"{name} {axis_label(plant.state[first], unit)}"
                return TrialOrder(values, label, False)
    return TrialOrder(np.arange(1.0, scenario.trials + 1), "trial", False)


def select_evenly(comparison: Comparison, count: int) -> Array:
    """Return the indices of up to `count` trials, evenly spaced in their order."""
    values, _, is_cyclic = order_trials(comparison)
    # On a circle the last value is next to the first: spacing leaves out the end.
    end = len(values) if is_cyclic else len(values) - 1
    ranks = np.linspace(0, end, min(count, len(values)), endpoint=not is_cyclic)
    return np.argsort(values, kind="stable")[ranks.astype(int)]


def select_readable(comparison: Comparison) -> Array:
    """Return the indices of the trials that one figure can show.

    These are all trials, or a few if each has a moving goal.
    """
    if standing_goal_times(comparison):
        return np.arange(comparison.scenario.trials)
    return select_evenly(comparison, READABLE_TRIALS)


def colour_trials(comparison: Comparison) -> tuple[Array, ScalarMappable]:
    """Return the colours of the trials (N, 4), and the colour scale they come from."""
    values, _, is_cyclic = order_trials(comparison)
    if is_cyclic:
        scale = ScalarMappable(Normalize(0, 360), DIRECTION_COLOURS)
    else:
        ends = Normalize(values.min(), values.max())
        scale = ScalarMappable(ends, TARGET_COLOURS)
    return scale.to_rgba(values), scale


def problem_title(plant: Plant, task: Any) -> str:
    """Return the names of plant and task as the beginning of a title."""
    return plain_label(f"{plant.name}, {task.name}")


def axis_label(name: str, unit: str) -> str:
    """Return the label of an axis: a name and its unit, on two lines if long."""
    words = plain_label(name.replace("_", " "))
    unit = plain_label(unit.replace("^2", "²"))
    if not unit:
        return words
    separator = "\n" if len(words + unit) > LONG_LABEL else " "
    return f"{words}{separator}[{unit}]"


def length_unit(plant: Plant, paths: Array) -> LengthUnit:
    """Return the unit of lengths in the plane: cm if the paths (T, k, N) are short."""
    assert plant.path_indices is not None
    unit = plant.units["output"][plant.path_indices[0]] or "m"
    extent = np.nanmax(paths, axis=(0, 2)) - np.nanmin(paths, axis=(0, 2))
    if unit == "m" and extent.max() < 1:
        return LengthUnit(100, "cm")
    return LengthUnit(1, unit)


def link_points(comparison: Comparison, x: Array, trials: Array) -> Array | None:
    """Return the points of links (n, T+1, k, 2 or 3) [m] of some trials at states x.

    `x` is (T+1, nx, N). Returns None for a plant without links.
    """
    plant, params = comparison.run.plant, comparison.scenario.params
    if "links" not in plant.functions:
        return None
    with np.errstate(invalid="ignore"):
        points = [
            draw_links(plant, state, params[:, n])
            for n in trials
            for state in x[:, :, n]
        ]
    stacked = stack_drawings(plant, "links", points)
    return stacked.reshape(len(trials), len(x), *stacked.shape[1:])


def mark_points(comparison: Comparison, trials: Array) -> Array | None:
    """Return the marks (n, T+1, k, 3) of some trials: x, y [m] and a value.

    At the last state the last control stays. Returns None for a plant without marks.
    """
    plant, params = comparison.run.plant, comparison.scenario.params
    if "marks" not in plant.functions:
        return None
    x, u = comparison.rollout.x, comparison.rollout.u
    u = np.concatenate([u, u[-1:]])
    with np.errstate(invalid="ignore"):
        marks = [
            draw_marks(plant, x[t, :, n], u[t, :, n], params[:, n])
            for n in trials
            for t in range(len(x))
        ]
    stacked = stack_drawings(plant, "marks", marks)
    return stacked.reshape(len(trials), len(x), *stacked.shape[1:])
