"""Containers and znodes with a time to live: an admin port tells of them, the protocol does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from kraal.shell import paths
from kraal.shell.errors import CommandError
from kraal.shell.walk import Znode
from kraal.shell.znodes import NodeKind, kind_of


class Lifetime(NamedTuple):
    """What decides how long a znode lives."""

    kind: NodeKind
    ttl_ms: int | None = None


class KindSource(Protocol):
    """Where kinds come from; its methods block, and raise CommandError without an answer."""

    def among(self, path: str, prefix: str = "") -> Mapping[str, Lifetime] | None:
        """By name, the containers and znodes with a TTL among the children of a znode.

        Only of names that begin with `prefix`; None where there is no such znode.
        """


_NO_NAME = "/"
"""A prefix that no name has: it asks only whether there is such a znode."""
OpenKinds = Callable[[str], KindSource]
"""Makes one of the name of an admin port."""


class Kinds:
    """The kinds of the znodes of one walk, which meets parents before their children."""

    def __init__(self, source: KindSource | None, chroot: str = "") -> None:
        self._source = source
        self._chroot = chroot
        self._known: dict[str, Lifetime] = {}
        """Of children whose turn is still to come, by path."""

    async def begin(self, root: str) -> None:
        """Ask of the znode that the walk begins with. Raises CommandError where nobody knows it.

        That is another ensemble's server, or one that is behind: what is not known to it would
        be taken for persistent.
        """
        if self._source is None:
            return
        if root != "/":
            parent, _, name = root.rpartition("/")
            await self._ask(parent or "/", name)
        if not await self._ask(root, _NO_NAME):
            whole = paths.below(self._chroot or "/", root)
            raise CommandError(
                f"--admin: that server has no znode {whole}; is it one of this ensemble?"
            )

    async def of(self, znode: Znode) -> Lifetime:
        """That of the znode whose turn has come. Raises CommandError."""
        assert znode.stat is not None
        usual = Lifetime(kind_of(znode.stat))
        if self._source is None:
            return usual
        if znode.names:
            await self._ask(znode.path, "")
        return self._known.pop(znode.path, usual)

    async def _ask(self, path: str, prefix: str) -> bool:
        """Whether there is such a znode; it may be deleted before its turn comes."""
        assert self._source is not None
        whole = paths.below(self._chroot or "/", path)
        found = await asyncio.to_thread(self._source.among, whole, prefix)
        if found is None:
            return False
        self._known |= {paths.child(path, name): what for name, what in found.items()}
        return True
