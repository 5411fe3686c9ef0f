"""Facts about a run as texts, for a report and for a card."""

from collections.abc import Sequence
from typing import Any

from hfcontrol.runs.run import Run
from hfcontrol.runs.summary import own_settings
from hfcontrol.schema import format_value as format_setting


def format_value(value: Any) -> str:
    """Return a value of a table as text: four digits, and a dash for None."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table_texts(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return heads and texts of rows, without the columns that have no value."""
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    texts = [[format_value(row[name]) for name in names] for row in rows]
    return [name.replace("_", " ") for name in names], texts


def run_facts(run: Run) -> list[tuple[str, str]]:
    """Return what a run is and why it stopped, a name and a text each."""
    state = run.state
    settings = own_settings(run.settings)
    words = [f"{name}={format_setting(value)}" for name, value in settings.items()]
    return [
        ("plant", str(run.tree["plant"]["name"])),
        ("task", run.task_name),
        ("settings", ", ".join(words) or "all defaults"),
        ("loss", format_value(state.controller_loss)),
        ("updates", f"{state.updates} in {state.holds} holds"),
        ("rollouts", str(state.rollouts)),
        ("seconds", f"{state.seconds:.1f}"),
        ("stopped by", str(run.tree["stop"] or "-")),
    ]


def environment_facts(run: Run) -> list[tuple[str, str]]:
    """Return with what a run was trained: its network, versions and files."""
    versions = run.tree["versions"]
    words = [f"{name} {version}" for name, version in versions.items()]
    return [
        ("weights", str(run.theta.size)),
        ("hidden units", format_setting(run.settings.hidden)),
        ("solver", str(run.tree["solver"])),
        ("compiled in", f"{run.tree['compile_seconds']:.1f} s"),
        ("versions", ", ".join(words)),
        ("SHA-256 of the plant", str(run.tree["plant"]["hash"])),
        ("folder", str(run.path)),
    ]


def training_call(run: Run) -> str:
    """Return the call of `hf.train` with the settings of a run."""
    settings = dict(own_settings(run.settings))
    plant = settings.pop("plant", run.settings.plant)
    words = [repr(str(plant)), *(f"{name}={v!r}" for name, v in settings.items())]
    return f"hf.train({', '.join(words)})"
