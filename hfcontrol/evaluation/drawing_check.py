"""Contract tests of what a plant file draws: `links` and `marks`."""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.plant_sample import Sample
from hfcontrol.plant.calls import draw_links, draw_marks, stack_drawings
from hfcontrol.plant.probe import format_numbers

# Lengths and positions may differ by rounding.
LENGTH_TOLERANCE = 1e-9
POSITION_TOLERANCE = 1e-12  # absolute


def check_drawing(sample: Sample) -> str | None:
    """`links` gives points of rigid segments, and `marks` gives values from -1 to 1."""
    functions = sample.plant.functions
    message = _check_links(sample) if "links" in functions else None
    if message is None and "marks" in functions:
        message = _check_marks(sample)
    return message


def _check_links(sample: Sample) -> str | None:
    """The segments keep their lengths, and the last point is the plant's own place."""
    drawings = [
        draw_links(sample.plant, x, p)
        for x, p in zip(sample.x.T, sample.p.T, strict=True)
    ]
    points = stack_drawings(sample.plant, "links", drawings)

    # A row of NaN separates two lines, and must do so in every drawing: a movie moves
    # the lines of its first frame.
    is_gap = np.isnan(points)
    if (is_gap != is_gap[0, :, :1]).any() or is_gap[0, -1].any():
        return (
            "links gives NaN in a part of a row, at some states or in the last row; "
            "only a whole row of NaN may separate two lines"
        )
    lengths = np.linalg.norm(np.diff(points, axis=1), axis=2)
    if not np.allclose(lengths, lengths[0], rtol=LENGTH_TOLERANCE, equal_nan=True):
        return "links gives segments whose lengths change with the state"
    return _check_last_point(sample, points)


def _check_last_point(sample: Sample, points: Array) -> str | None:
    """The last point of the drawings (N, k, 2 or 3) is where the output says it is."""
    plant = sample.plant
    indices = plant.path_indices
    if indices is None or (len(indices) == 3 and points.shape[2] == 2):
        return None
    x, y = indices[:2]
    position = sample.kernels.output(sample.x[None], sample.p)[0, [x, y]]
    if np.allclose(
        position.T, points[:, -1, :2], rtol=LENGTH_TOLERANCE, atol=POSITION_TOLERANCE
    ):
        return None
    return (
        f"the last point of links is not at ({plant.output[x]}, {plant.output[y]}) of "
        "output"
    )


def _check_marks(sample: Sample) -> str | None:
    """Every mark has finite coordinates and a value from -1 to 1."""
    states_and_controls = zip(sample.x.T, sample.u.T, sample.p.T, strict=True)
    drawings = [draw_marks(sample.plant, x, u, p) for x, u, p in states_and_controls]
    marks = stack_drawings(sample.plant, "marks", drawings)
    is_finite = np.isfinite(marks).all(axis=2)
    wrong = marks[~is_finite | (np.abs(marks[:, :, 2]) > 1)]
    if len(wrong):
        return (
            f"marks gives {format_numbers(wrong[0])}; it must give finite coordinates, "
            "and values from -1 to 1"
        )
    return None
