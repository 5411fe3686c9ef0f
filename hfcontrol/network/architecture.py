"""The architecture of a network, and the layers that follow from it.

One time step fills a column of *activations*: the input, every hidden layer, the linear
output, then work units:

    activations_t = [input_t | h1_t | h2_t | ... | output_t | work_t | length_t]

A layer reads each of its sources from this step (lag 0) or from the step before (lag 1,
recurrence). All its weights form one matrix, with a column for every source unit and a
last one for the bias.

A layer of cells with a state takes several stages in a step (stages.py). Its work units
hold the activities of all stages, the states of all but the first, and room for the
cotangents of the parameters of its cells. Where cells have a time, the last unit holds
the length of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.errors import UsageError
from hfcontrol.network.activations import activation_of
from hfcontrol.network.cells import (
    CELLS,
    count_states,
    count_sums,
    has_matrices,
    has_synapses,
    is_continuous,
    is_staged,
    matrix_names,
    output_function,
    reads_itself,
    staged_cell,
    sums_of,
    timed_matrices,
)
from hfcontrol.network.cells.protocol import ALL, OWN
from hfcontrol.network.connections import (
    Connections,
    Dense,
    Matrices,
    Synapses,
    Term,
)
from hfcontrol.network.stages import SCHEMES, STABILITY_LIMITS, Stages

# Shortest and longest time constant of initial weights [control steps].
TIME_CONSTANTS = (1.0, 20.0)


def _width(places: slice) -> int:
    """Return the number of places in a slice."""
    return places.stop - places.start


@dataclass(frozen=True)
class Source:
    """Units that a layer reads, and the columns of its matrix that multiply them.

    They are read from this step (lag 0) or from the step before (lag 1), through the
    `output` function of their cell.
    """

    name: str
    units: slice
    lag: int
    columns: slice
    output: str = "linear"

    @property
    def size(self) -> int:
        """Number of units that the layer reads."""
        return _width(self.columns)

    def read(self, units: Array) -> Array:
        """Return what connections read of units (size, N)."""
        if self.output == "linear":
            return units
        return activation_of(self.output).function(units)

    def times_slope(self, units: Array, change: Array) -> Array:
        """Return a tangent or cotangent `change` (size, N) times the slope of `read`.

        `read` acts on each unit alone, so that its transpose is the same product.
        """
        if self.output == "linear":
            return change
        return activation_of(self.output).slope(self.read(units)) * change


class Work(NamedTuple):
    """The work units of a layer, by what they hold.

    Activities (S, k, N) or (S, sums, k, N), states after the first (S-1, k, N), and
    room for the cotangents of parameters (n_p, k, N).
    """

    activities: Array
    states: Array
    parameters: Array


@dataclass(frozen=True)
class Layer:
    """Units of one cell: their places, what they read, and where their weights are.

    `units` and `work` are places among the activations, `weights` and `parameters` are
    places in theta: of the matrix (`shape`) and of the cell parameters (n_p, units).
    A layer with a state has a `state_source`: the units with the state that its stages
    start from, and the columns that read them, which may be none.
    """

    name: str
    cell: str
    units: slice
    sources: tuple[Source, ...]
    weights: slice
    state_source: Source | None = None
    stages: int = 1
    work: slice | None = None
    parameters: slice | None = None

    @property
    def size(self) -> int:
        """Number of units."""
        return _width(self.units)

    @property
    def has_time(self) -> bool:
        """Whether a step of the layer depends on how long it lasts.

        The state of a neural ODE lasts for no longer than its control step.
        """
        if not self.state_source or not self.state_source.lag:
            return False
        return is_continuous(self.cell) or bool(timed_matrices(self.cell))

    @property
    def connections(self) -> int:
        """Number of connections that the layer receives."""
        return self.size * sum(source.size for source in self.sources)

    @property
    def state_units(self) -> slice:
        """Places of the states: the units, which are the first states, and the rest."""
        states = count_states(self.cell)
        return slice(self.units.start, self.units.start + states * self.size)

    @property
    def terms(self) -> list[Term]:
        """What the sums of a layer without synapses add up, in the order of the sums.

        Every sum has a term, which has no columns if the layer does not read itself.
        """
        names = matrix_names(self.cell)
        columns = self.connections // self.size + 1
        own = slice(columns, columns)
        if self.state_source:
            own = self.state_source.columns
        ranges = {ALL: [(0, columns)], OWN: [(own.start, own.stop)]}
        others = [(0, own.start), (own.stop, columns)]
        terms: list[Term] = []
        for number, parts in enumerate(sums_of(self.cell)):
            for name, chosen in parts:
                for first, end in ranges.get(chosen, others):
                    terms.append(Term(names.index(name), number, first, end))
        return terms

    @property
    def summation(self) -> Connections:
        """The sums of a unit: `Dense`, `Synapses` or `Matrices`."""
        if has_synapses(self.cell):
            return Synapses()
        if has_matrices(self.cell):
            return Matrices(self.terms, count_sums(self.cell))
        return Dense()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights: (units, source units + 1 for the bias).

        Cells with several matrices have these first; synapses have four numbers each
        and no bias: (4, units, source units).
        """
        columns = self.connections // self.size
        matrices = len(matrix_names(self.cell))
        if has_synapses(self.cell):
            return 4, self.size, columns
        if matrices == 1:
            return self.size, columns + 1
        return matrices, self.size, columns + 1

    def gather(self, before: Array, now: Array) -> Array:
        """Return what the matrix multiplies (columns, N): the sources, then ones.

        `before` and `now` are the activations (n, N) of the step before and of this
        one.
        """
        parts = [s.read((before if s.lag else now)[s.units]) for s in self.sources]
        return np.concatenate([*parts, np.ones_like(now[:1])])

    def gather_tangent(
        self, before: Array, now: Array, d_before: Array, d_now: Array
    ) -> Array:
        """Return the tangent of `gather` for those of the activations.

        The bias has none: its ones are constant.
        """
        parts: list[Array] = []
        for s in self.sources:
            units, change = (before, d_before) if s.lag else (now, d_now)
            parts.append(s.times_slope(units[s.units], change[s.units]))
        return np.concatenate([*parts, np.zeros_like(now[:1])])

    def initial_state(self, before: Array, now: Array) -> Array:
        """Return the state (units, N) that the stages start from.

        It is (states, units, N) for cells with several states.
        """
        source = self._state_source()
        first = source.units.start
        places = slice(first, first + _width(self.state_units))
        return self.split_states((before if source.lag else now)[places])

    def split_states(self, states: Array) -> Array:
        """Return states (..., units, N) as a view with an axis for several states."""
        count = count_states(self.cell)
        if count == 1:
            return states
        return states.reshape(count, self.size, states.shape[-1])

    def insert_state(self, X: Array, x: Array) -> Array:
        """Write the state x (units, N) of a stage into X (columns, N); return X."""
        source = self._state_source()
        X[source.columns] = source.read(_output(x)[: source.size])
        return X

    def insert_tangent(self, dX: Array, x: Array, dx: Array) -> Array:
        """Write the tangent dx of the state x of a stage into dX; return dX."""
        source = self._state_source()
        places = slice(0, source.size)
        change = source.times_slope(_output(x)[places], _output(dx)[places])
        dX[source.columns] = change
        return dX

    def own_cotangent(self, x: Array, X_bar: Array) -> Array | float:
        """Return the cotangent of a stage's state x by what the layer reads of it."""
        source = self._state_source()
        if source not in self.sources:
            return 0.0
        output = _output(x)[: source.size]
        return source.times_slope(output, X_bar[source.columns])

    def split_work(self, activations: Array) -> Work:
        """Return views of the work units among activations (n, N)."""
        trials = activations.shape[1]
        parts = activations[self.work].reshape(-1, self.size, trials)
        sums, count = count_sums(self.cell), count_states(self.cell)
        # A list: on a GPU the parts are no NumPy arrays.
        end = sums * self.stages
        ends = [end, end + count * (self.stages - 1)]
        activities, states, parameters = np.split(parts, ends)
        # Units with one sum have no axis for it.
        if sums > 1:
            activities = activities.reshape(-1, sums, *parts.shape[1:])
        if count > 1:
            states = states.reshape(-1, count, *parts.shape[1:])
        return Work(activities, states, parameters)

    def weight_products(
        self, before: Array, now: Array, delta: Array
    ) -> list[tuple[Array, Array]]:
        """Return the pairs (delta, X) whose products are the cotangent of the matrix.

        `summation.weight_vjp` multiplies them. There is one pair, or one for each
        stage.
        """
        # A copy for each stage: insert_state writes into X.
        X = self.gather(before, now)
        if not self.work:
            return [(delta[self.units], X)]
        deltas = self.split_work(delta).activities
        states = (self.initial_state(before, now), *self.split_work(now).states)
        pairs = zip(deltas, states, strict=True)
        return [(d, self.insert_state(X.copy(), x)) for d, x in pairs]

    def _state_source(self) -> Source:
        assert self.state_source, f"cells {self.cell} have no state"
        return self.state_source


