"""Reading what a user writes, such as 40ms, 5% or load=0..1, as numbers; raises UsageError for what cannot be read."""

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.plant.modifiers import check_param


def delay_steps(value, dt, option):
    """A delay in steps from a number of steps or a text in milliseconds, which must be whole steps of dt [s]."""
    text = str(value)
    try:
        steps = float(text[:-2]) / (1000 * dt) if text.endswith("ms") else float(text)
    except ValueError:
        raise UsageError(
            f"--{option} {value}: steps such as 3, or milliseconds such as 40ms"
        ) from None
    if not 0 <= steps < np.inf or abs(steps - round(steps)) > 1e-9:
        raise UsageError(
            f"--{option} {value}: a whole number of control steps of {1000 * dt:g} ms, zero or more, is needed"
        )
    return round(steps)


def duration(value, option):
    """A time [s], zero or above, from a number of seconds or a text such as 40ms or 2s."""
    text = str(value)
    try:
        seconds = (
            float(text[:-2]) / 1000
            if text.endswith("ms")
            else float(text.removesuffix("s"))
        )
    except ValueError:
        raise UsageError(
            f"--{option} {value}: seconds such as 0.04 or 2s, or milliseconds such as 40ms"
        ) from None
    if not 0 <= seconds < np.inf:
        raise UsageError(f"--{option} {value}: a finite time, zero or above, is needed")
    return seconds


def durations(value, option):
    """Two times (least, most) [s] from a text such as 20ms..0.2."""
    low, dots, high = str(value).partition("..")
    if not dots:
        raise UsageError(
            f"--{option} {value}: two times with dots between, such as 20ms..200ms"
        )
    return duration(low, option), duration(high, option)


def motor_noises(value):
    """The pair (noise in control units, noise as a fraction of the control) from a number or a text with %."""
    text = str(value)
    try:
        return (
            (0.0, float(text[:-1]) / 100) if text.endswith("%") else (float(text), 0.0)
        )
    except ValueError:
        raise UsageError(
            f"--motor-noise {value}: a number in control units, or a percentage such as 5%"
        ) from None


def assignments(texts):
    """The dict of numbers that texts such as "friction=0.1" give."""
    values = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not equals or not np.isfinite(values[name.strip()]):
            raise UsageError(
                f"--param {text}: a parameter and a finite number, such as friction=0.1"
            )
    return values


def ranges(texts, plant):
    """Triples (parameter, low, high) from texts such as "load=0..1" or, about the plant's own value, "upper_mass=20%"."""
    triples = []
    for text in texts:
        name, _, span = text.partition("=")
        name, low, dots, high = name.strip(), *span.partition("..")
        check_param(plant, name, "--vary")
        try:
            if low.endswith("%") and not dots:
                part = float(low[:-1]) / 100
                low, high = sorted(
                    (plant.params[name] * (1 - part), plant.params[name] * (1 + part))
                )
            low, high = float(low), float(high)
        except ValueError:
            low = np.nan
        if not -np.inf < low <= high < np.inf:
            raise UsageError(
                f"--vary {text}: a parameter with its range, such as load=0..1, or with a percentage of its own "
                "value, such as upper_mass=20%"
            )
        triples.append((name, low, high))
    return tuple(triples)


def curl_range(value, plant):
    """The range of curl fields of -value to value [N s/m] as `ranges` would give it."""
    if value is None:
        return ()
    if plant.hand is None or "curl" not in plant.params:
        raise UsageError(
            f"--curl-field {value}: plant {plant.name} has no hand with a parameter curl [N s/m]; "
            "the arms have"
        )
    if not 0 <= value < np.inf:
        raise UsageError(
            f"--curl-field {value}: a finite strength [N s/m], zero or above, is needed"
        )
    return (("curl", -value, value),)
