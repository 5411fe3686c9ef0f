"""Makes the golden numbers of a cell from PyTorch: python tests/pytorch_golden.py gru.

It needs the package torch. The file holds PyTorch's own weights, the same ones by the
names of `Network.views`, inputs, and the states after every step.
"""

import json
import sys
from pathlib import Path

UNITS, INPUTS, STEPS = 3, 2, 5

# PyTorch's class, and the matrices in the order of its rows.
CELLS = {
    "gru": ("GRUCell", ("reset", "update", "candidate")),
    "lstm": (
        "LSTMCell",
        ("input_gate", "forget_gate", "candidate", "output_gate"),
    ),
}


def named_weights(torch, cell, module):
    """PyTorch's weights by the names of a network's views."""
    _, names = CELLS[cell]
    shape = (len(names), UNITS)
    views = {}
    for place, weight in (("in", module.weight_ih), ("1", module.weight_hh)):
        for name, part in zip(names, weight.reshape(*shape, -1), strict=True):
            views[f"{name}_{place}_1"] = part
    biases = (module.bias_ih + module.bias_hh).reshape(shape)
    if cell == "gru":
        # The candidate has two biases: the reset gate multiplies one of them.
        biases = torch.cat([biases[:2], module.bias_ih.reshape(shape)[2:]])
        views["recurrent_bias_1"] = module.bias_hh.reshape(shape)[2]
    return views | {"b_1": biases}


def run(torch, cell, module, inputs):
    """States (steps, states of a unit, units) from zero states."""
    state = torch.zeros(1, UNITS, dtype=torch.float64)
    state = (state, state) if cell == "lstm" else state
    rows = []
    for u in inputs:
        state = module(u[None], state)
        rows.append(torch.cat(state) if cell == "lstm" else state)
    return torch.stack(rows)


def main(cell):
    """Write `<cell>_golden.json` in tests/network."""
    import torch

    torch.manual_seed(1)
    kind, _ = CELLS[cell]
    module = getattr(torch.nn, kind)(INPUTS, UNITS, dtype=torch.float64)
    inputs = torch.randn(STEPS, INPUTS, dtype=torch.float64)
    with torch.no_grad():
        tensors = {"inputs": inputs, "states": run(torch, cell, module, inputs)}
        views = named_weights(torch, cell, module)
    numbers = {name: tensor.tolist() for name, tensor in tensors.items()}
    numbers["views"] = {name: view.tolist() for name, view in views.items()}
    own = module.state_dict()
    numbers["pytorch"] = {name: weight.tolist() for name, weight in own.items()}
    path = Path(__file__).parent / "network" / f"{cell}_golden.json"
    path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
