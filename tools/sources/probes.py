"""Measurements of claims that no command of hfcontrol makes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hfcontrol.arrays.types import Array
from hfcontrol.evaluation.evaluation import hand_errors
from hfcontrol.kernels import compile_plant
from hfcontrol.plant.registry import load_plant
from hfcontrol.runs.settings import Settings
from hfcontrol.studies import backsolving, study
from hfcontrol.studies.harness import Setup
from hfcontrol.training.holds import HoldState, begin_hold

# The cost of the post, its last loss, and the updates of its holds.
POST: dict[str, Any] = {"plant": "arm2", "effort": 0.0, "target_loss": 5e-5}
STALE_UPDATES = 64

# Step of the source's differences, and larger ones.
STEPS = (1e-6, 1e-3, 1e-2)
RANDOM_STATES = 200
LARGEST_RATE = 2.0  # [rad/s]
LARGEST_TORQUE = 2.0  # [N m]


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of the angle between two vectors."""
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def gradient_cosine(loop: Any, theta: Array) -> float:
    """Return the cosine of the gradient without the feedback path with the true one."""
    rollout = loop.rollout(theta)
    exact = loop.linearise(rollout).gradient
    stale = begin_hold(loop, rollout, HoldState("inputs"))
    without_path = stale.linearise(stale.first_rollout()).gradient
    return cosine(without_path, exact)


def measure_gradient(seed: int, smallest: bool) -> dict[str, Any]:
    """Return cosines at initial weights, and after trainings with either gradient."""
    limit = 4 if smallest else STALE_UPDATES
    setup = Setup(Settings(seed=seed, **POST))
    loop = setup.training_scenarios().loop
    trained = setup.train().theta

    stale = Setup(Settings(seed=seed, hold="inputs", **POST))
    for event, _ in stale.events(stale.initial_state()):
        theta = event.state.theta
        if event.state.updates >= limit:
            break
    return {
        "cosine_initial": gradient_cosine(loop, setup.initial_weights()),
        "cosine_trained": gradient_cosine(loop, trained),
        "cosine_inputs": gradient_cosine(loop, theta),
    }


def single_precision_jacobians(
    step: Callable[[Array, Array], Array], x: Array, u: Array, eps: float
) -> tuple[Array, Array]:
    """Return central differences of a step as the source's script takes them.

    States and controls are float32; the step itself is computed in float64. Shapes: x
    (nx, N), u (nu, N); A (nx, nx, N) and B (nx, nu, N).
    """
    single = np.float32
    x, u = x.astype(single), u.astype(single)

    def difference(which: int, i: int) -> Array:
        ends = []
        for sign in (1, -1):
            point = [x.copy(), u.copy()]
            point[which][i] += single(sign * eps)
            moved = step(point[0].astype(float), point[1].astype(float))
            ends.append(moved.astype(single))
        return (ends[0] - ends[1]) / single(2 * eps)

    A = np.stack([difference(0, i) for i in range(len(x))], axis=1)
    B = np.stack([difference(1, i) for i in range(len(u))], axis=1)
    return A, B


def relative_errors(found: Array, exact: Array) -> Array:
    """Return the relative errors of matrices (m, n, N), in the Frobenius norm (N,)."""
    difference = np.sqrt(((found - exact) ** 2).sum(axis=(0, 1)))
    return difference / np.sqrt((exact**2).sum(axis=(0, 1)))


def measure_differences(seed: int, smallest: bool) -> dict[str, Any]:
    """Return errors of float32 differences at random states [%], by step size.

    The reference are differences in float64 with a suitable step, which the tests
    compare with other derivatives.
    """
    plant = load_plant("arm2")
    kernels = compile_plant(plant)
    rng = np.random.default_rng(seed)
    low, high = np.array([[0.0, 1.8], [0.4, 2.3]]).T
    shape = (2, RANDOM_STATES)
    angles = rng.uniform(low[:, None], high[:, None], shape)
    x = np.concatenate([angles, rng.uniform(-LARGEST_RATE, LARGEST_RATE, shape)])
    u = rng.uniform(-LARGEST_TORQUE, LARGEST_TORQUE, shape)
    # The same point in both precisions.
    x, u = (a.astype(np.float32).astype(float) for a in (x, u))
    values = np.array(list(plant.params.values()), dtype=float)
    params = np.tile(values[:, None], RANDOM_STATES)
    A, B = kernels.jacobians(x[None], u[None], params)

    facts: dict[str, Any] = {}
    for eps in STEPS:
        found = single_precision_jacobians(
            lambda x, u: kernels.step(x, u, params), x, u, eps
        )
        for name, J, exact in zip(("state", "control"), found, (A, B), strict=True):
            errors = 100 * relative_errors(J, exact[0])
            facts[f"{name}_{eps:g}"] = float(np.median(errors))
            facts[f"{name}_{eps:g}_max"] = float(errors.max())
    return facts


def measure_return(seed: int, smallest: bool) -> dict[str, Any]:
    """Return the errors [cm] of a controller of single reaches on the way and back."""
    theta = Setup(Settings(seed=seed, **POST)).train().theta
    both_ways: dict[str, Any] = {"task": "out_and_back", "plant": "arm2", "effort": 0.0}
    loop = Setup(Settings(seed=seed, **both_ways)).training_scenarios().loop
    errors = hand_errors(loop, loop.rollout(theta))
    assert errors is not None
    halfway, end = 100 * errors.mean(axis=1)
    return {"halfway_error": float(halfway), "return_error": float(end)}


