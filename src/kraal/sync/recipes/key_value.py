"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from kraal import recipes as aio
from kraal.recipes import KeyChange, Versioned
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class KeyValue(Facade[aio.KeyValue]):
    """Values by keys of any text, each with a version.

    See `kraal.recipes.KeyValue`.
    """

    def __init__(self, zk: Client, path: str) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.KeyValue(zk._async, path))

    @property
    def path(self) -> str:
        return self._async.path

    def get(self, key: str) -> Versioned | None:
        """The value of a key, or None."""
        return self._portal.run(self._async.get(key))

    def set(self, key: str, data: bytes) -> int:
        """Give a key this value, whatever it had; returns the version."""
        return self._portal.run(self._async.set(key, data))

    def delete(self, key: str, *, version: int = -1) -> bool:
        """Delete a key, if it has this version (-1: any). Returns whether it is gone."""
        return self._portal.run(self._async.delete(key, version=version))

    def compare_and_set(self, key: str, data: bytes, version: int) -> int | None:
        """Replace the value of this version; -1: create the key. None if it has another one."""
        return self._portal.run(self._async.compare_and_set(key, data, version))

    def keys(self) -> list[str]:
        """All keys, sorted."""
        return self._portal.run(self._async.keys())

    def items(self) -> dict[str, Versioned]:
        """All keys and their values, each read by itself."""
        return self._portal.run(self._async.items())

    def watch(self, key: str) -> Iterator[Versioned | None]:
        """The value now, and again whenever it has changed; see `kraal.recipes.follow`."""
        return self._portal.iterate(self._async.watch(key))

    def changes(self) -> Iterator[KeyChange]:
        """Every key with its value, and from then on those that change."""
        return self._portal.iterate(self._async.changes())
