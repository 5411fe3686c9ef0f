"""The single-token alterations of a source file, found in its syntax tree.

Each replaces one expression or statement by another one: the rest of the file keeps
its text. Texts, annotations, decorators, `stacklevel` and `__all__` stay as they are:
they change messages and checks by tools, but no result.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Alteration:
    """One alteration: bytes `start` to `end` of a file become `text`.

    `line` and `last` are the lines of the statement that holds it, of a compound one
    those of its header; both texts are whole lines, joined.
    """

    file: str
    line: int
    last: int
    kind: str
    start: int
    end: int
    text: str
    before: str
    after: str

    def apply(self, source: bytes) -> bytes:
        """Return the altered source."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def alterations_of(path: Path, name: str) -> list[Alteration]:
    """Return all alterations of a file, which is called `name`, in its order."""
    return Finder(path.read_bytes(), name).find()


def is_another_program(source: bytes, altered: bytes) -> bool:
    """Whether an altered source is Python, and differs by more than its layout."""
    try:
        return ast.dump(ast.parse(altered)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


class Finder:
    """Finds the alterations of one source."""

    def __init__(self, source: bytes, name: str) -> None:
        self.source = source
        self.name = name
        lengths = [len(line) for line in source.splitlines(keepends=True)]
        self.starts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]

    def find(self) -> list[Alteration]:
        """Return the alterations, sorted by their place."""
        found: list[Alteration] = []
        for statement, node in _nodes(ast.parse(self.source)):
            for kind, text in _replacements(node, statement):
                found.append(self._make(statement, node, kind, text))
        return sorted(found, key=lambda a: (a.start, a.end, a.text))

    def _make(
        self, statement: ast.stmt, node: ast.expr | ast.stmt, kind: str, text: str
    ) -> Alteration:
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        line_start = self.starts[node.lineno - 1]
        line_end = self.starts[node.end_lineno or 0]
        head, tail = self.source[line_start:start], self.source[end:line_end]
        return Alteration(
            file=self.name,
            line=statement.lineno,
            last=_last_line_of_header(statement),
            kind=kind,
            start=start,
            end=end,
            text=text,
            before=_joined(self.source[line_start:line_end]),
            after=_joined(head + text.encode() + tail),
        )


def _joined(lines: bytes) -> str:
    return " ".join(lines.decode().split())


def _last_line_of_header(statement: ast.stmt) -> int:
    body = getattr(statement, "body", None)
    if isinstance(body, list) and body:
        return max(statement.lineno, body[0].lineno - 1)
    return statement.end_lineno or statement.lineno


def _nodes(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.expr | ast.stmt]]:
    """Yield statements and the expressions in them that may be altered."""
    waiting: list[tuple[ast.stmt | None, ast.AST]] = [(None, tree)]
    while waiting:
        statement, node = waiting.pop()
        if isinstance(node, ast.stmt):
            statement = node
        if statement is not None and isinstance(node, ast.expr | ast.stmt):
            yield statement, node
        waiting += [(statement, child) for child in _children(node)]


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node without texts, annotations and decorators."""
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.keyword) and node.arg == "stacklevel":
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        children = value if isinstance(value, list) else [value]
        yield from (child for child in children if isinstance(child, ast.AST))


def _replacements(
    node: ast.expr | ast.stmt, statement: ast.stmt
) -> Iterator[tuple[str, str]]:
    """Yield the kind and the new text of each alteration of a node itself."""
    if isinstance(node, ast.stmt):
        yield from _statement_replacements(node)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield "operator", _with(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for operator in COMPARISONS[type(node.ops[0])]:
            yield "comparison", _with(node, ops=[operator()])
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "boolean", _with(node, op=other)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        if not isinstance(node.operand, ast.Constant):
            yield "sign or not", f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.IfExp):
        yield "condition", _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Constant):
        yield from (("constant", text) for text in _other_constants(node.value))
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Name):
        yield "index", f"{ast.unparse(node.value)}[{node.slice.id} - 1]"
        yield "index", f"{ast.unparse(node.value)}[{node.slice.id} + 1]"
    elif isinstance(node, ast.Call) and not isinstance(statement, ast.Raise):
        yield from (("arguments", text) for text in _swapped(node))


def _with(node: ast.expr, **changes: object) -> str:
    """Return the text of a node with other fields, in brackets."""
    fields = {**dict(ast.iter_fields(node)), **changes}
    return f"({ast.unparse(type(node)(**fields))})"


def _other_constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int | float):
        yield f"{value + 1}"
        yield f"({value - 1})"
        if value != 0:
            yield f"(-{value})"


def _swapped(node: ast.Call) -> Iterator[str]:
    """Yield a call with each two neighbouring arguments in the other order."""
    for i in range(len(node.args) - 1):
        first, second = node.args[i : i + 2]
        if isinstance(first, ast.Starred) or isinstance(second, ast.Starred):
            continue
        others = [*node.args[:i], second, first, *node.args[i + 2 :]]
        yield ast.unparse(ast.Call(node.func, others, node.keywords))


def _statement_replacements(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if _may_be_dropped(node):
        yield "dropped", "pass"
    if isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        operator = OPERATORS[type(node.op)]()
        changed = ast.AugAssign(node.target, operator, node.value)
        yield "operator", ast.unparse(changed)


def _may_be_dropped(node: ast.stmt) -> bool:
    """Whether the program can go on without a statement."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        if isinstance(target, ast.Name):
            # A first value cannot be missed: its name would not exist.
            names = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
            return target.id in names
        return isinstance(target, ast.Attribute | ast.Subscript)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break)
