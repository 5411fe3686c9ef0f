"""The shape of a network: what a user chooses, and the layers that follow from it, with their rows and places in theta.

One time step fills a column of *rows*: the input, then every hidden layer, then the linear output, then work rows,

    rows_t = [input_t | h1_t | h2_t | ... | output_t | work_t].

A layer reads each of its sources from the rows of this step (lag 0) or of the step before (lag 1, recurrence). All its
weights stand in one matrix, a column for every source row and a last one for the bias.

A layer of time-continuous cells takes several stages in a step (cells/stages.py). Its work rows hold the activities of
all stages, the states of all but the first, and have room for the cotangents of its cells' parameters.
"""

from dataclasses import dataclass, replace

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.network.cells import (
    CELLS,
    count_sums,
    has_synapses,
    is_continuous,
    is_staged,
    is_timed,
    matrix_names,
)
from hfcontrol.network.connections import Dense, Synapses, Timed
from hfcontrol.network.stages import SCHEMES, STABILITY_LIMITS, Stages

TIME_CONSTANTS = (1.0, 20.0)  # at the start, in control steps


@dataclass(frozen=True)
class Source:
    """Rows that a layer reads, of this step (lag 0) or of the last one (lag 1), and their columns in its matrix."""

    name: str
    units: slice
    lag: int
    columns: slice


@dataclass(frozen=True)
class Layer:
    """Units of one cell: their rows, what they read, and where their matrix (units, columns) stands in theta.

    A layer of time-continuous cells has `own`, the rows of the state its stages begin with and the columns that read it,
    which may be none; its number of stages; its work rows; and where its cells' parameters (n_p, units) stand in theta.
    """

    name: str
    cell: str
    units: slice
    sources: tuple
    weights: slice
    state_source: Source | None = None
    stages: int = 1
    work: slice | None = None
    parameters: slice | None = None

    @property
    def size(self):
        """Number of units."""
        return self.units.stop - self.units.start

    @property
    def connections(self):
        """Number of connections that the layer receives."""
        return self.size * sum(s.columns.stop - s.columns.start for s in self.sources)

    @property
    def connection_type(self):
        """What its connections are: `Dense`, `Synapses` or `Timed`."""
        return (
            Synapses
            if has_synapses(self.cell)
            else Timed
            if is_timed(self.cell)
            else Dense
        )

    @property
    def shape(self):
        """Shape of the matrix: a row for each unit, a column for each source row and one for the bias; several of these for
        some cells; four, without biases, where connections are synapses."""
        columns, several = self.connections // self.size, len(matrix_names(self.cell))
        if has_synapses(self.cell):
            return 4, self.size, columns
        return (
            (self.size, columns + 1)
            if several == 1
            else (several, self.size, columns + 1)
        )

    def gather(self, before, now, last):
        """What the matrix multiplies (columns, N): source rows of the step before and of this one, and `last`."""
        parts = [(before if s.lag else now)[s.units] for s in self.sources]
        return np.concatenate([*parts, np.full_like(now[:1], last)])

    def initial_state(self, before, now):
        """The state (units, N) that the stages begin with."""
        return (before if self.state_source.lag else now)[self.state_source.units]

    def insert_state(self, X, x):
        """What the matrix multiplies (columns, N) at the stage whose state is x (units, N)."""
        X[self.state_source.columns] = x[
            : self.state_source.columns.stop - self.state_source.columns.start
        ]
        return X

    def split_work(self, rows):
        """The work rows of some rows (rows, N): activities (S, k, N) or (S, 2 or 3, k, N), states after the first (S-1, k, N) and
        room for parameters (n_p, k, N)."""
        parts, sums = (
            rows[self.work].reshape(-1, self.size, rows.shape[1]),
            count_sums(self.cell),
        )
        activities, states, parameters = np.split(
            parts, [sums * self.stages, (sums + 1) * self.stages - 1]
        )
        return (
            activities.reshape(-1, sums, *parts.shape[1:]) if sums > 1 else activities,
            states,
            parameters,
        )

    def weight_products(self, before, now, delta):
        """The pairs (delta, X) that give the cotangents of the matrix (`connection_type.weight_vjp`): one, or one a stage."""
        X = self.gather(before, now, 1.0)
        if not self.work:
            return [(delta[self.units], X)]
        deltas, states = self.split_work(delta)[0], self.split_work(now)[1]
        return [
            (d, self.insert_state(X.copy(), x))
            for d, x in zip(deltas, (self.initial_state(before, now), *states))
        ]