def _output(x: Array) -> Array:
    """Return the first of several states x (states, units, N), or x (units, N)."""
    return x if x.ndim == 2 else x[0]


@dataclass(frozen=True)
class Architecture:
    """What a user chooses about a network.

    * `hidden`: sizes of the hidden layers, and `cell`, the name of their cell
    * `skip`: layers that also read the input; `recurrent`: layers that read themselves
    * `linear_path`: whether the output reads the input, so that it can be a linear law
    * `learn_start`: whether the initial hidden state is trained
    * `scheme`, `unfold`: for cells in continuous time, the scheme that solves them and
      its steps in a control step
    * `time_constants`: shortest and longest of the initial weights [control steps]

    Raises UsageError if these do not fit together.
    """

    hidden: tuple[int, ...] = (32, 32)
    cell: str = "tanh"
    skip: tuple[int, ...] = (2,)
    recurrent: tuple[int, ...] = (1, 2)
    learn_start: bool = False
    scheme: str = "fused"
    unfold: int = 1
    time_constants: tuple[float, float] = TIME_CONSTANTS
    linear_path: bool = False

    def __post_init__(self) -> None:
        self._check_layers()
        self._check_solver()
        self._check_time_constants()

    def _check_layers(self) -> None:
        depth = len(self.hidden)
        if not depth or min(self.hidden) < 1:
            sizes = ",".join(map(str, self.hidden))
            raise UsageError(
                f"`hidden` {sizes}: every layer needs at least one unit, "
                "for example `hidden` 32,32"
            )
        if self.cell not in CELLS:
            raise UsageError(f"`cell` {self.cell}: must be one of {', '.join(CELLS)}")
        for layer in self.skip:
            if not 2 <= layer <= depth:
                raise UsageError(
                    f"`skip` {layer}: a skip goes from the input to layer 2 or above; "
                    f"there are {depth} hidden layers"
                )
        for layer in self.recurrent:
            if not 1 <= layer <= depth:
                raise UsageError(
                    f"`recurrent` {layer}: there are hidden layers 1 to {depth}"
                )

    def _check_solver(self) -> None:
        if self.scheme not in SCHEMES:
            raise UsageError(
                f"`scheme` {self.scheme}: must be one of {', '.join(SCHEMES)}"
            )
        if self.unfold < 1:
            raise UsageError(
                f"`unfold` {self.unfold}: a control step needs at least 1 solver step"
            )
        # Its state has no differential equation to solve.
        closed_form = is_staged(self.cell) and not is_continuous(self.cell)
        if closed_form and (self.scheme, self.unfold) != ("fused", 1):
            raise UsageError(
                f"`scheme` {self.scheme} `unfold` {self.unfold} with `cell` "
                f"{self.cell}: the step of this cell is one formula; leave both out"
            )

    def _check_time_constants(self) -> None:
        shortest, longest = self.time_constants
        if not 0 < shortest <= longest < np.inf:
            raise UsageError(
                f"`time_constants` {shortest:g}..{longest:g} control steps: give two "
                "positive times, the shorter one first"
            )
        # The fused scheme is stable for any step.
        limit = STABILITY_LIMITS.get(self.scheme, np.inf)
        needed = 1 / (shortest * limit)
        if "rate" in CELLS[self.cell].PARAMETERS and self.unfold < needed:
            raise UsageError(
                f"`time_constants` from {shortest:g} control steps: {self.scheme} with "
                f"`unfold` {self.unfold} is unstable there; give `unfold` "
                f"{int(np.ceil(needed))} or more, or `scheme` fused"
            )