def measure_backsolve(seed: int, smallest: bool) -> dict[str, Any]:
    """Return losses on the paper's regulator, and the error of the start at the end."""
    sizes: dict[str, Any] = {"updates": 3, "seconds": 1.0} if smallest else {}
    *_, result = study("backsolve", seed=backsolving.SEED + seed, **sizes)
    ours, theirs = (result["methods"][name] for name in ("ctpg", "backsolve"))
    return {
        "ctpg_loss": ours["loss"][-1],
        "backsolve_lowest": min(theirs["loss"]),
        "backsolve_loss": theirs["loss"][-1],
        "backsolve_error": theirs["error"][-1],
    }


def read_gradients(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the evaluations of accurate gradients, from `tools/bench comparisons`."""
    facts: dict[str, list[Any]] = {}
    for row in bench["comparisons"]:
        if row["study"] == "gradients":
            name = f"{row['estimator']}_{row['plant']}"
            facts[name] = [row["evaluations"]["price"]]
            facts["seeds"] = list(range(row["samples"]))
    return facts


def read_cells(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the seconds of every cell to the ratio, from `tools/bench cells`."""
    rows = bench["cells"]
    seconds = [row["seconds"]["median"] for row in rows]
    return {
        "seeds": rows[0]["seeds"],
        "cells": [f"{row['cell']}, {row['task']}" for row in rows],
        "missing": [row["seconds"]["missing"] for row in rows],
        "cell_seconds": [s for s in seconds if s is not None],
    }


# Networks of `tools/bench policies` on CartPole-v1, by the name of their returns.
POLICIES = {
    "ltc_return": "16-unit LTC",
    "mlp_return": "16-unit MLP",
    "blind_ltc_return": "no velocities, 16-unit LTC",
    "blind_mlp_return": "no velocities, 16-unit MLP",
    "a2c_return": "A2C, 16-unit MLP",
}


def read_policies(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return mean returns on CartPole-v1, from `tools/bench policies`."""
    rows = [row for row in bench["policies"] if row["environment"] == "CartPole-v1"]
    by_network = {row["network"]: row for row in rows}
    found = {name: by_network[network] for name, network in POLICIES.items()}
    facts = {name: row["returns"] for name, row in found.items()}
    return {"seeds": rows[0]["seeds"], **facts}


# Cases of `tools/bench motor`, by the name of their successes.
MOTOR = {
    "success_ltc": ("balance", "16-unit LTC"),
    "success_mlp": ("balance", "32 + 32 MLP"),
    "success_reach": ("reach", "32 + 32 MLP"),
}


def read_motor(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return held-out successes [%] of PPO on motor tasks, from `tools/bench motor`."""
    rows = {(row["task"], row["network"]): row for row in bench["motor"]}
    facts: dict[str, list[Any]] = {"seeds": bench["motor"][0]["seeds"]}
    for name, case in MOTOR.items():
        facts[name] = [100 * part for part in rows[case]["successes"]]
    return facts


def read_methods(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return final ratios on `reach` and `balance`, from `tools/bench methods`."""
    rows = bench["methods"]
    facts: dict[str, list[Any]] = {"seeds": list(range(rows[0]["of"]))}
    for name, method in (("hf", "Hessian-free"), ("ppo", "PPO")):
        own = [row for row in rows if row["method"] == method]
        # The median over seeds is stored, then the lowest and the highest.
        for row in own:
            facts[f"{name}_{row['task']}"] = row["ratio"]
        facts[f"{name}_reached"] = [row["reached"] for row in own]
    return facts


def read_library(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return what the source's library reached, from `tools/bench peers`."""
    (row,) = [
        row
        for row in bench["peers"]
        if row["program"].startswith("hessianfree") and row["by"] == "loss"
    ]
    reached, milliseconds = row["reached"], row["ms"]
    return {
        "seeds": row["seeds"],
        "loss": [reached["median"], reached["median"], reached["worst"]],
        "ms": [milliseconds["median"], milliseconds["median"], milliseconds["worst"]],
    }


def read_delays(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return reaches with delays and noise, from `tools/bench tasks`."""
    (row,) = [
        row
        for row in bench["tasks"]
        if row["plant"] == "arm2" and "command_delay" in row["settings"]
    ]
    return {
        "seeds": row["seeds"],
        "error": row["error"],
        "success": [100 * part for part in row["success"]],
    }


def read_holds(bench: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the lowest losses of held inputs with N = 1 and 32, by cost.

    Those of the running cost are relative to its optimum. They come from as many
    rollouts.
    """
    facts: dict[str, list[Any]] = {}
    for row in bench["holds"]:
        is_wanted = row["part"] == "holds" and row["variant"] == "inputs"
        if not is_wanted or row["batches"] not in (1, 32):
            continue
        scale = row["optimal"] or 1.0
        name = f"{row['cost']}_{row['batches']}"
        facts[name] = [loss / scale for loss in row["lowest"]]
        # None if too few trainings reached their target.
        if row["rollouts"] is not None:
            facts[f"{name}_rollouts"] = [row["rollouts"]]
        facts["seeds"] = list(range(row["of"]))
    return facts


# Facts that `tools/bench` has measured, by the command that did.
STORED: dict[str, Callable[[dict[str, Any]], dict[str, list[Any]]]] = {
    "tools/bench peers": read_library,
    "tools/bench holds": read_holds,
    "tools/bench tasks --only feedback_delay": read_delays,
    "tools/bench comparisons": read_gradients,
    "tools/bench cells": read_cells,
    "tools/bench policies": read_policies,
    "tools/bench policies --only A2C": read_policies,
    "tools/bench motor": read_motor,
    "tools/bench methods": read_methods,
}

PROBES: dict[str, Callable[[int, bool], dict[str, Any]]] = {
    "backsolve": measure_backsolve,
    "gradient": measure_gradient,
    "differences": measure_differences,
    "return": measure_return,
}
