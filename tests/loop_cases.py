"""Closed loops that together cover all that a loop can have, by name."""

import pytest
from helpers import hold_of, weights_of

from hfcontrol.network.architecture import Architecture
from hfcontrol.network.cells import CELLS

CASES = {
    "arm2": {"plant": "arm2", "effort": 0.0},
    "arm2, two blocks": {"plant": "arm2", "trials": 35, "running": 0.1},
    "arm2, hand": {"plant": "arm2", "space": "hand", "running": 0.1, "effort": 1e-3},
    "arm2, weights by component": {
        "plant": "arm2",
        "running": (0.1, 0.2, 0.03, 0.04),
        "final": (3.0, 2.0, 0.5, 0.7),
        "effort": (1e-3, 5e-3),
    },
    "swing, hand, weights by component": {
        "space": "hand",
        "running": (0.1, 0.2, 0.3),
        "effort": (0.0, 0.05),
    },
    "arm2, limited": {
        "plant": "arm2",
        "limit": 0.3,
        "delays": (1, 2),
        "motor_fraction": 0.3,
    },
    "swing, uneven and one-sided limits": {
        "limit": ((-0.2, 0.9), (0.05, None)),
        "delays": (1, 2),
        "motor_fraction": 0.3,
    },
    "swing, upper limits": {"limit": ((None, 0.3), (None, -0.1)), "trials": 35},
    "cart, limited, not compiled": {
        "plant": "cart",
        "limit": ((None, 0.2),),
        "delays": (0, 1),
    },
    "cart, not compiled": {
        "plant": "cart",
        "trials": 35,
        "delays": (1, 1),
        "sensory_noise": 0.1,
    },
    "swing": {"trials": 35, "disturbed": True},
    "swing, feedback delay": {"delays": (1, 0), "sensory_noise": 0.1},
    "swing, command delay": {
        "delays": (0, 1),
        "motor_noise": 0.1,
        "motor_fraction": 0.2,
    },
    "swing, both delays": {
        "delays": (2, 3),
        "sensory_noise": 0.1,
        "motor_noise": 0.1,
        "motor_fraction": 0.2,
        "disturbed": True,
    },
    "swing, one trial with delays": {"delays": (3, 1), "trials": 1},
    "swing, moving target": {"task": "follow"},
    "swing, custom residual": {"task": "worth", "delays": (1, 1)},
    "swing, hand": {"space": "hand", "effort": 0.0},
    "swing, one layer": {"hidden": (6,)},
    "swing, three layers": {
        "architecture": Architecture(
            (4, 5, 3), skip=(2, 3), recurrent=(1, 3), learn_start=True
        )
    },
    "swing, no memory": {"architecture": Architecture((4, 3), skip=(), recurrent=())},
    "swing, linear cells": {
        "architecture": Architecture((4, 3), cell="linear", learn_start=True),
        "delays": (1, 0),
    },
    "swing, ctrnn": {
        "architecture": Architecture((4, 3), cell="ctrnn", learn_start=True),
        "trials": 35,
        "delays": (1, 1),
    },
    "swing, ctrnn by Euler": {
        "architecture": Architecture(
            (4, 3), cell="ctrnn", scheme="euler", unfold=2, recurrent=(2,)
        )
    },
    "swing, ltc by Runge-Kutta": {
        "architecture": Architecture(
            (4,), cell="ltc", scheme="rk4", unfold=2, skip=(), recurrent=(1,)
        )
    },
    "swing, ltc": {"architecture": Architecture((4, 3), cell="ltc", unfold=3)},
    "swing, irregular steps": {
        "architecture": Architecture((4, 3), cell="ltc", unfold=3, learn_start=True),
        "trials": 35,
        "delays": (1, 1),
        "jitter": 0.4,
    },
    "swing, irregular steps by Runge-Kutta": {
        "architecture": Architecture(
            (4,), cell="ltc", scheme="rk4", unfold=2, skip=(), recurrent=(1,)
        ),
        "jitter": 0.4,
    },
    "swing, ltc with tanh": {
        "architecture": Architecture((4, 3), cell="ltc_tanh", unfold=2),
        "trials": 5,
    },
    "swing, ltc with tanh by Euler": {
        "architecture": Architecture(
            (4,), cell="ltc_tanh", scheme="euler", skip=(), recurrent=()
        )
    },
    "swing, conductance": {
        "architecture": Architecture((4, 3), cell="ltc_conductance", unfold=2),
        "trials": 35,
    },
    "swing, conductance by Runge-Kutta": {
        "architecture": Architecture(
            (4,),
            cell="ltc_conductance",
            scheme="rk4",
            unfold=8,
            skip=(),
            recurrent=(1,),
            learn_start=True,
        )
    },
    "swing, rnn-ode": {
        "architecture": Architecture(
            (3,), cell="rnn_ode", scheme="rk4", skip=(), recurrent=(1,)
        )
    },
    "swing, neural ode": {
        "architecture": Architecture((4, 3), cell="neural_ode", unfold=3)
    },
    "swing, closed form": {
        "architecture": Architecture((4, 3), cell="cfc", learn_start=True),
        "trials": 35,
        "delays": (1, 1),
    },
    "swing, closed form without memory": {
        "architecture": Architecture((4, 3), cell="cfc", recurrent=())
    },
    "cart, ltc": {
        "plant": "cart",
        "architecture": Architecture((4,), cell="ltc", skip=(), recurrent=(1,)),
        "delays": (1, 0),
    },
}
# Every other cell, whatever it is.
COVERED = {
    options["architecture"].cell
    for options in CASES.values()
    if "architecture" in options
}
for cell in CELLS:
    if cell not in COVERED:
        CASES[f"swing, {cell}"] = {
            "architecture": Architecture((4, 3), cell=cell, learn_start=True),
            "trials": 35,
            "delays": (1, 1),
        }
KINDS = ("scenario", "model", "inputs")

cases = pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
kinds = pytest.mark.parametrize("kind", KINDS)


def hold_and_rollout(kind, loop):
    """A hold of a kind, and its rollout at other weights than those of its start."""
    theta = weights_of(loop)
    hold = hold_of(kind, loop, theta)
    return hold, hold.rollout(theta + weights_of(loop, seed=1, size=0.03))
