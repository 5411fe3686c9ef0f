"""A controller as C99 source without allocation, and with no dependency but math.h.

The functions `NAME_reset` and `NAME_step` do what `Controller` does: each layer gathers
its inputs, multiplies by its matrix and takes the step of its cell; then the command is
limited. A network that has a time also gets `NAME_step_after`, for steps of any length.
The state is a struct of the network's activations. A step with a number that is not
finite returns 1 and holds state and command, as `Controller` with `hold_last`.
"""

import re
from dataclasses import dataclass
from string import Template
from typing import Any, cast

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.deploy.c_templates import (
    ACTIVATIONS,
    CELL_FUNCTION,
    EULER_STAGE,
    FUNCTIONS,
    FUSED_STAGE,
    GATHER,
    HEADER,
    INSERT_STATE,
    MATRIX_ACTIVITY,
    PLAIN_LAYER,
    RK4_STAGE,
    RK4_START,
    STAGED_LAYER,
    STEP,
    STEP_AFTER_HEADER,
    SYNAPSE_ACTIVITY,
    TIMED_ACTIVITY,
)
from hfcontrol.deploy.controller import Controller
from hfcontrol.network.activations import activation_names
from hfcontrol.network.architecture import Layer, Source
from hfcontrol.network.cells import (
    CELLS,
    ContinuousCell,
    count_states,
    count_sums,
    has_synapses,
    staged_cell,
    timed_matrices,
)
from hfcontrol.network.connections import Matrices
from hfcontrol.network.network import Network
from hfcontrol.network.stages import RK4_NODES, RK4_WEIGHTS, parameter_values
from hfcontrol.texts import c_comment
from hfcontrol.version import __version__

NUMBERS_PER_LINE = 6


class Expression(np.lib.mixins.NDArrayOperatorsMixin):
    """A C expression: arithmetic with it makes longer expressions.

    The functions of a cell are called with these, and so write their own C code.
    """

    # Mixed operations with NumPy numbers come here too.
    __array_priority__ = 1000

    def __init__(self, code: str) -> None:
        self.code = code

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any
    ) -> "Expression":
        """Return the expression of a NumPy function, or of an operator + - * /."""
        if ufunc not in C_OPERATIONS or method != "__call__" or options:
            return NotImplemented
        codes = [
            i.code if isinstance(i, Expression) else _number(float(i)) for i in inputs
        ]
        return Expression(C_OPERATIONS[ufunc].format(*codes))


C_OPERATIONS = {
    np.add: "({} + {})",
    np.subtract: "({} - {})",
    np.multiply: "({} * {})",
    np.true_divide: "({} / {})",
    np.negative: "(-{})",
    np.absolute: "FABS({})",
    np.tanh: "TANH({})",
}


def c_source(controller: Controller, name: str, title: str, run: str) -> str:
    """Return the C source of a controller, with functions named after `name`.

    `name` is an identifier; other texts go into comments.
    """
    network = controller.network
    # Work rows, behind the outputs, are not part of the state.
    n_state = network.outputs.stop
    facts = {
        # These are parts of a comment and must not end it.
        "title": c_comment(title),
        "version": __version__,
        "run": c_comment(run),
        "name": name,
        "milliseconds": f"{1000 * controller.dt:g}",
        "observes": c_comment(", ".join(controller.observes)),
        "controls": c_comment(", ".join(controller.controls)),
        "n_target": controller.n_target,
        "n_observation": len(controller.observes),
        "n_control": len(controller.controls),
        "n_rows": n_state,
    }
    tables = [
        _table("start", controller.start[:n_state]),
        *map(_table, ("centre", "width", "side"), controller.limits.bends),
    ]
    matrices = network.matrices(controller.weights)
    parameters = network.parameters(controller.weights)
    body = ""
    for k in range(len(network.layers)):
        tables += _layer_tables(network, k, matrices[k], parameters[k])
        body += LayerCode(network, k).code()

    # Compilers warn of a variable that nothing reads.
    before = ""
    if "before[" in body:
        before = "    const real *before = state->rows;\n"
    header = HEADER.substitute(facts)
    names = {"step": "step", "elapsed": "", "length": "", "is_valid": "1"}
    step = ""
    if network.has_time:
        dt = _number(controller.dt)
        names = {
            "step": "step_after",
            "elapsed": "real elapsed, ",
            # In control steps of the training.
            "length": f"    const real length = elapsed / {dt};\n",
            # A clock may have been set back.
            "is_valid": "elapsed > 0",
        }
        header += STEP_AFTER_HEADER.substitute(name=name)
        step = STEP.substitute(name=name, dt=dt)
    functions = FUNCTIONS.substitute(
        names, name=name, before=before, layers=body, outputs=network.outputs.start
    )
    return header + "".join(tables) + functions + step


