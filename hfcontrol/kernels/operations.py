"""An estimate of the floating-point operations of one plant step, from its syntax tree."""

import ast

from hfcontrol.plant.source import PlantSource

MATH_CALL = 20  # operations of a call of math.*, about those of a sine
STAGES = {"euler": 1, "semi_implicit": 1, "rk4": 4, "none": 1}


def step_operations(plant):
    """Operations of one control step of a compiled plant: each of + - * / ** and compare 1, each math call 20.

    Loops count as often as a range of plain numbers says, and once where that is not known; an if counts both branches.
    """
    functions = PlantSource(plant.source, plant.path.name).functions
    constants = plant.functions[
        "dynamics" if "dynamics" in plant.functions else "step"
    ].__globals__

    def count(node):
        total = isinstance(node, ast.BinOp | ast.UnaryOp | ast.AugAssign | ast.Compare)
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else None
            total = (
                count(functions[called])
                if called in functions
                else MATH_CALL * (called is None)
            )
        times = repetitions(node.iter) if isinstance(node, ast.For) else 1
        return total + times * sum(map(count, ast.iter_child_nodes(node)))

    def repetitions(iterated):
        try:
            return len(
                eval(compile(ast.Expression(iterated), "", "eval"), dict(constants))
            )
        except (
            Exception
        ):  # the range depends on what is not known before the step is made
            return 1

    name = "dynamics" if "dynamics" in functions else "step"
    update = 2 * plant.nx if name == "dynamics" else 0
    return plant.substeps * STAGES[plant.integrator] * (count(functions[name]) + update)
