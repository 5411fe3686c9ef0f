"""Unit hints of a plant file: they must agree with its numbers and with each other.

A hint is an entry of UNITS["state"], or of a comment after STATE such as
`# [rad, rad/s]` with a unit for each name.
"""

import ast
import re

from hfcontrol.arrays.types import Array
from hfcontrol.plant.contract import Plant

# An angle of more than a dozen turns is hardly in radians.
MOST_RADIANS = 100.0

DEGREES = ("deg", "degree", "degrees", "°")
TRIGONOMETRIC = ("sin", "cos", "tan")


def find_wrong_unit(plant: Plant, sizes: Array) -> str:
    """Return in words which unit of a state is wrong, or nothing.

    sizes: largest values (nx,) of the states at starts and goals.
    """
    units = state_units(plant)
    if len(units) != plant.n_body:
        return ""
    radians = _indices_in_radians(plant)
    for i, unit in enumerate(units):
        name = plant.state[i]
        if unit == "rad" and sizes[i] > MOST_RADIANS:
            return (
                f"units: {name} is in [rad] but reaches {sizes[i]:.4g}, "
                "many turns; write the numbers of the task in radians"
            )
        if unit in DEGREES and i in radians:
            return (
                f"units: {name} is in [{unit}], but the file takes sin, cos or tan of "
                f"x[{i}], which needs radians; use math.radians(x[{i}])"
            )
        rate = f"{name}_rate"
        if not unit or rate not in plant.state[: plant.n_body]:
            continue
        other = units[plant.state.index(rate)]
        if other and "/" in other and not other.startswith(f"{unit}/"):
            return (
                f"units: {name} is in [{unit}], but {rate}, its rate, in [{other}]; "
                "use the same unit in both"
            )
    return ""


def state_units(plant: Plant) -> tuple[str, ...]:
    """Return a unit for each state, empty where unknown, from UNITS or a comment."""
    units = plant.units.get("state", ())
    if any(units):
        return units[: plant.n_body]
    for line in plant.source.splitlines():
        if not line.startswith("STATE"):
            continue
        bracket = re.search(r"\[([^\]]*)\]", line.partition("#")[2])
        if bracket:
            return tuple(unit.strip() for unit in bracket[1].split(","))
    return ()


def _indices_in_radians(plant: Plant) -> set[int]:
    """Return the indices i for which the file takes sin, cos or tan of x[i]."""
    found: set[int] = set()
    try:
        tree = ast.parse(plant.source)
    except SyntaxError:
        # The source of a model of a simulator is no Python.
        return found
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or len(node.args) != 1:
            continue
        function, argument = node.func, node.args[0]
        name = getattr(function, "attr", getattr(function, "id", ""))
        if name not in TRIGONOMETRIC or not isinstance(argument, ast.Subscript):
            continue
        is_state = isinstance(argument.value, ast.Name) and argument.value.id == "x"
        index = getattr(argument.slice, "value", None)
        if is_state and isinstance(index, int):
            found.add(index)
    return found
