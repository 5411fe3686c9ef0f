"""A recurrent network: layers, sources and one flat weight vector with named views; it knows no plant.

One time step fills a column of *rows*: the input, then every hidden layer, then the linear output,

    rows_t = [input_t | h1_t | h2_t | ... | output_t],      a_l = W_l [source rows of l; 1],      h_l = cell(a_l).

A layer reads each of its sources from the rows of this step (lag 0) or of the step before (lag 1, recurrence). All its
weights stand in one matrix, a column for every source row and a last one for the bias: one product per layer and step.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.cells import CELLS
from hfcontrol.errors import UsageError

INCOMING = 15  # connections into a unit at the start: sparse initialisation of Martens (2010)


@dataclass(frozen=True)
class Source:
    """Rows that a layer reads, of this step (lag 0) or of the last one (lag 1), and their columns in its matrix."""

    name: str
    rows: slice
    lag: int
    columns: slice


@dataclass(frozen=True)
class Layer:
    """Units of one cell: their rows, what they read, and where their matrix (units, columns) stands in theta."""

    name: str
    cell: str
    rows: slice
    sources: tuple
    weights: slice

    @property
    def size(self):
        """Number of units."""
        return self.rows.stop - self.rows.start

    @property
    def shape(self):
        """Shape of the matrix: a row for each unit, a column for each source row and one for the bias."""
        return self.size, self.sources[-1].columns.stop + 1

    def gather(self, before, now, last):
        """What the matrix multiplies (columns, N): source rows of the step before and of this one, and `last`."""
        parts = [(before if s.lag else now)[s.rows] for s in self.sources]
        return np.concatenate([*parts, np.full((1, now.shape[1]), last)])


@dataclass(frozen=True)
class Topology:
    """What a user chooses: hidden sizes, cell, layers with a skip from the input, recurrent layers, learned start."""

    hidden: tuple = (32, 32)
    cell: str = "tanh"
    skip: tuple = (2,)
    recurrent: tuple = (1, 2)
    learn_start: bool = False

    def __post_init__(self):
        depth = len(self.hidden)
        if not depth or min(self.hidden) < 1:
            raise UsageError(f"--hidden {','.join(map(str, self.hidden))}: every layer needs at least one unit, "
                             "for example --hidden 32,32")
        if self.cell not in CELLS:
            raise UsageError(f"--cell {self.cell}: no such cell; known: {', '.join(CELLS)}")
        for layer in self.skip:
            if not 2 <= layer <= depth:
                raise UsageError(f"--skip {layer}: a skip goes from the input to layer 2 or above; "
                                 f"there are {depth} hidden layers")
        for layer in self.recurrent:
            if not 1 <= layer <= depth:
                raise UsageError(f"--recurrent {layer}: there are hidden layers 1 to {depth}")


class Network:
    """Layers of a `Topology` between n_input inputs and n_output outputs; P = `size` weights.

    `rest` is the output at the start, number by number or one for all. With a `constraint` (constraint.py) what is trained
    are free parameters theta, and the weights a function of them.
    """

    def __init__(self, topology, n_input, n_output, rest=0.0):
        self.topology, self.n_input, self.n_output, self.rest = topology, n_input, n_output, rest
        sizes = (n_input, *topology.hidden, n_output)
        edges = np.concatenate([[0], np.cumsum(sizes)])
        rows = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:])]
        names = ["in", *map(str, range(1, len(sizes) - 1)), "out"]
        last, self.size, self.layers = len(sizes) - 1, 0, []
        for k in range(1, last + 1):
            places = [(k - 1, 0)] + [(0, 0)] * (k in topology.skip) + [(k, 1)] * (k in topology.recurrent and k != last)
            sources, column = [], 0
            for place, lag in places:
                sources.append(Source(names[place], rows[place], lag, slice(column, column + sizes[place])))
                column += sizes[place]
            weights = self._take(sizes[k] * (column + 1))
            cell = "linear" if k == last else topology.cell
            self.layers.append(Layer(names[k], cell, rows[k], tuple(sources), weights))
        self.n_rows, self.inputs, self.outputs = int(edges[-1]), rows[0], rows[last]
        self.hidden = slice(n_input, rows[last].start)
        self.start = self._take(sum(topology.hidden)) if topology.learn_start else None
        self.constraint = None

    def _take(self, count):
        self.size += count
        return slice(self.size - count, self.size)

    def weights(self, theta):
        """The weights (P,) of what is trained, theta (P,): itself, but for a constraint."""
        return theta if self.constraint is None else self.constraint.weights(theta)

    def slope(self, theta):
        """Derivative (P,) of each weight by its entry of theta, or 1 where there is no constraint."""
        return 1.0 if self.constraint is None else self.constraint.slope(theta)

    def matrices(self, theta):
        """The matrix of each layer (units, columns), as views into weights (P,)."""
        return [theta[layer.weights].reshape(layer.shape) for layer in self.layers]

    def views(self, theta):
        """Named views into theta (P,): `W_source_layer` (units, source), `b_layer` (units,), `h0` (hidden,)."""
        views = {}
        for layer, W in zip(self.layers, self.matrices(theta)):
            for source in layer.sources:
                views[f"W_{source.name}_{layer.name}"] = W[:, source.columns]
            views[f"b_{layer.name}"] = W[:, -1]
        if self.start:
            views["h0"] = theta[self.start]
        return views

    def initial(self, rng):
        """Random weights (P,): at most 15 incoming connections per unit and source, unit variance of the summed input.

        Sparse initialisation of Martens (2010, sec. 5): few large weights leave units distinct. The non-zero weights are
        normal with variance 1 / (incoming of all sources together); start states are zero, and so are biases, but for the
        output's, which are `rest`. The output layer's weights are no exception: with a tenth of it, some seeds spent 50 updates
        on a plateau that none of ten meets with unit variance.
        """
        theta = np.zeros(self.size)
        for layer, W in zip(self.layers, self.matrices(theta)):
            fan_in = sum(min(INCOMING, s.columns.stop - s.columns.start) for s in layer.sources)
            scale = 1 / np.sqrt(fan_in)
            for source in layer.sources:
                for row in W[:, source.columns]:
                    chosen = rng.permutation(row.size)[:INCOMING]
                    row[chosen] = scale * rng.standard_normal(chosen.size)
        W[:, -1] = self.rest  # the last layer's
        return theta if self.constraint is None else self.constraint.start(theta)

    def step(self, matrices, before, inputs):
        """Rows of one step (rows, N) from the rows of the step before and the inputs (n_input, N)."""
        now = np.zeros_like(before)
        now[self.inputs] = inputs
        for layer, W in zip(self.layers, matrices):
            now[layer.rows] = CELLS[layer.cell].step(W @ layer.gather(before, now, 1.0))
        return now

    def step_jvp(self, matrices, tangents, before, now, d_before, d_inputs):
        """Tangent of the rows of one step (rows, N), in the directions of the weights, the rows before and the inputs."""
        d_now = np.zeros_like(now)
        d_now[self.inputs] = d_inputs
        for layer, W, dW in zip(self.layers, matrices, tangents):
            da = dW @ layer.gather(before, now, 1.0) + W @ layer.gather(d_before, d_now, 0.0)
            d_now[layer.rows] = CELLS[layer.cell].jvp(now[layer.rows], da)
        return d_now

    def step_vjp(self, matrices, now, now_bar):
        """Cotangents (delta, before_bar) of one step (rows, N each) from that of its rows, `now_bar`, which is used up.

        delta holds the cotangents of the summed inputs in the rows of the layers and that of the input in its rows; the
        weights' own cotangents are outer products of delta and gathered rows.
        """
        before_bar = np.zeros_like(now_bar)
        for layer, W in zip(reversed(self.layers), reversed(matrices)):
            delta = CELLS[layer.cell].vjp(now[layer.rows], now_bar[layer.rows])
            now_bar[layer.rows] = delta
            for source in layer.sources:
                (before_bar if source.lag else now_bar)[source.rows] += W[:, source.columns].T @ delta
        return now_bar, before_bar

    def tables(self):
        """The topology as integer arrays for compiled loops: layers (first row, end row, cell code, place of the matrix,
        first source, end source) and sources (first row, end row, lag)."""
        layers, sources = [], []
        for layer in self.layers:
            first = len(sources)
            sources += [(s.rows.start, s.rows.stop, s.lag) for s in layer.sources]
            layers.append((layer.rows.start, layer.rows.stop, CELLS[layer.cell].CODE, layer.weights.start, first,
                           len(sources)))
        return np.array(layers, dtype=np.int64), np.array(sources, dtype=np.int64)
