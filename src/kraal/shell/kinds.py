"""Containers and znodes with a time to live: an admin port tells of them, the protocol does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from kraal.shell import paths
from kraal.shell.walk import Znode
from kraal.shell.znodes import NodeKind, kind_of


class Lifetime(NamedTuple):
    """What decides how long a znode lives."""

    kind: NodeKind
    ttl_ms: int | None = None


class KindSource(Protocol):
    """Where kinds come from; its methods block, and raise CommandError without an answer."""

    def among(self, path: str, prefix: str = "") -> Mapping[str, Lifetime]:
        """By name, the containers and znodes with a TTL among the children of a znode.

        Only of names that begin with `prefix`; empty, too, where there is no such znode.
        """


OpenKinds = Callable[[str], KindSource]
"""Makes one of the name of an admin port."""


class Kinds:
    """The kinds of the znodes of one walk, which meets parents before their children."""

    def __init__(self, source: KindSource | None, chroot: str = "") -> None:
        self._source = source
        self._chroot = chroot
        self._known: dict[str, Lifetime] | None = None
        """Of children whose turn is still to come, by path."""

    async def of(self, znode: Znode) -> Lifetime:
        """That of the znode whose turn has come. Raises CommandError."""
        assert znode.stat is not None
        usual = Lifetime(kind_of(znode.stat))
        if self._source is None:
            return usual
        if self._known is None:
            self._known = {}
            if znode.path != "/":
                parent, _, name = znode.path.rpartition("/")
                await self._ask(parent or "/", name)
        if znode.names:
            await self._ask(znode.path, "")
        return self._known.pop(znode.path, usual)

    async def _ask(self, path: str, prefix: str) -> None:
        assert self._source is not None
        assert self._known is not None
        whole = paths.below(self._chroot or "/", path)
        found = await asyncio.to_thread(self._source.among, whole, prefix)
        self._known |= {paths.child(path, name): what for name, what in found.items()}
