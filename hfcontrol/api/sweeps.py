"""Many trainings from Python."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hfcontrol.api.callbacks import is_notebook
from hfcontrol.errors import UsageError
from hfcontrol.jobs.sweep import run_sweep
from hfcontrol.jobs.sweep_file import (
    Grid,
    Points,
    Seeds,
    make_sweep,
    read_sweep,
)
from hfcontrol.jobs.sweep_table import SweepTable
from hfcontrol.jobs.training_job import Outcome
from hfcontrol.jobs.trainings import Followers

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hfcontrol.runs.settings import SettingsDict

Place: TypeAlias = str | Path | None
DEFAULT_OUT = "weights/sweep"


def sweep(
    file: Place = None,
    *,
    grid: Grid = None,
    points: Points = None,
    seeds: Seeds = 0,
    out: Place = None,
    jobs: int | None = None,
    backend: str | None = None,
    **settings: "Unpack[SettingsDict]",
) -> SweepTable:
    """Train many settings with many seeds, and return a table of the results.

        table = hf.sweep(plant="arm2", grid={"effort": [1e-4, 1e-3]}, seeds="0-3")

    What has finished in `out` with the same settings and plant is not trained again,
    and what was stopped goes on. An interrupt stops all trainings after their update.

    file: a TOML file with all of it (docs/howto/cluster.md), in place of the next four.
    grid: values of settings; every combination is trained.
    points: settings of one training each, combined with the grid.
    seeds: a number, several, or a text such as "0-31".
    settings: shared by all, the keywords of `Settings`.
    out: the folder of the runs and of sweep.csv, default weights/sweep.
    jobs: number of parallel processes, default one per core.
    backend: local (default), dask:ADDRESS or ray:ADDRESS.

    In a notebook, a bar shows how many have finished. Raises UsageError for wrong
    settings or an address where nobody answers, and TrainingError if no training has
    finished.
    """
    if file is None:
        planned = make_sweep(settings, grid, points, seeds, out or DEFAULT_OUT)
    elif grid or points or settings or seeds != 0:
        raise UsageError("`file` with other settings: give one or the other")
    else:
        planned = read_sweep(file, out)
    if not is_notebook():
        return run_sweep(planned, jobs, backend)

    from tqdm.auto import tqdm

    with tqdm(total=planned.count, unit="training") as bar:

        def count(outcome: Outcome) -> None:
            bar.update()

        return run_sweep(planned, jobs, backend, follow=Followers(count))
