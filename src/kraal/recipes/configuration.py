"""Configuration that is published once and arrives everywhere, typed and with its history."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar, cast

from kraal.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    Get,
    NoAuthError,
    Node,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    TransactionError,
)
from kraal.recipes._arguments import check_count, check_place
from kraal.recipes._background import executed, in_background, patiently
from kraal.recipes._claim import new_prefix
from kraal.recipes._conditional import ensure, read_latest
from kraal.recipes._names import child
from kraal.recipes._service import Service, logger
from kraal.recipes._typed_json import Json, from_json, to_json
from kraal.recipes.cache import TreeCache
from kraal.recipes.errors import RecipeError
from kraal.recipes.following import names_of

T = TypeVar("T")


class Edition(NamedTuple, Generic[T]):
    """A configuration and its version; versions count from 1, and 0 is the default."""

    value: T
    version: int


class PastEdition(NamedTuple):
    """An entry of the history."""

    version: int
    comment: str
    values: Mapping[str, Json]
    """The fields as JSON: the dataclass may have been another one then."""


class _State(NamedTuple):
    """What is published now, as it was read."""

    version: int
    root: Node
    fields: dict[str, Node]


class Config(Service, Generic[T]):
    """A dataclass whose value all clients share::

        @dataclass(frozen=True)
        class Settings:
            workers: int = 4
            mode: Literal["fast", "safe"] = "safe"

        async with Config(zk, "/config/app", Settings) as config:
            await config.ready()
            print(config.current.value.workers)
            async for edition in config.changes():
                apply(edition.value)

        await config.update(lambda old: replace(old, workers=8), "more traffic")

    Each field is a znode of its own below `path`/values, with JSON, and can be read and written
    by every tool. `publish` and `update` write all fields that differ in one transaction, so that
    a reader never sees a mixture of two versions. What is read is checked against the types of
    the dataclass (see `__post_init__` of dataclasses for rules of your own): an invalid
    configuration is logged, and the last valid one stays. Fields that are missing have their
    defaults; unknown ones are left alone, so that programs of different age can share them.

    The last `keep` versions are below `path`/history, and `roll_back` publishes one again.
    Writing does not need a started object; after `close` it raises NotRunningError.
    """

    def __init__(
        self, zk: Client, path: str, kind: type[T], *, default: T | None = None, keep: int = 20
    ) -> None:
        super().__init__()
        if not dataclasses.is_dataclass(kind):
            raise TypeError(f"{kind!r} is no dataclass")
        if default is not None and not isinstance(default, kind):
            raise TypeError(f"the default is a {kind.__name__}, not {default!r:.100}")
        check_count("keep", keep)
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self.kind = kind
        self.default = default
        self.keep = keep
        self._values = child(path, "values")
        self._history = child(path, "history")
        self._current: Edition[T] | None = None if default is None else Edition(default, 0)
        self._is_ready = False
        self._cache = TreeCache(zk, self._values, max_depth=1)
        self._taken: tuple[Mapping[str, Node], frozenset[str]] = ({}, frozenset())
        """What `_current` was made from: a snapshot of the cache, and what is unreadable."""
        self._written = self._shown = 0
        """How many versions this object has published, and of how many `ready` knows that they,
        or later ones, have arrived."""
        self.problem: str | None = None
        """Why the configuration that is published now is not valid, if it is not."""

    def __repr__(self) -> str:
        return f"Config({self.path!r}, {self.kind.__name__})"

    # Reading

    @property
    def current(self) -> Edition[T]:
        """The last valid configuration that has arrived, or the default.

        Raises RecipeError if there is neither.
        """
        if self._current is None:
            raise RecipeError(f"no valid configuration at {self.path}: {self.problem}")
        return self._current

    async def ready(self) -> Edition[T]:
        """Wait until it is known what is published, and return `current`.

        After a `publish`, `update` or `roll_back` of this object that is what it has published, or
        what has followed.
        """
        self._check()
        await self._until(lambda: self._is_ready)
        while self._shown < self._written:
            written = self._written
            await self._cache.sync()
            self._take(await self._cache.snapshot(), self._cache.unreadable)
            self._shown = max(self._shown, written)
        return self.current

    async def changes(self) -> AsyncGenerator[Edition[T], None]:
        """The configuration now, if there is a valid one, and each that follows.

        A slow reader gets to the last one, without all those before. Ends with `close`.
        """
        seen: Edition[T] | None = None
        while True:
            if self._is_ready and self._current is not None and self._current != seen:
                seen = self._current
                yield seen
                continue
            if self._is_closed:
                return
            self._check()
            await self._changed.wait()

    async def history(self) -> list[PastEdition]:
        """The versions that are kept, latest first."""
        names = await patiently(self._zk, partial(names_of, self._zk, self._history))
        paths = [child(self._history, name) for name in reversed(names or [])]
        read = await asyncio.gather(*(read_latest(self._zk, path) for path in paths))
        return [_past(node.data) for node in read if node is not None]

    # Writing

    async def publish(self, value: T, comment: str = "", *, expected: int | None = None) -> int:
        """Publish a configuration, and return its version.

        If `expected` is given that must be the version now, or BadVersionError is raised. Raises
        TypeError for what is no instance of the dataclass, ValueError for one that does not fit
        its types or has no form in JSON, NotRunningError after `close`.

        Lost replies are resolved: it is published once. Only if `keep` others have followed
        meanwhile it stays in doubt, and ConnectionLossError is raised.
        """
        return (await self._publish(lambda _: value, comment, expected)).version

    async def update(self, change: Callable[[T], T], comment: str = "") -> Edition[T]:
        """Publish what `change` makes of the configuration, or of the default if there is none.

        `change` is called again if somebody else was faster. Raises RecipeError if there is
        neither, ValueError if what is published is not valid, and the rest as `publish`. What is
        returned is the value as readers get it: an int in a field of type float is a float.
        """
        return await self._publish(lambda state: change(self._value_of(state)), comment, None)

    async def roll_back(self, version: int, comment: str = "") -> int:
        """Publish an earlier version again, under a new number, which is returned.

        Raises RecipeError if that version is not kept any more, ValueError if it is not valid,
        NotRunningError after `close`.
        """
        if type(version) is not int:
            raise TypeError(f"a version is an int, not {version!r:.100}")
        self._check_open()
        node = await read_latest(self._zk, self._past_path(version))
        if node is None:
            raise RecipeError(f"version {version} of {self.path} is not kept")
        value = self._decode(dict(_past(node.data).values))
        return await self.publish(value, comment or f"back to version {version}")

    def _check_open(self) -> None:
        """Writing needs no `start`, but after `close` it is over as well."""
        if self._task is not None and not self.is_running:
            self._check()

    async def _publish(
        self, make: Callable[[_State], T], comment: str, expected: int | None
    ) -> Edition[T]:
        edition = await self._write(make, comment, expected)
        self._written += 1
        return edition

    async def _write(
        self, make: Callable[[_State], T], comment: str, expected: int | None
    ) -> Edition[T]:
        if not isinstance(comment, str):
            raise TypeError(f"a comment is text, not {comment!r:.100}")
        self._check_open()
        mark = await new_prefix(self._zk)
        while True:
            state = await patiently(self._zk, self._read)
            if expected is not None and state.version != expected:
                raise BadVersionError(path=self.path)
            fields = self._encode(make(state))
            edition = Edition(self._decode(fields), state.version + 1)  # as readers will see it
            try:
                await executed(self._zk, partial(self._send, state, fields, comment, mark))
            except SessionExpiredError:
                await self._zk.wait_connected()
            except ConnectionLossError as error:
                await self._zk.wait_connected()
                # In this order: what is not there yet may be another's in the next moment.
                if error.sent and await self._is_past(edition.version):
                    record = await read_latest(self._zk, self._past_path(edition.version))
                    if record is None:
                        raise  # others have followed, and it is not kept any more
                    if json.loads(record.data).get("mark") == mark:
                        return edition
            except TransactionError as error:
                if not isinstance(error.error, BadVersionError | NodeExistsError | NoNodeError):
                    raise error.error from None
                if isinstance(error.error, NoNodeError):
                    await ensure(self._zk, self._history)  # who made the values got no further
            else:
                return edition

    async def _send(
        self, state: _State, fields: Mapping[str, Json], comment: str, mark: str
    ) -> None:
        """Write a version in one transaction, if nothing has changed since `state` was read."""
        version = state.version + 1
        record = {"version": version, "comment": comment, "mark": mark, "values": fields}
        async with self._zk.transaction() as transaction:
            transaction.set(
                self._values, _dump({"version": version}), version=state.root.stat.version
            )
            for name, value in fields.items():
                path, node, data = child(self._values, name), state.fields.get(name), _dump(value)
                if node is None:
                    transaction.create(path, data)
                elif node.data == data:
                    transaction.check(path, node.stat.version)
                else:
                    transaction.set(path, data, version=node.stat.version)
            transaction.create(self._past_path(version), _dump(record))
        in_background(self._prune(version))

    async def _prune(self, version: int) -> None:
        """Delete what is too old to be kept; others may be doing so, too."""
        names = await patiently(self._zk, partial(names_of, self._zk, self._history))
        for name in names or []:
            if name.isdecimal() and int(name) <= version - self.keep:
                with suppress(NoNodeError):
                    path = child(self._history, name)
                    await patiently(self._zk, partial(self._zk.delete, path))

    async def _is_past(self, version: int) -> bool:
        root = await read_latest(self._zk, self._values)
        return root is not None and _version(root) >= version

    async def _read(self) -> _State:
        """What is published now; makes the path if it is missing."""
        while True:
            try:
                root = await self._zk.get(self._values)
                names = await self._zk.get_children(self._values)
            except NoNodeError:
                # In this order: where there are values there must be room for their history.
                await ensure(self._zk, self._history)
                await ensure(self._zk, self._values, _dump({"version": 0}))
                continue
            read = await self._zk.multi_read([Get(child(self._values, name)) for name in names])
            if (await self._zk.get(self._values)).stat.mzxid != root.stat.mzxid:
                continue  # half of it may be of the next version
            if refused := [error for error in read if isinstance(error, NoAuthError)]:
                raise refused[0]  # not to be taken for a field that is missing
            pairs = zip(names, read, strict=True)
            fields = {name: node for name, node in pairs if isinstance(node, Node)}
            return _State(_version(root), root, fields)

    def _value_of(self, state: _State) -> T:
        """The value of a state, or the default if nothing was published yet."""
        if not state.fields:
            if self.default is None:
                raise RecipeError(f"nothing is published at {self.path}, and there is no default")
            return self.default
        return self._decode(_fields(state.fields))

    def _decode(self, fields: dict[str, Json]) -> T:
        return from_json(self.kind, fields, self.kind.__name__)

    def _encode(self, value: T) -> dict[str, Json]:
        if not isinstance(value, self.kind):
            raise TypeError(f"a {self.kind.__name__} is published, not {value!r:.100}")
        written = cast("dict[str, Json]", to_json(value))
        known = dataclasses.fields(self.kind)  # type: ignore[arg-type]
        return {field.name: written[field.name] for field in known}  # a subclass may have more

    def _past_path(self, version: int) -> str:
        return child(self._history, f"{version:010d}")

    # Following

    async def _run(self) -> None:
        async with self._cache as cache, aclosing(cache.changes()) as changes:
            await cache.ready()
            self._take(await cache.snapshot(), cache.unreadable)
            async for _ in changes:
                self._take(await cache.snapshot(), cache.unreadable)

    def _take(self, snapshot: Mapping[str, Node], unreadable: frozenset[str]) -> None:
        """Decode what has arrived, and tell of it if it is new."""
        if self._is_ready and self._taken == (snapshot, unreadable):
            return
        self._taken = snapshot, unreadable
        root = snapshot.get(self._values)
        nodes = {
            path.rpartition("/")[2]: node for path, node in snapshot.items() if path != self._values
        }
        self.problem = None
        if unreadable:
            self.problem = f"this client may not read {', '.join(sorted(unreadable))}"
        elif root is None or not nodes:
            self.problem = "nothing is published"
            self._current = None if self.default is None else Edition(self.default, 0)
        else:
            try:
                edition = Edition(self._decode(_fields(nodes)), _version(root))
            except (ValueError, RecipeError) as error:
                self.problem = str(error)
                logger.warning("the configuration at %s is not valid: %s", self.path, error)
            else:
                self._current = edition
        self._is_ready = True
        self._tell()


def _dump(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _fields(nodes: Mapping[str, Node]) -> dict[str, Json]:
    """Raises ValueError for what is no JSON."""
    return {name: json.loads(node.data) for name, node in nodes.items()}


def _version(root: Node) -> int:
    try:
        return int(json.loads(root.data)["version"])
    except (ValueError, TypeError, KeyError):
        raise RecipeError(f"{root.data!r} is not the version of a configuration") from None


def _past(data: bytes) -> PastEdition:
    try:
        fields = json.loads(data)
        return PastEdition(int(fields["version"]), str(fields["comment"]), dict(fields["values"]))
    except (ValueError, TypeError, KeyError):
        raise RecipeError(f"{data!r} is no version of a configuration") from None
