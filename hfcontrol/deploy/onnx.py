"""A controller as an ONNX graph of one step, with its state as input and output.

Inputs are target, observation and state, outputs control, next_state and is_finite. A
network that has a time also has the input `elapsed`, the length of the step [s], which
may be left out. If a number is not finite, is_finite is false, and state and command
are held. The network's own formulas write the graph: cells and stages work on anything
that adds, multiplies and divides, so they are called with graph nodes in place of
arrays.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hfcontrol.arrays.types import Array
from hfcontrol.deploy.controller import Controller
from hfcontrol.errors import NumberError, UsageError
from hfcontrol.network.activations import activation_names
from hfcontrol.network.architecture import Layer, Source
from hfcontrol.network.cells import (
    CELLS,
    count_states,
    has_synapses,
    staged_cell,
    timed_matrices,
)
from hfcontrol.network.connections import Matrices
from hfcontrol.network.network import Network
from hfcontrol.network.stages import Stages, parameter_values
from hfcontrol.plant.limits import ControlLimits
from hfcontrol.texts import one_line

# Runtimes from 2021 on can read this operator set and file format.
OPSET = 17
IR_VERSION = 8

OPERATIONS = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.negative: "Neg",
    np.absolute: "Abs",
    np.tanh: "Tanh",
    np.exp: "Exp",
    np.log: "Log",
}


class Graph:
    """An ONNX graph under construction: its nodes and constants, of one dtype."""

    def __init__(self, onnx: Any, dtype: npt.DTypeLike = np.float64) -> None:
        self.onnx = onnx
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(
        self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None
    ) -> "Node":
        """Add a constant array or number and return its node."""
        name = f"constant_{len(self.constants)}"
        with np.errstate(over="ignore"):
            array = np.asarray(value, dtype=self.dtype if dtype is None else dtype)
        if (np.isinf(array) & np.isfinite(value)).any():
            raise NumberError("a weight is too large for float32; export float64")
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return Node(self, name)

    def apply(
        self,
        operation: str,
        *inputs: "Node",
        name: str | None = None,
        **attributes: Any,
    ) -> "Node":
        """Add an operation on nodes and return the node of its result."""
        name = name or f"{operation.lower()}_{len(self.nodes)}"
        names = [node.name for node in inputs]
        node = self.onnx.helper.make_node(operation, names, [name], **attributes)
        self.nodes.append(node)
        return Node(self, name)

    def take(self, node: "Node", entries: slice) -> "Node":
        """Add the extraction of some entries of a vector and return its node."""
        start = self.constant([entries.start], np.int64)
        stop = self.constant([entries.stop], np.int64)
        return self.apply("Slice", node, start, stop)


class Node(np.lib.mixins.NDArrayOperatorsMixin):
    """A value in a `Graph`: arithmetic with it adds operations to the graph."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph = graph
        self.name = name

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> "Node":
        """Add the operation of a NumPy function, or of an operator + - * /."""
        if ufunc not in OPERATIONS or method != "__call__" or options:
            return NotImplemented
        nodes = [i if isinstance(i, Node) else self.graph.constant(i) for i in inputs]
        return self.graph.apply(OPERATIONS[ufunc], *nodes)


