"""Annotations and signatures of the asyncio API, and what becomes of them."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from functools import cache
from types import FunctionType, ModuleType
from typing import Protocol


class Names(Protocol):
    """Who imports what an annotation names."""

    def is_known(self, name: str) -> bool:
        """Whether a class of this name has a counterpart."""

    def name(self, name: str, function: FunctionType) -> None:
        """Import what `function` means by a name."""

    def event(self) -> None:
        """Import `Event`."""


class Types(ast.NodeTransformer):
    """An annotation of the asyncio API as one of the sync API."""

    def __init__(self, names: Names, function: FunctionType, variables: dict[str, str]) -> None:
        self._names = names
        self._function = function
        self._variables = variables

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self._variables:
            return self.visit(ast.parse(self._variables[node.id], mode="eval").body)  # type: ignore[no-any-return]
        if node.id == "AsyncIterator":
            node = ast.Name("Iterator")
        self._names.name(node.id, self._function)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, str) and self._names.is_known(node.value):
            return self.visit_Name(ast.Name(node.value))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if ast.unparse(node) == "asyncio.Event":
            self._names.event()
            return ast.Name("Event")
        self._names.name(ast.unparse(node).partition(".")[0], self._function)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if coroutine := result_of_coroutine(node):
            assert isinstance(node.slice, ast.Tuple)
            node = ast.Subscript(node.value, ast.Tuple([node.slice.elts[0], coroutine]))
        if ast.unparse(node.value) == "AsyncGenerator":
            assert isinstance(node.slice, ast.Tuple)
            node = ast.Subscript(ast.Name("AsyncIterator"), node.slice.elts[0])
        if ast.unparse(node.value) == "Literal":
            self._names.name("Literal", self._function)
            return node
        self.generic_visit(node)
        return node


def result_of_coroutine(node: ast.expr) -> ast.expr | None:
    """T of `Callable[..., Coroutine[Any, Any, T]]` and of `Callable[..., Awaitable[T]]`."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Callable":
        assert isinstance(node.slice, ast.Tuple)
        given = node.slice.elts[1]
        if isinstance(given, ast.Subscript):
            name = ast.unparse(given.value)
            if name == "Awaitable":
                return given.slice
            if name == "Coroutine" and isinstance(given.slice, ast.Tuple):
                return given.slice.elts[2]
    return None


def is_many(annotation: ast.expr | None) -> bool:
    return annotation is not None and ast.unparse(annotation).startswith(
        ("Sequence[", "Iterable[", "list[", "Collection[")
    )


def is_callback(annotation: ast.expr) -> bool:
    text = ast.unparse(annotation).removesuffix(" | None")
    return text.startswith("Callable[") and text.endswith((", None]", ", object]"))


def function_of(cls: type, name: str) -> FunctionType | None:
    member = inspect.getattr_static(cls, name, None)
    return member if isinstance(member, FunctionType) else None


def definition(function: FunctionType) -> ast.FunctionDef:
    """The function as its source has it."""
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return node  # type: ignore[return-value]


@cache
def _imports(module: ModuleType) -> dict[str, str]:
    """Which module each name is imported from, those for annotations only included."""
    return {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def home_of(name: str, function: FunctionType) -> str:
    """The module that a function's module has a name from, or its own."""
    return _imports(sys.modules[function.__module__]).get(name, function.__module__)


def attributes(function: FunctionType) -> dict[str, tuple[ast.expr, str]]:
    """Public attributes that an `__init__` sets: their annotations and descriptions."""
    node = definition(function)
    arguments = {each.arg: each.annotation for each in (*node.args.args, *node.args.kwonlyargs)}
    found: dict[str, tuple[ast.expr, str]] = {}
    for place, statement in enumerate(node.body):
        target: ast.expr | None = None
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
            continue
        assert isinstance(statement, ast.Assign | ast.AnnAssign)
        annotation = _annotation(statement, arguments)
        if annotation is not None:
            behind = node.body[place + 1 : place + 2]
            found[target.attr] = annotation, _text(behind[0] if behind else None)
    return found


def _annotation(
    statement: ast.Assign | ast.AnnAssign, arguments: dict[str, ast.expr | None]
) -> ast.expr | None:
    if isinstance(statement, ast.AnnAssign):
        return statement.annotation
    value = statement.value
    if isinstance(value, ast.Name):
        return arguments.get(value.id)
    if isinstance(value, ast.Constant):
        return ast.Name(type(value.value).__name__)
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "asyncio.Event":
        return value.func
    return None


def _text(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return str(statement.value.value)
    return ""


def docstring(text: str, indent: int, more: str = "") -> list[str]:
    """The first paragraph of a description as a docstring, in words for threads."""
    first = " ".join(text.split("\n\n", maxsplit=1)[0].split()).rstrip(":")
    if not first:
        return []
    first = re.sub(r"\btask\b", "thread", first)
    first = re.sub(r"\bcoroutine\b", "function", first)
    if not first.endswith((".", ")")):
        first += "."
    margin = " " * indent
    lines = textwrap.wrap(first, 96 - indent)
    if more:
        lines += ["", more]
    if len(lines) > 1:
        lines.append("")
    body = "\n".join(margin + line if line else "" for line in lines).strip()
    closing = f"\n{margin}" if len(lines) > 1 else ""
    return [f'{margin}"""{body}{closing}"""']
