"""A recurrent network: a flat weight vector with named views, its step, tangent and adjoint; it knows no plant.

    a_l = W_l [source rows of l; 1],      h_l = cell(a_l)

for its layers (architecture.py) one after the other: one product per layer and step, or stage of time-continuous cells.
"""

import numpy as np

from hfcontrol.network.activations import ACTIVATIONS
from hfcontrol.network.architecture import lay_out_layers
from hfcontrol.network.cells import CELLS, has_synapses, is_timed, matrix_names
from hfcontrol.network.stages import SCHEMES, Stages, parameter_slopes, parameter_values

INCOMING = (
    15  # connections into a unit at the start: sparse initialisation of Martens (2010)
)


class Network:
    """Layers of a `Architecture` between n_input inputs and n_output outputs; P = `size` weights.

    `rest` is the output at the start, number by number or one for all. With a `constraint` (constraint.py) what is trained
    are free parameters theta, and the weights a function of them.
    """

    def __init__(self, architecture, n_input, n_output, rest=0.0):
        self.architecture, self.n_input, self.n_output, self.rest = (
            architecture,
            n_input,
            n_output,
            rest,
        )
        self.layers, self.n_activations, self.size = lay_out_layers(
            architecture, n_input, n_output
        )
        self.inputs, self.outputs = slice(0, n_input), self.layers[-1].units
        self.hidden = slice(n_input, self.outputs.start)
        self.start = None
        if architecture.learn_start:
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
        """The matrix of each layer (units, columns), or its several, as views into weights (P,)."""
        return [theta[layer.weights].reshape(layer.shape) for layer in self.layers]

    def parameters(self, theta):
        """The numbers behind each layer's cell parameters (n_p, units, 1), as views into weights (P,); empty for plain cells."""
        return [
            theta[layer.parameters].reshape(-1, layer.size, 1)
            if layer.work
            else theta[:0]
            for layer in self.layers
        ]

    def views(self, theta):
        """Named views into theta (P,): `W_source_layer` (units, source), `b_layer` (units,), `h0` (hidden,), and the numbers
        behind cell parameters, such as `rate_layer` (units,), and synapses, such as `slope_source_layer` (units, source). Of a cell
        with several matrices these have its names, such as `late_source_layer`, and b_layer is (matrices, units)."""
        views = {}
        for layer, W, raw in zip(
            self.layers, self.matrices(theta), self.parameters(theta)
        ):
            for source in layer.sources:
                names = (
                    CELLS[layer.cell].SYNAPSE
                    if has_synapses(layer.cell)
                    else matrix_names(layer.cell)
                )
                for name, part in zip(names, W.reshape(-1, *W.shape[-2:])):
                    views[f"{name}_{source.name}_{layer.name}"] = part[
                        :, source.columns
                    ]
            if not has_synapses(layer.cell):
                views[f"b_{layer.name}"] = W[..., -1]
            if layer.work:
                views |= {
                    f"{name}_{layer.name}": row[:, 0]
                    for name, row in zip(CELLS[layer.cell].PARAMETERS, raw)
                }
        if self.start:
            views["h0"] = theta[self.start]
        return views

    @property
    def connections(self):
        """The number of weights between units, input and output: without biases, cell parameters and start."""
        return sum(layer.connections for layer in self.layers)

    def time_constants(self, theta):
        """Time constants (units,) in control steps of all units that have one, at weights theta (P,)."""
        views = self.views(self.weights(theta))
        rates = [
            np.logaddexp(0.0, view)
            for name, view in views.items()
            if name.startswith("rate_")
        ]
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
            if has_synapses(layer.cell):
                self._initial_synapses(
                    layer, W, theta[layer.parameters].reshape(-1, layer.size), rng
                )
                continue
            fan_in = sum(
                min(INCOMING, s.columns.stop - s.columns.start) for s in layer.sources
            )
            scale = 1 / np.sqrt(fan_in)
            for source in layer.sources:
                for row in (
                    row
                    for matrix in W.reshape(-1, *W.shape[-2:])
                    for row in matrix[:, source.columns]
                ):
                    chosen = rng.permutation(row.size)[:INCOMING]
                    row[chosen] = scale * rng.standard_normal(chosen.size)
        W[:, -1] = self.rest  # the last layer's
        for layer, raw in zip(self.layers, self.parameters(theta)):
            for name, numbers in zip(getattr(CELLS[layer.cell], "PARAMETERS", ()), raw):
                if name == "rate":
                    rate = np.exp(
                        -rng.uniform(
                            *np.log(self.architecture.time_constants), layer.size
                        )
                    )
                    numbers[:, 0] = np.log(np.expm1(rate))
                elif name == "reversal":
                    numbers[:, 0] = rng.choice([-1.0, 1.0], layer.size)
        return theta if self.constraint is None else self.constraint.start(theta)

    def _initial_synapses(self, layer, W, parameters, rng):
        """Fills synapses and units of a conductance layer as ncps draws them, but for two things: gates of the input, which
        has either sign, are spread over -0.4 to 0.6, and capacities are such that, with gates half open, units have the
        time constants asked for. Numbers behind positive ones are inverse softplus."""
        shape = W[0].shape
        w, leak = rng.uniform(0.001, 1.0, shape), rng.uniform(0.001, 1.0, layer.size)
        tau = np.exp(rng.uniform(*np.log(self.architecture.time_constants), layer.size))
        W[1], W[2], W[3] = (
            rng.uniform(3, 8, shape),
            rng.uniform(0.3, 0.8, shape),
            rng.choice([-1.0, 1.0], shape),
        )
        for source in layer.sources:
            if source.units == self.inputs:
                W[1][:, source.columns] /= 2
                W[2][:, source.columns] = 2 * W[2][:, source.columns] - 1
        W[0] = np.log(np.expm1(w))
        parameters[0], parameters[2] = (
            np.log(np.expm1(leak)),
            rng.uniform(-0.2, 0.2, layer.size),
        )
        capacity = tau * (leak + w.sum(axis=1) / 2)
        parameters[1] = capacity + np.log(-np.expm1(-capacity))

    def step(self, theta, before, inputs, elapsed=1.0):
        """Rows of one step (rows, N) from the weights (P,), the rows of the step before and the inputs (n_input, N).

        Cells in continuous time move by `elapsed` control steps: 1 but where a controller is called irregularly.
        """
        now = np.zeros_like(before)
        now[self.inputs] = inputs
        for layer, W, raw in zip(
            self.layers, self.matrices(theta), self.parameters(theta)
        ):
            cell = CELLS[layer.cell]
            X, phi = layer.gather(before, now, 1.0), ACTIVATIONS[cell.ACTIVATION][0]
            if not layer.work:
                now[layer.units] = phi(layer.connection_type.sums(W, X))
                continue
            W = (
                layer.connection_type.scale_to_step(W, elapsed)
                if is_timed(layer.cell)
                else W
            )
            x, f = self._stages(layer, elapsed).forward(
                parameter_values(cell, raw),
                layer.initial_state(before, now),
                lambda x, X=X, W=W, phi=phi, layer=layer: phi(
                    layer.connection_type.sums(W, layer.insert_state(X, x))
                ),
            )
            activities, states, _ = layer.split_work(now)
            activities[:], states[:], now[layer.units] = f, x[1:-1], x[-1]
        return now

    def _stages(self, layer, elapsed=1.0):
        return Stages(
            CELLS[layer.cell],
            self.architecture.scheme,
            self.architecture.unfold,
            elapsed,
        )

    def step_jvp(self, theta, v, before, now, d_before, d_inputs):
        """Tangent of the rows of one step (rows, N), in the directions of the weights (P,), the rows before and the inputs."""
        d_now = np.zeros_like(now)
        d_now[self.inputs] = d_inputs
        for layer, W, dW, raw, d_raw in zip(
            self.layers,
            self.matrices(theta),
            self.matrices(v),
            self.parameters(theta),
            self.parameters(v),
        ):
            cell = CELLS[layer.cell]
            X, dX, slope = (
                layer.gather(before, now, 1.0),
                layer.gather(d_before, d_now, 0.0),
                ACTIVATIONS[cell.ACTIVATION][1],
            )
            if not layer.work:
                d_now[layer.units] = slope(
                    now[layer.units]
                ) * layer.connection_type.jvp(W, dW, X, dX)
                continue
            f, states, _ = layer.split_work(now)
            x = (layer.initial_state(before, now), *states)

            def d_activity(
                j, dx, W=W, dW=dW, X=X, dX=dX, slope=slope, layer=layer, x=x, f=f
            ):
                return slope(f[j]) * layer.connection_type.jvp(
                    W, dW, layer.insert_state(X, x[j]), layer.insert_state(dX, dx)
                )

            dp = parameter_slopes(cell, raw) * d_raw
            dx, df = self._stages(layer).jvp(
                parameter_values(cell, raw),
                dp,
                x,
                f,
                layer.initial_state(d_before, d_now),
                d_activity,
            )
            activities, states, _ = layer.split_work(d_now)
            activities[:], states[:], d_now[layer.units] = df, dx[1:-1], dx[-1]
        return d_now

    def step_vjp(self, theta, before, now, now_bar):
        """Cotangents (delta, before_bar) of one step (rows, N each) from that of its rows, `now_bar`, which is used up; that
        of the work rows is taken to be zero.

        delta holds the cotangents of the summed inputs in the rows of the layers or, stage by stage, in their work rows, those
        of cell parameters in these, and that of the input in its rows; the weights' own cotangents are outer products of
        delta and gathered rows (`Layer.products`).
        """
        before_bar = np.zeros_like(now_bar)
        for layer, W, raw in zip(
            reversed(self.layers),
            reversed(self.matrices(theta)),
            reversed(self.parameters(theta)),
        ):
            slope = ACTIVATIONS[CELLS[layer.cell].ACTIVATION][1]
            if layer.work:
                self._staged_vjp(layer, W, raw, slope, before, now, now_bar, before_bar)
                continue
            delta = slope(now[layer.units]) * now_bar[layer.units]
            now_bar[layer.units] = delta
            self._spread(layer, W.T @ delta, now_bar, before_bar)
        return now_bar, before_bar

    def _staged_vjp(self, layer, W, raw, slope, before, now, now_bar, before_bar):
        """`step_vjp` of one layer of time-continuous cells."""
        cell, own, X = (
            CELLS[layer.cell],
            layer.state_source,
            layer.gather(before, now, 1.0),
        )
        f, states, _ = layer.split_work(now)
        deltas, _, parameters = layer.split_work(now_bar)
        x = (layer.initial_state(before, now), *states, now[layer.units])

        def pull(j, f_bar):
            deltas[j] = slope(f[j]) * f_bar
            back = layer.connection_type.vjp(W, layer.insert_state(X, x[j]), deltas[j])
            self._spread(layer, back, now_bar, before_bar)
            return back[own.columns] if own in layer.sources else 0.0

        p_bar, x_bar = self._stages(layer).vjp(
            parameter_values(cell, raw), x, f, now_bar[layer.units], pull
        )
        parameters[:] = parameter_slopes(cell, raw) * np.stack(p_bar) if p_bar else 0.0
        (before_bar if own.lag else now_bar)[own.units] += x_bar

    @staticmethod
    def _spread(layer, back, now_bar, before_bar):
        """Adds the cotangent of what a layer reads, `back` (columns, N), to its sources, but for its own stages' states."""
        for source in layer.sources:
            if source is not layer.state_source:
                (before_bar if source.lag else now_bar)[source.units] += back[
                    source.columns
                ]

    def tables(self):
        """The architecture as integer arrays for compiled loops: layers (first row, end row, cell code, place of the matrix,
        first source, end source, then for time-continuous cells stages, scheme, unfoldings, first work row, place of the
        parameters, their number, first row and lag of the state before, its first and end column) and sources (first row,
        end row, lag)."""
        layers, sources = [], []
        for layer in self.layers:
            first, own, cell = len(sources), layer.state_source, CELLS[layer.cell]
            sources += [(s.units.start, s.units.stop, s.lag) for s in layer.sources]
            staged = (0,) * 10
            if own:
                staged = (
                    layer.stages,
                    SCHEMES.index(self.architecture.scheme),
                    self.architecture.unfold,
                    layer.work.start,
                    layer.parameters.start,
                    len(cell.PARAMETERS),
                    own.units.start,
                    own.lag,
                    own.columns.start,
                    own.columns.stop,
                )
            layers.append(
                (
                    layer.units.start,
                    layer.units.stop,
                    cell.CODE,
                    layer.weights.start,
                    first,
                    len(sources),
                    *staged,
                )
            )
        return np.array(layers, dtype=np.int64), np.array(sources, dtype=np.int64)
