"""The generated module with the compiled solver of one plant."""

from functools import cache
from types import ModuleType

from hfcontrol.kernels.generate import (
    NJIT,
    load_module,
    plant_derivatives,
    plant_pieces,
    read_piece,
)
from hfcontrol.plant.contract import Plant


def network_pieces(staged: bool) -> list[str]:
    """Sources of the network's step and its derivatives."""
    names = ["network"]
    if staged:
        names += ["cell", "synapse", "staged"]
    return [read_piece(name) for name in names]


@cache
def load_solver(plant: Plant, residual: str | None, staged: bool) -> ModuleType:
    """Return the compiled solver of a plant.

    `residual` is the name of the task's residual function, if it has one; `staged` is
    for networks with cells in continuous time.
    """
    defined = plant_derivatives(plant)
    bodies = {
        "plant_rates(x, u, p, dx)": _rates(plant),
        "own_residual(x, u, target, p, r)": "pass",
        "plant_jacobian(x, u, p, A, B)": "pass",
        "plant_observe_jacobian(x, p, C)": "pass",
    }
    if residual:
        call = f"own_{residual}(x, u, target, p, r)"
        bodies["own_residual(x, u, target, p, r)"] = call
    for name in ("jacobian", "observe_jacobian"):
        if name in defined:
            arguments = "(x, u, p, A, B)" if name == "jacobian" else "(x, p, C)"
            bodies[f"plant_{name}{arguments}"] = f"own_{name}{arguments}"

    # The pieces take differences where the plant file gives no derivatives.
    given = ["jacobian" in defined, "observe_jacobian" in defined]
    parts = [f"RATES_GIVEN, SEEN_GIVEN = {given[0]}, {given[1]}\n"]
    for head, body in bodies.items():
        parts.append(f"{NJIT}\ndef {head}:\n    {body}\n")

    pieces = [*plant_pieces(plant), "\n\n".join(parts), *network_pieces(staged)]
    pieces += [read_piece(name) for name in ("field", "solver", "steps")]
    return load_module(f"continuous_{plant.name}" + "_staged" * staged, pieces)


def _rates(plant: Plant) -> str:
    """Return the body of `plant_rates`: the dynamics, with actuators if there are."""
    if not plant.actuator_lag:
        return "own_dynamics(x, u, p, dx)"
    return (
        "own_dynamics(x, x[NX:], p, dx)\n    for i in range(NU):\n"
        f"        dx[NX + i] = (u[i] - x[NX + i]) / {float(plant.actuator_lag)!r}"
    )
