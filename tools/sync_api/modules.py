"""The classes that get a counterpart, and the modules that the counterparts are written to."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass, field
from importlib import import_module

PACKAGES = ("kraal.client", "kraal.recipes")
HEAD = '"""{title}\n\nWritten by `python -m tools.sync_api`; change the asyncio API instead.\n"""\n'


@dataclass
class Wrapped:
    """A class of the asyncio API that gets a counterpart."""

    cls: type
    public: str
    """The package that exports it."""

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def module(self) -> str:
        """Of the counterpart."""
        if self.public == "kraal.client":
            return "kraal.sync.client"
        return f"kraal.sync.recipes.{self.cls.__module__.rpartition('.')[2].lstrip('_')}"


@dataclass
class Module:
    """A module to write."""

    name: str
    title: str
    imports: dict[str, set[str]] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)

    def use(self, module: str, name: str) -> None:
        if module != self.name:
            self.imports.setdefault(module, set()).add(name)

    def text(self) -> str:
        lines = [HEAD.format(title=self.title), "from __future__ import annotations\n"]
        for module in sorted(self.imports):
            names = self.imports[module]
            if "" in names:
                lines.append(f"import {module}" if "." not in module else _aliased(module))
            if plain := sorted(names - {""}):
                lines.append(f"from {module} import {', '.join(plain)}")
        return "\n".join(lines) + "\n\n\n" + "\n\n".join(self.bodies)


def _aliased(module: str) -> str:
    package, _, name = module.rpartition(".")
    return f"from {package} import {name} as aio"


def is_async(cls: type) -> bool:
    """Whether threads need a counterpart of it."""
    if issubclass(cls, BaseException | tuple) or typing.is_typeddict(cls):
        return False
    return any(
        inspect.iscoroutinefunction(member) or name in ("__aiter__", "__anext__")
        for name, member in inspect.getmembers(cls)
    )


def wrapped_classes() -> dict[str, Wrapped]:
    """By name, in the order of the packages."""
    found: dict[str, Wrapped] = {}
    for package in PACKAGES:
        module = import_module(package)
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and is_async(member):
                found[name] = Wrapped(member, package)
    return found
