"""Write `kraal.sync`'s classes from those of `kraal.client` and `kraal.recipes`.

    python -m tools.sync_api            # write src/kraal/sync
    python -m tools.sync_api --check    # say what is not current

A coroutine becomes a method that waits, an asynchronous context manager or iterator a plain one,
an `asyncio.Event` an `Event`; an object with such methods is wrapped where it is taken or given.
A function that the loop calls runs in a thread: a coroutine function that a recipe takes becomes a
plain function with a thread of its own. The first paragraph of each docstring is kept.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import FunctionType

from kraal.client import Client
from tools.sync_api.annotations import definition
from tools.sync_api.modules import Module, Wrapped, wrapped_classes
from tools.sync_api.writer import Writer

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "src" / "kraal" / "sync"
FIRST_PARTY = 'lint.isort.known-first-party=["kraal"]'
MARK = "Written by `python -m tools.sync_api`"

ASYNC_ONLY = {"connect", "send_together"}
"""Names without a counterpart that is written from them: threads have no turns of a loop."""


def generate() -> dict[Path, str]:
    """The files by path."""
    known = wrapped_classes()
    modules: dict[str, Module] = {}
    # What others inherit from comes first.
    for wrapped in sorted(known.values(), key=lambda wrapped: len(wrapped.cls.__mro__)):
        title = (
            "The recipes for threads." if "recipes" in wrapped.module else "The client for threads."
        )
        module = modules.setdefault(wrapped.module, Module(wrapped.module, title))
        writer = Writer(wrapped, known, module)
        body = writer.write()
        for variable in dict.fromkeys(writer.generic):
            line = _variable(variable, wrapped)
            if line not in module.bodies:
                module.bodies.insert(0, line)
        module.bodies.append(body)
    connect(modules["kraal.sync.client"], known)
    functions = recipe_functions()
    for function in functions.values():
        name = counterpart(function)
        module = modules.setdefault(name, Module(name, "The recipes for threads."))
        writer = Writer(Wrapped(Client, "kraal.recipes"), known, module)
        module.bodies.append(writer.write_function(function))
    files = {_path(module.name): module.text() for module in modules.values()}
    files[TARGET / "recipes" / "__init__.py"] = _package(
        "kraal.recipes", known, "The recipes", functions
    )
    files[TARGET / "__init__.py"] = _package("kraal.client", known, "The client", {})
    return {path: _formatted(text) for path, text in files.items()}


def recipe_functions() -> dict[str, FunctionType]:
    """Recipes that are functions of a client."""
    recipes = import_module("kraal.recipes")
    found = {name: getattr(recipes, name) for name in recipes.__all__}
    return {
        name: member
        for name, member in found.items()
        if isinstance(member, FunctionType)
        and any(ast.unparse(each.annotation or ast.Name("")) == "Client"
                for each in definition(member).args.args[:1])
    }  # fmt: skip


def counterpart(function: FunctionType) -> str:
    """The module of a function's counterpart."""
    return f"kraal.sync.recipes.{function.__module__.rpartition('.')[2].lstrip('_')}"


def _variable(name: str, wrapped: Wrapped) -> str:
    variable = getattr(sys.modules[wrapped.cls.__module__], name)
    more = [each.__name__ for each in variable.__constraints__]
    if inspect.isclass(variable.__bound__):
        more.append(f'bound="{variable.__bound__.__name__}"')
    return f"{name} = TypeVar({', '.join([repr(name), *more])})\n"


def connect(module: Module, known: dict[str, Wrapped]) -> None:
    """The function that makes a client."""
    function = import_module("kraal.client").connect
    writer = Writer(known["Client"], known, module)
    head, _ = writer._head("connect", function)
    names = definition(function).args
    given = ", ".join(
        [each.arg for each in names.args] + [f"{each.arg}={each.arg}" for each in names.kwonlyargs]
    )
    module.use("kraal.sync.portal", "Portal")
    doc = (
        '    """A client for an ensemble; use it as `with`, or with `start` and `close`.\n\n'
        '    The arguments are those of `kraal.client.connect`.\n    """'
    )
    text = (
        f"{textwrap.dedent(head)}\n{doc}\n    return Client._of(Portal(), aio.connect({given}))\n"
    )
    module.bodies.append(text)


def _path(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def _package(
    public: str, known: dict[str, Wrapped], title: str, functions: dict[str, FunctionType]
) -> str:
    package = import_module(public)
    target = public.replace("kraal.client", "kraal.sync").replace(
        "kraal.recipes", "kraal.sync.recipes"
    )
    imports: dict[str, set[str]] = {}
    names = set(package.__all__) - ASYNC_ONLY
    for name in names:
        home = known[name].module if name in known else public
        if name in functions:
            home = counterpart(functions[name])
        imports.setdefault(home, set()).add(name)
    example = '    with kraal.sync.connect("127.0.0.1:2181") as zk:\n'
    if target == "kraal.sync":
        imports["kraal.sync.client"].add("connect")
        imports["kraal.sync.deadline"] = {"timeout"}
        imports["kraal.sync.portal"] = {"Event"}
        names |= {"connect", "Event", "timeout"}
        example += '        zk.create("/greeting", b"hello")\n'
    else:
        example += '        with Lock(zk, "/locks/a") as held:\n            ...\n'
    lines = [
        f'"""{title} for threads: the asyncio API without `await`.\n\n{example}\n'
        f"Promises and errors are those of `{public}`; what it promises to a task holds for a\n"
        "thread. `kraal.sync.timeout` limits how long calls may wait.\n\n"
        'Written by `python -m tools.sync_api`; change the asyncio API instead.\n"""\n',
    ]
    if target == "kraal.sync":
        lines += ["from importlib import import_module", "from typing import TYPE_CHECKING"]
    for module in sorted(imports):
        lines.append(f"from {module} import {', '.join(sorted(imports[module]))}")
    if target == "kraal.sync":
        lines.append("\nif TYPE_CHECKING:\n    from kraal.sync import recipes as recipes\n")
    lines.append(f"\n__all__ = {sorted(names)!r}\n")
    if target == "kraal.sync":
        lines.append(_RECIPES)
    return "\n".join(lines)


_RECIPES = """

def __getattr__(name: str) -> object:
    if name != "recipes":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("kraal.sync.recipes")


def __dir__() -> list[str]:
    return [*__all__, "recipes"]
"""
"""The recipes are loaded when they are first used."""


def _formatted(text: str) -> str:
    """As the project formats its sources."""
    check = ["check", "--fix", "--quiet", "--select", "I,F401,RUF022", "--config", FIRST_PARTY]
    name = ["--stdin-filename", str(TARGET / "x.py"), "-"]
    for arguments in (check, ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, *name],
            input=text, capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{done.stderr}\n{text}")
        text = done.stdout
    return text


def main(arguments: list[str]) -> int:
    """Write the files, or with --check name those that are not current."""
    files = generate()
    stale = [path for path, text in files.items() if _read(path) != text]
    stale += [path for path in _written() if path not in files]
    for path in stale:
        print(path.relative_to(ROOT))
    if "--check" in arguments:
        return 1 if stale else 0
    for path in stale:
        if path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
        else:
            path.unlink()
    return 0


def _written() -> list[Path]:
    """Files that an earlier run wrote."""
    return [path for path in TARGET.rglob("*.py") if MARK in path.read_text()]


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
