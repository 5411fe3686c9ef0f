"""Cards: what a notebook shows of a run, a plant, an evaluation or trajectories."""

from functools import singledispatch
from typing import Any

from hfcontrol.display import Displayed
from hfcontrol.evaluation.result import Evaluation
from hfcontrol.evaluation.run_table import RunTable
from hfcontrol.evaluation.tables import evaluation_table
from hfcontrol.figures.plots import plot_loss
from hfcontrol.plant.contract import Plant
from hfcontrol.reports.facts import run_facts, table_texts
from hfcontrol.reports.pages import fill
from hfcontrol.reports.pictures import figure_picture
from hfcontrol.runs.run import Run
from hfcontrol.runs.trajectories import Trajectories

# Units and names in a card are cut after this number.
MOST_NAMES = 12


def _card(title: str, **parts: Any) -> str:
    """Return a card with a title and some of its parts."""
    nothing = dict.fromkeys(("picture", "table", "facts", "heads", "rows"))
    return fill("card.html", title=title, **{**nothing, **parts})


@singledispatch
def make_card(value: Displayed) -> str:
    """Return the card of an object as HTML."""
    return _card(repr(value))


@make_card.register
def _(run: Run) -> str:
    if run.curriculum:
        return _card(repr(run))
    picture = figure_picture(plot_loss([run], optimum=False), "learning curve")
    return _card(str(run.path), picture=picture, facts=run_facts(run))


@make_card.register
def _(plant: Plant) -> str:
    names = {
        "states": (plant.state, plant.units["state"]),
        "controls": (plant.control, plant.units["control"]),
        "observations": (plant.observation, plant.units["observation"]),
        "outputs": (plant.output, plant.units["output"]),
    }
    facts = [(name, _list_names(*entry)) for name, entry in names.items()]
    facts += [
        ("control step", f"{1000 * plant.dt:g} ms"),
        ("tasks", ", ".join(plant.tasks) or "none"),
        ("file", str(plant.path)),
    ]
    return _card(plant.name, facts=facts)


def _list_names(names: tuple[str, ...], units: tuple[str, ...]) -> str:
    """Return names with their units, the first ones of many."""
    pairs = list(zip(names, units, strict=True))
    words = [f"{name} [{unit}]" if unit else name for name, unit in pairs[:MOST_NAMES]]
    more = len(pairs) - MOST_NAMES
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


@make_card.register
def _(evaluation: Evaluation) -> str:
    title = f"{evaluation['plant']} {evaluation['task']}: {evaluation['run']}"
    return _card(title, table=evaluation_table(evaluation))


@make_card.register
def _(table: RunTable) -> str:
    heads, rows = table_texts(table.rows)
    return _card(f"{len(table)} runs", heads=heads, rows=rows)


@make_card.register
def _(found: Trajectories) -> str:
    heads = ["attribute", "entries", "shape"]
    attributes = {"hidden": "activations"}
    rows = []
    for kind, quantity in found.quantities.items():
        shape = " × ".join(map(str, quantity.values.shape))
        names = _list_names(quantity.names, quantity.units)
        rows.append([attributes.get(kind, f"{kind}s"), names, shape])
    return _card(repr(found), heads=heads, rows=rows)
