"""A controller as a file for other programs: C99 source without allocation or dependency, an npz of its weights, or ONNX.

All hold what `Controller` does in a step: gather what each layer reads, multiply, take the cell's own step, limit the command.
"""

import json
import re

import numpy as np

from hfcontrol import __version__
from hfcontrol.arrays.files import atomic_write
from hfcontrol.deploy.onnx import model
from hfcontrol.errors import UsageError
from hfcontrol.network.cells import CELLS, has_synapses, is_continuous, is_timed
from hfcontrol.network.stages import RK4_NODES, RK4_WEIGHTS, parameter_values

# In C: a cell's field and its semi-implicit step, of state x, activities f and g, parameters p0, p1, p2 and a length h.
FIELDS = {
    "ctrnn": "p0 * (f - x)",
    "ltc": "-(p0 + f) * x + f * p1",
    "ltc_tanh": "-(p0 + FABS(f)) * x + f * p1",
    "rnn_ode": "f",
    "neural_ode": "f",
    "ltc_conductance": "(p0 * (p2 - x) + f - g * x) / p1",
}
FUSED = {
    "ctrnn": "(x + h * p0 * f) / (1 + h * p0)",
    "ltc": "(x + h * f * p1) / (1 + h * (p0 + f))",
    "ltc_tanh": "(x + h * f * p1) / (1 + h * (p0 + FABS(f)))",
    "rnn_ode": "x + h * f",
    "neural_ode": "x + h * f",
    "ltc_conductance": "(p1 * x / h + p0 * p2 + f) / (p1 / h + p0 + g + R(1e-8))",
}
ACTIVATIONS = {
    "tanh": "TANH(a)",
    "logistic": "R(0.5) * (1 + TANH(R(0.5) * a))",
    "linear": "a",
}
HEAD = """/* {title}

   Written by hfcontrol {version} from the run {run}. One call of {name}_step every {milliseconds:g} ms.
   target: {targets} numbers; observation: {observes}; control: {controls}.
   The delays, noise and pushes it was trained with belong to the plant that it meets. */

#include <math.h>

#ifdef HFCONTROL_FLOAT
typedef float {name}_real;
#define R(number) ((float)(number))
#define TANH tanhf
#define FABS fabsf
#else
typedef double {name}_real;
#define R(number) (number)
#define TANH tanh
#define FABS fabs
#endif
typedef {name}_real real;

enum {{ N_TARGET = {n_target}, N_OBSERVATION = {n_observation}, N_CONTROL = {n_control}, N_ROWS = {n_rows} }};

typedef struct {{ real rows[N_ROWS]; }} {name}_state;

void {name}_reset({name}_state *state);
void {name}_step({name}_state *state, const real *target, const real *observation, real *control);
"""
FORMATS = (".c", ".npz", ".onnx")


def save(controller, path, title, run):
    """Writes a `Controller` to a file whose ending decides the format, .c, .npz or .onnx; raises UsageError where it cannot.

    The C file compiles for float with -DHFCONTROL_FLOAT; its functions are named after the file.
    """
    with atomic_write(path, FORMATS) as temporary:
        if path.suffix.lower() == ".npz":
            np.savez_compressed(temporary, **_arrays(controller, title, run))
        elif path.suffix.lower() == ".onnx":
            temporary.write_bytes(
                model(controller, f"{title}, from the run {run}").SerializeToString()
            )
        else:
            temporary.write_text(
                _source(controller, _identifier(path.stem), title, run),
                encoding="utf-8",
            )


def check_bare(run):
    """Raises UsageError where a `Run` was trained with delays or noise, which no file that is written here holds."""
    settings = run.settings
    told = [
        f"`{name}` {getattr(settings, name)}"
        for name in ("feedback_delay", "command_delay", "sensory_noise", "motor_noise")
        if not settings.is_default(name)
    ]
    if told:
        raise UsageError(
            f"{run.path} was trained with {' '.join(told)}: the delay line would belong to the state that is exported, and "
            "only the network is; give --bare where the plant that it meets brings delays and noise itself"
        )


def _identifier(stem):
    word = "".join(c if c.isalnum() and c.isascii() else "_" for c in stem)
    if not word or word[0].isdigit():
        raise UsageError(
            f"{stem}.c: its functions are named after it; choose a name that begins with a letter"
        )
    return word


