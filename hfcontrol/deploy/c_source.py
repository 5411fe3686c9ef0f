"""A controller as C99 source without allocation, and with no dependency but math.h.

The functions `NAME_reset` and `NAME_step` do what `Controller` does: each layer gathers
its inputs, multiplies by its matrix and takes the step of its cell; then the command is
limited. The state is a struct of the network's activations. A step with a number that
is not finite returns 1 and holds state and command, as `Controller` with `hold_last`.
"""

import re
from dataclasses import dataclass
from string import Template
from typing import Any, cast

import numpy as np

from hfcontrol.arrays.types import Array
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
)
from hfcontrol.network.connections import Matrices
from hfcontrol.network.network import Network
from hfcontrol.network.stages import RK4_NODES, RK4_WEIGHTS, parameter_values
from hfcontrol.texts import c_comment
from hfcontrol.version import __version__

# Activation functions of the summed input a, by name.
ACTIVATIONS = {
    "tanh": "TANH(a)",
    "logistic": "R(0.5) * (1 + TANH(R(0.5) * a))",
    "linear": "a",
}

NUMBERS_PER_LINE = 6

HEADER = Template("""\
/* $title

   Written by hfcontrol $version from the run $run. \
One call of ${name}_step every $milliseconds ms.
   target: $n_target numbers; observation: $observes; control: $controls.
   The delays, noise and pushes it was trained with belong \
to the plant that it meets. */

#include <math.h>

#ifdef HFCONTROL_FLOAT
typedef float ${name}_real;
#define R(number) ((float)(number))
#define TANH tanhf
#define FABS fabsf
#define EXP expf
#define LOG1P log1pf
#else
typedef double ${name}_real;
#define R(number) (number)
#define TANH tanh
#define FABS fabs
#define EXP exp
#define LOG1P log1p
#endif
typedef ${name}_real real;

enum { N_TARGET = $n_target, N_OBSERVATION = $n_observation, \
N_CONTROL = $n_control, N_ROWS = $n_rows };

typedef struct { real rows[N_ROWS]; } ${name}_state;

void ${name}_reset(${name}_state *state);
/* Returns 0, or 1 if a number is not finite: then the last command is held. */
int ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control);
""")

FUNCTIONS = Template("""
static real limited(int i, real c) {
    const real z = (c - centre[i]) / width[i];
    if (!(width[i] < HUGE_VAL)) return c;
    if (side[i] == 0) return centre[i] + width[i] * TANH(z);
    const real distance = side[i] * z;
    const real softplus = (distance > 0 ? distance : 0) + LOG1P(EXP(-FABS(z)));
    return centre[i] + side[i] * width[i] * softplus;
}

void ${name}_reset(${name}_state *state) {
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = start[i];
}

int ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control) {
    real now[N_ROWS];
$before    for (int i = 0; i < N_TARGET; i++) now[i] = target[i];
    for (int i = 0; i < N_OBSERVATION; i++) now[N_TARGET + i] = observation[i];
$layers    int is_finite = 1;
    for (int i = 0; i < N_ROWS; i++) if (!isfinite(now[i])) is_finite = 0;
    for (int i = 0; i < N_ROWS && is_finite; i++) state->rows[i] = now[i];
    for (int i = 0; i < N_CONTROL; i++) {
        control[i] = limited(i, state->rows[$outputs + i]);
    }
    return !is_finite;
}
""")

CELL_FUNCTION = Template("""
static void cell$k(int i, const real *x, const real *f, real h, real *y) {
$unused$results}
""")

GATHER = Template("""\
        for (int i = 0; i < $count; i++) X[$column + i] = $activations[$first + i];
""")

# A layer without stages: W X + b and its activation.
PLAIN_LAYER = Template("""\
    {
        real X[$columns];
$gather        for (int i = 0; i < $units; i++) {
            real a = W$k[i * $stride + $columns];
            for (int j = 0; j < $columns; j++) a += W$k[i * $stride + j] * X[j];
            now[$first + i] = $activation;
        }
    }
""")

