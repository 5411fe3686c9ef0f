"""The page docs/options.md, written from the declarations of the settings.

To write it again: python -m hfcontrol.cli.reference > docs/options.md
"""

from hfcontrol.cli.options import option_name
from hfcontrol.runs.settings import MODELS
from hfcontrol.schema import OnlyWith, Option, SettingsModel, format_value, options

INTRODUCTION = """\
# Settings

<!-- Written by `python -m hfcontrol.cli.reference > docs/options.md`; do not edit. -->

Every setting of a training is a keyword of `hf.train`, an option of `hfcontrol train`
and an entry of a checkpoint. `--feedback-delay 40ms` on the command line is
`feedback_delay="40ms"` in Python. A default of `-` means the value of the task, the
plant or the method. "Applies" says when a setting has an effect; it is refused
otherwise.
"""

HEADER = """\
| option | default | allowed | meaning | applies |
|---|---|---|---|---|
"""


def options_page() -> str:
    """Return docs/options.md: a section with a table for each model of settings."""
    sections = [_section(title, model) for title, model in MODELS.items()]
    return "\n".join([INTRODUCTION, *sections])


def _section(title: str, model: type[SettingsModel]) -> str:
    """Return the section of one model."""
    summary = (model.__doc__ or "").strip().partition("\n")[0]
    rows = [_row(option) for option in options(model)]
    return f"## {title}\n\n{summary}\n\n{HEADER}{''.join(rows)}"


def _row(option: Option) -> str:
    """Return the row of one setting."""
    shown = option.default not in (None, ())
    cells = [
        f"`{option_name(option.name)}`",
        f"`{format_value(option.default)}`" if shown else "-",
        option.allowed,
        option.help,
        describe_rules(option),
    ]
    # A bar would end the cell.
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |\n"


def describe_rules(option: Option) -> str:
    """Return in words when a setting has an effect."""
    parts = [_describe_rule(rule) for rule in option.only_with]
    if option.plants_only:
        parts.append("on plants, not environments")
    return "; ".join(parts) or "always"


def _describe_rule(rule: OnlyWith) -> str:
    """Return one rule in words."""
    names = [value for value in rule.values if value is not None]
    # A rule of None alone means that the other setting is left out.
    if not names:
        words = f"without `{option_name(rule.other)}`"
    else:
        words = f"with `{option_name(rule.other)}` {', '.join(names)}"
    if rule.harmless:
        words += f" ({' and '.join(rule.harmless)} always)"
    return words


if __name__ == "__main__":
    print(options_page(), end="")
