"""The reference of the Python API, docs/reference/client-api.md, written from the code.

`python -m tools.client_reference > docs/reference/client-api.md` writes it anew; a test says when
it is out of date. What a package exports is in it without further ado.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from textwrap import dedent
from typing import ForwardRef

PACKAGES = ("kraal.client", "kraal.recipes", "kraal.sync", "kraal.sync.recipes", "kraal.testing")

_HEAD = """\
# The Python API

Written by `python -m tools.client_reference > docs/reference/client-api.md`; do not edit it by
hand. What a package has from another one is described there.
"""


def text() -> str:
    """The whole page."""
    packages = [import_module(name) for name in PACKAGES]
    lines = [_HEAD]
    described: dict[int, str] = {}
    for package in packages:
        lines.append(f"## `{package.__name__}`\n")
        lines.append(_doc(package))
        known = [name for name in package.__all__ if id(getattr(package, name)) in described]
        for name in sorted(set(package.__all__) - set(known), key=str.lower):
            value = getattr(package, name)
            described[id(value)] = package.__name__
            lines.extend(_entry(package.__name__, name, value))
        for origin in PACKAGES:
            names = [n for n in known if described[id(getattr(package, n))] == origin]
            if names:
                lines.append(f"The same as in `{origin}`: {', '.join(f'`{n}`' for n in names)}.\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _entry(package: str, name: str, value: object) -> Iterator[str]:
    yield f"### `{package}.{name}`\n"
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield _code(_signature(name, value))
        yield _doc(value)
    else:
        yield _code(f"{name} = {value!r}")


def _class(name: str, cls: type) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__bases__ if base is not object]
    if issubclass(cls, Enum):
        yield _code(f"class {name}({', '.join(bases)})")
        if cls.__doc__ and "Color.RED" not in cls.__doc__:  # what Python gives an enum without any
            yield _doc(cls)
        yield _code("\n".join(f"{member.name} = {member.value!r}" for member in cls))
        return
    if issubclass(cls, Exception):
        yield _code(f"class {name}({', '.join(bases)})")
        yield _doc(cls) if cls.__doc__ else _meaning(cls)
        return
    yield _code(_signature(f"class {name}", cls).removesuffix(" -> None"))
    yield _doc(cls)
    yield from _members(cls)


def _meaning(error: type) -> str:
    """Of an error without a docstring: its text and its code."""
    shown: str = getattr(error, "text", "")
    code: int = getattr(error, "code", 0)
    return f"{shown[:1].upper()}{shown[1:]} (code {int(code)}).\n" if shown else ""


def _members(cls: type) -> Iterator[str]:
    """Methods, then properties, of the class and of its bases in kraal."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("kraal.")]
    found: dict[str, object] = {}
    for base in own:
        for name, member in vars(base).items():
            if not name.startswith("_"):
                found.setdefault(name, member)
    for name in sorted(found):
        member = found[name]
        if isinstance(member, classmethod | staticmethod):
            member = member.__func__
        if isinstance(member, property):
            assert member.fget is not None
            returned = inspect.signature(member.fget).return_annotation
            yield _code(f"{name}: {_annotation(returned)}")
            yield _doc(member)
        elif inspect.isfunction(member):
            yield _code(_signature(name, member))
            yield _doc(member)


def _signature(name: str, value: object) -> str:
    """`name(arguments) -> type`, one argument a line if it is long."""
    assert callable(value)
    try:
        signature = inspect.signature(value)
    except ValueError:
        return name
    kept = [each for each in signature.parameters.values() if each.name not in ("self", "cls")]
    is_async = inspect.iscoroutinefunction(value)
    prefix = "async " if is_async else ""
    returned = ""
    if signature.return_annotation is not inspect.Signature.empty:
        returned = f" -> {_annotation(signature.return_annotation)}"
    shown = list(_parameters(kept))
    line = f"{prefix}{name}({', '.join(shown)}){returned}"
    if len(line) <= 96:
        return line
    inner = "".join(f"    {each},\n" for each in shown)
    return f"{prefix}{name}(\n{inner}){returned}"


def _parameters(parameters: list[inspect.Parameter]) -> Iterator[str]:
    is_starred = False
    for each in parameters:
        if each.kind is each.VAR_POSITIONAL:
            is_starred = True
        elif each.kind is each.KEYWORD_ONLY and not is_starred:
            is_starred = True
            yield "*"
        stars = "*" if each.kind is each.VAR_POSITIONAL else ""
        shown = f"{'**' if each.kind is each.VAR_KEYWORD else stars}{each.name}"
        if each.annotation is not each.empty:
            shown += f": {_annotation(each.annotation)}"
        if each.default is not each.empty:
            gap = " " if each.annotation is not each.empty else ""
            shown += f"{gap}={gap}{_default(each.default)}"
        yield shown


def _annotation(annotation: object) -> str:
    if isinstance(annotation, ForwardRef):  # as named tuples have it
        annotation = annotation.__forward_arg__
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:kraal|collections\.abc|typing)(?:\.[a-z_]\w*)*\.(?=[A-Z])", "", text)


def _default(value: object) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if inspect.isfunction(value):
        return value.__name__
    return repr(value)


def _doc(value: object) -> str:
    """The docstring; what stands behind a `::`, or is a tree or a list, becomes a block."""
    parts = []
    for paragraph in (inspect.getdoc(value) or "").split("\n\n"):
        shown = paragraph.removesuffix("::") + (":" if paragraph.endswith("::") else "")
        is_block = any(mark in paragraph for mark in ("├──", "└──")) or paragraph.startswith("    ")
        parts.append(_code(dedent(paragraph), "") if is_block else shown)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _code(text: str, language: str = "python") -> str:
    return f"```{language or 'text'}\n{text}\n```\n"


if __name__ == "__main__":
    print(text(), end="")
