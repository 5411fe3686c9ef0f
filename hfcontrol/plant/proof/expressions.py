"""What is known of the expressions of a plant's function.

Each index is compared with the size of its array here, and arrays appear only where
they can be followed.
"""

import ast
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from hfcontrol.plant.proof.conditions import Variables, assume
from hfcontrol.plant.proof.values import (
    NUMBER,
    Array,
    Interval,
    Items,
    Value,
    calculate,
    join_all,
    magnitude,
    make_interval,
    negate,
    smallest_or_largest,
    value_of,
)
from hfcontrol.plant.source import BUILTINS, PlantSource, is_constant, local_names

# Proves a helper for the arguments of a call; returns its value and its passes.
Prove: TypeAlias = Callable[[str, tuple[Value, ...], ast.Call], tuple[Value, int]]


class Expressions:
    """Finds what is known of the expressions of one function.

    source, namespace: the plant file's syntax trees, and its module-level names
    prove_helper: proves the functions that this one calls
    passes: how many loop passes and calls have been counted so far
    """

    def __init__(
        self,
        function: ast.FunctionDef,
        source: PlantSource,
        namespace: Mapping[str, Any],
        prove_helper: Prove,
    ) -> None:
        self.function = function
        self.source = source
        self.namespace = namespace
        self.prove_helper = prove_helper
        self.local_names = local_names(function)
        self.passes = 0
        self.rules: dict[type[ast.expr], Callable[[Any, Variables], Value]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Subscript: self._subscript,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.Compare: self._comparison,
            ast.BoolOp: self._boolean,
            ast.IfExp: self._choice,
            ast.Tuple: self._tuple,
            ast.Call: self._call,
            ast.Attribute: self._attribute,
        }

    def fail(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        """Raise PlantError: the line, what is wrong there, what to write instead."""
        self.source.fail(node, f"{self.function.name} {what}", instead)

    def evaluate(self, node: ast.expr, variables: Variables) -> Value:
        """Return what is known of an expression, which must be no array."""
        rule = self.rules.get(type(node))
        if rule is None:
            self.fail(node, f"uses {ast.unparse(node)}", "use numbers only")
        value = rule(node, variables)
        if isinstance(value, Array):
            self.fail(
                node,
                f"uses {ast.unparse(node)} without an index: it is an array, and a "
                "second name of an array is not followed",
                "index its entries, or pass it to a function of this file",
            )
        return value

    def evaluate_array(self, node: ast.expr, variables: Variables) -> Value:
        """Return what is known of an expression that may be an array."""
        if isinstance(node, ast.Name | ast.Subscript):
            return self.rules[type(node)](node, variables)
        return self.evaluate(node, variables)

    def find_entry(self, node: ast.Subscript, variables: Variables) -> Value:
        """Return what is known of an entry, once its indices are proved."""
        base = self.evaluate_array(node.value, variables)
        index = self.evaluate(node.slice, variables)
        indices = index.values if isinstance(index, Items) else (index,)
        if isinstance(base, Array):
            if len(indices) > len(base.shape):
                self.fail(
                    node,
                    f"uses {ast.unparse(node)} with {len(indices)} indices",
                    f"{base.name} has {len(base.shape)}",
                )
            for i, size in zip(indices, base.shape, strict=False):
                self._check_index(node, i, size)
            shape = base.shape[len(indices) :]
            return base._replace(shape=shape) if shape else NUMBER

        if not isinstance(base, Items):
            self.fail(
                node,
                f"uses {ast.unparse(node)}, but {ast.unparse(node.value)} need not be "
                "an array or a tuple there",
                "index an argument, or a tuple that is set in every case",
            )
        first = self._check_index(node, index, len(base.values))
        return join_all(base.values[i] for i in range(first.low, first.high + 1))

    def _check_index(self, node: ast.Subscript, index: Value, size: int) -> Interval:
        """Return an index that is proved to be within 0 to size - 1, or from the end.

        Raises PlantError for any other.
        """
        written = ast.unparse(node)
        if not isinstance(index, Interval):
            self.fail(
                node,
                f"uses {written}, whose index is not known before it runs",
                "index by integers, loop variables and their sums and products",
            )
        if index.low >= 0 and index.high < size:
            return index
        # Negative indices count from the end, as in Python, if all of them do.
        if -size <= index.low and index.high < 0:
            return index
        allowed = f"indices 0 to {size - 1}" if size else "no entries"
        what = f"uses {written}, but {ast.unparse(node.value)} has {allowed}"
        if index.is_constant:
            self.fail(node, what, "correct the index")
        self.fail(
            node,
            f"{what} there and the index reaches from {index.low} to {index.high}",
            "change it, or put an if before it",
        )

    def _constant(self, node: ast.Constant, variables: Variables) -> Value:
        return value_of(node.value)

    def _name(self, node: ast.Name, variables: Variables) -> Value:
        name = node.id
        if name in self.local_names:
            # A variable that may be unset is like a number of which nothing is known.
            return variables.get(name, NUMBER)
        if name in self.source.functions:
            what = f"uses the function {name} as a value"
            self.fail(node, what, "call it where its value is needed")
        constant = self.namespace.get(name)
        return value_of(constant) if is_constant(constant) else NUMBER

    def _subscript(self, node: ast.Subscript, variables: Variables) -> Value:
        return self.find_entry(node, variables)

    def _binary(self, node: ast.BinOp, variables: Variables) -> Value:
        left = self.evaluate(node.left, variables)
        return calculate(node.op, left, self.evaluate(node.right, variables))

    def _unary(self, node: ast.UnaryOp, variables: Variables) -> Value:
        value = self.evaluate(node.operand, variables)
        if isinstance(node.op, ast.USub):
            return negate(value)
        return value if isinstance(node.op, ast.UAdd) else NUMBER

    def _comparison(self, node: ast.Compare, variables: Variables) -> Value:
        for operand in (node.left, *node.comparators):
            self.evaluate(operand, variables)
        return NUMBER

    def _boolean(self, node: ast.BoolOp, variables: Variables) -> Value:
        # Each part is computed only if those before it are true ("and") or false.
        goes_on = isinstance(node.op, ast.And)
        left: Variables | None = variables
        for part in node.values:
            if left is not None:
                self.evaluate(part, left)
                left = self.assume(part, left, goes_on)
        return NUMBER

    def _choice(self, node: ast.IfExp, variables: Variables) -> Value:
        self.evaluate(node.test, variables)
        found = []
        for branch, truth in ((node.body, True), (node.orelse, False)):
            left = self.assume(node.test, variables, truth)
            if left is not None:
                found.append(self.evaluate(branch, left))
        return join_all(found)

    def _tuple(self, node: ast.Tuple, variables: Variables) -> Value:
        return Items(tuple(self.evaluate(entry, variables) for entry in node.elts))

    def _attribute(self, node: ast.Attribute, variables: Variables) -> Value:
        return NUMBER

    def assume(
        self, test: ast.expr, variables: Variables, truth: bool
    ) -> Variables | None:
        """Return the variables where a condition is true, or false, or None."""
        passes = self.passes
        left = assume(test, variables, truth, self.evaluate)
        # The condition itself has been counted already.
        self.passes = passes
        return left

    def _call(self, node: ast.Call, variables: Variables) -> Value:
        function = node.func
        if not isinstance(function, ast.Name):
            # One of `math`: numbers in, a number out.
            for argument in node.args:
                self.evaluate(argument, variables)
            return NUMBER
        name = function.id
        if name in self.local_names:
            what = f"calls {name}, which is a variable there"
            self.fail(node, what, "give the variable another name")
        if name in self.source.functions:
            return self._call_helper(name, node, variables)
        return self._call_builtin(name, node, variables)

    def _call_helper(self, name: str, node: ast.Call, variables: Variables) -> Value:
        arguments = tuple(self.evaluate_array(a, variables) for a in node.args)
        value, passes = self.prove_helper(name, arguments, node)
        self.passes += 1 + passes
        return value

    def _call_builtin(self, name: str, node: ast.Call, variables: Variables) -> Value:
        if name not in BUILTINS or name in self.namespace:
            what = f"calls {name}, which this file uses for something else"
            self.fail(node, what, "give the other one another name")
        if name == "range":
            what = "uses range outside a for loop"
            self.fail(node, what, "write for i in range(...)")
        if name == "len":
            return self._length(node, variables)
        values = [self.evaluate(argument, variables) for argument in node.args]
        if name == "abs" and len(values) == 1:
            return magnitude(values[0])
        if name in ("min", "max"):
            return smallest_or_largest(name, values)
        # int of an integer is the integer.
        is_integer = name == "int" and len(values) == 1
        return values[0] if is_integer else NUMBER

    def _length(self, node: ast.Call, variables: Variables) -> Value:
        """Return `len` of an array or a tuple."""
        value = self.evaluate_array(node.args[0], variables) if node.args else NUMBER
        if isinstance(value, Items):
            return make_interval(len(value.values), len(value.values))
        if isinstance(value, Array) and not value.grows:
            return make_interval(value.shape[0], value.shape[0])
        self.fail(
            node,
            f"uses {ast.unparse(node)}, which is not known before it runs",
            "write the number of entries",
        )
