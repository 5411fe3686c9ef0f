"""A controller as an ONNX graph: target, observation and state go in, control and the next state come out.

The graph is written by the network's own formulas: cells and stages work on whatever adds, multiplies and divides, so they are
given nodes in place of numbers.
"""

import numpy as np

from hfcontrol.errors import UsageError
from hfcontrol.network.cells import CELLS, has_synapses, is_timed
from hfcontrol.network.stages import Stages, parameter_values

OPSET = 17
OPERATIONS = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.negative: "Neg",
    np.absolute: "Abs",
    np.tanh: "Tanh",
}


class Graph:
    """An ONNX graph as it grows: nodes and constants, all of float64."""

    def __init__(self, onnx):
        self.onnx, self.nodes, self.constants = onnx, [], []

    def constant(self, value, dtype=np.float64):
        """A `Node` for an array or number."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(
            self.onnx.numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
        )
        return Node(self, name)

    def apply(self, operation, *inputs, name=None, **attributes):
        """The `Node` of an operation on nodes."""
        name = name or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(
                operation, [i.name for i in inputs], [name], **attributes
            )
        )
        return Node(self, name)

    def part(self, node, rows):
        """The entries of a vector from a slice."""
        edges = (self.constant([edge], np.int64) for edge in (rows.start, rows.stop))
        return self.apply("Slice", node, *edges)


class Node(np.lib.mixins.NDArrayOperatorsMixin):
    """A value in a `Graph`, with which one can calculate."""

    def __init__(self, graph, name):
        self.graph, self.name = graph, name

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        """NumPy's functions of nodes and numbers, and by the mixin the operators + - * /, are operations of the graph."""
        if ufunc not in OPERATIONS or method != "__call__" or options:
            return NotImplemented
        return self.graph.apply(
            OPERATIONS[ufunc],
            *(i if isinstance(i, Node) else self.graph.constant(i) for i in inputs),
        )


def model(controller, title):
    """The ONNX model of a `Controller`; raises UsageError where onnx is not installed."""
    try:
        import onnx
    except ImportError:
        raise UsageError(
            "--format onnx needs the package onnx: pip install -e '.[onnx]' in hfcontrol's folder"
        ) from None
    graph, net, helper = Graph(onnx), controller.network, onnx.helper
    sizes = {
        "target": controller.n_target,
        "observation": len(controller.observes),
        "state": net.outputs.stop,
    }
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [size])
        for name, size in sizes.items()
    ]
    before = Node(graph, "state")
    now = {
        (0, net.n_input): graph.apply(
            "Concat", Node(graph, "target"), Node(graph, "observation"), axis=0
        )
    }
    parts = [now[0, net.n_input]]
    for layer, W, raw in zip(
        net.layers, net.matrices(controller.weights), net.parameters(controller.weights)
    ):
        now[layer.units.start, layer.units.stop] = _layer(
            graph, net, layer, W, raw, before, now
        )
        parts.append(now[layer.units.start, layer.units.stop])
    graph.apply("Concat", *parts, axis=0, name="next_state")
    _limited(graph, parts[-1], controller.limit)
    outputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [size])
        for name, size in (
            ("control", len(controller.controls)),
            ("next_state", sizes["state"]),
        )
    ]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "controller", inputs, outputs, graph.constants),
        producer_name="hfcontrol",
        opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string=title,
        ir_version=8,
    )
    helper.set_model_props(
        made,
        {
            "dt": repr(controller.dt),
            "observes": ",".join(controller.observes),
            "controls": ",".join(controller.controls),
            "start": repr(controller.start[: sizes["state"]].tolist()),
        },
    )
    onnx.checker.check_model(made)
    return made


def _layer(graph, net, layer, W, raw, before, now):
    """The node of a layer's output."""

    def rows(source):
        return (
            graph.part(before, source.units)
            if source.lag
            else now[source.units.start, source.units.stop]
        )

    sources = [(source, rows(source)) for source in layer.sources]
    if not layer.work:
        return _activation(layer, _sums(graph, layer, W, [node for _, node in sources]))
    cell, own, p = (
        CELLS[layer.cell],
        layer.state_source,
        parameter_values(CELLS[layer.cell], raw)[..., 0],
    )

    def activity(x):
        return _activation(
            layer,
            _sums(
                graph,
                layer,
                W,
                [x if source is own else node for source, node in sources],
            ),
        )

    stages = Stages(cell, net.architecture.scheme, net.architecture.unfold)
    x, _ = stages.forward([graph.constant(v) for v in p], rows(own), activity)
    return x[-1]


def _sums(graph, layer, W, seen):
    """The summed inputs of a layer: a node, or two of a layer of synapses, or three of timed connections."""
    X = graph.apply("Concat", *seen, axis=0)
    if is_timed(layer.cell):
        return tuple(
            graph.apply("MatMul", graph.constant(part[:, :-1]), X) + part[:, -1]
            for part in layer.connection_type.merge(W)
        )
    if not has_synapses(layer.cell):
        return graph.apply("MatMul", graph.constant(W[:, :-1]), X) + W[:, -1]
    weight, slope, centre, reversal = np.logaddexp(0.0, W[0]), *W[1:]
    gates = 0.5 + 0.5 * np.tanh(0.5 * (slope * (X - centre)))
    axis = graph.constant([1], np.int64)
    return tuple(
        graph.apply("ReduceSum", factor * gates, axis, keepdims=0)
        for factor in (weight * reversal, weight)
    )


def _activation(layer, sums):
    kind = CELLS[layer.cell].ACTIVATION
    if kind == "linear":
        return sums
    if kind == "tanh, tanh, logistic":
        return *map(np.tanh, sums[:2]), 0.5 * (1 + np.tanh(0.5 * sums[2]))
    return np.tanh(sums) if kind == "tanh" else 0.5 * (1 + np.tanh(0.5 * sums))


def _limited(graph, command, limit):
    """The node `control`: LIMIT tanh(c / LIMIT) where there is a limit."""
    bounded = np.isfinite(limit)
    safe = np.where(bounded, limit, 1.0)
    graph.apply(
        "Where",
        graph.constant(bounded, np.bool_),
        safe * np.tanh(command / safe),
        command,
        name="control",
    )
