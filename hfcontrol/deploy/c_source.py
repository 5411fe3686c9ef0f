"""A controller as C99 source without allocation, and with no dependency but math.h.

The functions `NAME_reset` and `NAME_step` do what `Controller` does: each layer gathers
its inputs, multiplies by its matrix and takes the step of its cell; then the command is
limited. The state is a struct of the network's activations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import TypeVar

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.deploy.controller import Controller
from hfcontrol.errors import UsageError
from hfcontrol.network.architecture import Layer, Source
from hfcontrol.network.cells import CELLS, has_synapses, is_timed, staged_cell
from hfcontrol.network.connections import Timed
from hfcontrol.network.network import Network
from hfcontrol.network.stages import RK4_NODES, RK4_WEIGHTS, parameter_values
from hfcontrol.version import __version__

# The field of each cell in C: of a unit's state x, its activities f and g, and its
# parameters p0, p1, p2.
FIELDS = {
    "ctrnn": "p0 * (f - x)",
    "ltc": "-(p0 + f) * x + f * p1",
    "ltc_tanh": "-(p0 + FABS(f)) * x + f * p1",
    "rnn_ode": "f",
    "neural_ode": "f",
    "ltc_conductance": "(p0 * (p2 - x) + f - g * x) / p1",
}

# The semi-implicit step of each cell in C, of length h. A cell without a field has this
# step alone.
SEMI_IMPLICIT_STEPS = {
    "ctrnn": "(x + h * p0 * f) / (1 + h * p0)",
    "ltc": "(x + h * f * p1) / (1 + h * (p0 + f))",
    "ltc_tanh": "(x + h * f * p1) / (1 + h * (p0 + FABS(f)))",
    "rnn_ode": "x + h * f",
    "neural_ode": "x + h * f",
    "ltc_conductance": "(p1 * x / h + p0 * p2 + f) / (p1 / h + p0 + g + R(1e-8))",
}

# Activation functions of the summed input a.
ACTIVATIONS = {
    "tanh": "TANH(a)",
    "logistic": "R(0.5) * (1 + TANH(R(0.5) * a))",
    "linear": "a",
}

NUMBERS_PER_LINE = 6

T = TypeVar("T")

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
#else
typedef double ${name}_real;
#define R(number) (number)
#define TANH tanh
#define FABS fabs
#endif
typedef ${name}_real real;

enum { N_TARGET = $n_target, N_OBSERVATION = $n_observation, \
N_CONTROL = $n_control, N_ROWS = $n_rows };

typedef struct { real rows[N_ROWS]; } ${name}_state;

void ${name}_reset(${name}_state *state);
void ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control);
""")

FUNCTIONS = Template("""
void ${name}_reset(${name}_state *state) {
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = start[i];
}

void ${name}_step(${name}_state *state, \
const real *target, const real *observation, real *control) {
    real now[N_ROWS];
$before    for (int i = 0; i < N_TARGET; i++) now[i] = target[i];
    for (int i = 0; i < N_OBSERVATION; i++) now[N_TARGET + i] = observation[i];
$layers    for (int i = 0; i < N_CONTROL; i++) {
        const real c = now[$outputs + i];
        control[i] = limit[i] < HUGE_VAL ? limit[i] * TANH(c / limit[i]) : c;
    }
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = now[i];
}
""")

CELL_FUNCTION = Template("""
static real cell$k(int i, real x, real f, real g$h_argument) {
$parameters$unused    return $formula;
}
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

# A layer of the closed-form cell (network/cells/cfc.py).
CLOSED_FORM_LAYER = Template("""\
    {
        real X[$columns];
$gather        for (int i = 0; i < $units; i++) {
            real a[3];
            for (int q = 0; q < 3; q++) {
                const real *row = W$k + (q * $units + i) * $stride;
                a[q] = row[$columns];
                for (int j = 0; j < $columns; j++) a[q] += row[j] * X[j];
            }
            const real early = TANH(a[0]), late = TANH(a[1]), \
s = R(0.5) * (1 + TANH(R(0.5) * a[2]));
            now[$first + i] = early + s * (late - early);
        }
    }
""")

# Layers of the cells whose sums depend on the length of the step, by cell: each has its
# own way of using its sums.
TIMED_LAYERS = {"cfc": CLOSED_FORM_LAYER}

# A layer of another cell with a state, which takes stages (network/stages.py).
STAGED_LAYER = Template("""\
    {
        real X[$columns], x[$units], f[$units], g[$units];
$gather        for (int i = 0; i < $units; i++) x[i] = $state[$state_first + i];
        for (int step = 0; step < $unfold; step++) {
$stages        }
        for (int i = 0; i < $units; i++) now[$first + i] = x[i];
    }
""")

INSERT_STATE = Template("""\
            for (int i = 0; i < $units; i++) {
                X[$state_column + i] = x[i];
            }
""")

DENSE_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                real a = W$k[i * $stride + $columns];
                for (int j = 0; j < $columns; j++) a += W$k[i * $stride + j] * X[j];
                f[i] = $activation;
                g[i] = 0;
            }
""")

# The four matrices of synapses: weight, slope, centre and reversal.
SYNAPSE_ACTIVITY = Template("""\
            for (int i = 0; i < $units; i++) {
                f[i] = g[i] = 0;
                for (int j = 0; j < $columns; j++) {
                    const int at = i * $columns + j;
                    const real s = R(0.5) * (1 + TANH(R(0.5) * \
W$k[$slopes + at] * (X[j] - W$k[$centres + at])));
                    f[i] += W$k[at] * W$k[$reversals + at] * s;
                    g[i] += W$k[at] * s;
                }
            }
""")

