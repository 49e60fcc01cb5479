"""Keys and values: a znode's children as a dictionary that many clients share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, unquote

from kraal.client import BadVersionError, Client, Node, NodeExistsError, NoNodeError
from kraal.recipes._arguments import check_place
from kraal.recipes._background import patiently
from kraal.recipes._conditional import create_if_missing, set_if
from kraal.recipes._names import child
from kraal.recipes.cache import ChildrenCache
from kraal.recipes.counter import Versioned
from kraal.recipes.following import follow, names_of, read


class KeyChange(NamedTuple):
    """A key and the value that it has now; None if it was deleted."""

    key: str
    value: Versioned | None


class KeyValue:
    """Values by keys of any text, each with a version::

        store = KeyValue(zk, "/settings")
        await store.set("colour", b"red")
        now = await store.get("colour")
        await store.compare_and_set("colour", b"blue", now.version)

    A key is the name of a znode below `path`, in which the bytes of all but ASCII letters, digits
    and ``_.-~`` are written as %XX, with capitals: "a b/c" is ``a%20b%2Fc``. A znode with a name
    that no key has (``é``, ``a b``, ``%41``) is none of the store's, and left alone.

    Operations wait for a connection if need be. `set` and `delete` are repeated when their reply
    is lost, `compare_and_set` never takes effect twice.
    """

    def __init__(self, zk: Client, path: str) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path

    def __repr__(self) -> str:
        return f"KeyValue({self.path!r})"

    async def get(self, key: str) -> Versioned | None:
        """The value of a key, or None."""
        return _value(await patiently(self._zk, partial(read, self._zk, self._path(key))))

    async def set(self, key: str, data: bytes) -> int:
        """Give a key this value, whatever it had; returns the version."""
        return await patiently(self._zk, partial(self._set, self._path(key), data))

    async def delete(self, key: str, *, version: int = -1) -> bool:
        """Delete a key, if it has this version (-1: any). Returns whether it is gone.

        So True as well for a key that was not there.
        """
        try:
            await patiently(self._zk, partial(self._zk.delete, self._path(key), version=version))
        except NoNodeError:
            return True
        except BadVersionError:
            return False
        return True

    async def compare_and_set(self, key: str, data: bytes, version: int) -> int | None:
        """Replace the value of this version; -1: create the key. None if it has another one.

        Returns the new version. Raises ConnectionLossError if a lost reply leaves in doubt
        whether it has happened (see `Counter`).
        """
        path = self._path(key)
        if not isinstance(version, int):
            raise TypeError(f"version must be an int, -1 for a new key, not {version!r:.100}")
        if version < 0:
            return 0 if await create_if_missing(self._zk, path, data) else None
        try:
            return (await set_if(self._zk, path, data, version)).version
        except (BadVersionError, NoNodeError):
            return None

    async def keys(self) -> list[str]:
        """All keys, sorted."""
        names = await patiently(self._zk, partial(names_of, self._zk, self.path))
        keys = (_key(name) for name in names or [])
        return sorted(key for key in keys if key is not None)

    async def items(self) -> dict[str, Versioned]:
        """All keys and their values, each read by itself."""
        keys = await self.keys()
        values = await asyncio.gather(*map(self.get, keys))
        pairs = zip(keys, values, strict=True)
        return {key: value for key, value in pairs if value is not None}

    async def watch(self, key: str) -> AsyncGenerator[Versioned | None, None]:
        """The value now, and again whenever it has changed; see `kraal.recipes.follow`."""
        async with aclosing(follow(self._zk, self._path(key))) as changes:
            async for node in changes:
                yield _value(node)

    async def changes(self) -> AsyncGenerator[KeyChange, None]:
        """Every key with its value, and from then on those that change.

        The last value of each key is never missed; a slow reader does not get every one before.
        """
        async with (
            ChildrenCache(self._zk, self.path) as cache,
            aclosing(cache.changes()) as changes,
        ):
            async for change in changes:
                key = _key(change.path.rpartition("/")[2])
                if change.path != self.path and key is not None:
                    yield KeyChange(key, _value(change.node))

    async def _set(self, path: str, data: bytes) -> int:
        while True:
            try:
                return (await self._zk.set(path, data)).version
            except NoNodeError:
                pass
            try:
                await self._zk.create(path, data, make_parents=True)
            except NodeExistsError:
                continue
            return 0

    def _path(self, key: str) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key is text, not {key!r:.100}")
        if not key:
            raise ValueError("a key must not be empty")
        return child(self.path, _name(key))


def _name(key: str) -> str:
    """The name of a key's znode. Raises ValueError for text without a UTF-8 form."""
    name = quote(key, safe="")
    if not name.strip("."):
        name = name.replace(".", "%2E")  # "." and ".." are no names
    return name


def _key(name: str) -> str | None:
    """The only key whose znode has this name; None: there is none."""
    key = unquote(name)
    return key if _name(key) == name else None


def _value(node: Node | None) -> Versioned | None:
    return None if node is None else Versioned(node.data, node.stat.version)