def _arrays(controller, title, run):
    """What a reader needs: matrices, cell parameters by value, and the layers in words, as JSON."""
    net = controller.network
    layers = [
        {
            "cell": layer.cell,
            "rows": [layer.units.start, layer.units.stop],
            "sources": [[s.units.start, s.units.stop, s.lag] for s in layer.sources],
        }
        for layer in net.layers
    ]
    about = {
        "title": title,
        "run": run,
        "version": __version__,
        "dt": controller.dt,
        "n_target": controller.n_target,
        "observes": controller.observes,
        "controls": controller.controls,
        "scheme": net.architecture.scheme,
        "unfold": net.architecture.unfold,
        "layers": layers,
    }
    arrays = {
        "about": np.array(json.dumps(about)),
        "start": controller.start,
        "limit": controller.limit,
    }
    for k, (layer, W, raw) in enumerate(
        zip(
            net.layers,
            net.matrices(controller.weights),
            net.parameters(controller.weights),
        )
    ):
        arrays[f"W{k}"] = W
        if layer.work:
            arrays[f"p{k}"] = parameter_values(CELLS[layer.cell], raw)[..., 0]
    return arrays


def _source(controller, name, title, run):
    net = controller.network
    text = HEAD.format(
        title=title.replace("*/", ""),
        version=__version__,
        run=run,
        name=name,
        milliseconds=1000 * controller.dt,
        targets=controller.n_target,
        observes=", ".join(controller.observes),
        controls=", ".join(controller.controls),
        n_target=controller.n_target,
        n_observation=len(controller.observes),
        n_control=len(controller.controls),
        n_rows=net.outputs.stop,
    )
    blocks = [
        _table("start", controller.start[: net.outputs.stop]),
        _table("limit", controller.limit),
    ]
    steps = []
    for k, (layer, W, raw) in enumerate(
        zip(
            net.layers,
            net.matrices(controller.weights),
            net.parameters(controller.weights),
        )
    ):
        W = (
            np.concatenate([np.logaddexp(0.0, W[:1]), W[1:]])
            if has_synapses(layer.cell)
            else W
        )
        blocks.append(
            _table(
                f"W{k}", layer.connection_type.merge(W) if is_timed(layer.cell) else W
            )
        )
        if layer.work:
            if CELLS[layer.cell].PARAMETERS:
                blocks.append(
                    _table(f"parameters{k}", parameter_values(CELLS[layer.cell], raw))
                )
            if is_continuous(layer.cell):
                blocks.append(_cell_function(layer, k, net.architecture.scheme))
        steps.append(_layer(net, layer, k))
    body = "".join(steps)
    before = "    const real *before = state->rows;\n" if "before[" in body else ""
    return (
        text
        + "".join(blocks)
        + f"""
void {name}_reset({name}_state *state) {{
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = start[i];
}}

void {name}_step({name}_state *state, const real *target, const real *observation, real *control) {{
    real now[N_ROWS];
{before}    for (int i = 0; i < N_TARGET; i++) now[i] = target[i];
    for (int i = 0; i < N_OBSERVATION; i++) now[N_TARGET + i] = observation[i];
{body}    for (int i = 0; i < N_CONTROL; i++) {{
        const real c = now[{net.outputs.start} + i];
        control[i] = limit[i] < HUGE_VAL ? limit[i] * TANH(c / limit[i]) : c;
    }}
    for (int i = 0; i < N_ROWS; i++) state->rows[i] = now[i];
}}
"""
    )


def _table(name, numbers):
    words = [
        "HUGE_VAL" if np.isposinf(v) else f"R({float(v)!r})" for v in np.ravel(numbers)
    ]
    lines = ["    " + ", ".join(words[i : i + 6]) for i in range(0, len(words), 6)]
    return (
        f"\nstatic const real {name}[{len(words)}] = {{\n"
        + ",\n".join(lines)
        + "\n};\n"
    )


def _cell_function(layer, k, scheme):
    """The cell's own step, or its field, as a function of unit i."""
    formula, more = (
        (FUSED[layer.cell], ", real h")
        if scheme == "fused"
        else (FIELDS[layer.cell], "")
    )
    count = len(CELLS[layer.cell].PARAMETERS)
    used = "".join(
        f"    const real p{j} = parameters{k}[{j * layer.size} + i];\n"
        for j in range(count)
    )
    words = re.findall(r"\w+", formula)
    quiet = "".join(
        f"    (void){word};\n"
        for word in ("i" * (not count), "x", "g")
        if word and word not in words
    )
    return f"\nstatic real cell{k}(int i, real x, real f, real g{more}) {{\n{used}{quiet}    return {formula};\n}}\n"