FUSED_STAGE = Template("""\
            for (int i = 0; i < $units; i++) x[i] = cell$k(i, x[i], f[i], g[i], $h);
""")

EULER_STAGE = Template("""\
            for (int i = 0; i < $units; i++) x[i] += $h * cell$k(i, x[i], f[i], g[i]);
""")

RK4_START = Template("""\
            real first[$units], total[$units];
            for (int i = 0; i < $units; i++) first[i] = total[i] = x[i];
""")

RK4_STAGE = Template("""\
            for (int i = 0; i < $units; i++) {
                const real F = cell$k(i, x[i], f[i], g[i]);
                total[i] += $h * R($weight) * F;
                $move
            }
""")


def c_source(controller: Controller, name: str, title: str, run: str) -> str:
    """Return the C source of a controller, with functions named after `name`.

    Raises UsageError if the network's cell has no formula in C.
    """
    network = controller.network
    # Work rows, behind the outputs, are not part of the state.
    n_state = network.outputs.stop
    facts = {
        # The title is part of a comment and must not end it.
        "title": title.replace("*/", ""),
        "version": __version__,
        "run": run,
        "name": name,
        "milliseconds": f"{1000 * controller.dt:g}",
        "observes": ", ".join(controller.observes),
        "controls": ", ".join(controller.controls),
        "n_target": controller.n_target,
        "n_observation": len(controller.observes),
        "n_control": len(controller.controls),
        "n_rows": n_state,
    }
    tables = [
        _table("start", controller.start[:n_state]),
        _table("limit", controller.limit),
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
    if is_timed(layer.cell):
        W = Timed.merge(W)

    blocks = [_table(f"W{k}", W)]
    if not layer.work:
        return blocks
    cell = staged_cell(layer.cell)
    if cell.PARAMETERS:
        blocks.append(_table(f"parameters{k}", parameter_values(cell, raw)))
    # The layer of a timed cell holds its formula; all others with a state call one.
    if not is_timed(layer.cell):
        blocks.append(_cell_function(layer, k, network.architecture.scheme))
    return blocks


def _c_code(codes: Mapping[str, T], key: str, cell: str, part: str) -> T:
    """Return the C code of a part of a cell; UsageError if there is none."""
    if key not in codes:
        raise UsageError(
            f"`cell` {cell}: its {part} has no C code yet; export it to npz, or add "
            "the code to hfcontrol/deploy/c_source.py"
        )
    return codes[key]


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
    """Return a function of unit i: the cell's semi-implicit step, or its field.

    The step is that of the scheme fused, the only one that a cell without a field has.
    """
    is_fused = scheme == "fused"
    codes = SEMI_IMPLICIT_STEPS if is_fused else FIELDS
    part = "semi-implicit step" if is_fused else "field"
    formula = _c_code(codes, layer.cell, layer.cell, part)
    count = len(staged_cell(layer.cell).PARAMETERS)
    parameters = [
        f"    const real p{j} = parameters{k}[{j * layer.size} + i];\n"
        for j in range(count)
    ]

    # Every cell has the same arguments; -Wextra warns of those that it does not use.
    used = set(re.findall(r"\w+", formula))
    names = ["x", "f", "g", *(f"p{j}" for j in range(count))]
    if is_fused:
        names.append("h")
    unused = [name for name in names if name not in used]
    # The index is for the parameters.
    if count == 0:
        unused.insert(0, "i")
    return CELL_FUNCTION.substitute(
        k=k,
        h_argument=", real h" if is_fused else "",
        parameters="".join(parameters),
        unused="".join(f"    (void){name};\n" for name in unused),
        formula=formula,
    )


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
        if is_timed(self.layer.cell):
            cell = self.layer.cell
            template = _c_code(TIMED_LAYERS, cell, cell, "layer")
            return self._fill(template, gather=self._gather())
        if self.layer.work:
            return self._staged_layer()
        return self._fill(
            PLAIN_LAYER, gather=self._gather(), activation=self._activation()
        )

    def _fill(self, template: Template, **more: object) -> str:
        """Fill a template with the layer's numbers, and with more."""
        columns = sum(s.columns.stop - s.columns.start for s in self.layer.sources)
        return template.substitute(
            k=self.k,
            units=self.layer.size,
            first=self.layer.units.start,
            columns=columns,
            # A row of the matrix ends with the bias.
            stride=columns + 1,
            **more,
        )

    def _activation(self) -> str:
        """Return the activation function of the summed input."""
        name = CELLS[self.layer.cell].ACTIVATION
        return _c_code(ACTIVATIONS, name, self.layer.cell, f"activation {name}")

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
        """Return the block of a cell with a state that takes stages."""
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
        """Return the loops that compute f and g from the states x of a stage."""
        columns = self.state_source.columns
        # Without recurrence the matrix does not read the state.
        insert = ""
        if columns.stop > columns.start:
            insert = self._fill(INSERT_STATE, state_column=columns.start)
        if not has_synapses(self.layer.cell):
            return insert + self._fill(DENSE_ACTIVITY, activation=self._activation())

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

        moves = [f"x[i] = first[i] + {h} * R({node!r}) * F;" for node in RK4_NODES]
        moves.append("x[i] = total[i];")
        code = self._fill(RK4_START)
        for weight, move in zip(RK4_WEIGHTS, moves, strict=True):
            code += activity
            code += self._fill(RK4_STAGE, h=h, weight=repr(weight), move=move)
        return code


def _activations(source: Source) -> str:
    """Return the array that a source's activations are read from."""
    return "before" if source.lag else "now"
