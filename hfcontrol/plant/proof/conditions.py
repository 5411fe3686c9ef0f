"""What a condition says about integer variables: `if i > 0` and the like."""

import ast
from collections.abc import Callable
from typing import TypeAlias

from hfcontrol.plant.proof.values import Interval, Value, join

# The variables of a function, by name.
Variables: TypeAlias = dict[str, Value]
Evaluate: TypeAlias = Callable[[ast.expr, Variables], Value]

# i < b means b > i, and its opposite is i >= b.
MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
}
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}

# These have branches of their own, and say nothing about one variable.
BRANCHES = (ast.IfExp, ast.BoolOp, ast.Compare)


def join_variables(
    first: Variables | None, second: Variables | None
) -> Variables | None:
    """Return variables that cover both; None is a place that is never reached."""
    if first is None or second is None:
        return second if first is None else first
    # A variable that only one branch sets cannot be relied on.
    return {name: join(first[name], second[name]) for name in first if name in second}


def assume(
    test: ast.expr, variables: Variables, truth: bool, evaluate: Evaluate
) -> Variables | None:
    """Return the variables where a condition is true, or false.

    None means that it never is. Only integers are narrowed, by comparisons of a
    variable, perhaps with a constant added, with another integer.
    """
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return assume(test.operand, variables, not truth, evaluate)
    if isinstance(test, ast.BoolOp):
        # "and" is true, and "or" is false, where all parts are.
        together = isinstance(test.op, ast.And) == truth
        combine = _assume_all if together else _assume_any
        return combine(test.values, variables, truth, evaluate)
    if isinstance(test, ast.Compare):
        return _assume_comparison(test, variables, truth, evaluate)
    if isinstance(test, ast.Name):
        # A number is true if it differs from zero.
        operation = ast.NotEq if truth else ast.Eq
        return _narrow_variable(test, operation, Interval(0, 0), variables, evaluate)
    return variables


def _assume_all(
    tests: list[ast.expr], variables: Variables, truth: bool, evaluate: Evaluate
) -> Variables | None:
    """Return the variables where all conditions are true, or all are false."""
    left: Variables | None = variables
    for test in tests:
        if left is not None:
            left = assume(test, left, truth, evaluate)
    return left


def _assume_any(
    tests: list[ast.expr], variables: Variables, truth: bool, evaluate: Evaluate
) -> Variables | None:
    """Return the variables where at least one condition is true, or one is false."""
    found = [assume(test, variables, truth, evaluate) for test in tests]
    covering = None
    for left in found:
        covering = join_variables(covering, left)
    return covering


def _assume_comparison(
    test: ast.Compare, variables: Variables, truth: bool, evaluate: Evaluate
) -> Variables | None:
    """Return the variables where a comparison such as 0 < i < 9 is true, or false."""
    # Which part of a chain is false is not known.
    if not truth and len(test.ops) > 1:
        return variables
    operands = [test.left, *test.comparators]
    narrowed: Variables | None = variables
    for a, operator, b in zip(operands, test.ops, operands[1:], strict=False):
        operation = type(operator) if truth else OPPOSITE[type(operator)]
        sides = ((a, operation, b), (b, MIRRORED[operation], a))
        for side, compared, other in sides:
            if narrowed is None or _has_branches(other):
                continue
            bound = evaluate(other, narrowed)
            narrowed = _narrow_variable(side, compared, bound, narrowed, evaluate)
    return narrowed


def _has_branches(node: ast.expr) -> bool:
    return any(isinstance(part, BRANCHES) for part in ast.walk(node))


def _narrow_variable(
    side: ast.expr,
    operation: type[ast.cmpop],
    bound: Value,
    variables: Variables,
    evaluate: Evaluate,
) -> Variables | None:
    """Return the variables where i, or i + c, compares with an integer as it says."""
    offset = 0
    if isinstance(side, ast.BinOp) and isinstance(side.op, ast.Add | ast.Sub):
        added = side.right
        if not isinstance(added, ast.Name | ast.Constant):
            return variables
        constant = evaluate(added, variables)
        if not isinstance(constant, Interval) or not constant.is_constant:
            return variables
        offset = constant.low if isinstance(side.op, ast.Add) else -constant.low
        side = side.left
    if not isinstance(side, ast.Name) or not isinstance(bound, Interval):
        return variables

    known = variables.get(side.id)
    if not isinstance(known, Interval):
        return variables
    limit = Interval(bound.low - offset, bound.high - offset)
    narrowed = narrow(known, operation, limit)
    return None if narrowed is None else {**variables, side.id: narrowed}


def narrow(i: Interval, operation: type[ast.cmpop], b: Interval) -> Interval | None:
    """Return the part of i for which `i operation b` can hold, or None."""
    low, high = i
    if operation is ast.Lt:
        high = min(high, b.high - 1)
    elif operation is ast.LtE:
        high = min(high, b.high)
    elif operation is ast.Gt:
        low = max(low, b.low + 1)
    elif operation is ast.GtE:
        low = max(low, b.low)
    elif operation is ast.Eq:
        low, high = max(low, b.low), min(high, b.high)
    elif b.is_constant:
        # Only an end can be left out of an interval.
        low += low == b.low
        high -= high == b.low
    return Interval(low, high) if low <= high else None
