"""Help in groups: options that most users need first, the rest under headings."""

from collections.abc import Iterable

import click

from hfcontrol.cli.options import CONDITIONS
from hfcontrol.runs.settings import MODELS

# The options of `train` that most users need, in the order of the help.
BASIC = (
    "plant",
    "task",
    "trials",
    "steps",
    "hidden",
    "effort",
    "batches",
    "rollouts",
    "max_seconds",
    "target_ratio",
    "seed",
    "seeds",
    "jobs",
    "out",
    "resume",
    "start",
    "quiet",
    "as_json",
    "help",
)

# The heading of each setting, as in docs/options.md.
HEADINGS = {name: head for head, model in MODELS.items() for name in model.model_fields}

# The last heading, of options that are no settings.
OTHERS = "Run and output"


class GroupedCommand(click.Command):
    """A command whose help has a list of options per group.

    Conditions have a list of their own. In `train`, which has most of the settings,
    BASIC says which options come first, and the others have the headings of their
    settings.
    """

    def format_options(
        self, context: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options, a section per group."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self._in_order(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                heading = self._heading(parameter.name or "")
                groups.setdefault(heading, []).append(record)
        # What is about the run comes last, under whatever other headings there are.
        last = groups.pop(OTHERS, [])
        for heading, records in [*groups.items(), (OTHERS, last)]:
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def _heading(self, name: str) -> str:
        """Return the heading of an option."""
        if self.name != "train":
            return "Conditions" if name in CONDITIONS else "Options"
        return "Options" if name in BASIC else HEADINGS.get(name, OTHERS)

    def _in_order(self, context: click.Context) -> Iterable[click.Parameter]:
        """Return the options: of `train`, the basic ones in their own order."""
        parameters = self.get_params(context)
        if self.name != "train":
            return parameters
        ranks = {name: rank for rank, name in enumerate(BASIC)}
        return sorted(parameters, key=lambda p: ranks.get(p.name or "", len(ranks)))
