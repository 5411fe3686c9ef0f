"""Options and words that several commands share."""

import json
import math
import sys
from contextlib import contextmanager

import click

RUN = click.argument("run", required=False, metavar="[RUN]")
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for scripts instead of text."
)
WIPE = "\r\x1b[K"  # goes back to the beginning of a terminal's line and clears it

CONDITIONS = [
    click.option(
        "--feedback-delay",
        metavar="STEPS|MS",
        help="Delay of the observations: steps, or ms as in 40ms.",
    ),
    click.option(
        "--command-delay",
        metavar="STEPS|MS",
        help="Delay of the commands: steps, or ms as in 20ms.",
    ),
    click.option(
        "--sensory-noise",
        type=float,
        metavar="SD",
        help="Standard deviation of noise on every observation, in its unit.",
    ),
    click.option(
        "--motor-noise",
        metavar="SD|PERCENT",
        help="Standard deviation of noise on every control, in its unit, or as part of the control: 5%.",
    ),
    click.option(
        "--push",
        type=float,
        metavar="SD",
        help="One random push per trial: standard deviation of its change of every rate, in its unit.",
    ),
    click.option(
        "--param",
        multiple=True,
        metavar="NAME=VALUE",
        help="Another value of a plant's parameter; repeatable.",
    ),
    click.option(
        "--vary",
        multiple=True,
        metavar="NAME=LOW..HIGH|NAME=PERCENT",
        help="A plant's parameter that differs between trials, drawn evenly: load=0..1 or mass=20%; repeatable.",
    ),
    click.option(
        "--curl-field",
        type=float,
        metavar="STRENGTH",
        help="A curl force field at the hand [N s/m], of any strength and sign up to this one, another each trial.",
    ),
    click.option(
        "--actuators",
        metavar="S|MS",
        help="Time constant of first-order actuators (muscles): 0.04 or 40ms.",
    ),
    click.option(
        "--control-limit",
        metavar="LIMIT|plant|none",
        help="Smooth limit of the controls; by default the plant's own.",
    ),
]

POLICIES = [
    click.option(
        "--discount",
        type=float,
        metavar="GAMMA",
        help="Of ppo and a2c: what a reward counts a step later. [0.99]",
    ),
    click.option(
        "--gae-lambda",
        type=float,
        metavar="LAMBDA",
        help="Of their advantages: 0.95 of ppo, 1 of a2c.",
    ),
    click.option(
        "--clip",
        type=float,
        metavar="EPS",
        help="How far from 1 a ratio of probabilities counts: 0.2 of ppo.",
    ),
    click.option(
        "--epochs",
        type=int,
        metavar="N",
        help="Passes over a rollout: 10 of ppo, 1 of a2c.",
    ),
    click.option(
        "--minibatches",
        type=int,
        metavar="N",
        help="Updates in each pass, each from whole trials: 4 of ppo, 1 of a2c.",
    ),
    click.option(
        "--entropy",
        type=float,
        metavar="WEIGHT",
        help="Of the policy's entropy in what they maximise. [0.0]",
    ),
    click.option(
        "--value-clip",
        type=float,
        metavar="EPS",
        help="How far a value counts as moved; without limit by default.",
    ),
    click.option(
        "--target-kl",
        type=float,
        metavar="KL",
        help="End the passes over a rollout 1.5 times so far from its policy; never by default.",
    ),
    click.option(
        "--log-spread",
        type=float,
        metavar="L",
        help="Logarithm of the exploration at the start, in typical controls. [-0.5]",
    ),
    click.option(
        "--anneal",
        type=int,
        metavar="N",
        help="Let the learning rate fall to nothing over N rollouts. [0]",
    ),
    click.option(
        "--normalise/--no-normalise",
        default=None,
        help="Show the network normalised inputs, as it is unless told not to.",
    ),
]


def conditions(command):
    """Adds the options of delays, disturbances and limits, which training and evaluation share."""
    return _with(CONDITIONS, command)


def policies(command):
    """Adds the options of policy gradients."""
    return _with(POLICIES, command)


def _with(options, command):
    for option in reversed(options):
        command = option(command)
    return command


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
