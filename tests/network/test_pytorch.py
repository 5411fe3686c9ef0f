"""Cells that PyTorch has too: equal to numbers stored from it, and to itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from pytorch_golden import CELLS, run

from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS as OWN_CELLS
from hfcontrol.network.network import Network

SHARED = [cell for cell in CELLS if cell in OWN_CELLS]


def golden(cell):
    path = Path(__file__).with_name(f"{cell}_golden.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("cell", SHARED)
def test_cell_reproduces_stored_numbers_of_pytorch(cell):
    given = golden(cell)
    inputs, states = np.array(given["inputs"]), np.array(given["states"])
    architecture = Architecture((states.shape[2],), cell, skip=(), recurrent=(1,))
    network = Network(architecture, inputs.shape[1], 1)
    theta = np.zeros(network.size)
    for name, numbers in given["views"].items():
        network.views(theta)[name][:] = numbers

    activations = np.zeros((network.n_activations, 1))
    for u, state in zip(inputs, states, strict=True):
        activations = network.step(theta, activations, u[:, None])
        hidden = activations[network.hidden, 0]
        np.testing.assert_allclose(hidden, state.ravel(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cell", SHARED)
def test_stored_numbers_are_those_of_pytorch(cell):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = golden(cell)
    inputs = torch.tensor(given["inputs"], dtype=torch.float64)
    kind, _ = CELLS[cell]
    units = len(given["views"]["b_1"][0])
    module = getattr(torch.nn, kind)(inputs.shape[1], units, dtype=torch.float64)
    weights = {
        k: torch.tensor(w, dtype=torch.float64) for k, w in given["pytorch"].items()
    }
    module.load_state_dict(weights)
    with torch.no_grad():
        states = run(torch, cell, module, inputs).numpy()
    np.testing.assert_allclose(states, given["states"], rtol=1e-12, atol=1e-14)
