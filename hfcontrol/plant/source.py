"""The part of Python in which a plant's functions are written: what is allowed, and what to write instead.

The functions of a plant work on single numbers, so that one source compiles for every machine. The check reads the
syntax tree and needs no compiler; its messages name file and line.
"""

import ast
import builtins
import math
import types
from functools import lru_cache

from hfcontrol.errors import PlantError

MATH = frozenset(
    """acos acosh asin asinh atan atan2 atanh ceil copysign cos cosh degrees e erf erfc exp expm1 fabs
    floor fmod gamma hypot inf isfinite isinf isnan lgamma log log10 log1p log2 nan pi pow radians sin sinh sqrt tan
    tanh tau trunc""".split()
)
OUTPUTS = {
    "jacobian": 2
}  # how many of a function's arguments, the last ones, it writes, where not one
BUILTINS = frozenset(("abs", "min", "max", "float", "int", "range", "len"))
STATEMENTS = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.If,
    ast.For,
    ast.While,
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
INSTEAD = {
    ast.List: ("a list", "use a tuple, or one variable for each number"),
    ast.Dict: ("a dictionary", "use one variable for each number"),
    ast.ListComp: ("a list comprehension", "use a for loop over single numbers"),
    ast.GeneratorExp: ("a generator", "use a for loop over single numbers"),
    ast.Slice: ("a slice", "index one entry at a time"),
    ast.Try: ("try", "test the numbers with if"),
    ast.With: ("with", "work on numbers alone"),
    ast.Import: ("an import", "import math at the top of the file"),
    ast.ImportFrom: ("an import", "import math at the top of the file"),
    ast.FunctionDef: (
        "a function inside a function",
        "define it at the top level of the file",
    ),
    ast.Lambda: ("a lambda", "define a function at the top level of the file"),
    ast.Raise: ("raise", "let the value become math.nan"),
    ast.Assert: ("assert", "let the value become math.nan"),
    ast.MatMult: ("the matrix product @", "write the sums out, or loop over indices"),
    ast.JoinedStr: ("a text", "work on numbers alone"),
    ast.Starred: ("*", "write the arguments out"),
    ast.NamedExpr: (":=", "assign on a line of its own"),
    ast.Global: ("global", "hand numbers over as arguments and return values"),
}


def is_constant(value):
    """Whether a module-level value may be read by a plant's functions: a number, or a tuple of such."""
    return (
        isinstance(value, (int, float))
        or isinstance(value, tuple)
        and all(map(is_constant, value))
    )


@lru_cache(maxsize=256)
def local_names(function):
    """Names that are arguments of a function's syntax tree, or assigned in it."""
    stored = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return stored | {a.arg for a in function.args.args}


