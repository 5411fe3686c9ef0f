"""Helpers of compiled code written out where they are called, before Numba sees the source.

A helper that Numba compiles by itself is optimised again in whatever calls it, level by level, and Numba's own `inline="always"`
copies the whole of a function for every call in it: either way most of the time goes into compiling. So functions marked with that
decorator are written out in the text here. Where a call stands in an expression that may not be evaluated, or a function has a return
that is not its last statement, Numba inlines as it always does: the decorator is its own.
"""

import ast
from collections import Counter
from copy import deepcopy

OPAQUE = (
    ast.IfExp,
    ast.BoolOp,
    ast.Lambda,
    ast.ListComp,
    ast.GeneratorExp,
)  # a part of these may not be evaluated
SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)


def _name(name, context=None):
    return ast.Name(name, context or ast.Load())


class _Renamed(ast.NodeTransformer):
    """Puts other expressions for a helper's own names."""

    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        other = self.names.get(node.id, node)
        return (
            _name(other.id, node.ctx)
            if isinstance(other, ast.Name)
            else deepcopy(other)
        )


def _parameters(function):
    return [argument.arg for argument in function.args.args]


def _names(function, context):
    return {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    }


class _Written(ast.NodeTransformer):
    """Writes out the calls of `helpers` in one function."""

    def __init__(self, helpers):
        self.helpers, self.before, self.count, self.local = helpers, [], 0, set()

    def visit_FunctionDef(self, node):
        self.local = {*_parameters(node), *_names(node, ast.Store)}
        node.body = self._block(node.body)
        return node

    def _block(self, statements):
        written = []
        for statement in statements:
            if isinstance(statement, SIMPLE):
                outer, self.before = self.before, []
                statement = self.visit(statement)
                written += [
                    *self.before,
                    *([] if _is_nothing(statement) else [statement]),
                ]
                self.before = outer
            else:
                for part in ("body", "orelse"):
                    setattr(statement, part, self._block(getattr(statement, part, [])))
                written.append(statement)
        return written

    def generic_visit(self, node):
        return node if isinstance(node, OPAQUE) else super().generic_visit(node)

    def visit_Call(self, node):
        """What a call gives, after the helper's statements went before the statement that it stands in."""
        self.generic_visit(node)
        helper = self.helpers.get(getattr(node.func, "id", None))
        if helper is None or node.keywords:
            return node
        own, parameters = _names(helper, ast.Store), _parameters(helper)
        if (
            _names(helper, ast.Load) - own - set(parameters)
        ) & self.local:  # the module's names, which mean others here
            return node
        self.count += 1
        while self.local & {f"{name}_{self.count}" for name in (*own, *parameters)}:
            self.count += 1
        names = {name: _name(f"{name}_{self.count}") for name in own}
        for parameter, argument in zip(parameters, node.args):
            if parameter in own or not isinstance(argument, (ast.Name, ast.Constant)):
                names[parameter] = _name(f"{parameter}_{self.count}")
                self.before.append(
                    ast.Assign([_name(names[parameter].id, ast.Store())], argument)
                )
            else:
                names[parameter] = argument
        *body, last = [
            _Renamed(names).visit(deepcopy(statement))
            for statement in helper.body[bool(ast.get_docstring(helper)) :]
        ]
        self.before += body
        if isinstance(last, ast.Return):
            return last.value
        self.before.append(last)
        return ast.Constant(None)


def _is_nothing(statement):
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and statement.value.value is None
    )


def _can_be_written(function):
    """Whether a function is marked, and returns at its end alone."""
    marked = any(
        "inline='always'" in ast.unparse(decorator)
        for decorator in function.decorator_list
    )
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return marked and (not returns or returns == [function.body[-1]])


def _renamings(node):
    """Pairs of names (other, name) of a line such as `other, ... = name, ...` of a module."""
    targets, values = (
        [e] if isinstance(e, ast.Name) else getattr(e, "elts", [])
        for e in (node.targets[0], node.value)
    )
    return [
        (t.id, v.id)
        for t, v in zip(targets, values)
        if isinstance(t, ast.Name) and isinstance(v, ast.Name)
    ]


def inline_helpers(source):
    """The source of a module with its helpers written out where they are called; one that cannot be stays as it is, and so does a
    call of a name that a later function takes."""
    module, helpers = ast.parse(source), {}
    to_come = Counter(
        node.name for node in module.body if isinstance(node, ast.FunctionDef)
    )
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            _Written(
                {name: helper for name, helper in helpers.items() if not to_come[name]}
            ).visit(node)
            to_come[node.name] -= 1
            helpers.pop(node.name, None)
            if _can_be_written(node):
                helpers[node.name] = node
        elif isinstance(node, ast.Assign):
            helpers |= {
                other: helpers[name]
                for other, name in _renamings(node)
                if name in helpers
            }
    return ast.unparse(ast.fix_missing_locations(module))
