"""Contract tests of what a plant file draws: `links` and `marks`."""

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.plant_sample import Sample
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
    links = sample.plant.functions["links"]
    drawings = [
        np.asarray(links(x, p), dtype=float)
        for x, p in zip(sample.x.T, sample.p.T, strict=True)
    ]
    first = drawings[0]
    if first.ndim != 2 or not first.size or first.shape[1] not in (2, 3):
        return (
            f"links gives an array {first.shape}; it must give points (k, 2), or "
            "(k, 3) in space"
        )
    if any(points.shape != first.shape for points in drawings):
        return (
            "links gives more points at some states than at others; the number must be "
            "the same at all"
        )

    # A row of NaN separates two lines, and must do so in every drawing: a movie moves
    # the lines of its first frame.
    points = np.array(drawings)
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
    function = sample.plant.functions["marks"]
    drawings = [
        np.asarray(function(x, u, p))
        for x, u, p in zip(sample.x.T, sample.u.T, sample.p.T, strict=True)
    ]
    first = drawings[0]
    varies = any(marks.shape != first.shape for marks in drawings)
    if first.ndim != 2 or first.shape[1] != 3 or varies:
        return (
            f"marks gives an array {first.shape}; it must give x, y and a value for "
            "each mark (k, 3) at every state"
        )
    marks = np.array(drawings)
    is_finite = np.isfinite(marks).all(axis=2)
    wrong = marks[~is_finite | (np.abs(marks[:, :, 2]) > 1)]
    if len(wrong):
        return (
            f"marks gives {format_numbers(wrong[0])}; it must give finite coordinates, "
            "and values from -1 to 1"
        )
    return None
