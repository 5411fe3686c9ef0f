"""The kinds of training that tools/kill disturbs, each as small as it can be."""

import os
from pathlib import Path
from typing import Any

from hfcontrol.runs import curves
from hfcontrol.training import ladder, rungs
from hfcontrol.training.rungs import Rung

# Sizes at which a training takes less than a second, and makes some ten checkpoints.
ANY = {"trials": 6, "steps": 8, "hidden": (3,), "rollouts": 9, "seed": 1}
HOLDS = {**ANY, "batches": 3, "strategy": "plain"}
REWARDS = {**ANY, "plant": "linear", "trials": 8, "rollouts": 6}

# Stepped by NumPy, and not compiled.
CART = """
import numpy as np

STATE, CONTROL = ("place", "place_rate"), ("push",)
DT = 0.1


def step_batch(x, u, p, dt):
    return np.stack([x[0] + dt * x[1], x[1] + dt * (u[0] - 0.1 * x[1] ** 3)])


def draw(rng, trials, split):
    return rng.standard_normal((2, trials)), np.zeros((2, trials))


TASKS = {"park": {"draw": draw, "running": 0.1, "effort": 0.05}}
"""

# A training whose seeds train one after another.
SEEDS = "seeds"

KINDS: dict[str, dict[str, Any]] = {
    "Hessian-free": {**HOLDS},
    "conjugate gradients": {**HOLDS, "solver": "cg", "curvature_trials": 3},
    "hold model": {**HOLDS, "hold": "model"},
    "hold post": {**HOLDS, "hold": "post"},
    "L-BFGS": {**HOLDS, "optimizer": "lbfgs"},
    "Adam": {**HOLDS, "optimizer": "adam"},
    "momentum": {**HOLDS, "optimizer": "momentum"},
    "PPO": {**REWARDS, "optimizer": "ppo"},
    "A2C": {**REWARDS, "optimizer": "a2c"},
    "REINFORCE": {**REWARDS, "optimizer": "reinforce"},
    "continuous time": {**HOLDS, "estimator": "ctpg", "rollouts": 8},
    "continuous cells": {**HOLDS, "cell": "ltc"},
    "gated cells": {**HOLDS, "cell": "gru"},
    "noise": {**HOLDS, "motor_noise": "10%", "sensory_noise": 0.01},
    "random tasks": {**HOLDS, "task": "anywhere", "average": 2, "rollouts": 40},
    "fresh trials": {**HOLDS, "task": "anywhere", "strategy": "auto", "rollouts": 40},
    "delays": {**HOLDS, "feedback_delay": "20ms", "command_delay": "10ms"},
    "single precision": {**HOLDS, "dtype": "float32"},
    "NumPy plant": {**HOLDS, "plant": "cart.py"},
    "growing horizon": {**HOLDS, "grow": 2, "rollouts": 40},
    "race": {**HOLDS, "race": 2, "rollouts": 40},
    "imitation": {**HOLDS, "effort": 1e-3, "imitate": 4},
    "guidance": {**HOLDS, "effort": 1e-3, "guide": 1, "rollouts": 30},
    "ladder": {**HOLDS, "effort": 1e-3, "strategy": "auto", "rollouts": 120},
    SEEDS: {**HOLDS, "rollouts": 6},
}


def make_surroundings(folder: Path) -> None:
    """Work in a folder with the plant of a kind; make everything short.

    The rungs of the ladder are, and the files of the learning curve.
    """
    os.chdir(folder)
    os.environ["HFCONTROL_DATA"] = str(folder)
    (folder / "cart.py").write_text(CART, encoding="utf-8")
    ladder.GOOD_RATIO = 0.0
    ladder.BUDGET = 1e5
    ladder.LEAST_UPDATES = 1
    ladder.FALLEN = 0.1
    rungs.RUNGS = (
        Rung("imitation", imitate=5),
        Rung("growth", grow=2),
        Rung("guidance", guide=1),
        Rung("race", race=2),
    )
    # Learning curves are stored in files of their own, each of so many points.
    curves.PART = 4
