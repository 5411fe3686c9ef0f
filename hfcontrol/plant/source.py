"""The part of Python in which a plant's functions are written.

The functions of a plant use plain numbers, so that the same source compiles for every
device. The check reads the syntax tree and needs no compiler. Its messages name the
file, the line, what is not allowed, and what to write instead.
"""

import ast
import builtins
import math
import types
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

from hfcontrol.errors import PlantError

# The names of `math` that compile for the CPU and for CUDA.
_CONSTANTS = ("e", "inf", "nan", "pi", "tau")
_TRIGONOMETRIC = ("acos", "asin", "atan", "atan2", "cos", "hypot", "sin", "tan")
_HYPERBOLIC = ("acosh", "asinh", "atanh", "cosh", "sinh", "tanh")
_EXPONENTIAL = ("exp", "expm1", "log", "log10", "log1p", "log2", "pow", "sqrt")
_SPECIAL = ("erf", "erfc", "gamma", "lgamma")
_ROUNDING = ("ceil", "floor", "fmod", "trunc")
_OTHER = ("copysign", "degrees", "fabs", "isfinite", "isinf", "isnan", "radians")
_NUMERIC = (*_EXPONENTIAL, *_SPECIAL, *_ROUNDING, *_OTHER)
MATH = frozenset((*_CONSTANTS, *_TRIGONOMETRIC, *_HYPERBOLIC, *_NUMERIC))
BUILTINS = frozenset(("abs", "min", "max", "float", "int", "range", "len"))

# How many arguments, the last ones, a function writes. Others write one.
OUTPUTS = {"jacobian": 2}

# Nodes of the syntax tree that mean the same in Python, for the CPU and for CUDA.
STATEMENTS = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.If,
    ast.For,
    ast.Return,
    ast.Expr,
    ast.Pass,
    ast.Break,
    ast.Continue,
)
EXPRESSIONS = (
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Call,
    ast.IfExp,
    ast.Name,
    ast.Constant,
    ast.Subscript,
    ast.Tuple,
    ast.Attribute,
)
OPERATORS = (
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Pow,
    ast.Mod,
    ast.FloorDiv,
    ast.And,
    ast.Or,
    ast.Not,
    ast.UAdd,
    ast.USub,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.Load,
    ast.Store,
)

# Sets and exact types: a plant file has thousands of nodes.
ALLOWED = frozenset((*STATEMENTS, *EXPRESSIONS, ast.keyword))
ALLOWED_OPERATORS = frozenset(OPERATORS)


class Replacement(NamedTuple):
    """A construct that is not allowed, in words, and what to write instead."""

    what: str
    instead: str


_IMPORT = Replacement("an import", "import math at the top of the file")

# Common mistakes, with the plainest way out; other nodes get a general hint.
REPLACEMENTS: dict[type[ast.AST], Replacement] = {
    ast.List: Replacement("a list", "use a tuple, or one variable for each number"),
    ast.Dict: Replacement("a dictionary", "use one variable for each number"),
    ast.ListComp: Replacement("a list comprehension", "use a for loop over numbers"),
    ast.GeneratorExp: Replacement("a generator", "use a for loop over numbers"),
    ast.While: Replacement(
        "while, which may go on for ever", "use for i in range(...), with break"
    ),
    ast.Slice: Replacement("a slice", "index one entry at a time"),
    ast.Try: Replacement("try", "test the numbers with if"),
    ast.With: Replacement("with", "use only numbers"),
    ast.Import: _IMPORT,
    ast.ImportFrom: _IMPORT,
    ast.FunctionDef: Replacement(
        "a function inside a function", "define it at the top level of the file"
    ),
    ast.Lambda: Replacement(
        "a lambda", "define a function at the top level of the file"
    ),
    ast.Raise: Replacement("raise", "let the value become math.nan"),
    ast.Assert: Replacement("assert", "let the value become math.nan"),
    ast.MatMult: Replacement(
        "the matrix product @", "write the sums out, or loop over indices"
    ),
    ast.JoinedStr: Replacement("a text", "use only numbers"),
    ast.Starred: Replacement("*", "write the arguments out"),
    ast.NamedExpr: Replacement(":=", "assign on a separate line"),
    ast.Global: Replacement("global", "pass numbers as arguments and return values"),
}


