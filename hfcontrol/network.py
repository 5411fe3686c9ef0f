"""A recurrent network: a flat weight vector with named views, its step, tangent and adjoint; it knows no plant.

    a_l = W_l [source rows of l; 1],      h_l = cell(a_l)

for its layers (topology.py) one after the other: one product per layer and step, or stage of time-continuous cells.
"""

import numpy as np

from hfcontrol.cells import CELLS
from hfcontrol.cells.activations import ACTIVATIONS
from hfcontrol.cells.stages import SCHEMES, Stages, value_slopes, values
from hfcontrol.topology import layers_of

INCOMING = 15  # connections into a unit at the start: sparse initialisation of Martens (2010)


class Network:
    """Layers of a `Topology` between n_input inputs and n_output outputs; P = `size` weights.

    `rest` is the output at the start, number by number or one for all. With a `constraint` (constraint.py) what is trained
    are free parameters theta, and the weights a function of them.
    """

    def __init__(self, topology, n_input, n_output, rest=0.0):
        self.topology, self.n_input, self.n_output, self.rest = topology, n_input, n_output, rest
        self.layers, self.n_rows, self.size = layers_of(topology, n_input, n_output)
        self.inputs, self.outputs = slice(0, n_input), self.layers[-1].rows
        self.hidden = slice(n_input, self.outputs.start)
        self.start = None
        if topology.learn_start:
            self.start = slice(self.size, self.size + self.hidden.stop - n_input)
            self.size = self.start.stop
        self.constraint = None

    def weights(self, theta):
        """The weights (P,) of what is trained, theta (P,): itself, but for a constraint."""
        return theta if self.constraint is None else self.constraint.weights(theta)

    def slope(self, theta):
        """Derivative (P,) of each weight by its entry of theta, or 1 where there is no constraint."""
        return 1.0 if self.constraint is None else self.constraint.slope(theta)

    def matrices(self, theta):
        """The matrix of each layer (units, columns), as views into weights (P,)."""
        return [theta[layer.weights].reshape(layer.shape) for layer in self.layers]

    def parameters(self, theta):
        """The numbers behind each layer's cell parameters (n_p, units, 1), as views into weights (P,); empty for plain cells."""
        return [theta[layer.parameters].reshape(-1, layer.size, 1) if layer.work else theta[:0] for layer in self.layers]

    def views(self, theta):
        """Named views into theta (P,): `W_source_layer` (units, source), `b_layer` (units,), `h0` (hidden,), and the numbers
        behind cell parameters, such as `rate_layer` (units,)."""
        views = {}
        for layer, W, raw in zip(self.layers, self.matrices(theta), self.parameters(theta)):
            for source in layer.sources:
                views[f"W_{source.name}_{layer.name}"] = W[:, source.columns]
            views[f"b_{layer.name}"] = W[:, -1]
            if layer.work:
                views |= {f"{name}_{layer.name}": row[:, 0] for name, row in zip(CELLS[layer.cell].PARAMETERS, raw)}
        if self.start:
            views["h0"] = theta[self.start]
        return views

    @property
    def connections(self):
        """The number of weights between units, input and output: without biases, cell parameters and start."""
        return sum(layer.size * (layer.shape[1] - 1) for layer in self.layers)

    def time_constants(self, theta):
        """Time constants (units,) in control steps of all units that have one, at weights theta (P,)."""
        views = self.views(self.weights(theta))
        rates = [np.logaddexp(0.0, view) for name, view in views.items() if name.startswith("rate_")]
        return 1 / np.concatenate([np.empty(0), *rates])

    def initial(self, rng):
        """Random weights (P,): at most 15 incoming connections per unit and source, unit variance of the summed input.

        Sparse initialisation of Martens (2010, sec. 5): few large weights leave units distinct. The non-zero weights are
        normal with variance 1 / (incoming of all sources together); start states are zero, and so are biases, but for the
        output's, which are `rest`. The output layer's weights are no exception: with a tenth of it, some seeds spent 50 updates
        on a plateau that none of ten meets with unit variance. Time constants are drawn evenly on a logarithmic scale,
        reversals are +1 or -1.
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
        for name, view in self.views(theta).items():
            if name.startswith("rate_"):
                rate = np.exp(-rng.uniform(*np.log(self.topology.time_constants), view.size))
                view[:] = np.log(np.expm1(rate))
            elif name.startswith("reversal_"):
                view[:] = rng.choice([-1.0, 1.0], view.size)
        return theta if self.constraint is None else self.constraint.start(theta)

    def step(self, theta, before, inputs):
        """Rows of one step (rows, N) from the weights (P,), the rows of the step before and the inputs (n_input, N)."""
        now = np.zeros_like(before)
        now[self.inputs] = inputs
        for layer, W, raw in zip(self.layers, self.matrices(theta), self.parameters(theta)):
            cell = CELLS[layer.cell]
            X, phi = layer.gather(before, now, 1.0), ACTIVATIONS[cell.ACTIVATION][0]
            if not layer.work:
                now[layer.rows] = phi(W @ X)
                continue
            x, f = self._stages(layer).forward(values(cell, raw), layer.begin(before, now),
                                               lambda x, X=X, W=W, phi=phi, layer=layer: phi(W @ layer.at(X, x)))
            activities, states, _ = layer.split(now)
            activities[:], states[:], now[layer.rows] = f, x[1:-1], x[-1]
        return now

    def _stages(self, layer):
        return Stages(CELLS[layer.cell], self.topology.scheme, self.topology.unfold)

    def step_jvp(self, theta, v, before, now, d_before, d_inputs):
        """Tangent of the rows of one step (rows, N), in the directions of the weights (P,), the rows before and the inputs."""
        d_now = np.zeros_like(now)
        d_now[self.inputs] = d_inputs
        for layer, W, dW, raw, d_raw in zip(self.layers, self.matrices(theta), self.matrices(v), self.parameters(theta),
                                            self.parameters(v)):
            cell = CELLS[layer.cell]
            X, dX, slope = layer.gather(before, now, 1.0), layer.gather(d_before, d_now, 0.0), ACTIVATIONS[cell.ACTIVATION][1]
            if not layer.work:
                d_now[layer.rows] = slope(now[layer.rows]) * (dW @ X + W @ dX)
                continue
            f, states, _ = layer.split(now)
            x = (layer.begin(before, now), *states)

            def d_activity(j, dx, W=W, dW=dW, X=X, dX=dX, slope=slope, layer=layer, x=x, f=f):
                return slope(f[j]) * (dW @ layer.at(X, x[j]) + W @ layer.at(dX, dx))
            dp = value_slopes(cell, raw) * d_raw
            dx, df = self._stages(layer).jvp(values(cell, raw), dp, x, f, layer.begin(d_before, d_now), d_activity)
            activities, states, _ = layer.split(d_now)
            activities[:], states[:], d_now[layer.rows] = df, dx[1:-1], dx[-1]
        return d_now

    def step_vjp(self, theta, before, now, now_bar):
        """Cotangents (delta, before_bar) of one step (rows, N each) from that of its rows, `now_bar`, which is used up; that
        of the work rows is taken to be zero.

        delta holds the cotangents of the summed inputs in the rows of the layers or, stage by stage, in their work rows, those
        of cell parameters in these, and that of the input in its rows; the weights' own cotangents are outer products of
        delta and gathered rows (`Layer.products`).
        """
        before_bar = np.zeros_like(now_bar)
        for layer, W, raw in zip(reversed(self.layers), reversed(self.matrices(theta)), reversed(self.parameters(theta))):
            slope = ACTIVATIONS[CELLS[layer.cell].ACTIVATION][1]
            if layer.work:
                self._staged_vjp(layer, W, raw, slope, before, now, now_bar, before_bar)
                continue
            delta = slope(now[layer.rows]) * now_bar[layer.rows]
            now_bar[layer.rows] = delta
            for source in layer.sources:
                (before_bar if source.lag else now_bar)[source.rows] += W[:, source.columns].T @ delta
        return now_bar, before_bar

    def _staged_vjp(self, layer, W, raw, slope, before, now, now_bar, before_bar):
        """`step_vjp` of one layer of time-continuous cells."""
        cell, own = CELLS[layer.cell], layer.own
        f, states, _ = layer.split(now)
        deltas, _, parameters = layer.split(now_bar)

        def pull(j, f_bar):
            deltas[j] = slope(f[j]) * f_bar
            for source in layer.sources:
                if source is not own:
                    (before_bar if source.lag else now_bar)[source.rows] += W[:, source.columns].T @ deltas[j]
            return W[:, own.columns].T @ deltas[j] if own in layer.sources else 0.0
        p_bar, x_bar = self._stages(layer).vjp(values(cell, raw), (layer.begin(before, now), *states, now[layer.rows]), f,
                                               now_bar[layer.rows], pull)
        parameters[:] = value_slopes(cell, raw) * p_bar if p_bar else 0.0
        (before_bar if own.lag else now_bar)[own.rows] += x_bar

    def tables(self):
        """The topology as integer arrays for compiled loops: layers (first row, end row, cell code, place of the matrix,
        first source, end source, then for time-continuous cells stages, scheme, unfoldings, first work row, place of the
        parameters, their number, first row and lag of the state before, its first and end column) and sources (first row,
        end row, lag)."""
        layers, sources = [], []
        for layer in self.layers:
            first, own, cell = len(sources), layer.own, CELLS[layer.cell]
            sources += [(s.rows.start, s.rows.stop, s.lag) for s in layer.sources]
            staged = (0,) * 10
            if own:
                staged = (layer.stages, SCHEMES.index(self.topology.scheme), self.topology.unfold, layer.work.start,
                          layer.parameters.start, len(cell.PARAMETERS), own.rows.start, own.lag, own.columns.start,
                          own.columns.stop)
            layers.append((layer.rows.start, layer.rows.stop, cell.CODE, layer.weights.start, first, len(sources), *staged))
        return np.array(layers, dtype=np.int64), np.array(sources, dtype=np.int64)