class Layout(NamedTuple):
    """The layers of a network, and the numbers of activations and of weights.

    `clock` is the unit that holds the length of the step, None without cells that have
    a time.
    """

    layers: list[Layer]
    n_activations: int
    size: int
    clock: int | None


def lay_out_layers(architecture: Architecture, n_input: int, n_output: int) -> Layout:
    """Return the layers of an architecture between inputs and outputs."""
    planner = _Planner(n_input)
    below = "in"
    for number, units in enumerate(architecture.hidden, 1):
        name = str(number)
        reads = [(below, 0)]
        if number in architecture.skip:
            reads.append(("in", 0))
        if architecture.cell == "neural_ode":
            # A tanh layer maps what is read to the state that the block starts from;
            # the block reads nothing else.
            planner.add(f"{name}.0", "tanh", units, reads)
            reads = [(f"{name}.0", 0)]
        elif number in architecture.recurrent and reads_itself(architecture.cell):
            reads.append((name, 1))
        planner.add(name, architecture.cell, units, reads)
        below = name
    # The output is linear: limits of the control belong to the closed loop.
    reads = [(below, 0)]
    if architecture.linear_path:
        reads.append(("in", 0))
    planner.add("out", "linear", n_output, reads)
    return planner.finish(architecture)


class _Planner:
    """Assigns places among the activations and in theta, layer after layer."""

    def __init__(self, n_input: int) -> None:
        self.units = {"in": slice(0, n_input)}
        self.outputs = {"in": "linear"}
        self.n_activations = n_input
        self.size = 0
        self.layers: list[Layer] = []

    def _take_weights(self, count: int) -> slice:
        """Return the next `count` places in theta."""
        self.size += count
        return slice(self.size - count, self.size)

    def _take_units(self, count: int) -> slice:
        """Return the next `count` places among the activations."""
        self.n_activations += count
        return slice(self.n_activations - count, self.n_activations)

    def add(
        self, name: str, cell: str, units: int, reads: Sequence[tuple[str, int]]
    ) -> None:
        """Add a layer that reads pairs (name, lag)."""
        self.units[name] = self._take_units(units)
        self.outputs[name] = output_function(cell)
        # More states of a unit than its output; no other layer reads them.
        self._take_units((count_states(cell) - 1) * units)
        sources: list[Source] = []
        end = 0
        for place, lag in reads:
            first = end
            end += _width(self.units[place])
            columns = slice(first, end)
            source = Source(place, self.units[place], lag, columns, self.outputs[place])
            sources.append(source)

        if has_synapses(cell):
            weights = self._take_weights(4 * units * end)
        else:
            matrices = len(matrix_names(cell))
            weights = self._take_weights(matrices * units * (end + 1))

        state = self._state_source(name, cell, sources) if is_staged(cell) else None
        layer = Layer(name, cell, self.units[name], tuple(sources), weights, state)
        self.layers.append(layer)

    def _state_source(self, name: str, cell: str, sources: list[Source]) -> Source:
        """Return where a layer reads the state that its stages start from.

        A layer without recurrence has a state too, which no column reads.
        """
        for source in sources:
            if source.lag or cell == "neural_ode":
                return source
        end = sources[-1].columns.stop
        return Source(name, self.units[name], 1, slice(end, end))

    def finish(self, architecture: Architecture) -> Layout:
        """Return the layout; work units and parameters follow all other places."""
        layers = [self._add_work(layer, architecture) for layer in self.layers]
        clock = None
        if any(layer.has_time for layer in layers):
            clock = self._take_units(1).start
        return Layout(layers, self.n_activations, self.size, clock)

    def _add_work(self, layer: Layer, architecture: Architecture) -> Layer:
        """Return the layer with its work units and parameters, if it has a state."""
        if not layer.state_source:
            return layer
        cell = staged_cell(layer.cell)
        stages = Stages(cell, architecture.scheme, architecture.unfold).count
        n_p = len(cell.PARAMETERS)
        # Activities of all stages, states of all but the first, and parameters.
        states = count_states(layer.cell) * (stages - 1)
        parts = count_sums(layer.cell) * stages + states + n_p
        return replace(
            layer,
            stages=stages,
            work=self._take_units(parts * layer.size),
            parameters=self._take_weights(n_p * layer.size),
        )