@dataclass(frozen=True)
class Architecture:
    """What a user chooses: hidden sizes, cell, layers with a skip from the input, recurrent layers, learned start; for
    time-continuous cells the scheme that solves them, its steps in a control step, and the time constants (least, most) at
    the start, in control steps."""

    hidden: tuple = (32, 32)
    cell: str = "tanh"
    skip: tuple = (2,)
    recurrent: tuple = (1, 2)
    learn_start: bool = False
    scheme: str = "fused"
    unfold: int = 1
    time_constants: tuple = TIME_CONSTANTS

    def __post_init__(self):
        depth = len(self.hidden)
        if not depth or min(self.hidden) < 1:
            raise UsageError(
                f"--hidden {','.join(map(str, self.hidden))}: every layer needs at least one unit, "
                "for example --hidden 32,32"
            )
        if self.cell not in CELLS:
            raise UsageError(
                f"--cell {self.cell}: no such cell; known: {', '.join(CELLS)}"
            )
        for layer in self.skip:
            if not 2 <= layer <= depth:
                raise UsageError(
                    f"--skip {layer}: a skip goes from the input to layer 2 or above; "
                    f"there are {depth} hidden layers"
                )
        for layer in self.recurrent:
            if not 1 <= layer <= depth:
                raise UsageError(
                    f"--recurrent {layer}: there are hidden layers 1 to {depth}"
                )
        self._check_solver()

    def _check_solver(self):
        least, most = self.time_constants
        if self.scheme not in SCHEMES:
            raise UsageError(f"--scheme {self.scheme}: known are {', '.join(SCHEMES)}")
        if self.unfold < 1:
            raise UsageError(
                f"--unfold {self.unfold}: at least 1 step within a control step is needed"
            )
        if (
            is_staged(self.cell)
            and not is_continuous(self.cell)
            and (self.scheme, self.unfold) != ("fused", 1)
        ):
            raise UsageError(
                f"--scheme {self.scheme} --unfold {self.unfold} with --cell {self.cell}: its step is one formula; leave "
                "both out"
            )
        if not 0 < least <= most < np.inf:
            raise UsageError(
                f"--time-constants {least:g}..{most:g} control steps: two positive times, the shorter one first"
            )
        needed = 1 / (least * STABILITY_LIMITS.get(self.scheme, np.inf))
        if (
            "rate" in getattr(CELLS[self.cell], "PARAMETERS", ())
            and self.unfold < needed
        ):
            raise UsageError(
                f"--time-constants from {least:g} control steps: {self.scheme} with --unfold {self.unfold} is unstable "
                f"there; give --unfold {int(np.ceil(needed))} or more, or --scheme fused"
            )


def lay_out_layers(architecture, n_input, n_output):
    """The layers of a architecture between so many inputs and outputs, the number of rows, and that of weights."""
    plan = _Plan(n_input)
    below, hidden = "in", architecture.hidden
    for k, units in enumerate(hidden, 1):
        name, again = str(k), k in architecture.recurrent
        places = [(below, 0)] + [("in", 0)] * (k in architecture.skip)
        if architecture.cell == "neural_ode":
            plan.add(f"{name}.0", "tanh", units, places)
            places, again = [], False
        plan.add(name, architecture.cell, units, places + [(name, 1)] * again)
        below = name
    plan.add("out", "linear", n_output, [(below, 0)])
    return plan.finished(architecture)


class _Plan:
    """Layers as they are laid out: rows and weights one after the other."""

    def __init__(self, n_input):
        self.rows, self.last, self.size, self.layers = (
            {"in": slice(0, n_input)},
            n_input,
            0,
            [],
        )

    def _take(self, count):
        self.size += count
        return slice(self.size - count, self.size)

    def _more(self, count):
        self.last += count
        return slice(self.last - count, self.last)

    def add(self, name, cell, units, places):
        """A layer that reads places (name, lag)."""
        self.rows[name] = self._more(units)
        if cell == "neural_ode":
            places = [(f"{name}.0", 0)]
        sources, column = [], 0
        for place, lag in places:
            width = self.rows[place].stop - self.rows[place].start
            sources.append(
                Source(place, self.rows[place], lag, slice(column, column + width))
            )
            column += width
        weights = self._take(
            4 * units * column
            if has_synapses(cell)
            else len(matrix_names(cell)) * units * (column + 1)
        )
        own = None
        if is_staged(cell):
            reading = [s for s in sources if s.lag or cell == "neural_ode"]
            own = (
                reading[0]
                if reading
                else Source(name, self.rows[name], 1, slice(column, column))
            )
        self.layers.append(
            Layer(name, cell, self.rows[name], tuple(sources), weights, own)
        )

    def finished(self, architecture):
        """The layers with their work rows and parameters, behind all others; the number of rows and of weights."""
        layers = []
        for layer in self.layers:
            if layer.state_source:
                n_p = len(CELLS[layer.cell].PARAMETERS)
                stages = Stages(
                    CELLS[layer.cell], architecture.scheme, architecture.unfold
                ).count
                rows = (1 + count_sums(layer.cell)) * stages - 1 + n_p
                layer = replace(
                    layer,
                    stages=stages,
                    work=self._more(rows * layer.size),
                    parameters=self._take(n_p * layer.size),
                )
            layers.append(layer)
        return layers, self.last, self.size
