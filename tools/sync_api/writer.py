"""The counterpart of one class, as text."""

from __future__ import annotations

import ast
import builtins
import inspect
import typing
from collections.abc import Iterable
from importlib import import_module
from types import FunctionType, ModuleType

from tools.sync_api.annotations import (
    Types,
    attributes,
    definition,
    docstring,
    function_of,
    home_of,
    is_callback,
    is_many,
    result_of_coroutine,
)
from tools.sync_api.modules import PACKAGES, Module, Wrapped

LIFECYCLE = ("start", "close", "__aenter__", "__aexit__")
"""Of the client, in `kraal.sync.lifecycle`."""
LEFT_OUT = {("Holding", "run")}
"""A coroutine that is run while something is held: a thread looks at `lost` itself."""
ENDS = frozenset(("release", "close", "leave", "remove", "remove_watches"))
"""Methods that end something: `kraal.sync.timeout` lets them run when its time is over."""
_SPECIAL = frozenset(
    ("__aenter__", "__aexit__", "__aiter__", "__anext__", "__len__", "__contains__", "__getitem__")
)


class Writer:
    """Writes the counterpart of one class."""

    def __init__(self, wrapped: Wrapped, known: dict[str, Wrapped], module: Module) -> None:
        self.wrapped = wrapped
        self.known = known
        self.module = module
        self.alias = f"aio.{wrapped.name}"
        module.use(wrapped.public, "")
        self.generic: list[str] = []
        self.written: set[str] = set()

    # Names

    def is_known(self, name: str) -> bool:
        return name in self.known

    def name(self, name: str, function: FunctionType) -> None:
        """Import what an annotation or a default names."""
        if name in self.known:
            self.module.use(self.known[name].module, name)
            return
        if hasattr(builtins, name):
            return
        if name == "Iterator":
            self.module.use("collections.abc", name)
            return
        for package in PACKAGES:
            if name in import_module(package).__all__:
                self.module.use(package, name)
                return
        value = inspect.unwrap(function).__globals__.get(name)
        if isinstance(value, ModuleType):
            self.module.use(value.__name__, "")
        elif isinstance(value, typing.TypeVar):
            self.generic.append(name)
            self.module.use("typing", "TypeVar")
        else:
            self.module.use(home_of(name, function), name)

    def event(self) -> None:
        self.module.use("kraal.sync.portal", "Event")

    # The class

    def write(self) -> str:
        cls = self.wrapped.cls
        base = f"Facade[{self.alias}]"
        if cls.__name__ == "Client":
            self.module.use("kraal.sync.lifecycle", "Lifecycle")
            base = "Lifecycle"
        else:
            self.module.use("kraal.sync.portal", "Facade")
        parent = self._parent()
        if parent is not None:
            self.module.use(parent.module, parent.name)
            base = parent.name
        parameters = [p.__name__ for p in getattr(cls, "__parameters__", ())]
        if parameters:
            base = (
                f"Facade[{self.alias}[{', '.join(parameters)}]], Generic[{', '.join(parameters)}]"
            )
            self.module.use("typing", "Generic")
            self.module.use("typing", "TypeVar")
            self.generic += parameters
        if any(getattr(m, "__isabstractmethod__", False) for _, m in inspect.getmembers(cls)):
            has_init = False
        else:
            has_init = self._makes_itself()
        more = f"See `{self.wrapped.public}.{cls.__name__}`."
        lines = [f"class {cls.__name__}({base}):", *docstring(inspect.getdoc(cls) or "", 4, more)]
        if parent is not None:
            lines.append(f"    _async: {self.alias}\n")
        if has_init:
            lines.append(self._constructor())
        lines += self._attributes()
        for name, owner in self._members():
            lines += self._member(name, owner)
        return "\n".join(lines) + "\n"

    def _parent(self) -> Wrapped | None:
        """The class that it inherits from, if that has a counterpart."""
        for cls in self.wrapped.cls.__mro__[1:]:
            found = self.known.get(cls.__name__)
            if found is not None and found.cls is cls:
                return found
        return None

    def _owners(self) -> list[type]:
        """The classes whose members are written here, not inherited."""
        parent = self._parent()
        inherited = () if parent is None else parent.cls.__mro__
        return [
            cls
            for cls in self.wrapped.cls.__mro__
            if cls.__module__.startswith("kraal.") and cls not in inherited
        ]

    def _makes_itself(self) -> bool:
        """Whether users call the class: its first parameter is something of the API."""
        init = function_of(self.wrapped.cls, "__init__")
        if init is None or self.wrapped.public == "kraal.client":
            return False
        arguments = definition(init).args.args[1:]
        return (
            bool(arguments)
            and any(
                name in ast.unparse(arguments[0].annotation or ast.Name(""))
                for name in ("Client", *self.known)
            )
            and not any(a.arg[0] == "_" for a in arguments)
            and not self._takes_private(init)
        )

    def _takes_private(self, init: FunctionType) -> bool:
        """Whether only the library can make one: a parameter's class is private."""
        for argument in definition(init).args.args[1:2]:
            name = ast.unparse(argument.annotation or ast.Name(""))
            value = init.__globals__.get(name)
            if inspect.isclass(value) and name not in self.known:
                return True
        return False

    def _attributes(self) -> list[str]:
        """Properties for what the constructors of the class and its bases set."""
        found: dict[str, str] = {}
        for owner in self._owners():
            init = vars(owner).get("__init__")
            if not isinstance(init, FunctionType):
                continue
            types = Types(self, init, self._variables())
            for name, (annotation, text) in attributes(init).items():
                if name in found or name in dir(self.wrapped.cls):
                    continue
                returns = types.visit(annotation)
                lines = [
                    f"    @property\n    def {name}(self) -> {ast.unparse(returns)}:",
                    *docstring(text, 8),
                    f"        {self._result(returns, f'self._async.{name}')}\n",
                ]
                found[name] = "\n".join(lines)
        return list(found.values())

    def _members(self) -> Iterable[tuple[str, type]]:
        """Public members with the class that defines each, bases first."""
        seen: dict[str, type] = {}
        for owner in self._owners():
            for name, member in vars(owner).items():
                if (
                    (not name.startswith("_") or name in _SPECIAL)
                    and name not in seen
                    and (
                        callable(member)
                        or isinstance(member, property | classmethod | staticmethod)
                    )
                ):
                    seen[name] = owner
        skip = LIFECYCLE if self.wrapped.name == "Client" else ()
        return [
            (name, owner)
            for name, owner in seen.items()
            if name not in skip and (owner.__name__, name) not in LEFT_OUT
        ]

    def _member(self, name: str, owner: type) -> list[str]:
        member = vars(owner)[name]
        if isinstance(member, property):
            assert isinstance(member.fget, FunctionType)
            return [self._property(name, member.fget)]
        if not isinstance(member, FunctionType):
            raise TypeError(f"{owner.__name__}.{name} is a {type(member).__name__}: say how")
        if name == "__aenter__":
            return [self._enter(member)]
        if name == "__aexit__":
            return [self._exit()]
        if name == "__aiter__":
            return (
                ["    def __iter__(self) -> Self:\n        return self\n"]
                if self._use_self() and "__anext__" in dir(owner)
                else []
            )
        if name == "__anext__":
            return [self._next(member)]
        lines = []
        for overload in typing.get_overloads(member):
            assert isinstance(overload, FunctionType)
            self.module.use("typing", "overload")
            head, _ = self._head(name, overload)
            lines.append(f"    @overload\n{head} ...\n")
        lines.append(self._method(name, member))
        return lines

    def _use_self(self) -> bool:
        self.module.use("typing", "Self")
        return True

    # Methods

    def _head(self, name: str, function: FunctionType) -> tuple[str, ast.expr]:
        """`def …:` with its annotations, and the return annotation."""
        node = definition(function)
        types = Types(self, function, self._variables())
        arguments = node.args
        for argument in (*arguments.args, *arguments.kwonlyargs):
            if argument.annotation is not None:
                argument.annotation = types.visit(argument.annotation)
        for default in (*arguments.defaults, *arguments.kw_defaults):
            for each in ast.walk(default) if default is not None else ():
                if isinstance(each, ast.Name):
                    self.name(each.id, function)
        returns: ast.expr = node.returns or ast.Constant(None)
        returns = types.visit(returns)
        return f"    def {name}({ast.unparse(arguments)}) -> {ast.unparse(returns)}:", returns

    def _method(self, name: str, function: FunctionType) -> str:
        original = definition(function)
        head, returns = self._head(name, function)
        given = ", ".join(
            [self._given(each) for each in original.args.args[1:]]
            + [f"{each.arg}={self._given(each)}"
               for each in original.args.kwonlyargs]
        )  # fmt: skip
        call = f"self._async.{name}({given})"
        if any(ast.unparse(each) == "asynccontextmanager" for each in original.decorator_list):
            return self._manager(name, ast.unparse(returns), call, function)
        if name == "__len__":
            call = "len(self._async)"
        elif name in ("__contains__", "__getitem__"):
            call = f"{given} in self._async" if "con" in name else f"self._async[{given}]"
        if inspect.iscoroutinefunction(function):
            call = f"self._portal.{'end' if name in ENDS else 'run'}({call})"
        elif "Iterator" in ast.unparse(returns).partition("[")[0]:
            call = f"self._portal.iterate({call})"
        else:
            call = f"self._portal.call({_function(call)})"
        return "\n".join(
            [
                head,
                *docstring(inspect.getdoc(function) or "", 8),
                f"        {self._result(returns, call)}\n",
            ]
        )

    def _manager(self, name: str, returns: str, call: str, function: FunctionType) -> str:
        """A method that makes a context manager of something, with a counterpart or without."""
        value = returns.removeprefix("Iterator[").removesuffix("]")
        made = f"{value}._of" if value in self.known else "lambda _, value: value"
        self.module.use("contextlib", "AbstractContextManager")
        arguments = ast.unparse(definition(function).args)
        return "\n".join(
            [f"    def {name}({arguments}) -> AbstractContextManager[{value}]:",
             *docstring(inspect.getdoc(function) or "", 8),
             f"        return self._portal.within({call}, {made})\n"]
        )  # fmt: skip

    def write_function(self, function: FunctionType) -> str:
        """The counterpart of a function whose first argument is a client."""
        original = definition(function)
        head, returns = self._head(function.__name__, function)
        first = original.args.args[0].arg
        given = ", ".join(
            [self._given(each) for each in original.args.args]
            + [f"{each.arg}={self._given(each)}" for each in original.args.kwonlyargs]
        )
        how = "run" if inspect.iscoroutinefunction(function) else "iterate"
        call = f"self._portal.{how}(aio.{function.__name__}({given}))"
        lines = [head.removeprefix("    "), *docstring(inspect.getdoc(function) or "", 4),
                 f"    {self._result(returns, call)}\n"]  # fmt: skip
        return "\n".join(lines).replace("self._portal", f"{first}._portal")

    def _constructor(self) -> str:
        function = function_of(self.wrapped.cls, "__init__")
        assert function is not None
        original = definition(function)
        head, _ = self._head("__init__", function)
        arguments = original.args
        first = arguments.args[1]
        many = is_many(first.annotation)
        lines = [head]
        if many:
            lines += [
                f"        {first.arg} = list({first.arg})",
                f"        self._portal = {first.arg}[0]._portal",
            ]
        else:
            lines.append(f"        self._portal = {first.arg}._portal")
        given = ", ".join(
            [self._given(each) for each in arguments.args[1:]]
            + [f"{each.arg}={self._given(each)}" for each in arguments.kwonlyargs]
        )  # fmt: skip
        lines.append(f"        self._async = self._portal.call(lambda: {self.alias}({given}))\n")
        return "\n".join(lines)

    def _property(self, name: str, function: FunctionType) -> str:
        head, returns = self._head(name, function)
        value = f"self._async.{name}"
        return "\n".join(
            ["    @property", head, *docstring(inspect.getdoc(function) or "", 8),
             f"        {self._result(returns, value)}\n"]
        )  # fmt: skip

    def _enter(self, function: FunctionType) -> str:
        _, returns = self._head("__enter__", function)
        text = ast.unparse(returns)
        head = f"    def __enter__(self) -> {text}:"
        call = "self._portal.run(self._async.__aenter__())"
        if text == "Self":
            return f"{head}\n        {call}\n        return self\n"
        return f"{head}\n        {self._result(returns, call)}\n"

    def _exit(self) -> str:
        self.module.use("types", "TracebackType")
        how = "self._portal.leave"
        if self.wrapped.name == "Transaction":  # the end of its block sends it
            how = "(self._portal.run if kind is None else self._portal.leave)"
        if self.wrapped.name == "EventStream":  # ends with the client, which may be closed
            how = "self._portal.drop"
        return (
            "    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, "
            "traceback: TracebackType | None) -> None:\n"
            f"        {how}(self._async.__aexit__(kind, error, traceback))\n"
        )

    def _next(self, function: FunctionType) -> str:
        head, returns = self._head("__next__", function)
        result = self._result(returns, "self._portal.next(self._async)")
        return (
            f"{head}\n        try:\n            {result}\n"
            "        except StopAsyncIteration:\n            raise StopIteration from None\n"
        )

    # Values

    def _given(self, argument: ast.arg) -> str:
        """An argument for the asyncio API."""
        name, annotation = argument.arg, argument.annotation
        if annotation is None:
            return name
        text = ast.unparse(annotation)
        optional = text.endswith(" | None")
        core = text.removesuffix(" | None")
        annotation = ast.parse(core, mode="eval").body
        unwrapped: str | None = None
        if core in self.known:
            unwrapped = f"{name}._async"
        elif is_many(annotation) and any(f"[{known}" in core for known in self.known):
            unwrapped = f"[each._async for each in {name}]"
        elif core in ("WatchCallback", "StateCallback") or is_callback(annotation):
            unwrapped = f"self._portal.callback({name})"
        elif isinstance(annotation, ast.Subscript) and result_of_coroutine(annotation):
            takes = ast.unparse(annotation.slice.elts[0])[1:-1]  # type: ignore[attr-defined]
            wrap = f", {takes}._of" if takes in self.known else ""
            unwrapped = f"self._portal.in_thread({name}{wrap})"
        if unwrapped is None:
            return name
        return f"None if {name} is None else {unwrapped}" if optional else unwrapped

    def _result(self, returns: ast.expr, call: str) -> str:
        """The statement that gives the value of a call."""
        text = ast.unparse(returns)
        core = text.removesuffix(" | None")
        bare = core.partition("[")[0]
        if text == "None":
            return call
        if text == "Self":
            return f"{call}\n        return self"
        if bare in self.known or bare == "Event":
            if text == core:
                return f"return {core}._of(self._portal, {call})"
            made = f"{core}._of(self._portal, value)"
            return f"value = {call}\n        return None if value is None else {made}"
        for many in ("list", "tuple"):
            if core.startswith(f"{many}["):
                inner = core[len(many) + 1 : -1].removesuffix(", ...")
                if inner in self.known:
                    made = f"{inner}._of_all(self._portal, {call})"
                    return f"return tuple({made})" if many == "tuple" else f"return {made}"
        if core == "Callable[[], None]":
            return f"value = {call}\n        return lambda: self._portal.call(value)"
        return f"return {call}"

    def _variables(self) -> dict[str, str]:
        """What the type variables of a base stand for in this class."""
        found: dict[str, str] = {}
        for cls in self.wrapped.cls.__mro__:
            for base in getattr(cls, "__orig_bases__", ()):
                origin = typing.get_origin(base)
                if origin is not None and hasattr(origin, "__parameters__"):
                    for variable, value in zip(
                        origin.__parameters__, typing.get_args(base), strict=False
                    ):
                        if inspect.isclass(value):
                            found.setdefault(variable.__name__, value.__name__)
        return found


def _function(call: str) -> str:
    """What has a call as its effect."""
    return call.removesuffix("()") if call.endswith("()") else f"lambda: {call}"