def _layer(net, layer, k):
    """One layer's part of the step."""
    units, r0, columns = (
        layer.size,
        layer.units.start,
        sum(s.columns.stop - s.columns.start for s in layer.sources),
    )
    gather = "".join(
        f"        for (int i = 0; i < {s.units.stop - s.units.start}; i++) X[{s.columns.start} + i] = "
        f"{'before' if s.lag else 'now'}[{s.units.start} + i];\n"
        for s in layer.sources
    )
    if is_timed(layer.cell):
        return (
            f"    {{\n        real X[{columns}];\n{gather}"
            + _closed_form(k, units, columns, r0)
            + "    }\n"
        )
    phi = ACTIVATIONS[CELLS[layer.cell].ACTIVATION]
    if not layer.work:
        return (
            f"    {{\n        real X[{columns}];\n{gather}        for (int i = 0; i < {units}; i++) {{\n"
            f"            real a = W{k}[i * {columns + 1} + {columns}];\n"
            f"            for (int j = 0; j < {columns}; j++) a += W{k}[i * {columns + 1} + j] * X[j];\n"
            f"            now[{r0} + i] = {phi};\n        }}\n    }}\n"
        )
    own = layer.state_source
    place = "".join(
        f"                X[{own.columns.start} + i] = x[i];\n"
        for _ in range(own.columns.stop > own.columns.start)
    )
    begin = f"        for (int i = 0; i < {units}; i++) x[i] = {'before' if own.lag else 'now'}[{own.units.start} + i];\n"
    return (
        f"    {{\n        real X[{columns}], x[{units}], f[{units}], g[{units}];\n{gather}{begin}"
        + _stages(net, layer, k, units, columns, place, phi)
        + f"        for (int i = 0; i < {units}; i++) now[{r0} + i] = x[i];\n    }}\n"
    )


def _closed_form(k, units, columns, r0):
    """C that takes a layer of the closed-form cell (cells/cfc.py) through a control step."""
    return (
        f"        for (int i = 0; i < {units}; i++) {{\n            real a[3];\n            for (int q = 0; q < 3; q++) {{\n"
        f"                const real *row = W{k} + (q * {units} + i) * {columns + 1};\n                a[q] = row[{columns}];\n"
        f"                for (int j = 0; j < {columns}; j++) a[q] += row[j] * X[j];\n            }}\n"
        "            const real early = TANH(a[0]), late = TANH(a[1]), s = R(0.5) * (1 + TANH(R(0.5) * a[2]));\n"
        f"            now[{r0} + i] = early + s * (late - early);\n        }}\n"
    )


def _activity(layer, k, units, columns, place, phi):
    """C that fills f, and g, from the states x of this stage."""
    put = (
        f"            for (int i = 0; i < {units}; i++) {{\n{place}            }}\n"
        if place
        else ""
    )
    if not has_synapses(layer.cell):
        return put + (
            f"            for (int i = 0; i < {units}; i++) {{\n"
            f"                real a = W{k}[i * {columns + 1} + {columns}];\n"
            f"                for (int j = 0; j < {columns}; j++) a += W{k}[i * {columns + 1} + j] * X[j];\n"
            f"                f[i] = {phi};\n                g[i] = 0;\n            }}\n"
        )
    size = units * columns
    return put + (
        f"            for (int i = 0; i < {units}; i++) {{\n                f[i] = g[i] = 0;\n"
        f"                for (int j = 0; j < {columns}; j++) {{\n                    const int at = i * {columns} + j;\n"
        f"                    const real s = R(0.5) * (1 + TANH(R(0.5) * W{k}[{size} + at] * (X[j] - W{k}[{2 * size} + at])));\n"
        f"                    f[i] += W{k}[at] * W{k}[{3 * size} + at] * s;\n                    g[i] += W{k}[at] * s;\n"
        "                }\n            }\n"
    )


def _stages(net, layer, k, units, columns, place, phi):
    """C that takes x through the stages of a control step (cells/stages.py)."""
    scheme, unfold = net.architecture.scheme, net.architecture.unfold
    h = f"R({1.0 / unfold!r})"
    activity = _activity(layer, k, units, columns, place, phi)
    each = f"            for (int i = 0; i < {units}; i++) "
    if scheme == "fused":
        inner = activity + each + f"x[i] = cell{k}(i, x[i], f[i], g[i], {h});\n"
    elif scheme == "euler":
        inner = activity + each + f"x[i] += {h} * cell{k}(i, x[i], f[i], g[i]);\n"
    else:
        inner = (
            f"            real first[{units}], total[{units}];\n"
            + each
            + "first[i] = total[i] = x[i];\n"
        )
        for stage, weight in enumerate(RK4_WEIGHTS):
            after = f"R({RK4_NODES[stage]!r})" if stage < 3 else "0"
            moved = (
                f"x[i] = first[i] + {h} * {after} * F;"
                if stage < 3
                else "x[i] = total[i];"
            )
            inner += (
                activity
                + each
                + (
                    f"{{\n                const real F = cell{k}(i, x[i], f[i], g[i]);\n"
                    f"                total[i] += {h} * R({weight!r}) * F;\n                {moved}\n            }}\n"
                )
            )
    return (
        f"        for (int step = 0; step < {unfold}; step++) {{\n{inner}        }}\n"
    )