def is_constant(value: Any) -> bool:
    """Return whether a plant's functions may read this module-level value.

    Numbers are allowed, and tuples of them.
    """
    if isinstance(value, tuple):
        return all(map(is_constant, value))
    return isinstance(value, (int, float))


# Cached, because it is needed for every name in a function.
@lru_cache(maxsize=256)
def local_names(function: ast.FunctionDef) -> set[str]:
    """Return the names of a function's arguments and of the variables it assigns."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    stored = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    return stored | {argument.arg for argument in function.args.args}


class PlantSource:
    """The syntax tree `syntax` of a plant file; `functions` are those at its top level.

    `label` names the file in messages. Raises PlantError if the text is not Python.
    """

    def __init__(self, text: str, label: str) -> None:
        self.label = label
        try:
            tree = ast.parse(text, label)
        except SyntaxError as error:
            raise PlantError(
                f"{label}, line {error.lineno}: {error.msg}; correct the syntax there"
            ) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise PlantError(
                f"{label}: it cannot be read as Python ({error}); correct the file"
            ) from None
        self.syntax = tree
        # Functions inside functions are not allowed, so these are all.
        definitions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        self.functions = {node.name: node for node in definitions}

    def fail(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        """Raise PlantError: where the node is, what it is, what to write instead."""
        line = getattr(node, "lineno", 0)
        raise PlantError(f"{self.label}, line {line}: {what}; {instead}")

    def check_arguments(self, name: str, arguments: Sequence[str]) -> None:
        """Raise PlantError unless function `name` takes as many arguments as listed."""
        if name not in self.functions:
            raise PlantError(
                f"{self.label}: {name} is not defined by a def at the top level of the "
                "file; move its definition there"
            )
        function = self.functions[name]
        found = function.args
        special = found.vararg or found.kwarg or found.kwonlyargs or found.posonlyargs
        if len(found.args) != len(arguments) or special:
            self.fail(
                function,
                f"{name}({ast.unparse(found)}) has the wrong arguments",
                f"write def {name}({', '.join(arguments)})",
            )

    def check(
        self,
        name: str,
        namespace: dict[str, Any],
        callers: tuple[str, ...] = (),
    ) -> list[str]:
        """Raise PlantError unless function `name` and those it calls can be compiled.

        namespace: the module-level names of the file
        callers: the functions through which this one is called

        Returns the names of all functions of the file that it needs; its own is last.
        """
        function = self.functions[name]
        if name in callers:
            self.fail(function, f"{name} calls itself", "use a loop")
        if function.decorator_list:
            self.fail(
                function,
                f"{name} has a decorator",
                "remove it: hfcontrol compiles the function itself",
            )

        # A docstring is the only text that a function may contain.
        body = function.body[1:] if ast.get_docstring(function) else function.body
        walk = (node for statement in body for node in ast.walk(statement))
        # Others are parts of these, such as their operators.
        nodes = [node for node in walk if hasattr(node, "lineno")]
        needed: list[str] = []
        # In the order of lines, so that the first fault in the file is reported.
        for node in sorted(nodes, key=attrgetter("lineno")):
            self._check_node(node, function, namespace)
            if not isinstance(node, ast.Name) or node.id not in self.functions:
                continue
            # The functions it calls come first: they are compiled in this order.
            if node.id not in needed:
                helpers = self.check(node.id, namespace, (*callers, name))
                needed += [helper for helper in helpers if helper not in needed]
        return [*needed, name]

    def _check_node(
        self, node: ast.AST, function: ast.FunctionDef, namespace: dict[str, Any]
    ) -> None:
        """Raise PlantError if a node of a function is not allowed."""
        if type(node) not in ALLOWED:
            unknown = Replacement(
                type(node).__name__, "use numbers, indices, math.*, if and for"
            )
            what, instead = REPLACEMENTS.get(type(node), unknown)
            self.fail(node, f"{function.name} uses {what}", instead)

        # The most frequent ones first.
        if isinstance(node, ast.Name):
            self._check_name(node, function, namespace)
        elif isinstance(node, ast.Constant):
            self._check_constant(node, function)
        elif isinstance(node, (ast.BinOp, ast.UnaryOp, ast.AugAssign)):
            self._check_operator(node, function)
        elif isinstance(node, ast.Subscript):
            self._check_subscript(node, function)
        elif isinstance(node, ast.Attribute):
            self._check_attribute(node, function)
        elif isinstance(node, ast.Call):
            self._check_call(node, function)
        elif isinstance(node, ast.Compare):
            self._check_comparison(node, function)

    def _check_operator(
        self, node: ast.BinOp | ast.UnaryOp | ast.AugAssign, function: ast.FunctionDef
    ) -> None:
        """Allow the operators of OPERATORS."""
        if type(node.op) not in ALLOWED_OPERATORS:
            unknown = Replacement(
                f"the operator in {ast.unparse(node)}", "use + - * / ** // %"
            )
            what, instead = REPLACEMENTS.get(type(node.op), unknown)
            self.fail(node, f"{function.name} uses {what}", instead)

    def _check_comparison(self, node: ast.Compare, function: ast.FunctionDef) -> None:
        """Allow the comparisons of OPERATORS."""
        if not ALLOWED_OPERATORS.issuperset(map(type, node.ops)):
            what = f"{function.name} uses {ast.unparse(node)}"
            self.fail(node, what, "compare with < <= > >= == !=")

    def _check_constant(self, node: ast.Constant, function: ast.FunctionDef) -> None:
        """Allow numbers only."""
        if not isinstance(node.value, (int, float)):
            self.fail(node, f"{function.name} uses {node.value!r}", "use only numbers")

    def _check_attribute(self, node: ast.Attribute, function: ast.FunctionDef) -> None:
        """Allow the names of `math` that can be compiled."""
        what = f"{function.name} uses {ast.unparse(node)}"
        # np.sin and others have a twin in `math`, which the message names.
        if not (isinstance(node.value, ast.Name) and node.value.id == "math"):
            if node.attr in MATH:
                self.fail(node, what, f"write math.{node.attr}")
            self.fail(node, what, "use indices, arithmetic and math.*")
        if node.attr not in MATH:
            self.fail(node, what, f"allowed names of math: {' '.join(sorted(MATH))}")

    def _check_subscript(self, node: ast.Subscript, function: ast.FunctionDef) -> None:
        """Allow writes into the function's outputs only."""
        if not isinstance(node.ctx, ast.Store) or not isinstance(node.value, ast.Name):
            return
        arguments = [argument.arg for argument in function.args.args]
        n_inputs = len(arguments) - OUTPUTS.get(function.name, 1)
        if node.value.id in arguments[:n_inputs]:
            self.fail(
                node,
                f"{function.name} writes into its input {node.value.id}",
                f"write into {arguments[-1]} only",
            )

    def _check_call(self, node: ast.Call, function: ast.FunctionDef) -> None:
        """Allow calls, by position, of the file's functions, of BUILTINS and `math`."""
        known = {*self.functions, *BUILTINS}
        if isinstance(node.func, ast.Name) and node.func.id not in known:
            self.fail(
                node,
                f"{function.name} calls {node.func.id}, which this file does not "
                "define",
                f"define it in the file, or use math.* or {' '.join(sorted(BUILTINS))}",
            )
        if node.keywords:
            self.fail(
                node,
                f"{function.name} calls {ast.unparse(node.func)} with named arguments",
                "pass them by position",
            )

    def _check_name(
        self, node: ast.Name, function: ast.FunctionDef, namespace: dict[str, Any]
    ) -> None:
        """Allow local variables, constants, `math` and known functions."""
        name = node.id
        if name in local_names(function) or name in self.functions or name in BUILTINS:
            return
        value = namespace.get(name, getattr(builtins, name, None))
        if value is None:
            what = f"{function.name} uses {name}, which is not defined"
            if name == "math":
                self.fail(node, what, "import math at the top of the file")
            self.fail(node, what, f"define {name} at the top level")
        if isinstance(value, types.ModuleType):
            if value is not math:
                what = f"{function.name} uses the module {name}"
                self.fail(node, what, "use only math.*")
        elif not is_constant(value):
            self.fail(
                node,
                f"{function.name} reads {name}, a {type(value).__name__}",
                "make it a number or a tuple of numbers",
            )
