"""A recurrent network: a flat weight vector with named views, its step and derivatives.

The layers (architecture.py) follow one after another, with one product per layer and
step, or per stage of a cell with a state:

    a_l = W_l [source units of l; 1],      h_l = cell(a_l)

A network knows no plant. Shapes: n activations, N trials, P weights.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.network.activations import activation_of
from hfcontrol.network.architecture import (
    Architecture,
    Layer,
    Source,
    lay_out_layers,
)
from hfcontrol.network.cells import (
    CELLS,
    count_states,
    count_sums,
    has_synapses,
    matrix_names,
    staged_cell,
    synapse_names,
    timed_matrices,
)
from hfcontrol.network.initialisation import (
    draw_parameters,
    draw_sparse,
    draw_synapses,
)
from hfcontrol.network.stages import (
    SCHEMES,
    Stages,
    parameter_slopes,
    parameter_values,
)
from hfcontrol.network.tables import KINDS, STAGES, TERMS, encode_activation
from hfcontrol.network.weight_maps import WeightMap


class Network:
    """Layers of an `Architecture` between n_input inputs and n_output outputs.

    `size` is P, the number of weights. `rest` is the initial output, one number for
    each output or one for all, and `output_sizes` are typical sizes of the outputs,
    likewise: they scale the initial weights of the output, and `weight_sizes`. With a
    `weight_map`, a constraint or a scaling, the weights are another function of the
    trained theta (P,).
    """

    def __init__(
        self,
        architecture: Architecture,
        n_input: int,
        n_output: int,
        rest: float | Array = 0.0,
        output_sizes: float | Array = 1.0,
    ) -> None:
        self.architecture = architecture
        self.n_input = n_input
        self.n_output = n_output
        self.rest = rest
        self.output_sizes = np.broadcast_to(output_sizes, (n_output,))

        layout = lay_out_layers(architecture, n_input, n_output)
        self.layers = layout.layers
        self.n_activations = layout.n_activations
        self.size = layout.size

        self.inputs = slice(0, n_input)
        self.outputs = self.layers[-1].units
        self.hidden = slice(n_input, self.outputs.start)
        # The unit with the length of the step, None without cells that have a time.
        self.clock = layout.clock

        # The learned initial state follows all other weights.
        self.start: slice | None = None
        if architecture.learn_start:
            end = self.size + self.hidden.stop - self.hidden.start
            self.start = slice(self.size, end)
            self.size = end
        self.weight_map: WeightMap | None = None

    def weights(self, theta: Array) -> Array:
        """Return the weights (P,) at theta (P,): theta itself without a map."""
        return theta if self.weight_map is None else self.weight_map.weights(theta)

    def weights_jvp(self, theta: Array, v: Array) -> Array:
        """Return the tangent (P,) of the weights for a tangent v (P,) of theta."""
        return v if self.weight_map is None else self.weight_map.jvp(theta, v)

    def weights_vjp(self, theta: Array, w: Array) -> Array:
        """Return the cotangent (..., P) of theta for those of the weights (..., P)."""
        return w if self.weight_map is None else self.weight_map.vjp(theta, w)

    def matrices(self, theta: Array) -> list[Array]:
        """Return the matrix of each layer (`Layer.shape`): views into weights (P,)."""
        return [theta[layer.weights].reshape(layer.shape) for layer in self.layers]

    def parameters(self, theta: Array) -> list[Array]:
        """Return the trained numbers of each layer's cell parameters (n_p, units, 1).

        They are views into weights (P,), and empty for cells without a state.
        """
        return [self._parameters_of(layer, theta) for layer in self.layers]

    @staticmethod
    def _parameters_of(layer: Layer, theta: Array) -> Array:
        if layer.parameters is None:
            return theta[:0]
        return theta[layer.parameters].reshape(-1, layer.size, 1)

    def views(self, theta: Array) -> dict[str, Array]:
        """Return named views into theta (P,).

        * `W_source_layer` (units, source) and `b_layer` (units,). A cell with several
          matrices has their names instead of W, such as `late_source_layer`, and
          b_layer (matrices, units).
        * trained numbers of synapses, such as `slope_source_layer` (units, source), and
          of cell parameters, such as `rate_layer` (units,)
        * `h0` (hidden,), the initial hidden state, if it is trained
        """
        views: dict[str, Array] = {}
        matrices = self.matrices(theta)
        parameters = self.parameters(theta)
        for layer, W, raw in zip(self.layers, matrices, parameters, strict=True):
            self._add_weight_views(views, layer, W)
            if layer.work:
                names = CELLS[layer.cell].PARAMETERS
                for name, numbers in zip(names, raw, strict=True):
                    views[f"{name}_{layer.name}"] = numbers[:, 0]
        if self.start:
            views["h0"] = theta[self.start]
        return views

    @staticmethod
    def _add_weight_views(views: dict[str, Array], layer: Layer, W: Array) -> None:
        """Add the views of one layer's matrix to `views`."""
        synapses = has_synapses(layer.cell)
        names = synapse_names(layer.cell) if synapses else matrix_names(layer.cell)
        parts = W.reshape(-1, *W.shape[-2:])
        for source in layer.sources:
            for name, part in zip(names, parts, strict=True):
                key = f"{name}_{source.name}_{layer.name}"
                views[key] = part[:, source.columns]
        if not synapses:
            views[f"b_{layer.name}"] = W[..., -1]

    @cached_property
    def weight_sizes(self) -> Array | None:
        """Typical sizes (P,) of changes of the trained theta; None if all are one.

        A change of an output's weights by its size counts as much as a change of other
        weights by one.
        """
        if np.all(self.output_sizes == 1):
            return None
        sizes = np.ones(self.size)
        self.matrices(sizes)[-1][:] = self.output_sizes[:, None]
        return sizes

    @property
    def has_time(self) -> bool:
        """Whether a step of the network depends on how long it lasts."""
        return any(layer.has_time for layer in self.layers)

    @property
    def connections(self) -> int:
        """Number of weights between units, inputs and outputs.

        Biases, cell parameters and the initial hidden state do not count.
        """
        return sum(layer.connections for layer in self.layers)

    def time_constants(self, theta: Array) -> Array:
        """Return the time constants [control steps] of all units that have one.

        theta (P,) is the trained vector; the result has an entry for each such unit.
        """
        # Empty, so that a network without time constants has something to join.
        rates = [np.empty(0)]
        for name, view in self.views(self.weights(theta)).items():
            if name.startswith("rate_"):
                rates.append(np.logaddexp(0.0, view))
        return 1 / np.concatenate(rates)

    def initial(self, rng: np.random.Generator) -> Array:
        """Return a random theta (P,) with sparse weights.

        See initialisation.py. Initial states and biases are zero, except for the biases
        of the output, which are `rest`.
        """
        spread = self.architecture.time_constants
        theta = np.zeros(self.size)
        matrices = self.matrices(theta)
        parameters = self.parameters(theta)
        for layer, W, raw in zip(self.layers, matrices, parameters, strict=True):
            if has_synapses(layer.cell):
                reads_input = [s for s in layer.sources if s.units == self.inputs]
                draw_synapses(layer, W, raw[..., 0], spread, reads_input, rng)
            else:
                draw_sparse(layer, W, self._drawn_sources(layer), rng)
        matrices[-1][:] *= self.output_sizes[:, None]
        # Without input, the untrained network gives `rest`.
        matrices[-1][:, -1] = self.rest

        # After all matrices: the order of draws decides what a seed gives.
        for layer, raw in zip(self.layers, parameters, strict=True):
            draw_parameters(layer, raw, spread, rng)
        return theta if self.weight_map is None else self.weight_map.start(theta)

    def _drawn_sources(self, layer: Layer) -> Sequence[Source]:
        """Return the sources of a layer whose initial weights are random.

        The linear path starts at zero: it is for laws, and an untrained network is the
        same with and without it.
        """
        if layer is not self.layers[-1]:
            return layer.sources
        return [s for s in layer.sources if s.units != self.inputs]

    def step(
        self, theta: Array, before: Array, inputs: Array, elapsed: Any = 1.0
    ) -> Array:
        """Return the activations (n, N) of one step.

        theta (P,) are the weights, `before` (n, N) the activations of the step before,
        `inputs` (n_input, N). Cells that have a time move by `elapsed` control steps, a
        number or one for each trial (N,); it is not 1 where samples are irregular.
        """
        now = np.zeros_like(before)
        now[self.inputs] = inputs
        if self.clock is not None:
            now[self.clock] = elapsed
        matrices = self.matrices(theta)
        parameters = self.parameters(theta)
        for layer, W, raw in zip(self.layers, matrices, parameters, strict=True):
            if layer.work:
                self._staged_step(layer, W, raw, before, now, elapsed)
                continue
            phi = activation_of(CELLS[layer.cell].ACTIVATION).function
            X = layer.gather(before, now)
            now[layer.units] = phi(layer.summation.sums(W, X))
        return now

    def _staged_step(
        self,
        layer: Layer,
        W: Array,
        raw: Array,
        before: Array,
        now: Array,
        elapsed: Any,
    ) -> None:
        """Fill the activations `now` of a layer with a state."""
        cell = staged_cell(layer.cell)
        phi = activation_of(cell.ACTIVATION).function
        timed = timed_matrices(layer.cell)
        if timed:
            # Cells in continuous time get the length of the step from `Stages`.
            W = W.copy()
            W[list(timed)] *= elapsed
        X = layer.gather(before, now)

        def activity(x: Array) -> Array:
            return phi(layer.summation.sums(W, layer.insert_state(X, x)))

        p = parameter_values(cell, raw)
        start = layer.initial_state(before, now)
        x, f = self._stages(layer, now).forward(p, start, activity)
        work = layer.split_work(now)
        # The first state is stored already, where the layer read it.
        work.activities[:] = f
        work.states[:] = x[1:-1]
        layer.split_states(now[layer.state_units])[:] = x[-1]

    def _stages(self, layer: Layer, now: Array) -> Stages:
        chosen = self.architecture
        cell = staged_cell(layer.cell)
        length = now[self.clock] if layer.has_time else 1.0
        return Stages(cell, chosen.scheme, chosen.unfold, length)

    def step_jvp(
        self,
        theta: Array,
        v: Array,
        before: Array,
        now: Array,
        d_before: Array,
        d_inputs: Array,
    ) -> Array:
        """Return the tangent of the activations (n, N) of one step.

        The direction is v (P,) of the weights theta (P,), `d_before` (n, N) of the
        activations before and `d_inputs` (n_input, N); `now` (n, N) is what `step`
        returned.
        """
        d_now = np.zeros_like(now)
        d_now[self.inputs] = d_inputs
        matrices = zip(self.matrices(theta), self.matrices(v), strict=True)
        parameters = zip(self.parameters(theta), self.parameters(v), strict=True)
        for layer, (W, dW), (raw, d_raw) in zip(
            self.layers, matrices, parameters, strict=True
        ):
            slope = activation_of(CELLS[layer.cell].ACTIVATION).slope
            X = layer.gather(before, now)
            dX = layer.gather_tangent(before, now, d_before, d_now)
            if not layer.work:
                d_sums = layer.summation.jvp(W, dW, X, dX)
                d_now[layer.units] = slope(now[layer.units]) * d_sums
                continue

            cell = staged_cell(layer.cell)
            f, states, _ = layer.split_work(now)
            x = (layer.initial_state(before, now), *states)
            d_activity = _activity_tangent(layer, (W, dW), (X, dX), x, f)
            p = parameter_values(cell, raw)
            dp = parameter_slopes(cell, raw) * d_raw
            d_start = layer.initial_state(d_before, d_now)
            dx, df = self._stages(layer, now).jvp(p, dp, x, f, d_start, d_activity)
            work = layer.split_work(d_now)
            work.activities[:] = df
            work.states[:] = dx[1:-1]
            layer.split_states(d_now[layer.state_units])[:] = dx[-1]
        return d_now

    def step_vjp(
        self, theta: Array, before: Array, now: Array, now_bar: Array
    ) -> tuple[Array, Array]:
        """Return the cotangents (delta, before_bar) of one step, (n, N) each.

        `now_bar` (n, N) is the cotangent of the activations and is overwritten; that of
        work units is taken to be zero. delta holds the cotangents of the summed inputs
        in the units of each layer or, stage by stage, in its work units, those of cell
        parameters in the work units, and that of the input in its units. Products of
        delta and gathered activations (`Layer.weight_products`) are the cotangents of
        the weights.
        """
        before_bar = np.zeros_like(now_bar)
        # From the output back: the readers of a layer add their part before its turn.
        matrices = self.matrices(theta)
        parameters = self.parameters(theta)
        layers = list(zip(self.layers, matrices, parameters, strict=True))
        for layer, W, raw in reversed(layers):
            if layer.work:
                self._staged_vjp(layer, W, raw, before, now, now_bar, before_bar)
                continue
            slope = activation_of(CELLS[layer.cell].ACTIVATION).slope
            delta = slope(now[layer.units]) * now_bar[layer.units]
            now_bar[layer.units] = delta
            back = W.T @ delta
            self._add_to_sources(layer, back, (before, now), (before_bar, now_bar))
        return now_bar, before_bar

    def _staged_vjp(
        self,
        layer: Layer,
        W: Array,
        raw: Array,
        before: Array,
        now: Array,
        now_bar: Array,
        before_bar: Array,
    ) -> None:
        """Do what `step_vjp` does, for one layer with a state."""
        assert layer.state_source
        source = layer.state_source
        cell = staged_cell(layer.cell)
        slope = activation_of(cell.ACTIVATION).slope
        X = layer.gather(before, now)
        f, states, _ = layer.split_work(now)
        deltas, _, parameter_bars = layer.split_work(now_bar)
        out = layer.split_states(now[layer.state_units])
        x = (layer.initial_state(before, now), *states, out)

        bars = (before_bar, now_bar)

        def pull(j: int, f_bar: Array) -> Array | float:
            deltas[j] = slope(f[j]) * f_bar
            # One X serves all stages: they differ in the state alone.
            X_j = layer.insert_state(X, x[j])
            X_bar = layer.summation.vjp(W, X_j, deltas[j])
            self._add_to_sources(layer, X_bar, (before, now), bars)
            return layer.own_cotangent(x[j], X_bar)

        p = parameter_values(cell, raw)
        stages = self._stages(layer, now)
        out_bar = layer.split_states(now_bar[layer.state_units])
        p_bar, x_bar = stages.vjp(p, x, f, out_bar, pull)
        if p_bar:
            parameter_bars[:] = parameter_slopes(cell, raw) * np.stack(p_bar)
        # The state that the stages start from is the last thing they pass on.
        start_bar = before_bar if source.lag else now_bar
        first = source.units.start
        places = slice(first, first + layer.size * count_states(layer.cell))
        layer.split_states(start_bar[places])[:] += x_bar

    @staticmethod
    def _add_to_sources(
        layer: Layer,
        X_bar: Array,
        activations: tuple[Array, Array],
        bars: tuple[Array, Array],
    ) -> None:
        """Add the cotangent (columns, N) of what a layer reads to its sources.

        `activations` are those before and now, and `bars` their cotangents. The layer's
        own state is left out: its stages pass that on.
        """
        for source in layer.sources:
            if source is not layer.state_source:
                # The step before comes first in the pairs.
                place = 0 if source.lag else 1
                units = activations[place][source.units]
                part = source.times_slope(units, X_bar[source.columns])
                bars[place][source.units] += part

    def tables(self) -> tuple[Array, Array]:
        """Return the architecture as integer arrays for compiled loops.

        tables.py names the columns. Those of cells' functions are zero; kernels fill
        them.
        """
        layers: list[tuple[int, ...]] = []
        sources: list[tuple[int, int, int, int]] = []
        for layer in self.layers:
            first = len(sources)
            for source in layer.sources:
                kind = KINDS.index(source.output)
                places = source.units
                sources.append((places.start, places.stop, source.lag, kind))
            row = (
                layer.units.start,
                layer.units.stop,
                encode_activation(CELLS[layer.cell].ACTIVATION),
                layer.weights.start,
                first,
                len(sources),
            )
            layers.append((*row, *self._stage_columns(layer)))
        return np.array(layers, dtype=np.int64), np.array(sources, dtype=np.int64)

    def _stage_columns(self, layer: Layer) -> tuple[int, ...]:
        """Return the columns of `tables` that are zero for cells without a state."""
        most_terms = max(len(other.terms) for other in self.layers)
        width = TERMS + 4 * most_terms - STAGES
        source = layer.state_source
        if not source or not layer.work or not layer.parameters:
            return (0,) * width
        scheme = SCHEMES.index(self.architecture.scheme)
        solver = (layer.stages, scheme, self.architecture.unfold)
        n_parameters = len(CELLS[layer.cell].PARAMETERS)
        places = (layer.work.start, layer.parameters.start, n_parameters)
        state = (source.units.start, source.lag)
        columns = (source.columns.start, source.columns.stop)
        sums = (count_sums(layer.cell), count_states(layer.cell))
        kinds = (int(has_synapses(layer.cell)), len(matrix_names(layer.cell)))
        flags = enumerate(CELLS[layer.cell].PARAMETERS.values())
        positive = sum(int(flag) << number for number, flag in flags)
        terms = [number for term in layer.terms for number in term]
        row = [*solver, *places, *state, *columns, *sums, *kinds, positive]
        # Kernels write the functions of the cell in place of these three zeros.
        output = KINDS.index(source.output)
        clock = self.clock if layer.has_time else -1
        row += [0, 0, 0, output, clock, len(layer.terms), *terms]
        return (*row, *[0] * (width - len(row)))


def _activity_tangent(
    layer: Layer,
    matrices: tuple[Array, Array],
    read: tuple[Array, Array],
    x: tuple[Array, ...],
    f: Array,
) -> Callable[[int, Array], Array]:
    """Return the function (j, dx_j) -> df_j of a layer with a state.

    `matrices` are W and its tangent, `read` is X and its tangent; x and f hold the
    states and activities of the stages.
    """
    W, dW = matrices
    X, dX = read
    slope = activation_of(CELLS[layer.cell].ACTIVATION).slope

    def tangent(j: int, dx: Array) -> Array:
        X_j = layer.insert_state(X, x[j])
        dX_j = layer.insert_tangent(dX, x[j], dx)
        return slope(f[j]) * layer.summation.jvp(W, dW, X_j, dX_j)

    return tangent