def _layer_tables(network: Network, k: int, W: Array, raw: Array) -> list[str]:
    """Return the matrix, the cell parameters and the cell's function of layer k."""
    layer = network.layers[k]
    if has_synapses(layer.cell):
        # The trained numbers behind the weights of synapses are inverse softplus.
        W = np.concatenate([np.logaddexp(0.0, W[:1]), W[1:]])
    blocks: list[str] = []
    if isinstance(layer.summation, Matrices):
        timed = list(timed_matrices(layer.cell))
        if timed:
            # The step multiplies these by its length.
            parts = np.zeros_like(W)
            parts[timed] = W[timed]
            rows = layer.summation.merge(parts)[_timed_sums(layer)]
            blocks.append(_table(f"T{k}", rows))
            W = W - parts
        W = layer.summation.merge(W)

    blocks.append(_table(f"W{k}", W))
    if not layer.work:
        return blocks
    cell = staged_cell(layer.cell)
    if cell.PARAMETERS:
        blocks.append(_table(f"parameters{k}", parameter_values(cell, raw)))
    blocks.append(_cell_function(layer, k, network.architecture.scheme))
    return blocks


def _timed_sums(layer: Layer) -> list[int]:
    """Return the sums of a layer that depend on the length of the step."""
    timed = timed_matrices(layer.cell)
    return sorted({term.sum for term in layer.terms if term.matrix in timed})


def _table(name: str, numbers: Array) -> str:
    """Return the definition of a constant array."""
    words = [_number(float(value)) for value in np.ravel(numbers)]
    starts = range(0, len(words), NUMBERS_PER_LINE)
    lines = ["    " + ", ".join(words[i : i + NUMBERS_PER_LINE]) for i in starts]
    rows = ",\n".join(lines)
    return f"\nstatic const real {name}[{len(words)}] = {{\n{rows}\n}};\n"


def _number(value: float) -> str:
    """Return a number in C, exact in double precision."""
    return "HUGE_VAL" if np.isposinf(value) else f"R({value!r})"


def _cell_function(layer: Layer, k: int, scheme: str) -> str:
    """Return a function of unit i: the cell's semi-implicit step, or its field."""
    cell = staged_cell(layer.cell)
    size = layer.size

    def values(name: str, count: int) -> list[Expression]:
        places = [f"{number * size} + i" if number else "i" for number in range(count)]
        return [Expression(f"{name}[{place}]") for place in places]

    states, sums = count_states(layer.cell), count_sums(layer.cell)
    x: Any = values("x", states)
    f: Any = values("f", sums)
    x = x if states > 1 else x[0]
    f = f if sums > 1 else f[0]
    p = values(f"parameters{k}", len(cell.PARAMETERS))
    if scheme == "fused":
        y = cell.fused(x, f, p, Expression("h"))  # type: ignore[arg-type]
    else:
        y = cast(ContinuousCell, cell).field(x, f, p)

    lines = ""
    for place, value in zip(values("y", states), _as_tuple(y), strict=True):
        lines += f"    {place.code} = {value.code};\n"
    # Every cell has the same arguments; -Wextra warns of those that it does not use.
    used = re.findall(r"\w+", lines)
    unused = [name for name in ("x", "f", "h") if name not in used]
    return CELL_FUNCTION.substitute(
        k=k,
        unused="".join(f"    (void){name};\n" for name in unused),
        results=lines,
    )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True)
