"""Proving all functions of a plant file that are compiled."""

import ast
from collections.abc import Mapping
from typing import Any

from hfcontrol.plant.contract import Plant
from hfcontrol.plant.proof.statements import MOST_PASSES, Statements
from hfcontrol.plant.proof.values import NUMBER, Array, Value
from hfcontrol.plant.source import OUTPUTS, PlantSource

# A file whose helpers call each other with more different arguments is refused.
MOST_CALLS = 1000

# Functions that are called in every substep.
STEPPED = ("dynamics", "step")


class Proof:
    """Proves functions of a plant file; helpers once for each kind of arguments."""

    def __init__(
        self, source: PlantSource, namespace: Mapping[str, Any], most_passes: int
    ) -> None:
        self.source = source
        self.namespace = namespace
        self.most_passes = most_passes
        self.proved: dict[tuple[str, tuple[Value, ...]], tuple[Value, int]] = {}

    def prove(self, name: str, arguments: tuple[Value, ...]) -> tuple[Value, int]:
        """Prove a function for what is known of its arguments.

        Returns what is known of its value, and the passes of loops and calls in it.
        Raises PlantError.
        """
        proof = self._statements(name)
        function = proof.function
        names = [argument.arg for argument in function.args.args]
        variables = dict(zip(names, arguments, strict=True))
        value = proof.prove(variables, self.most_passes)
        if proof.passes > self.most_passes:
            proof.fail(
                function,
                f"runs up to {proof.passes} passes of loops and calls",
                f"at most {self.most_passes} are allowed, {MOST_PASSES} in a control "
                "step with all its substeps",
            )
        return value, proof.passes

    def _prove_call(
        self, name: str, arguments: tuple[Value, ...], node: ast.Call
    ) -> tuple[Value, int]:
        """Prove a helper for the arguments of a call."""
        complete = self._add_defaults(name, arguments, node)
        key = (name, complete)
        if key not in self.proved:
            if len(self.proved) >= MOST_CALLS:
                self.source.fail(
                    node,
                    f"{name} is called with too many different arguments",
                    "let fewer functions call each other",
                )
            self.proved[key] = self.prove(name, complete)
        return self.proved[key]

    def _add_defaults(
        self, name: str, arguments: tuple[Value, ...], node: ast.Call
    ) -> tuple[Value, ...]:
        """Return the arguments of a call with the defaults of those left out."""
        found = self.source.functions[name].args
        special = found.vararg or found.kwarg or found.kwonlyargs or found.posonlyargs
        left_out = len(found.args) - len(arguments)
        if special or not 0 <= left_out <= len(found.defaults):
            self.source.fail(
                node,
                f"{ast.unparse(node)} does not fit {name}({ast.unparse(found)})",
                "give plain arguments, all by position",
            )
        defaults = found.defaults[len(found.defaults) - left_out :]
        helper = self._statements(name)
        return (*arguments, *(helper.evaluate(default, {}) for default in defaults))

    def _statements(self, name: str) -> Statements:
        """Return the proof of a function, which has not begun yet."""
        function = self.source.functions[name]
        return Statements(function, self.source, self.namespace, self._prove_call)


def prove_plant(
    plant: Plant, source: PlantSource, namespace: Mapping[str, Any]
) -> None:
    """Prove every index and loop of a plant's functions that are compiled.

    source, namespace: the syntax trees of its file, and the file's names

    Raises PlantError with the line of the first that cannot be proved.
    """
    for name, arguments in _list_arguments(plant).items():
        if name not in plant.functions:
            continue
        substeps = plant.substeps if name in STEPPED else 1
        proof = Proof(source, namespace, MOST_PASSES // substeps)
        n_outputs = OUTPUTS.get(name, 1)
        outputs = [array._replace(writable=True) for array in arguments[-n_outputs:]]
        values: list[Value] = [*arguments[:-n_outputs], *outputs]
        if name == "step":
            # The control step, before x_next.
            values.insert(-1, NUMBER)
        try:
            proof.prove(name, tuple(values))
        except RecursionError:
            function = source.functions[name]
            what = f"{name} nests its expressions too deeply"
            source.fail(function, what, "compute parts of them on lines before")


def _list_arguments(plant: Plant) -> dict[str, tuple[Array, ...]]:
    """Return the arrays that each compiled function gets, its outputs last."""
    nx, ny = plant.nx, plant.ny
    x = Array("x", (nx,))
    u = Array("u", (plant.nu,))
    p = Array("p", (plant.n_params,))
    A, B = Array("A", (nx, nx)), Array("B", (nx, plant.nu))
    arguments = {
        "dynamics": (x, u, p, Array("dx", (nx,))),
        "step": (x, u, p, Array("x_next", (nx,))),
        "observe": (x, p, Array("y", (ny,))),
        "output": (x, p, Array("z", (plant.nz,))),
        "jacobian": (x, u, p, A, B),
        "observe_jacobian": (x, p, Array("C", (ny, nx))),
    }
    # Residuals also get the drives of actuators, which a plant file does not know.
    longer = x._replace(grows=True)
    target = Array("target", (nx,), grows=True)
    for name, residuals in plant.residuals.items():
        r = Array("r", (len(residuals),))
        arguments[name] = (longer, u, target, p, r)
    return arguments