# A layer of cells with a state, solved in stages (network/stages.py). A unit has
# $states states x and $sums activities f.
STAGED_LAYER = Template("""\
    {
        real X[$columns], x[$n_states], y[$n_states], f[$n_sums];
$gather        for (int i = 0; i < $n_states; i++) x[i] = $state[$state_first + i];
        for (int step = 0; step < $unfold; step++) {
$stages        }
        for (int i = 0; i < $n_states; i++) now[$first + i] = x[i];
    }
""")

INSERT_STATE = Template("""\
            for (int i = 0; i < $units; i++) {
                X[$state_column + i] = x[i];
            }
""")

# One of the sums of a unit.
MATRIX_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                const real *row = W$k + ($sum * $units + i) * $stride;
                real a = row[$columns];
                for (int j = 0; j < $columns; j++) a += row[j] * X[j];
                f[$sum * $units + i] = $activation;
            }
""")

# The four matrices of synapses: weight, slope, centre and reversal.
SYNAPSE_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                f[i] = f[$units + i] = 0;
                for (int j = 0; j < $columns; j++) {
                    const int at = i * $columns + j;
                    const real s = R(0.5) * (1 + TANH(R(0.5) * \
W$k[$slopes + at] * (X[j] - W$k[$centres + at])));
                    f[i] += W$k[at] * W$k[$reversals + at] * s;
                    f[$units + i] += W$k[at] * s;
                }
            }
""")

FUSED_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) x[i] = y[i];
""")

EULER_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) x[i] += $h * y[i];
""")

RK4_START = Template("""\
            real first[$n_states], total[$n_states];
            for (int i = 0; i < $n_states; i++) first[i] = total[i] = x[i];
""")

RK4_STAGE = Template("""\
            for (int i = 0; i < $units; i++) cell$k(i, x, f, $h, y);
            for (int i = 0; i < $n_states; i++) {
                total[i] += $h * R($weight) * y[i];
                $move
            }
""")


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
    functions = FUNCTIONS.substitute(
        name=name, before=before, layers=body, outputs=network.outputs.start
    )
    return HEADER.substitute(facts) + "".join(tables) + functions


def _layer_tables(network: Network, k: int, W: Array, raw: Array) -> list[str]:
    """Return the matrix, the cell parameters and the cell's function of layer k."""
    layer = network.layers[k]
    if has_synapses(layer.cell):
        # The trained numbers behind the weights of synapses are inverse softplus.
        W = np.concatenate([np.logaddexp(0.0, W[:1]), W[1:]])
    if isinstance(layer.summation, Matrices):
        W = layer.summation.merge(W)

    blocks = [_table(f"W{k}", W)]
    if not layer.work:
        return blocks
    cell = staged_cell(layer.cell)
    if cell.PARAMETERS:
        blocks.append(_table(f"parameters{k}", parameter_values(cell, raw)))
    blocks.append(_cell_function(layer, k, network.architecture.scheme))
    return blocks


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
        columns = self.state_source.columns
        # Without recurrence the matrix does not read the state.
        insert = ""
        if columns.stop > columns.start:
            insert = self._fill(INSERT_STATE, state_column=columns.start)
        if not has_synapses(self.layer.cell):
            functions = enumerate(self._sum_activations())
            codes = [
                self._fill(MATRIX_ACTIVITY, sum=number, activation=function)
                for number, function in functions
            ]
            return insert + "".join(codes)

        size = self.layer.connections
        return insert + self._fill(
            SYNAPSE_ACTIVITY, slopes=size, centres=2 * size, reversals=3 * size
        )

    def _stages(self) -> str:
        """Return the code that moves x by one unfolding."""
        architecture = self.network.architecture
        h = f"R({1.0 / architecture.unfold!r})"
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
