"""An estimate of the floating-point operations of one plant step."""

import ast
from typing import Any

from hfcontrol.plant.contract import Plant
from hfcontrol.plant.source import PlantSource

# Operations of a call of math.*: about those of a sine.
MATH_CALL = 20

# Evaluations of the dynamics in a step of each integrator.
STAGES = {"euler": 1, "semi_implicit": 1, "rk4": 4, "none": 1}

COUNTED = ast.BinOp | ast.UnaryOp | ast.AugAssign | ast.Compare


def step_operations(plant: Plant) -> int:
    """Return the operations of one control step of a compiled plant, from its source.

    Each of + - * / ** and comparison counts as 1, each math call as 20. A loop counts
    as often as its range says, or once if that depends on variables; both branches of
    an `if` count.
    """
    name = "dynamics" if "dynamics" in plant.functions else "step"
    counter = _Counter(
        PlantSource(plant.source, plant.path.name).functions,
        plant.functions[name].__globals__,
    )
    # An integrator adds a multiple of every derivative to its state.
    update = 2 * plant.nx if name == "dynamics" else 0
    body = counter.count(counter.functions[name])
    return plant.substeps * STAGES[plant.integrator] * (body + update)


class _Counter:
    """Counts operations of functions of a plant file, given its constants."""

    def __init__(
        self, functions: dict[str, ast.FunctionDef], constants: dict[str, Any]
    ) -> None:
        self.functions = functions
        self.constants = constants

    def count(self, node: ast.AST) -> int:
        """Return the operations of a node and of all that it holds."""
        total = int(isinstance(node, COUNTED))
        if isinstance(node, ast.Call):
            total = self._count_call(node)
        times = self._repetitions(node.iter) if isinstance(node, ast.For) else 1
        return total + times * sum(map(self.count, ast.iter_child_nodes(node)))

    def _count_call(self, node: ast.Call) -> int:
        if not isinstance(node.func, ast.Name):
            # An attribute: a function of math.
            return MATH_CALL
        called = node.func.id
        # Built-in functions, such as range and abs, count as nothing.
        return self.count(self.functions[called]) if called in self.functions else 0

    def _repetitions(self, iterated: ast.expr) -> int:
        code = compile(ast.Expression(iterated), "", "eval")
        try:
            return len(eval(code, dict(self.constants)))
        except Exception:
            # The range depends on variables of the step.
            return 1
