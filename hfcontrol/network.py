"""A recurrent network: layers, connections and one flat weight vector with named views; it knows no plant.

One time step fills a column of *rows*: the input, then every hidden layer, then the linear output,

    rows_t = [input_t | h1_t | h2_t | ... | output_t],        a_l = b_l + sum over connections W rows[source],

where a connection reads the rows of this step (lag 0) or of the step before (lag 1, recurrence). Layers are listed in
the order in which they are computed, so a lag-0 connection always reads rows that are already there.
"""

from dataclasses import dataclass

import numpy as np

from hfcontrol.cells import CELLS
from hfcontrol.errors import UsageError

INCOMING = 15  # connections into a unit at the start: sparse initialisation of Martens (2010)
OUTPUT_SCALE = 0.1  # output weights start small, so that the first rollouts stay near the start state


@dataclass(frozen=True)
class Connection:
    """Weights W (target size, source size) from rows of this step (lag 0) or of the last one (lag 1)."""

    name: str
    layer: int
    source: slice
    lag: int
    weights: slice


@dataclass(frozen=True)
class Layer:
    """Units of one cell: their rows, and where their biases stand in theta."""

    name: str
    cell: str
    rows: slice
    biases: slice

    @property
    def size(self):
        """Number of units."""
        return self.rows.stop - self.rows.start


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
    """Layers and connections of a `Topology` between n_input inputs and n_output outputs; P = `size` weights."""

    def __init__(self, topology, n_input, n_output):
        self.topology, self.n_input, self.n_output = topology, n_input, n_output
        sizes = (n_input, *topology.hidden, n_output)
        edges = np.concatenate([[0], np.cumsum(sizes)])
        rows = [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:])]
        last = len(sizes) - 1
        self.size, self.layers, self.connections = 0, [], []
        for k in range(1, last + 1):
            name = "out" if k == last else str(k)
            self._connect(k, rows, "in" if k == 1 else str(k - 1), k - 1, name)
            if k in topology.skip:
                self._connect(k, rows, "in", 0, name)
            if k in topology.recurrent and k != last:
                self._connect(k, rows, name, k, name, lag=1)
            cell = "linear" if k == last else topology.cell
            self.layers.append(Layer(name, cell, rows[k], self._take(sizes[k])))
        self.n_rows, self.inputs, self.outputs = int(edges[-1]), rows[0], rows[last]
        self.hidden = slice(n_input, rows[last].start)
        self.start = self._take(sum(topology.hidden)) if topology.learn_start else None

    def _take(self, count):
        self.size += count
        return slice(self.size - count, self.size)

    def _connect(self, k, rows, source, place, target, lag=0):
        count = (rows[k].stop - rows[k].start) * (rows[place].stop - rows[place].start)
        name = f"W_{source}_{target}"
        self.connections.append(Connection(name, k - 1, rows[place], lag, self._take(count)))

    def views(self, theta):
        """Named views into theta (P,): `W_source_target` (target, source), `b_layer` (units,), `h0` (hidden,)."""
        views = {}
        for c in self.connections:
            views[c.name] = theta[c.weights].reshape(self.layers[c.layer].size, -1)
        for layer in self.layers:
            views[f"b_{layer.name}"] = theta[layer.biases]
        if self.start:
            views["h0"] = theta[self.start]
        return views

    def into(self, layer):
        """The connections into layer number `layer`, in order."""
        return [c for c in self.connections if c.layer == layer]

    def initial(self, rng):
        """Random weights (P,): at most 15 incoming connections per unit and source, unit variance of the summed input.

        Sparse initialisation of Martens (2010, sec. 5): few large weights leave units distinct. The non-zero weights are
        normal with variance 1 / (incoming of all sources together); biases and start states are zero.
        """
        theta = np.zeros(self.size)
        views = self.views(theta)
        for number, layer in enumerate(self.layers):
            incoming = self.into(number)
            fan_in = sum(min(INCOMING, c.source.stop - c.source.start) for c in incoming)
            scale = (OUTPUT_SCALE if layer.name == "out" else 1.0) / np.sqrt(fan_in)
            for c in incoming:
                W = views[c.name]
                for row in W:
                    chosen = rng.permutation(row.size)[:INCOMING]
                    row[chosen] = scale * rng.standard_normal(chosen.size)
        return theta

    def step(self, views, before, inputs):
        """Rows of one step (rows, N) from the rows of the step before and the inputs (n_input, N)."""
        now = np.zeros_like(before)
        now[self.inputs] = inputs
        for number, layer in enumerate(self.layers):
            a = views[f"b_{layer.name}"][:, None]
            for c in self.into(number):
                a = a + views[c.name] @ (before if c.lag else now)[c.source]
            now[layer.rows] = CELLS[layer.cell].step(a)
        return now

    def step_jvp(self, views, tangents, before, now, d_before, d_inputs):
        """Tangent of the rows of one step (rows, N), in the directions of the weights, the rows before and the inputs."""
        d_now = np.zeros_like(now)
        d_now[self.inputs] = d_inputs
        for number, layer in enumerate(self.layers):
            da = tangents[f"b_{layer.name}"][:, None]
            for c in self.into(number):
                rows, d_rows = (before, d_before) if c.lag else (now, d_now)
                da = da + tangents[c.name] @ rows[c.source] + views[c.name] @ d_rows[c.source]
            d_now[layer.rows] = CELLS[layer.cell].jvp(now[layer.rows], da)
        return d_now

    def step_vjp(self, views, now, now_bar):
        """Cotangents (delta, before_bar) of one step (rows, N each) from that of its rows, `now_bar`, which is used up.

        delta holds the cotangents of the summed inputs in the rows of the layers and that of the input in its rows;
        the weights' own cotangents are outer products of delta and rows (`weight_gradient`).
        """
        before_bar = np.zeros_like(now_bar)
        for number in reversed(range(len(self.layers))):
            layer = self.layers[number]
            delta = CELLS[layer.cell].vjp(now[layer.rows], now_bar[layer.rows])
            now_bar[layer.rows] = delta
            for c in self.into(number):
                (before_bar if c.lag else now_bar)[c.source] += views[c.name].T @ delta
        return now_bar, before_bar

    def tables(self):
        """The topology as integer arrays for compiled loops: layers (first row, end row, bias place, cell code, first
        connection, end connection) and connections (first source row, end row, lag, weight place)."""
        layers, first = [], 0
        for number, layer in enumerate(self.layers):
            end = first + len(self.into(number))
            layers.append((layer.rows.start, layer.rows.stop, layer.biases.start, CELLS[layer.cell].CODE, first, end))
            first = end
        connections = [(c.source.start, c.source.stop, c.lag, c.weights.start) for c in self.connections]
        return np.array(layers, dtype=np.int64), np.array(connections, dtype=np.int64)
