"""The generated module of a cell: its own functions, compiled over blocks of trials.

A cell's file in network/cells/ has scalar functions: the semi-implicit step `fused` or
the `field`, and their slopes. The module compiles them and wraps them in three block
functions, which kernels call by address (columns ADVANCE, TANGENT and PULL_BACK of the
table of layers). So a kernel is compiled once for all cells.

Arrays have a row for each unit: x (states k, trial), f (sums k, trial), p (n_p, k).
h (trial,) is the length of the step, `weight` the part of it that a field has.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from numba import types

from hfcontrol.arrays.types import Array
from hfcontrol.kernels.cache import cell_sources, hash_sources
from hfcontrol.kernels.jit import DISABLED, address_of, function_at, pointed_to
from hfcontrol.kernels.plant_module import load_module
from hfcontrol.network.cells import count_states, count_sums, is_staged, staged_cell
from hfcontrol.network.stages import SCHEMES
from hfcontrol.network.tables import ADVANCE, PULL_BACK, SCHEME, TANGENT

MATRIX = types.float64[:, ::1]
VECTOR = types.float64[::1]
REAL = types.float64
SIGNATURES = {
    # x, f, p, h, weight, y
    "advance": types.void(MATRIX, MATRIX, MATRIX, VECTOR, REAL, MATRIX),
    # x, f, p, dx, df, dp, h, weight, dy
    "tangent": types.void(*[MATRIX] * 6, VECTOR, REAL, MATRIX),
    # x, f, p, slope, bar, h, x_bar, f_bar, p_bar
    "pull_back": types.void(*[MATRIX] * 5, VECTOR, *[MATRIX] * 3),
}
COLUMNS = {"advance": ADVANCE, "tangent": TANGENT, "pull_back": PULL_BACK}

advance_at = function_at(lambda dtype: SIGNATURES["advance"])
tangent_at = function_at(lambda dtype: SIGNATURES["tangent"])
pull_back_at = function_at(lambda dtype: SIGNATURES["pull_back"])

# The hash gives the file another name, and so new code, when a cell is edited.
HEAD = '''"""Block functions of the cell {cell}; sources of cells: {hash}."""

from numba import njit

from hfcontrol.network.cells import {cell} as cell

njit = njit(error_model="numpy", nogil=True)
formula = njit(cell.{function})
slopes = njit(cell.{function}_slopes)
'''


class Sizes(NamedTuple):
    """Numbers of states, sums and parameters of a unit."""

    states: int
    sums: int
    parameters: int


def fill_functions(layers: Array, cells: Sequence[str]) -> Array:
    """Return a table of layers with the functions of their cells.

    `cells` are the names of the layers' cells. Functions are compiled, or loaded from
    the cache.
    """
    # Without Numba functions take the place of their addresses.
    filled = layers.astype(object) if DISABLED else layers.copy()
    for row, cell in zip(filled, cells, strict=True):
        if is_staged(cell):
            is_fused = SCHEMES[row[SCHEME]] == "fused"
            for name, column in COLUMNS.items():
                row[column] = address_of(load_function(cell, is_fused, name))
    return filled


@cache
def load_function(cell: str, is_fused: bool, name: str) -> Any:
    """Return a block function of a cell: advance, tangent or pull_back."""
    module = load_module(f"cell_{cell}", cell_source(cell, is_fused))
    return pointed_to(SIGNATURES[name])(getattr(module, name))


def cell_source(cell: str, is_fused: bool) -> str:
    """Return the source of the module of a cell, for its fused step or its field."""
    parameters = len(staged_cell(cell).PARAMETERS)
    sizes = Sizes(count_states(cell), count_sums(cell), parameters)
    parts = [
        HEAD.format(
            cell=cell,
            hash=hash_sources(cell_sources()),
            function="fused" if is_fused else "field",
        ),
        _advance(sizes, is_fused),
        _tangent(sizes, is_fused),
        _pull_back(sizes, is_fused),
    ]
    return "\n\n".join(parts)


def _loops(count: str, arguments: str, sizes: Sizes) -> list[str]:
    """Return the loops over units i and trials n, with the values of a unit."""
    p = "".join(f"p[{j}, i], " for j in range(sizes.parameters))
    return [
        f"    k = {count}",
        "    for i in range(k):",
        f"        p_i = ({p})",
        f"        for n in range({arguments}.shape[1]):",
        f"            x_n = {_values('x', sizes.states)}",
        f"            f_n = {_values('f', sizes.sums)}",
    ]


def _row(number: int) -> str:
    return f"{number} * k + i" if number else "i"


def _values(name: str, count: int) -> str:
    """Return the values of a unit: a number, or a tuple of several."""
    entries = [f"{name}[{_row(q)}, n]" for q in range(count)]
    return entries[0] if count == 1 else f"({', '.join(entries)})"


def _part(name: str, number: int, count: int) -> str:
    """Return a derivative: a number or an entry of a tuple."""
    return name if count == 1 else f"{name}[{number}]"


def _call(name: str, is_fused: bool) -> str:
    return f"{name}(x_n, f_n, p_i{', h[n]' if is_fused else ''})"


def _slopes(sizes: Sizes, is_fused: bool) -> list[str]:
    """Return the lines that compute the derivatives of every state s."""
    lines = [f"            by = {_call('slopes', is_fused)}"]
    for s in range(sizes.states):
        own = _part("by", s, sizes.states)
        lines.append(f"            by_x{s}, by_f{s}, by_p{s} = {own}")
    return lines


def _advance(sizes: Sizes, is_fused: bool) -> str:
    """Return y = the fused step, or y += weight h times the field."""
    lines = ["def advance(x, f, p, h, weight, y):"]
    lines += _loops(f"y.shape[0] // {sizes.states}", "y", sizes)
    lines.append(f"            y_n = {_call('formula', is_fused)}")
    for s in range(sizes.states):
        value = _part("y_n", s, sizes.states)
        change = f"= {value}" if is_fused else f"+= weight * h[n] * {value}"
        lines.append(f"            y[{_row(s)}, n] {change}")
    return "\n".join(lines) + "\n"


def _tangent(sizes: Sizes, is_fused: bool) -> str:
    """Return dy += the tangent of the fused step, or weight h times the field's."""
    lines = ["def tangent(x, f, p, dx, df, dp, h, weight, dy):"]
    lines += _loops(f"dy.shape[0] // {sizes.states}", "dy", sizes)
    lines += _slopes(sizes, is_fused)
    for s in range(sizes.states):
        terms = [
            f"{_part(f'by_x{s}', r, sizes.states)} * dx[{_row(r)}, n]"
            for r in range(sizes.states)
        ]
        terms += [
            f"{_part(f'by_f{s}', q, sizes.sums)} * df[{_row(q)}, n]"
            for q in range(sizes.sums)
        ]
        terms += [f"by_p{s}[{j}] * dp[{j}, i]" for j in range(sizes.parameters)]
        factor = "" if is_fused else "weight * h[n] * "
        lines.append(f"            dy[{_row(s)}, n] += {factor}({' + '.join(terms)})")
    return "\n".join(lines) + "\n"


