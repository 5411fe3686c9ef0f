"""Entries of the tasks in TASKS: a model for each generator, with type, range and size.

Most sizes are those of the plant, such as one number for each position. Therefore the
models are validated with the plant and the other entries as their context (`Entries`).

A task may hold entries that only other generators use, so that it can extend another
task: {**REACH, "generator": "stay", "range": ...}. These entries are ignored.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError

from hfcontrol.errors import TaskError
from hfcontrol.plant.contract import Plant
from hfcontrol.tasks import rules
from hfcontrol.tasks.generators import GENERATORS
from hfcontrol.tasks.rules import Entries, Numbers, Rule

# Longer values are cut in messages.
LONGEST_VALUE = 60

StartState = Annotated[Any, PlainValidator(rules.Start())]
StateNumbers = Annotated[Any, PlainValidator(Numbers("state", rules.name_states))]
Count = Annotated[Any, PlainValidator(rules.COUNT)]
Size = Annotated[Any, PlainValidator(rules.SIZE)]
Function = Annotated[Any, PlainValidator(rules.FUNCTION)]


class TaskEntries(BaseModel):
    """Entries of every task; their default None means that the entry is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Count
    steps: Count
    judged: Count = None
    generator: Annotated[Any, PlainValidator(rules.Choice(tuple(GENERATORS)))] = None
    draw: Function = None
    sees: Function = None
    preview: Annotated[Any, PlainValidator(rules.TIMES)] = None
    random: Annotated[Any, PlainValidator(rules.FLAG)] = None
    push: Size = None

    final: Annotated[Any, PlainValidator(rules.Weight("final"))] = None
    final_at: Annotated[Any, PlainValidator(rules.FRACTIONS)] = None
    running: Annotated[Any, PlainValidator(rules.Weight("running"))] = None
    effort: Annotated[Any, PlainValidator(rules.Weight("effort"))] = None
    effort_about: Annotated[
        Any, PlainValidator(Numbers("control", rules.name_controls, single=True))
    ] = None
    residual: Function = None
    residuals: Annotated[Any, PlainValidator(rules.NAMES)] = None
    residual_weight: Annotated[
        Any,
        PlainValidator(
            Numbers("residual", rules.name_residuals, single=True, lowest=0.0)
        ),
    ] = None

    success: Annotated[Any, PlainValidator(rules.Success())] = None
    train: Annotated[Any, PlainValidator(rules.SETTINGS)] = None


class ReachEntries(TaskEntries):
    """Entries of a task with a circle of hand targets."""

    start: StartState
    radius: Annotated[Any, PlainValidator(rules.LENGTH)]
    centre: Annotated[Any, PlainValidator(rules.POINT)] = None


class AnglesEntries(TaskEntries):
    """Entries of a task with targets from one posture to another."""

    start: StartState
    targets: Annotated[Any, PlainValidator(rules.Postures())]


class RangeEntries(TaskEntries):
    """Entries of a task with postures drawn from a range."""

    range: Annotated[Any, PlainValidator(rules.Ranges())]


class AroundEntries(TaskEntries):
    """Entries of a task with starts around a state, and one target."""

    start: StateNumbers
    spread: Annotated[
        Any, PlainValidator(Numbers("state", rules.name_states, lowest=0.0))
    ]
    target: Annotated[
        Any, PlainValidator(Numbers("state", rules.name_states, free=True))
    ]


# A task without one of these generators has its own `draw`.
MODELS: dict[str, type[TaskEntries]] = {
    "reach": ReachEntries,
    "angles": AnglesEntries,
    "reach_and_back": ReachEntries,
    "angles_and_back": AnglesEntries,
    "anywhere_and_back": RangeEntries,
    "anywhere": RangeEntries,
    "stay": RangeEntries,
    "follow": RangeEntries,
    "around": AroundEntries,
}
KNOWN = {name for model in MODELS.values() for name in model.model_fields}


def check_entries(
    plant: Plant, task: str | None = None, entries: Mapping[str, Any] | None = None
) -> None:
    """Raise TaskError with a line for each fault in the entries of a plant's tasks.

    `entries` replace those of the task `task`.
    """
    tasks = dict(plant.tasks)
    if task is not None and entries is not None:
        tasks[task] = dict(entries)

    faults = [
        f"task {name} of {plant.name}: {fault}"
        for name in tasks
        for fault in find_faults(plant, tasks[name])
    ]
    if faults:
        raise TaskError(*faults)


def find_faults(plant: Plant, entries: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each fault in the entries of a task."""
    model = _select_model(entries)
    others = KNOWN - set(model.model_fields)
    used = {name: value for name, value in entries.items() if name not in others}
    task = Entries(plant, entries)

    faults = []
    if "draw" not in used and "generator" not in used:
        faults.append('give a "generator", or a function as "draw"')
    if (used.get("residual") is None) != (used.get("residuals") is None):
        faults.append('give "residual", a function, and "residuals", their names')
    try:
        model.model_validate(used, context=task)
    except ValidationError as error:
        for fault in error.errors():
            name = fault["loc"][0]
            if fault["type"] == "missing":
                faults.append(_describe_missing(model, str(name), task))
            elif name in model.model_fields:
                reason = fault["ctx"]["error"]
                faults.append(f"{name} {format_entry(entries[str(name)])}: {reason}")
            else:
                faults.append(_describe_unknown(model, name))
    return faults


def _select_model(entries: Mapping[str, Any]) -> type[TaskEntries]:
    """Return the model of a task; the one of all tasks if its generator is unknown."""
    generator = entries.get("generator")
    # A function of the task replaces the generator.
    if "draw" in entries or not isinstance(generator, str):
        return TaskEntries
    return MODELS.get(generator, TaskEntries)


def _describe_missing(model: type[TaskEntries], name: str, task: Entries) -> str:
    """Return the sentence about an entry that a task lacks."""
    rule: Rule = model.model_fields[name].metadata[0].func
    return f"entry {name} is missing; it must be {rule.allowed(task)}"


def _describe_unknown(model: type[TaskEntries], name: Any) -> str:
    """Return the sentence about an entry that no task has."""
    near = get_close_matches(str(name), KNOWN, n=1)
    if near:
        return f"unknown entry {name!r}; did you mean {near[0]!r}?"
    return f"unknown entry {name!r}; known are {', '.join(model.model_fields)}"


def format_entry(value: Any) -> str:
    """Return a value in one line of limited length."""
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
