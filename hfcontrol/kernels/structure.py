"""Sparse Jacobians of a plant's step: their zeros, and how few steps find the others.

In a large plant most states do not depend on most others within a control step. Columns
of the Jacobian without a common row form a group (Curtis, Powell and Reid 1974): they
are moved together, and each row tells the derivative by the only column of the group
that it depends on. A chain of masses takes as many groups as its band is wide, whatever
its length. Groups are coloured greedily, in the order of the columns.

The pattern is found by differences at sample points, small ones for the derivative and
large ones for what happens elsewhere, such as limits and contacts.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from hfcontrol.arrays.types import Array

# The table of a matrix that is stored whole.
DENSE: Array = np.zeros((0, 0), dtype=np.int64)

Pattern: TypeAlias = Array


class Colouring(NamedTuple):
    """Groups of columns, and the rows that depend on each column, for kernels.

    columns: columns by group; those of group g are starts[g] to starts[g + 1]
    rows, slots: rows by column, and the place of each entry in its row of A; those of
        column j are row_starts[j] to row_starts[j + 1]
    """

    starts: Array
    columns: Array
    row_starts: Array
    rows: Array
    slots: Array


class Structure(NamedTuple):
    """The structure of [A B]: its pattern (nx, nx + nu), and the groups of columns.

    `table` (nx, K) are the columns of A in the K places of a row that is stored without
    its zeros. Rows with fewer entries are filled up with other columns, whose entries
    are zero. The two colourings store A whole, and without its zeros.
    """

    pattern: Pattern
    groups: Sequence[Array]
    table: Array
    whole: Colouring
    packed: Colouring


def group_columns(pattern: Pattern) -> list[Array]:
    """Return groups of columns of which no two have a row in common, greedily."""
    groups: list[list[int]] = []
    taken: list[Array] = []
    for j in range(pattern.shape[1]):
        rows = pattern[:, j]
        for group, used in zip(groups, taken, strict=True):
            if not (used & rows).any():
                group.append(j)
                used |= rows
                break
        else:
            groups.append([j])
            taken.append(rows.copy())
    return [np.array(group) for group in groups]


def colour(pattern: Pattern, groups: Sequence[Array], slots: Array) -> Colouring:
    """Return the tables of groups; slots (rows, columns) are places in rows of A."""
    sizes = [len(group) for group in groups]
    # row by row of the transposed pattern: the entries of a column follow each other
    columns, rows = np.nonzero(pattern.T)
    counts = pattern.sum(axis=0)
    return Colouring(
        starts=_starts(sizes),
        columns=np.concatenate(groups).astype(np.int64),
        row_starts=_starts(counts),
        rows=rows.astype(np.int64),
        slots=slots[rows, columns].astype(np.int64),
    )


def _starts(sizes: Sequence[int] | Array) -> Array:
    """Return where parts of the given sizes begin, and the end of the last."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def whole_colouring(rows: int, nx: int, nu: int) -> Colouring:
    """Return the colouring of a Jacobian without zeros: a group for each column."""
    pattern = np.ones((rows, nx + nu), dtype=bool)
    groups = [np.array([j]) for j in range(nx + nu)]
    return colour(pattern, groups, _own_places(rows, nx, nu))


def _own_places(rows: int, nx: int, nu: int) -> Array:
    """Return the places of entries in rows that are stored whole: A and B apart."""
    places = np.concatenate([np.arange(nx), np.arange(nu)])
    return np.tile(places, (rows, 1))


def make_structure(pattern: Pattern, nx: int) -> Structure:
    """Return the structure of a pattern (nx, nx + nu).

    States and controls have groups of their own.
    """
    nu = pattern.shape[1] - nx
    by_state = group_columns(pattern[:, :nx])
    by_control = [nx + group for group in group_columns(pattern[:, nx:])]
    groups = by_state + by_control
    places = _own_places(nx, nx, nu)

    # the columns of a row first, then the others, each in their order
    order = np.argsort(~pattern[:, :nx], axis=1, kind="stable")
    width = max(int(pattern[:, :nx].sum(axis=1).max()), 1)
    packed_places = places.copy()
    np.put_along_axis(packed_places[:, :nx], order, np.arange(nx)[None], axis=1)
    return Structure(
        pattern,
        groups,
        table=np.ascontiguousarray(order[:, :width], dtype=np.int64),
        whole=colour(pattern, groups, places),
        packed=colour(pattern, groups, packed_places),
    )


def unpack(J: Array, table: Array, size: int) -> Array:
    """Return matrices (rows, size, N) stored whole, from those with a table."""
    if not len(table):
        return J
    rows, _, N = J.shape
    whole = np.zeros_like(J, shape=(rows, size, N))
    whole[np.arange(rows)[:, None], table] = J
    return whole