def _pull_back(sizes: Sizes, is_fused: bool) -> str:
    """Return the transpose of the tangent; x_bar and p_bar are added to.

    f_bar holds the slopes of the activations before, and the cotangents of the sums
    after. `slope` are the derivatives of the parameters by their trained numbers.
    """
    lines = ["def pull_back(x, f, p, slope, bar, h, x_bar, f_bar, p_bar):"]
    lines += _loops(f"bar.shape[0] // {sizes.states}", "bar", sizes)
    lines += _slopes(sizes, is_fused)
    states = range(sizes.states)
    lines += [f"            bar{s} = bar[{_row(s)}, n]" for s in states]
    for r in states:
        terms = [f"{_part(f'by_x{s}', r, sizes.states)} * bar{s}" for s in states]
        lines.append(f"            x_bar[{_row(r)}, n] += {' + '.join(terms)}")
    for q in range(sizes.sums):
        terms = [f"{_part(f'by_f{s}', q, sizes.sums)} * bar{s}" for s in states]
        total = terms[0] if sizes.states == 1 else f"({' + '.join(terms)})"
        entry = f"f_bar[{_row(q)}, n]"
        lines.append(f"            {entry} = {entry} * {total}")
    for j in range(sizes.parameters):
        terms = [f"slope[{j}, i] * by_p{s}[{j}] * bar{s}" for s in states]
        lines.append(f"            p_bar[{_row(j)}, n] += {' + '.join(terms)}")
    return "\n".join(lines) + "\n"
