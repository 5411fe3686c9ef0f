"""A report: one page that holds all that matters of one run, or of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcontrol.arrays.files import atomic_write
from hfcontrol.errors import PlantError, UsageError
from hfcontrol.evaluation.evaluation import evaluate
from hfcontrol.evaluation.result import Evaluation
from hfcontrol.evaluation.run_table import RunTable
from hfcontrol.evaluation.tables import Table, evaluation_table
from hfcontrol.figures.movies import animate
from hfcontrol.figures.plots import plot, plot_error, plot_loss
from hfcontrol.policy_gradient.samplers import Episodes
from hfcontrol.reports.facts import (
    environment_facts,
    format_value,
    run_facts,
    table_texts,
    training_call,
)
from hfcontrol.reports.pages import fill_page
from hfcontrol.reports.pictures import Picture, figure_picture, movie_picture
from hfcontrol.runs.run import Run
from hfcontrol.texts import file_name

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hfcontrol.runs.settings import ConditionKeywords

SUFFIXES = (".html",)

# Trials of the movie: enough to see the plant move, and small enough to be mailed.
MOVIE_TARGETS = 4


def _ignore(text: str) -> None:
    """Show nothing."""


@dataclass
class Section:
    """What a report says about one run."""

    name: str
    command: str
    call: str
    numbers: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    evaluations: list[tuple[str, Table]] = field(default_factory=list)


def report(
    runs: Run | Path | str | Sequence[Run | Path | str] | None = None,
    out: Path | str | None = None,
    *,
    show: Callable[[str], object] = _ignore,
    **conditions: "Unpack[ConditionKeywords]",
) -> Path:
    """Write a report of one run, or of several side by side; return its path.

        hf.report([first, second], "report.html", motor_noise="5%")

    It is one html file that needs no network: what was trained and with which command,
    the learning curve, movements and controls over the optimal ones, a movie, the
    evaluation with its certificate, and the environment of the training.

    runs: runs, or their paths; None for the newest.
    out: the html; default next to the first run, named after it.
    show: called with what is being done, in words.
    conditions: settings of a second evaluation, such as disturbances.

    Raises UsageError for another ending, and if the file cannot be written.
    """
    listed: Any = runs if isinstance(runs, (list, tuple)) else [runs]
    loaded = [Run.load(run) for run in listed]
    if not loaded:
        raise UsageError("`runs`: the list of runs is empty; name at least one")
    path = Path(out) if out is not None else _default_path(loaded[0])
    with atomic_write(path, SUFFIXES) as temporary:
        page = make_report(loaded, {**conditions}, show)
        temporary.write_text(page, encoding="utf-8")
    return path


def _default_path(run: Run) -> Path:
    """Return where the report of a run goes by default."""
    return run.output_folder / f"{file_name(run.path.resolve().name)}-report.html"


@np.errstate(all="ignore")
def make_report(
    runs: Sequence[Run], conditions: dict[str, Any], show: Callable[[str], object]
) -> str:
    """Return the report of runs as HTML."""
    evaluations: list[Evaluation] = []
    sections = []
    for run in runs:
        section, found = _make_section(run, conditions, show)
        sections.append(section)
        evaluations += found
    pictures = []
    heads: list[str] = []
    rows: list[list[str]] = []
    if len(runs) > 1:
        curves = plot_loss(runs)
        pictures.append(figure_picture(curves, "learning curves of all runs", "wide"))
        heads, rows = _compare(runs, evaluations)
    names = [section.name for section in sections]
    title = names[0] if len(names) == 1 else f"{len(names)} runs"
    return fill_page(
        "report.html",
        title=title,
        sections=sections,
        pictures=pictures,
        comparison={"heads": heads, "rows": rows},
    )


def _compare(
    runs: Sequence[Run], evaluations: list[Evaluation]
) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the table of all runs.

    Runs whose plant is missing have no evaluation, and then none has one here.
    """
    if len(evaluations) < len(runs):
        heads = ["run", *(name for name, _ in run_facts(runs[0]))]
        rows = [[_name(run), *(text for _, text in run_facts(run))] for run in runs]
        return heads, rows
    return table_texts(RunTable(tuple(runs), tuple(evaluations)).rows)


def _name(run: Run) -> str:
    """Return the name of a run: that of its folder."""
    return run.path.resolve().name


def _make_section(
    run: Run, conditions: dict[str, Any], show: Callable[[str], object]
) -> tuple[Section, list[Evaluation]]:
    """Return what a report says of a run, and its evaluation if it has one."""
    state = run.state
    numbers = [
        ("loss", format_value(state.controller_loss)),
        ("updates", str(state.updates)),
        ("rollouts of the plant", str(state.rollouts)),
        ("seconds", f"{state.seconds:.1f}"),
    ]
    facts = [*run_facts(run), *environment_facts(run)]
    command = str(run.tree["command"])
    section = Section(_name(run), command, training_call(run), numbers, facts)
    try:
        run.plant  # noqa: B018
    except PlantError as error:
        section.notes.append(f"Without movements and evaluation: {error}")
        curve = plot_loss([run], optimum=False)
        section.pictures.append(figure_picture(curve, "learning curve"))
        return section, []
    show(f"drawing {section.name}")
    _add_pictures(section, run)
    show(f"evaluating {section.name}")
    evaluation = evaluate(run)
    _add_evaluation(section, "Evaluation", evaluation)
    if evaluation.ratio is not None:
        numbers.insert(0, ("times the optimum, held out", f"{evaluation.ratio:.4f}"))
    if "sets" in evaluation:
        success = evaluation["sets"]["held_out"]["success"]
        numbers.insert(1, ("success, held out", f"{100 * success:.0f} %"))
    if conditions:
        words = ", ".join(f"{name}={value}" for name, value in conditions.items())
        tested = evaluate(run, **conditions)
        _add_evaluation(section, f"Evaluation with {words}", tested)
    return section, [evaluation]


def _add_evaluation(section: Section, name: str, evaluation: Evaluation) -> None:
    """Add the table of an evaluation to a section."""
    section.evaluations.append((name, evaluation_table(evaluation)))


def _add_pictures(section: Section, run: Run) -> None:
    """Add the figures and the movie of a run to its section."""
    add = section.pictures.append
    curves = "learning curve and movements"
    if run.task_name == Episodes.name:
        add(figure_picture(plot_error(run), "return while learning"))
        return
    add(figure_picture(plot_error(run), curves, "wide"))
    add(figure_picture(plot(run, "controls"), "controls over the optimal ones"))
    add(figure_picture(plot(run, "speed"), "speed over the optimal one"))
    add(figure_picture(plot(run, "hidden"), "activity of the hidden units in trial 1"))
    add(movie_picture(animate(run, targets=MOVIE_TARGETS), "the plant moving"))