class LayerCode:
    """The C code of layer `k` of a network in a step."""

    network: Network
    k: int

    @property
    def layer(self) -> Layer:
        """The layer."""
        return self.network.layers[self.k]

    @property
    def state_source(self) -> Source:
        """Where the state before the step comes from, in a time-continuous cell."""
        source = self.layer.state_source
        assert source is not None
        return source

    def code(self) -> str:
        """Return the block that computes the layer's activations."""
        if self.layer.work:
            return self._staged_layer()
        return self._fill(
            PLAIN_LAYER, gather=self._gather(), activation=self._sum_activations()[0]
        )

    def _fill(self, template: Template, **more: object) -> str:
        """Fill a template with the layer's numbers, and with more."""
        columns = sum(s.columns.stop - s.columns.start for s in self.layer.sources)
        return template.substitute(
            k=self.k,
            units=self.layer.size,
            first=self.layer.units.start,
            columns=columns,
            n_states=self.layer.size * count_states(self.layer.cell),
            n_sums=self.layer.size * count_sums(self.layer.cell),
            # A row of the matrix ends with the bias.
            stride=columns + 1,
            **more,
        )

    def _sum_activations(self) -> list[str]:
        """Return the activation functions of all sums in C."""
        names = activation_names(CELLS[self.layer.cell].ACTIVATION)
        functions = [ACTIVATIONS[name] for name in names]
        if len(functions) == 1:
            return functions * count_sums(self.layer.cell)
        return functions

    def _gather(self) -> str:
        """Return the loops that gather what the layer's matrix multiplies."""
        loops = [
            GATHER.substitute(
                count=source.units.stop - source.units.start,
                column=source.columns.start,
                activations=_activations(source),
                first=source.units.start,
                output=ACTIVATIONS[source.output],
            )
            for source in self.layer.sources
        ]
        return "".join(loops)

    def _staged_layer(self) -> str:
        """Return the block of a time-continuous cell."""
        source = self.state_source
        return self._fill(
            STAGED_LAYER,
            gather=self._gather(),
            state=_activations(source),
            state_first=source.units.start,
            unfold=self.network.architecture.unfold,
            stages=self._stages(),
        )

    def _activity(self) -> str:
        """Return the loops that compute the activities f from the states x."""
        source = self.state_source
        columns = source.columns
        # Without recurrence the matrix does not read the state.
        insert = ""
        if columns.stop > columns.start:
            insert = self._fill(
                INSERT_STATE,
                state_column=columns.start,
                output=ACTIVATIONS[source.output],
            )
        if not has_synapses(self.layer.cell):
            timed = _timed_sums(self.layer)
            codes = ""
            for number, function in enumerate(self._sum_activations()):
                more: dict[str, object] = {"sum": number, "activation": function}
                template = MATRIX_ACTIVITY
                if number in timed:
                    template = TIMED_ACTIVITY
                    more["timed"] = timed.index(number)
                codes += self._fill(template, **more)
            return insert + codes

        size = self.layer.connections
        return insert + self._fill(
            SYNAPSE_ACTIVITY, slopes=size, centres=2 * size, reversals=3 * size
        )

    def _stages(self) -> str:
        """Return the code that moves x by one unfolding."""
        architecture = self.network.architecture
        h = f"R({1.0 / architecture.unfold!r})"
        if self.layer.has_time:
            h = f"(length * {h})"
        activity = self._activity()
        if architecture.scheme == "fused":
            return activity + self._fill(FUSED_STAGE, h=h)
        if architecture.scheme == "euler":
            return activity + self._fill(EULER_STAGE, h=h)

        moves = [f"x[i] = first[i] + {h} * R({node!r}) * y[i];" for node in RK4_NODES]
        moves.append("x[i] = total[i];")
        code = self._fill(RK4_START)
        for weight, move in zip(RK4_WEIGHTS, moves, strict=True):
            code += activity
            code += self._fill(RK4_STAGE, h=h, weight=repr(weight), move=move)
        return code


def _activations(source: Source) -> str:
    """Return the array that a source's activations are read from."""
    return "before" if source.lag else "now"
