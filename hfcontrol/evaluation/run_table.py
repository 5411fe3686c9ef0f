"""Several runs side by side: what differs in their settings, and how good they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcontrol.display import Displayed
from hfcontrol.errors import UsageError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.evaluation.result import Evaluation
from hfcontrol.runs.run import Run
from hfcontrol.runs.summary import own_settings
from hfcontrol.runs.tables import make_dataframe

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hfcontrol.runs.settings import ConditionKeywords


@dataclass(frozen=True, repr=False)
class RunTable(Displayed):
    """Several runs: `rows` has a dict for each, with the same keys in all.

    runs, evaluations: the runs and what `evaluate` says of them, in the given order.
    """

    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]

    def __repr__(self) -> str:
        names = ", ".join(run.path.resolve().name for run in self.runs)
        return f"RunTable({len(self.runs)} runs: {names})"

    def __len__(self) -> int:
        return len(self.runs)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per run: its name, settings in which they differ, and its numbers."""
        different = differing_settings(self.runs)
        return [
            {
                "run": run.path.resolve().name,
                **{name: getattr(run.settings, name) for name in different},
                "updates": run.state.updates,
                "rollouts": run.state.rollouts,
                "seconds": run.state.seconds,
                **result_columns(evaluation),
            }
            for run, evaluation in zip(self.runs, self.evaluations, strict=True)
        ]

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame of the rows; UsageError without pandas."""
        rows = self.rows
        return make_dataframe({key: [row[key] for row in rows] for key in rows[0]})


def differing_settings(runs: Iterable[Run]) -> list[str]:
    """Return the settings in which runs differ, in the order of `Settings`."""
    runs = list(runs)
    named = {name for run in runs for name in own_settings(run.settings)}
    return [
        name
        for name in type(runs[0].settings).model_fields
        if name in named and len({repr(getattr(r.settings, name)) for r in runs}) > 1
    ]


def result_columns(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of an evaluation; those without a value are None."""
    if "return" in evaluation:
        found = evaluation["return"]["mean"]
        return {"return": found, "held_out_loss": None, "ratio": None, "success": None}
    numbers = evaluation["sets"]["held_out"]
    return {
        "return": None,
        "held_out_loss": numbers["loss"],
        "ratio": numbers["ratio"],
        "success": numbers["success"],
    }


def compare(
    runs: Iterable[Run | Path | str],
    trials: int | None = None,
    judge: str = "auto",
    **conditions: "Unpack[ConditionKeywords]",
) -> RunTable:
    """Evaluate several runs, and return them as a table.

        hf.compare(["weights/first", "weights/second"], motor_noise="5%")

    runs: runs, or their paths.
    trials, judge, conditions: as in `evaluate`; other settings are those of the run.

    Raises UsageError if there is no run.
    """
    if isinstance(runs, (str, Path, Run)):
        raise UsageError("`runs`: must be a list of runs; `hf.evaluate` takes one")
    loaded = tuple(Run.load(run) for run in runs)
    if not loaded:
        raise UsageError("`runs`: name at least one run to compare")
    found = [evaluate(run, None, trials, judge, **conditions) for run in loaded]
    return RunTable(loaded, tuple(found))
