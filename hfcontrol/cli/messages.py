"""Messages of the library in the words of the command line.

The library names a setting in backticks, as in `feedback_delay`; a user of the command
line knows it as --feedback-delay.
"""

import re

import click


def option_names(*commands: click.Command | None) -> dict[str, str]:
    """Return the option of each setting or parameter of some commands, by its name."""
    names = {}
    for command in commands:
        for parameter in command.params if command else ():
            if not isinstance(parameter, click.Option) or not parameter.name:
                continue
            # The long form, of an option that has a short one too.
            option = max(parameter.opts, key=len)
            names[parameter.name] = option

            # --from is `start` in Python, and messages may call it `from`.
            names[option.lstrip("-").replace("-", "_")] = option
    return names


def name_options(message: str, names: dict[str, str]) -> str:
    """Return a message with settings in backticks replaced by their options.

    `cg_cap` becomes --cg-cap, and `hold=model` becomes --hold model. Other words in
    backticks stay.
    """

    def replace(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in names:
            return match[0]
        return names[name] if value is None else f"{names[name]} {value}"

    return re.sub(r"`(\w+)(?:=([^`]+))?`", replace, message)
