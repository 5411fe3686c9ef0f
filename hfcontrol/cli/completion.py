"""What a shell completes: runs, plants, their tasks, and words of settings.

Whatever is wrong with a plant or a run, a shell gets no message: it completes nothing.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import get_args

import click
from click.shell_completion import CompletionItem, get_completion_class

from hfcontrol.errors import HFControlError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script by which a shell completes hfcontrol.

    \b
    bash: add this line to ~/.bashrc
    eval "$(hfcontrol completion bash)"
    zsh: add this line to ~/.zshrc
    eval "$(hfcontrol completion zsh)"
    fish:
    hfcontrol completion fish > ~/.config/fish/completions/hfcontrol.fish
    """
    from hfcontrol.cli.app import COMPLETION, PROGRAM, cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, PROGRAM, COMPLETION).source())


def _matching(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the words that begin as what has been typed."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def complete_run(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the runs by name, the newest first; else files."""
    from hfcontrol.runs.folder import list_runs

    names: list[str] = []
    with suppress(OSError, HFControlError):
        names = [folder.path.name for folder in list_runs()]
    return _matching(names, incomplete) or [CompletionItem(incomplete, type="file")]


def complete_plant(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the shipped plants; else files."""
    from hfcontrol.plant.registry import plant_names

    found = _matching(plant_names(), incomplete)
    return found or [CompletionItem(incomplete, type="file")]


def complete_task(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the tasks of a shipped plant; a file is not run for that."""
    from hfcontrol.plant.registry import load_plant, plant_names

    plant = context.params.get("plant") or "arm2"
    if plant not in plant_names():
        return []
    return _matching(load_plant(plant).tasks, incomplete)


def complete_words(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the words that a setting allows."""
    from hfcontrol.runs.settings import Settings
    from hfcontrol.schema import alternatives

    field = Settings.model_fields[parameter.name or ""]
    words = [
        word
        for part in alternatives(field.annotation)
        for word in get_args(part)
        if isinstance(word, str)
    ]
    return _matching(words, incomplete)


# By the name of the setting; all others complete their words, if they have some.
COMPLETIONS = {"plant": complete_plant, "task": complete_task}
