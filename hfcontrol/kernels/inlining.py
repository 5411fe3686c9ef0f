"""Inlining of helpers in generated source, before Numba sees it.

Numba optimises a helper that it compiles by itself again in every caller, level by
level, and its own `inline="always"` copies the whole function for every call: either
way most of the time goes into compiling. So calls of functions with that decorator are
replaced by their bodies here, in the text.

Two kinds of calls stay: those in an expression that may not be evaluated, and those of
a function with a return that is not its last statement. Numba inlines them by the
decorator.
"""

import ast
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

# Parts of these expressions may not be evaluated.
OPAQUE = (ast.IfExp, ast.BoolOp, ast.Lambda, ast.ListComp, ast.GeneratorExp)

# Statements without other statements inside.
SIMPLE = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)


def inline_helpers(source: str) -> str:
    """Return the source of a module with calls of its helpers replaced by their bodies.

    Helpers that cannot be inlined stay, and so do calls of a name that a later function
    defines again.
    """
    module = ast.parse(source)
    helpers: dict[str, ast.FunctionDef] = {}
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    later = Counter(node.name for node in functions)
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            final = {name: h for name, h in helpers.items() if not later[name]}
            _Inliner(final).visit(node)
            later[node.name] -= 1
            helpers.pop(node.name, None)
            if _can_be_inlined(node):
                helpers[node.name] = node
        elif isinstance(node, ast.Assign):
            for alias, name in _aliases(node):
                if name in helpers:
                    helpers[alias] = helpers[name]
    return ast.unparse(ast.fix_missing_locations(module))


class _Inliner(ast.NodeTransformer):
    """Replaces the calls of `helpers` in one function."""

    def __init__(self, helpers: Mapping[str, ast.FunctionDef]) -> None:
        self.helpers = helpers
        # Statements that go before the one that is visited.
        self.before: list[ast.stmt] = []
        # Number of inlined calls, which makes names unique.
        self.count = 0
        # Names of the function itself.
        self.local: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Inline calls in the body of a function."""
        self.local = {*_parameters(node), *_names(node, ast.Store)}
        node.body = self._inline_block(node.body)
        return node

    def _inline_block(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Return a list of statements with calls inlined."""
        result: list[ast.stmt] = []
        for statement in statements:
            if not isinstance(statement, SIMPLE):
                for part in ("body", "orelse"):
                    block = getattr(statement, part, [])
                    setattr(statement, part, self._inline_block(block))
                result.append(statement)
                continue
            outer = self.before
            self.before = []
            visited = self.visit(statement)
            result += self.before
            if not _is_nothing(visited):
                result.append(visited)
            self.before = outer
        return result

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit children, unless they may not be evaluated."""
        return node if isinstance(node, OPAQUE) else super().generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return the value of a call; the helper's statements go to `before`."""
        self.generic_visit(node)
        helper = self.helpers.get(getattr(node.func, "id", ""))
        if helper is None or node.keywords:
            return node
        own = _names(helper, ast.Store)
        parameters = _parameters(helper)
        read_from_module = _names(helper, ast.Load) - own - set(parameters)
        if read_from_module & self.local:
            # These names have another meaning here.
            return node

        self._choose_count({*own, *parameters})
        names = self._bind(own, parameters, node.args)
        statements = helper.body[bool(ast.get_docstring(helper)) :]
        *body, last = [_Renamer(names).visit(deepcopy(s)) for s in statements]
        self.before += body
        if isinstance(last, ast.Return):
            assert last.value
            return last.value
        self.before.append(last)
        return ast.Constant(None)

    def _choose_count(self, names: set[str]) -> None:
        """Increase the count until no name with it is one of the function's own."""
        self.count += 1
        while self.local & {f"{name}_{self.count}" for name in names}:
            self.count += 1

    def _bind(
        self, own: set[str], parameters: list[str], arguments: list[ast.expr]
    ) -> dict[str, ast.expr]:
        """Return the expressions for a helper's names in the caller.

        Arguments that the helper changes, or that are computed, are assigned to new
        names first.
        """
        names: dict[str, ast.expr] = {}
        for name in own:
            names[name] = _name(f"{name}_{self.count}")
        for parameter, argument in zip(parameters, arguments, strict=False):
            plain = isinstance(argument, ast.Name | ast.Constant)
            if plain and parameter not in own:
                names[parameter] = argument
                continue
            unique = f"{parameter}_{self.count}"
            names[parameter] = _name(unique)
            self.before.append(ast.Assign([_name(unique, ast.Store())], argument))
        return names


class _Renamer(ast.NodeTransformer):
    """Replaces a helper's names by expressions of the caller."""

    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Return the expression for a name."""
        other = self.names.get(node.id, node)
        if isinstance(other, ast.Name):
            return _name(other.id, node.ctx)
        # A node in two places would be changed in both by a later visit.
        return deepcopy(other)


def _name(name: str, context: ast.expr_context | None = None) -> ast.Name:
    return ast.Name(name, context or ast.Load())


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in function.args.args]


def _names(function: ast.FunctionDef, context: Any) -> set[str]:
    """Return the names that a function reads (ast.Load) or assigns (ast.Store)."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, context)}


def _is_nothing(statement: ast.AST) -> bool:
    """Return whether a statement is the constant None, as a call without value is."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    return isinstance(value, ast.Constant) and value.value is None


def _can_be_inlined(function: ast.FunctionDef) -> bool:
    """Return whether a function is marked, and returns only at its end."""
    decorators = [ast.unparse(decorator) for decorator in function.decorator_list]
    if not any("inline='always'" in decorator for decorator in decorators):
        return False
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return not returns or returns == [function.body[-1]]


def _aliases(node: ast.Assign) -> list[tuple[str, str]]:
    """Return pairs (alias, name) of a module's line `alias, ... = name, ...`."""
    pairs: list[tuple[str, str]] = []
    targets = _elements(node.targets[0])
    values = _elements(node.value)
    for target, value in zip(targets, values, strict=False):
        if isinstance(target, ast.Name) and isinstance(value, ast.Name):
            pairs.append((target.id, value.id))
    return pairs


def _elements(node: ast.expr) -> list[ast.expr]:
    """Return the elements of a tuple, or a name alone."""
    return [node] if isinstance(node, ast.Name) else getattr(node, "elts", [])