def onnx_model(
    controller: Controller, title: str, dtype: npt.DTypeLike = np.float64
) -> Any:
    """Return the ONNX model of a controller, in float64 or float32.

    Raises UsageError if the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError(
            "export to ONNX needs the package onnx: pip install -e '.[onnx]' in "
            "hfcontrol's folder"
        ) from None

    n_state = controller.network.outputs.stop
    input_sizes = {
        "target": controller.n_target,
        "observation": len(controller.observes),
        "state": n_state,
    }
    if controller.network.has_time:
        input_sizes["elapsed"] = 1
    output_sizes = {"control": len(controller.controls), "next_state": n_state}
    graph = Graph(onnx, dtype)
    length = None
    if controller.network.has_time:
        # An input with the name of a constant has its value by default.
        dt = np.array([controller.dt], graph.dtype)
        graph.constants.append(onnx.numpy_helper.from_array(dt, "elapsed"))
        length = Node(graph, "elapsed") / dt
    _add_step(graph, controller, length)

    helper = onnx.helper
    is_finite = helper.make_tensor_value_info("is_finite", onnx.TensorProto.BOOL, [1])
    onnx_graph = helper.make_graph(
        graph.nodes,
        "controller",
        _describe_vectors(graph, input_sizes),
        [*_describe_vectors(graph, output_sizes), is_finite],
        graph.constants,
    )
    model = helper.make_model(
        onnx_graph,
        producer_name="hfcontrol",
        opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string=one_line(title),
        ir_version=IR_VERSION,
    )
    properties = {
        "dt": repr(controller.dt),
        "observes": one_line(",".join(controller.observes)),
        "controls": one_line(",".join(controller.controls)),
        "start": repr(controller.start[:n_state].tolist()),
    }
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model


def _describe_vectors(graph: Graph, sizes: dict[str, int]) -> list[Any]:
    """Return the declarations of vectors, from their sizes by name."""
    helper = graph.onnx.helper
    dtype = helper.np_dtype_to_tensor_dtype(graph.dtype)
    make = helper.make_tensor_value_info
    return [make(name, dtype, [size]) for name, size in sizes.items()]


def _add_step(graph: Graph, controller: Controller, length: Any) -> None:
    """Add a step of the controller: from its inputs to its outputs.

    `length` is the node of its length in control steps, for networks that have a time.
    """
    network = controller.network
    inputs = graph.apply(
        "Concat", Node(graph, "target"), Node(graph, "observation"), axis=0
    )
    step = _Step(graph, network, inputs, length)
    matrices = network.matrices(controller.weights)
    parameters = network.parameters(controller.weights)
    for layer, W, raw in zip(network.layers, matrices, parameters, strict=True):
        step.add_layer(layer, W, raw)

    # The dictionary has the order of the activations: inputs, layers, outputs.
    rows = graph.apply("Concat", *step.now.values(), axis=0)
    # 0 times a number is 0 if it is finite, and NaN if not.
    axis, zero = graph.constant([0], np.int64), graph.constant([0.0])
    spoilt = graph.apply("ReduceSum", rows * zero, axis, keepdims=1)
    if length is None:
        is_finite = graph.apply("Equal", spoilt, zero, name="is_finite")
    else:
        # A clock may have been set back.
        is_positive = graph.apply("Greater", length, zero)
        found = graph.apply("Equal", spoilt, zero)
        is_finite = graph.apply("And", found, is_positive, name="is_finite")
    state = graph.apply("Where", is_finite, rows, step.before, name="next_state")
    _add_limit(graph, graph.take(state, network.outputs), controller.limits)


class _Step:
    """A step of a network, layer by layer.

    `now` are the nodes of this step's activations by their first and last index.
    """

    def __init__(
        self, graph: Graph, network: Network, inputs: Node, length: Any
    ) -> None:
        self.graph = graph
        self.network = network
        self.length = length
        self.before = Node(graph, "state")
        self.now = {(0, network.n_input): inputs}

    def add_layer(self, layer: Layer, W: Array, raw: Array) -> None:
        """Add a layer with matrix W and the trained numbers of its parameters."""
        sources = [
            (source, self._output(source, self._read(source)))
            for source in layer.sources
        ]
        if layer.work:
            states = self._final_states(layer, W, raw, sources)
        else:
            inputs = [node for _, node in sources]
            states = [_activate(layer, self._sums(layer, W, inputs))]
        first = layer.units.start
        for state in states:
            self.now[first, first + layer.size] = state
            first += layer.size

    def _read(self, source: Source) -> Node:
        """Return the node of a source's activations."""
        if source.lag:
            return self.graph.take(self.before, source.units)
        return self.now[source.units.start, source.units.stop]

    @staticmethod
    def _output(source: Source, units: Node) -> Node:
        """Return the node of what connections read of a source's activations."""
        return NODE_ACTIVATIONS[source.output](units)

    def _final_states(
        self, layer: Layer, W: Array, raw: Array, sources: list[tuple[Source, Node]]
    ) -> list[Node]:
        """Return the states of a layer after its stages; the first is its output."""
        cell = staged_cell(layer.cell)
        own = layer.state_source
        assert own is not None
        values = parameter_values(cell, raw)[..., 0]
        has_one = count_states(layer.cell) == 1

        def activity(x: Any) -> Any:
            output = self._output(own, x if has_one else x[0])
            inputs = [output if source is own else node for source, node in sources]
            return _activate(layer, self._sums(layer, W, inputs))

        architecture = self.network.architecture
        # The stages of NumPy: their arithmetic on nodes adds the nodes of all stages.
        elapsed = self.length if layer.has_time else 1.0
        stages: Any = Stages(cell, architecture.scheme, architecture.unfold, elapsed)
        parameters = [self.graph.constant(value) for value in values]
        states, _ = stages.forward(parameters, self._start(layer, own), activity)
        return [states[-1]] if has_one else list(states[-1])

    def _start(self, layer: Layer, own: Source) -> Any:
        """Return the state that the stages start from, or all states of a unit."""
        if count_states(layer.cell) == 1:
            return self._read(own)
        size = layer.size
        firsts = [own.units.start + k * size for k in range(count_states(layer.cell))]
        nodes = [self.graph.take(self.before, slice(i, i + size)) for i in firsts]
        return np.array(nodes, dtype=object)

    def _sums(self, layer: Layer, W: Array, inputs: list[Node]) -> Any:
        """Return the summed inputs of a layer.

        They are one node, or two for synapses, or several for several matrices.
        """
        graph = self.graph
        X = graph.apply("Concat", *inputs, axis=0)
        if isinstance(layer.summation, Matrices):
            timed = list(timed_matrices(layer.cell))
            rates = np.zeros_like(W)
            rates[timed] = W[timed]
            parts = layer.summation.merge(W - rates)
            sums = [_affine(graph, part, X) for part in parts]
            for number, part in enumerate(layer.summation.merge(rates)):
                if part.any():
                    sums[number] = sums[number] + self.length * _affine(graph, part, X)
            return tuple(sums)
        if not has_synapses(layer.cell):
            return _affine(graph, W, X)

        # The trained numbers behind the weights of synapses are inverse softplus.
        weight = np.logaddexp(0.0, W[0])
        slope, centre, reversal = W[1:]
        gates = 0.5 + 0.5 * np.tanh(0.5 * (slope * (X - centre)))
        axis = graph.constant([1], np.int64)
        factors = (weight * reversal, weight)
        return tuple(
            graph.apply("ReduceSum", factor * gates, axis, keepdims=0)
            for factor in factors
        )


