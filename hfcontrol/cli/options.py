"""Options that several commands share, and the options that settings declare."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import click

from hfcontrol.cli.completion import (
    COMPLETIONS,
    complete_plant,
    complete_run,
    complete_words,
)
from hfcontrol.errors import UsageError
from hfcontrol.runs.settings import Settings
from hfcontrol.schema import Option, format_value, option_of

RUN = click.argument(
    "run", required=False, metavar="[RUN]", shell_complete=complete_run
)
RUNS = click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=complete_run)
PLANT = click.option(
    "--plant",
    metavar="FILE",
    shell_complete=complete_plant,
    help="The plant to use in place of the one that RUN names. It is run: name only "
    "what you trust.",
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for scripts instead of text."
)

# Of which trials the optimum is found at the end.
JUDGE = (
    click.option(
        "--judge",
        metavar="auto|all",
        help="Trials whose optimum is found: all, or (auto, the default) as many as "
        "take a tenth of the training's operations, or about 10 s if that is more.",
    ),
    click.option(
        "--no-judge", is_flag=True, help="Do not search for the optimum of any trial."
    ),
)

# Options of training and evaluation alike, in the order of the help.
CONDITIONS = (
    "feedback_delay",
    "command_delay",
    "sensory_noise",
    "motor_noise",
    "push",
    "jitter",
    "param",
    "vary",
    "curl_field",
    "actuators",
    "control_limit",
)

# Defaults that the help shows in other words: --skip auto goes to layer 2.
DEFAULT_TEXTS = {"skip": "2"}

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


class HomePath(click.Path):
    """A path in which `~` is the home folder: shells leave it in `--out=~/a.png`."""

    def convert(self, value: Any, *place: Any) -> Any:
        """Return the path without `~`."""
        return super().convert(os.path.expanduser(value), *place)


def judge_choice(judge: str | None, no_judge: bool) -> str:
    """Return the choice that `--judge` and `--no-judge` make together.

    Raises UsageError for a word that is not allowed, and if both are given.
    """
    if no_judge and judge is not None:
        raise UsageError(f"`judge` {judge} with `no_judge`: leave one of them out")
    if judge not in (None, "auto", "all"):
        raise UsageError(f"`judge` {judge}: must be auto or all; or use `no_judge`")
    return "none" if no_judge else judge or "auto"


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
    complete = COMPLETIONS.get(name, complete_words)
    keywords: dict[str, Any] = {"help": help_text(declared), "shell_complete": complete}
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
    elif declared.syntax == "numbers":
        keywords["callback"] = parse_numbers
    elif declared.syntax == "layers":
        keywords["callback"] = parse_layers
    elif declared.type is not str:
        keywords["callback"] = partial(parse_number, declared)

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
    shown = DEFAULT_TEXTS.get(declared.name, format_value(default))
    return f"{declared.help} [{shown}]"


def parse_number(
    declared: Option, context: click.Context, parameter: click.Parameter, text: Any
) -> Any:
    """Return a text as a number; what is none is refused in the setting's own words."""
    if text is None:
        return None
    try:
        return declared.type(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} must be {declared.allowed}", context, parameter
        ) from None


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


def parse_numbers(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> float | tuple[float, ...] | str | None:
    """Return "0.1" as a number and "1,0.1" as a tuple; `Settings` checks other texts.

    A trailing comma makes a tuple of one number, as in Python.
    """
    if not text:
        return text
    try:
        numbers = tuple(float(word) for word in text.removesuffix(",").split(","))
    except ValueError:
        return text
    return numbers if "," in text else numbers[0]


def parse_words(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[str, ...] | str | None:
    """Return words such as "shoulder,elbow" as a tuple."""
    return text and tuple(text.split(","))


def given_options(**values: Any) -> dict[str, Any]:
    """Return the options that were given, by name."""
    # click passes None or () for an option that is left out; 0 is a value.
    return {
        name: value
        for name, value in values.items()
        if value is not None and value != ()
    }


def format_options(values: dict[str, Any]) -> str:
    """Return options as one would write them, for a heading."""
    words = []
    for name, value in values.items():
        text = " ".join(value) if isinstance(value, tuple) else value
        words.append(f"{option_name(name)} {text}")
    return ", ".join(words)


def format_settings(values: dict[str, Any]) -> str:
    """Return settings as one would write them on the command line."""
    return " ".join(_format_setting(name, value) for name, value in values.items())


def _format_setting(name: str, value: Any) -> str:
    """Return the option of a setting with its value."""
    declared = option_of(Settings, name)
    flag = option_name(name)
    if declared.type is bool:
        return flag if value else f"--no-{flag[2:]}"
    if declared.syntax == "repeated":
        return " ".join(f"{flag} {entry}" for entry in value)
    return f"{flag} {format_value(value) or 'none'}"
