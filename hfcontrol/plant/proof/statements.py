"""Proving the statements of one function of a plant file.

A block of statements takes the variables that may come in to those that may come out.
A loop is proved once for all its passes: variables that it changes are unknown at the
beginning of a pass, and its own variable is an interval.
"""

import ast
from typing import NamedTuple, NoReturn

from hfcontrol.plant.proof.conditions import Variables, join_variables
from hfcontrol.plant.proof.expressions import Expressions
from hfcontrol.plant.proof.values import (
    NUMBER,
    Array,
    Interval,
    Items,
    Value,
    calculate,
    join_all,
    make_interval,
)

# Passes of loops and calls in a control step: a millisecond or so for a trial.
MOST_PASSES = 100_000


class Passes(NamedTuple):
    """The passes of a loop: its variable, and their largest number."""

    variable: Value
    most: int


class Statements(Expressions):
    """Proves the statements of one function; `returned` are the values it returns.

    most_passes: of loops and calls, in one call of the function
    """

    most_passes: int
    returned: list[Value]

    def prove(self, variables: Variables, most_passes: int) -> Value:
        """Prove the function for its arguments; returns what is known of its value."""
        self.most_passes = most_passes
        self.returned = []
        self._run(self.function.body, variables)
        return join_all(self.returned)

    def _run(
        self, block: list[ast.stmt], variables: Variables | None
    ) -> Variables | None:
        """Return the variables after a block, or None if it never gets there."""
        for statement in block:
            # After return, break or continue nothing runs.
            if variables is None:
                return None
            variables = self._run_statement(statement, variables)
        return variables

    def _run_statement(
        self, statement: ast.stmt, variables: Variables
    ) -> Variables | None:
        if isinstance(statement, ast.Assign):
            value = self._assigned_value(statement, variables)
            for target in statement.targets:
                variables = self._assign(target, value, variables)
        elif isinstance(statement, ast.AnnAssign):
            if statement.value:
                value = self.evaluate(statement.value, variables)
                return self._assign(statement.target, value, variables)
        elif isinstance(statement, ast.AugAssign):
            return self._augment(statement, variables)
        elif isinstance(statement, ast.If):
            return self._run_if(statement, variables)
        elif isinstance(statement, ast.For):
            return self._run_for(statement, variables)
        elif isinstance(statement, ast.Return):
            if statement.value:
                self.returned.append(self.evaluate(statement.value, variables))
            return None
        elif isinstance(statement, ast.Expr):
            self._run_expression(statement, variables)
        elif isinstance(statement, ast.Break | ast.Continue):
            return None
        return variables

    def _run_expression(self, statement: ast.Expr, variables: Variables) -> None:
        """Prove an expression without a target, such as the call of a helper."""
        # A docstring is one, too.
        if isinstance(statement.value, ast.Constant):
            return
        self.evaluate(statement.value, variables)

    def _assigned_value(self, statement: ast.Assign, variables: Variables) -> Value:
        """Return what is known of the right side; `a, b = x` takes an array apart."""
        tuples = [t for t in statement.targets if isinstance(t, ast.Tuple)]
        if len(tuples) < len(statement.targets):
            return self.evaluate(statement.value, variables)
        value = self.evaluate_array(statement.value, variables)
        if not isinstance(value, Array):
            return value
        for target in tuples:
            if value.grows or value.shape != (len(target.elts),):
                what = f"takes {value.name} apart into {ast.unparse(target)}"
                self.fail(statement, what, "index its entries one by one")
        return Items((NUMBER,) * value.shape[0])

    def _assign(
        self, target: ast.expr, value: Value, variables: Variables
    ) -> Variables:
        """Return the variables after an assignment to a name, entry or tuple."""
        if isinstance(target, ast.Name):
            return {**variables, target.id: value}
        if isinstance(target, ast.Subscript):
            self._check_write(target, variables)
            return variables
        assert isinstance(target, ast.Tuple)
        count = len(target.elts)
        values: tuple[Value, ...] = (NUMBER,) * count
        if isinstance(value, Items) and len(value.values) == count:
            values = value.values
        for entry, entry_value in zip(target.elts, values, strict=True):
            variables = self._assign(entry, entry_value, variables)
        return variables

    def _augment(self, statement: ast.AugAssign, variables: Variables) -> Variables:
        """Return the variables after `target += value` and the like."""
        value = self.evaluate(statement.value, variables)
        target = statement.target
        if isinstance(target, ast.Name):
            read = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            before = self.evaluate(read, variables)
            value = calculate(statement.op, before, value)
        return self._assign(target, value, variables)

    def _check_write(self, target: ast.Subscript, variables: Variables) -> None:
        """Raise PlantError unless one entry of an output is written."""
        entry = self.find_entry(target, variables)
        base = self.evaluate_array(target.value, variables)
        written = ast.unparse(target)
        if not isinstance(base, Array) or isinstance(entry, Array):
            what = f"writes {written}, which is not one number of an array"
            self.fail(target, what, "write numbers into the last argument")
        if not base.writable:
            what = f"writes {written}, an entry of the input {base.name}"
            self.fail(target, what, "write into outputs only")

    def _run_if(self, statement: ast.If, variables: Variables) -> Variables | None:
        self.evaluate(statement.test, variables)
        after = None
        for block, truth in ((statement.body, True), (statement.orelse, False)):
            left = self.assume(statement.test, variables, truth)
            after = join_variables(after, self._run(block, left))
        return after

    def _run_for(self, statement: ast.For, variables: Variables) -> Variables | None:
        passes = self._passes_of(statement.iter, variables)
        # A pass may begin with what any other one has left.
        changed = _names_assigned(statement)
        known = {k: v for k, v in variables.items() if k not in changed}
        before = self.passes
        self.passes = 0
        if passes.most > 0:
            inside = self._assign(statement.target, passes.variable, known)
            self._run(statement.body, inside)
        self.passes = before + passes.most * (1 + self.passes)
        if self.passes > self.most_passes:
            self.fail(
                statement,
                f"runs up to {self.passes} passes of loops and calls",
                f"at most {self.most_passes} are allowed, {MOST_PASSES} in a control "
                "step with all its substeps",
            )
        return self._run(statement.orelse, known)

    def _passes_of(self, iterated: ast.expr, variables: Variables) -> Passes:
        """Return the passes of a loop over `range` or over the entries of a tuple."""
        call = iterated if isinstance(iterated, ast.Call) else None
        if call and isinstance(call.func, ast.Name) and call.func.id == "range":
            return self._passes_of_range(call, variables)
        value = self.evaluate_array(iterated, variables)
        if isinstance(value, Items):
            return Passes(join_all(value.values), len(value.values))
        if isinstance(value, Array) and len(value.shape) == 1 and not value.grows:
            return Passes(NUMBER, value.shape[0])
        self._refuse_loop(iterated)

    def _passes_of_range(self, call: ast.Call, variables: Variables) -> Passes:
        values = [self.evaluate(argument, variables) for argument in call.args]
        ends = [value for value in values if isinstance(value, Interval)]
        if len(ends) < len(values) or not 1 <= len(values) <= 3:
            self._refuse_loop(call)
        first = ends[0] if len(ends) > 1 else Interval(0, 0)
        stop = ends[1] if len(ends) > 1 else ends[0]
        step = ends[2] if len(ends) > 2 else Interval(1, 1)
        if not step.is_constant or not step.low:
            self._refuse_loop(call)

        if first.is_constant and stop.is_constant:
            numbers = range(first.low, stop.low, step.low)
            if not numbers:
                return Passes(NUMBER, 0)
            low, high = sorted((numbers[0], numbers[-1]))
            return Passes(Interval(low, high), len(numbers))
        # The widest range that the bounds allow.
        rising = step.low > 0
        low = first.low if rising else stop.low + 1
        high = stop.high - 1 if rising else first.high
        count = -(-(high - low + 1) // abs(step.low))
        return Passes(make_interval(low, high), max(count, 0))

    def _refuse_loop(self, iterated: ast.expr) -> NoReturn:
        """Raise PlantError about a loop whose passes are not known."""
        self.fail(
            iterated,
            f"loops over {ast.unparse(iterated)}, which is not known before it runs",
            "loop over range of integers, or over a tuple",
        )


def _names_assigned(statement: ast.For) -> set[str]:
    """Return the variables that a loop sets, its own included."""
    names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}