def _affine(graph: Graph, W: Array, X: Node) -> Node:
    """Return W X + b, with the bias b in the last column of W."""
    return graph.apply("MatMul", graph.constant(W[:, :-1]), X) + W[:, -1]


def _activate(layer: Layer, sums: Any) -> Any:
    """Return the activations of the summed inputs of a layer."""
    names = activation_names(CELLS[layer.cell].ACTIVATION)
    if len(names) == 1:
        return NODE_ACTIVATIONS[names[0]](sums)
    pairs = zip(names, sums, strict=True)
    return tuple(NODE_ACTIVATIONS[name](part) for name, part in pairs)


def _logistic(a: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * a))


NODE_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda sums: sums,
    "tanh": np.tanh,
    "logistic": _logistic,
}


def _add_limit(graph: Graph, command: Node, limits: ControlLimits) -> None:
    """Add the node `control`, see `ControlLimits.apply`."""
    z: Any = (command - limits.centre) / limits.width
    bend = np.tanh(z)
    side = limits.side
    if side.any():
        distance = side * z
        size = np.absolute(distance)
        # log(1 + e^z) without overflow; runtimes have no Softplus in float64.
        softplus = 0.5 * (distance + size) + np.log(1 + np.exp(-size))
        has_range = graph.constant(side == 0.0, np.bool_)
        bend = graph.apply("Where", has_range, bend, side * softplus)
    limited = limits.centre + limits.width * bend
    condition = graph.constant(limits.is_limited, np.bool_)
    graph.apply("Where", condition, limited, command, name="control")
