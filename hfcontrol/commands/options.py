"""Options and words that several commands share."""

import json

import click

RUN = click.argument("run", required=False, metavar="[RUN]")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts instead of text.")

CONDITIONS = [
    click.option("--feedback-delay", metavar="STEPS|MS", help="Delay of the observations: steps, or ms as in 40ms."),
    click.option("--command-delay", metavar="STEPS|MS", help="Delay of the commands: steps, or ms as in 20ms."),
    click.option("--sensory-noise", type=float, help="Standard deviation of noise on every observation, in its unit."),
    click.option("--motor-noise", metavar="SD|PERCENT",
                 help="Standard deviation of noise on every control, in its unit, or a fraction of the control as in 5%."),
    click.option("--control-limit", metavar="LIMIT|plant|none",
                 help="Smooth limit of the controls; by default the plant's own."),
]


def conditions(command):
    """Adds the options of delay, noise and limit, which training and evaluation share."""
    for option in reversed(CONDITIONS):
        command = option(command)
    return command


def given(**options):
    """The options that were given, by name."""
    return {name: value for name, value in options.items() if value is not None}


def say_json(value):
    """One JSON object on one line."""
    click.echo(json.dumps(value))


def table(evaluation):
    """The lines of an evaluation for people: a row for each number, a column for each set of scenarios."""
    sets = evaluation["sets"]
    first = next(iter(sets.values()))
    error, speed = first["error"], first["final_speed"]
    rows = [("trials", lambda s: f"{s['trials']}"), ("loss", lambda s: f"{s['loss']:.3e}"),
            ("optimal loss", lambda s: f"{s['optimal_loss']:.3e}"),
            ("ratio to optimal", lambda s: "optimum is zero" if s["ratio"] is None else f"{s['ratio']:.4f}"),
            (f"final error{_unit(error)}", lambda s: f"{s['error']['mean']:.3g} (max {s['error']['max']:.3g})"),
            (f"final speed{_unit(speed)}", lambda s: f"{s['final_speed']['mean']:.3g} (max {s['final_speed']['max']:.3g})"),
            ("peak controls", lambda s: ", ".join(f"{c:.3g}" for c in s["peak_control"]))]
    if first["path_deviation"]:
        rows.append(("path deviation [% of reach]", lambda s: f"{100 * s['path_deviation']['mean']:.1f} "
                                                              f"(max {100 * s['path_deviation']['max']:.1f})"))
    rows.append(("success", lambda s: f"{100 * s['success']:.0f} %"))
    lines = [f"{'':28}" + "".join(f"{name.replace('_', '-'):>24}" for name in sets)]
    return lines + [f"{name:28}" + "".join(f"{show(s):>24}" for s in sets.values()) for name, show in rows]


def _unit(number):
    return f" [{number['unit']}]" if number["unit"] else ""
