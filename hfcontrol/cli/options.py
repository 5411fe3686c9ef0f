"""Options and words that several commands share."""

import json
import math
import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any, TypeAlias

import click

from hfcontrol.runs.settings import Settings
from hfcontrol.schema import Option, option_of

RUN = click.argument("run", required=False, metavar="[RUN]")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for scripts instead of text."
)
WIPE = "\r\x1b[K"  # goes back to the beginning of a terminal's line and clears it

# Options of training and evaluation alike, in the order of the help.
CONDITIONS = (
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "motor_noise",
    "push",
    "param",
    "vary",
    "curl_field",
    "actuators",
    "control_limit",
)

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def option_name(name: str) -> str:
    """Return the option of a setting: feedback_delay is --feedback-delay."""
    return f"--{name.replace('_', '-')}"


def condition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options of delays, disturbances and limits."""
    return add_options(map(setting_option, CONDITIONS), command)


def add_options(
    decorators: Iterable[Decorator], command: Callable[..., Any]
) -> Callable[..., Any]:
    """Decorate a command with several options, in the order of its help."""
    # click puts the decorator that is applied last first.
    for decorate in reversed(list(decorators)):
        command = decorate(command)
    return command


def setting_option(name: str) -> Decorator:
    """Return the click option that a setting declares."""
    declared = option_of(Settings, name)
    keywords: dict[str, Any] = {"help": help_text(declared)}
    flag = option_name(name)

    # Without a default of its own, an option that is not given stays None, and the
    # task's or the method's value applies.
    if declared.type is bool:
        if declared.default:
            return click.option(f"{flag}/--no-{flag[2:]}", default=None, **keywords)
        return click.option(flag, is_flag=True, default=None, **keywords)

    keywords["metavar"] = declared.metavar
    if declared.syntax == "repeated":
        keywords["multiple"] = True
    elif declared.syntax == "words":
        keywords["callback"] = parse_words
    elif declared.syntax == "layers":
        keywords["callback"] = parse_layers
    elif declared.type is not str:
        keywords["type"] = declared.type

    # The bare option --skip or --recurrent means all layers.
    if isinstance(declared.metavar, str) and declared.metavar.startswith("["):
        keywords |= {"is_flag": False, "flag_value": "all"}
    return click.option(flag, **keywords)


def help_text(declared: Option) -> str:
    """Return the help of a setting, with its default in brackets.

    Conditions have no default here: an evaluation takes those of the run.
    """
    default = declared.default
    if declared.name in CONDITIONS or default in (None, ()) or declared.type is bool:
        return declared.help
    return f"{declared.help} [{declared.default_text}]"


def parse_layers(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, ...] | str | None:
    """Return numbers such as "32,32" as a tuple; `Settings` checks other words."""
    if not text:
        return text
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        return text


def parse_words(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[str, ...] | str | None:
    """Return words such as "shoulder,elbow" as a tuple."""
    return text and tuple(text.split(","))


def given(**options):
    """The options that were given, by name."""
    return {
        name: value
        for name, value in options.items()
        if value is not None and value != ()
    }


def told(options):
    """The options that were given as one would write them, for a heading."""
    return ", ".join(
        f"--{name.replace('_', '-')} {' '.join(value) if isinstance(value, tuple) else value}"
        for name, value in options.items()
    )


@contextmanager
def working(on):
    """Says on a terminal what hfcontrol is busy with, for as long as it is; gives the function that says something else."""
    live = sys.stderr.isatty()

    def say(text):
        if live:
            click.echo(f"{WIPE}{text} ...", nl=False, err=True)

    say(on)
    try:
        yield say
    finally:
        if live:
            click.echo(WIPE, nl=False, err=True)


def say_json(value):
    """One JSON object on one line."""
    click.echo(json.dumps(finite(value), allow_nan=False))


def finite(value):
    """The value with null for what JSON has no word for: infinity and not-a-number."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_table(evaluation):
    """An evaluation for people: a row for each number, a column for each set of scenarios."""
    if "return" in evaluation:
        found = evaluation["return"]
        click.echo(
            f"return of the most likely actions over {evaluation['episodes']} episodes: {found['mean']:.1f} "
            f"+- {found['deviation']:.1f}, from {found['min']:.1f} to {found['max']:.1f}"
        )
        return
    sets = evaluation["sets"]
    first = next(iter(sets.values()))
    speed = first["final_speed"]
    rows = [
        ("trials", lambda s: f"{s['trials']}"),
        ("loss", lambda s: f"{s['loss']:.3e}"),
        ("optimal loss", lambda s: f"{s['optimal_loss']:.3e}"),
        (
            "ratio to optimal",
            lambda s: "optimum is zero" if s["ratio"] is None else f"{s['ratio']:.4f}",
        ),
        *(
            _error_row(k, error, len(first["errors"]))
            for k, error in enumerate(first["errors"])
        ),
        (
            f"final speed{_unit(speed)}",
            lambda s: (
                f"{s['final_speed']['mean']:.3g} (max {s['final_speed']['max']:.3g})"
            ),
        ),
        ("peak controls", lambda s: ", ".join(f"{c:.3g}" for c in s["peak_control"])),
    ]
    if first["path_deviation"]:
        rows.append(
            (
                "path deviation [% of reach]",
                lambda s: (
                    f"{100 * s['path_deviation']['mean']:.1f} "
                    f"(max {100 * s['path_deviation']['max']:.1f})"
                ),
            )
        )
    rows.append(("success", lambda s: f"{100 * s['success']:.0f} %"))
    lines = [
        ("", [name.replace("_", "-") for name in sets]),
        *((name, [show(s) for s in sets.values()]) for name, show in rows),
    ]
    width = max(24, *(len(cell) + 2 for _, cells in lines for cell in cells))
    for name, cells in lines:
        click.echo(f"{name:28}" + "".join(f"{cell:>{width}}" for cell in cells))
    if evaluation["noisy"]:
        click.echo(
            "the optimum knows all noise and pushes in advance: a bound that no controller attains"
        )


def _error_row(k, error, count):
    """The row of the error at one arrival, the last of which is the end."""
    name = "final error" if k == count - 1 else f"error at step {error['step']}"
    return name + _unit(
        error
    ), lambda s: f"{s['errors'][k]['mean']:.3g} (max {s['errors'][k]['max']:.3g})"


def _unit(number):
    return f" [{number['unit']}]" if number["unit"] else ""