class PlantSource:
    """The syntax tree of a plant file; `functions` holds those at its top level.

    Raises PlantError, with file and line, for a file that is not Python.
    """

    def __init__(self, text, label):
        self.label = label
        try:
            tree = ast.parse(text, label)
        except SyntaxError as error:
            raise PlantError(
                f"{label}, line {error.lineno}: {error.msg}; correct the syntax there"
            ) from None
        self.functions = {
            node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)
        }

    def fail(self, node, what, instead):
        """Raise the PlantError about a construct: where it stands, what it is, what to write instead."""
        raise PlantError(f"{self.label}, line {node.lineno}: {what}; {instead}")

    def check_arguments(self, name, arguments):
        """Raise PlantError unless function `name` takes as many arguments as listed."""
        function = self.functions[name]
        given = function.args
        if (
            len(given.args) != len(arguments)
            or given.vararg
            or given.kwarg
            or given.kwonlyargs
            or given.posonlyargs
        ):
            wanted, came = ", ".join(arguments), ast.unparse(given)
            self.fail(
                function,
                f"{name}({came}) has the wrong arguments",
                f"write def {name}({wanted})",
            )

    def check(self, name, namespace, callers=()):
        """Raise PlantError unless function `name`, and what it calls, keep to what can be compiled.

        Returns the names of all functions of the file that it needs, itself last.
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
        body = function.body[1:] if ast.get_docstring(function) else function.body
        nodes = [node for statement in body for node in ast.walk(statement)]
        needed = []
        for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
            self._check_node(node, function, namespace)
            if (
                isinstance(node, ast.Name)
                and node.id in self.functions
                and node.id not in needed
            ):
                needed += [
                    n
                    for n in self.check(node.id, namespace, (*callers, name))
                    if n not in needed
                ]
        return [*needed, name]

    def _check_node(self, node, function, namespace):
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.AugAssign)) and not isinstance(
            node.op, OPERATORS
        ):
            what, instead = INSTEAD.get(
                type(node.op),
                (f"the operator in {ast.unparse(node)}", "use + - * / ** // %"),
            )
            self.fail(node, f"{function.name} uses {what}", instead)
        if isinstance(node, ast.Compare) and not all(
            isinstance(op, OPERATORS) for op in node.ops
        ):
            self.fail(
                node,
                f"{function.name} uses {ast.unparse(node)}",
                "compare with < <= > >= == !=",
            )
        if hasattr(node, "lineno") and not isinstance(
            node, (*STATEMENTS, *EXPRESSIONS, ast.keyword)
        ):
            unknown = (
                type(node).__name__,
                "use numbers, indices, math.*, if, for and while",
            )
            what, instead = INSTEAD.get(type(node), unknown)
            self.fail(node, f"{function.name} uses {what}", instead)
        check = getattr(self, f"_check_{type(node).__name__.lower()}", None)
        if check:
            check(node, function, namespace)

    def _check_constant(self, node, function, namespace):
        if not isinstance(node.value, (int, float)):
            self.fail(
                node, f"{function.name} uses {node.value!r}", "work on numbers alone"
            )

    def _check_attribute(self, node, function, namespace):
        text = ast.unparse(node)
        if not (isinstance(node.value, ast.Name) and node.value.id == "math"):
            instead = (
                f"write math.{node.attr}"
                if node.attr in MATH
                else "use index reads, arithmetic and math.*"
            )
            self.fail(node, f"{function.name} uses {text}", instead)
        if node.attr not in MATH:
            self.fail(
                node,
                f"{function.name} uses {text}",
                f"of math it may use {' '.join(sorted(MATH))}",
            )

    def _check_subscript(self, node, function, namespace):
        first = len(function.args.args) - OUTPUTS.get(function.name, 1)
        inputs = [a.arg for a in function.args.args[:first]]
        if (
            isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id in inputs
        ):
            self.fail(
                node,
                f"{function.name} writes into its input {node.value.id}",
                f"write into {function.args.args[-1].arg} only",
            )

    def _check_call(self, node, function, namespace):
        if isinstance(node.func, ast.Name) and node.func.id not in {
            *self.functions,
            *BUILTINS,
        }:
            self.fail(
                node,
                f"{function.name} calls {node.func.id}, which this file does not define",
                f"define it in the file, or use math.* or {' '.join(sorted(BUILTINS))}",
            )
        if node.keywords:
            called = ast.unparse(node.func)
            self.fail(
                node,
                f"{function.name} calls {called} with named arguments",
                "give them in order",
            )

    def _check_name(self, node, function, namespace):
        name = node.id
        if name in local_names(function) or name in self.functions or name in BUILTINS:
            return
        value = namespace.get(name, getattr(builtins, name, None))
        if value is None:
            self.fail(
                node,
                f"{function.name} uses {name}, which is not defined",
                "import math at the top of the file"
                if name == "math"
                else f"define {name} at the top level",
            )
        if not (is_constant(value) or isinstance(value, types.ModuleType)):
            kind = type(value).__name__
            self.fail(
                node,
                f"{function.name} reads {name}, a {kind}",
                "make it a number or a tuple of numbers",
            )
        if isinstance(value, types.ModuleType) and value is not math:
            self.fail(
                node, f"{function.name} uses the module {name}", "use math.* alone"
            )
