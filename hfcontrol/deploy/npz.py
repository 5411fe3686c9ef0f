"""A controller as an npz: its matrices, cell parameters and a description in JSON."""

import json
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.deploy.controller import Controller
from hfcontrol.network.architecture import Layer
from hfcontrol.network.cells import output_function, staged_cell
from hfcontrol.network.stages import parameter_values
from hfcontrol.version import __version__


def npz_arrays(controller: Controller, title: str, run: str) -> dict[str, Array]:
    """Return the arrays of the file by name.

    `W0`, `W1`, ... are the layers' matrices, `p0`, `p1`, ... the values of their cell
    parameters, `start` the first activations, `limit` (3, nu) centre, width and side of
    the controls' limits (plant/limits.py), and `about` describes them.
    """
    network = controller.network
    about = {
        "title": title,
        "run": run,
        "version": __version__,
        "dt": controller.dt,
        "n_target": controller.n_target,
        "observes": controller.observes,
        "controls": controller.controls,
        "scheme": network.architecture.scheme,
        "unfold": network.architecture.unfold,
        "layers": [_describe_layer(layer) for layer in network.layers],
    }
    arrays = {
        "about": np.array(json.dumps(about)),
        "start": controller.start,
        "limit": controller.limits.bends,
    }
    matrices = network.matrices(controller.weights)
    parameters = network.parameters(controller.weights)
    for k, layer in enumerate(network.layers):
        arrays[f"W{k}"] = matrices[k]
        if layer.work:
            values = parameter_values(staged_cell(layer.cell), parameters[k])
            arrays[f"p{k}"] = values[..., 0]
    return arrays


def _describe_layer(layer: Layer) -> dict[str, Any]:
    """Return a layer's cell, the rows of its units, and the rows that it reads.

    `state_rows` are those of all states of its units: the outputs, which are `rows`,
    and the memory of an lstm after them. Layers read the `output` function of the rows
    of units: their values if it is linear.
    """
    sources = [[s.units.start, s.units.stop, s.lag] for s in layer.sources]
    return {
        "cell": layer.cell,
        "output": output_function(layer.cell),
        "rows": [layer.units.start, layer.units.stop],
        "state_rows": [layer.state_units.start, layer.state_units.stop],
        "sources": sources,
    }
