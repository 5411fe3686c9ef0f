"""One call of the NumPy functions of a plant with `step_batch`, when it is read."""

import warnings

import numpy as np

from hfcontrol.errors import FOREIGN_FAULTS, PlantError
from hfcontrol.plant.calls import format_place, line_of
from hfcontrol.plant.contract import Plant
from hfcontrol.plant.probe import PROBE_SIZE, list_calls

TRIALS = 2


def probe_numpy_functions(plant: Plant) -> None:
    """Call `observe`, `output` and residuals of a plant with `step_batch` once.

    Raises PlantError for an entry that is left unwritten, which would be NaN, or that
    is complex. What a function raises is reported when a rollout calls it.
    """
    x = tuple((PROBE_SIZE * plant.typical_state).tolist())
    u = tuple((PROBE_SIZE * plant.typical_control).tolist())
    for name, entries, arguments in list_calls(plant, x, u):
        place = format_place(plant, line_of(plant, plant.functions[name]))
        columns = [np.tile(np.array(a)[:, None], TRIALS) for a in arguments]
        is_written = np.zeros(len(entries), dtype=bool)
        # A written entry may equal one of the numbers that are there before.
        for before in (1.0, 2.0):
            out = np.full((len(entries), TRIALS), before)
            copies = [column.copy() for column in columns]
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("error", np.exceptions.ComplexWarning)
                    plant.functions[name](*copies, out)
            except np.exceptions.ComplexWarning:
                raise PlantError(
                    f"{place}: {name} writes complex numbers; they must be real"
                ) from None
            except FOREIGN_FAULTS:
                return
            is_written |= (out != before).any(axis=1)
        if not is_written.all():
            missing = [f"{i} ({entries[i]})" for i in np.flatnonzero(~is_written)]
            raise PlantError(
                f"{place}: {name} leaves entry {', '.join(missing)} unwritten; it must "
                f"write all {len(entries)} into its last argument"
            )
