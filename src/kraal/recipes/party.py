"""Who is there: parties and groups, whose members come back after their session has expired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from kraal.client import Acl, Client, NoNodeError
from kraal.client.client import check_creation
from kraal.recipes._arguments import check_data, check_name, check_place, checked_identifier
from kraal.recipes._background import patiently
from kraal.recipes._claim import new_prefix
from kraal.recipes._names import child
from kraal.recipes.following import follow_children, names_of
from kraal.recipes.persistent_node import PersistentNode

PARTY_MARK = "__party__"


class _Member:
    """What both kinds of groups share: one ephemeral for each member below a path."""

    def __init__(self, zk: Client, path: str, acl: Sequence[Acl] | None) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._acl = acl
        self._node: PersistentNode | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @property
    def is_member(self) -> bool:
        """Whether this member is there, as far as this client knows."""
        return self._node is not None and self._node.is_present

    async def leave(self) -> None:
        """Leave; without effect on who has not joined."""
        node, self._node = self._node, None
        if node is not None:
            await node.close()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    async def _join(self, name: str, data: bytes) -> None:
        if self._node is not None and self._node.is_running:
            await self._node.ready()
            return
        node = PersistentNode(self._zk, child(self.path, name), data, acl=self._acl)
        await node.start()
        try:
            await node.ready()
        except BaseException:
            await node.close()
            raise
        self._node = node

    async def _read_names(self) -> list[str]:
        async def look() -> list[str]:
            return await names_of(self._zk, self.path) or []

        return await patiently(self._zk, look)

    async def _read_data(self, name: str) -> bytes | None:
        async def look() -> bytes | None:
            try:
                return (await self._zk.get(child(self.path, name))).data
            except NoNodeError:
                return None

        return await patiently(self._zk, look)


class Party(_Member):
    """A crowd of members, each with an identifier that need not be its own alone::

        async with Party(zk, "/parties/workers", "host-1") as party:
            print(await party.members())

    A member stays until it leaves or its session ends; after an expiry it joins again by itself.
    kazoo's `Party` has the same znodes.
    """

    def __init__(
        self, zk: Client, path: str, identifier: str = "", *, acl: Sequence[Acl] | None = None
    ) -> None:
        super().__init__(zk, path, acl)
        if not isinstance(identifier, str):
            raise TypeError(f"an identifier is text, not {identifier!r:.100}")
        self._data = checked_identifier(identifier)
        self.identifier = identifier

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def join(self) -> None:
        """Become a member, and wait until that is so."""
        unique = (await new_prefix(self._zk)).removeprefix("_c_").replace("-", "")
        await self._join(unique + PARTY_MARK, self._data)

    async def size(self) -> int:
        """How many members there are."""
        return sum(PARTY_MARK in name for name in await self._read_names())

    async def members(self) -> list[str]:
        """The identifiers of all members, sorted."""
        return await self._identifiers(await self._read_names())

    async def follow(self) -> AsyncGenerator[list[str], None]:
        """The members now, and again whenever some have come or gone."""
        async with aclosing(follow_children(self._zk, self.path)) as changes:
            async for names in changes:
                # Of these names: what is told next is what differs from them.
                yield await self._identifiers(names or [])

    async def _identifiers(self, names: list[str]) -> list[str]:
        read = (self._read_data(name) for name in names if PARTY_MARK in name)
        found = await asyncio.gather(*read)
        return sorted(data.decode("utf-8", "replace") for data in found if data is not None)


class GroupMember(_Member):
    """A member with an id that is its own, and data that the others see::

        async with GroupMember(zk, "/groups/cache", "host-1", b"10.0.0.1:80") as member:
            print(await member.members())        # {"host-1": b"10.0.0.1:80", ...}

    Who joins with an id that another session has, waits until that one is gone, and logs so once.
    Within one client an id is joined once; RecipeError for another. After an expiry a member comes
    back by itself. Curator's `GroupMember` has the same znodes.

    The id is the name of the member's znode: ValueError for what can be none, such as "a/b".
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str,
        data: bytes = b"",
        *,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        super().__init__(zk, path, acl)
        check_name(identifier)
        check_data(data)
        self.identifier = identifier
        self._data = data

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def join(self) -> None:
        """Become a member, and wait until that is so."""
        await self._join(self.identifier, self._data)

    async def set_data(self, data: bytes) -> None:
        """Show other data from now on, now or when the member joins.

        Raises BadArgumentsError, and changes nothing, for what is too long for one request.
        """
        check_data(data)
        check_creation(self._zk, child(self.path, self.identifier), data, self._acl)
        self._data = data
        if self._node is not None:
            await self._node.set_data(data)

    async def members(self) -> dict[str, bytes]:
        """The data of all members, by their ids."""
        names = await self._read_names()
        read = await asyncio.gather(*(self._read_data(name) for name in names))
        pairs = zip(names, read, strict=True)
        return {name: data for name, data in pairs if data is not None}

    async def follow(self) -> AsyncGenerator[list[str], None]:
        """The ids of the members now, and again whenever some have come or gone."""
        async with aclosing(follow_children(self._zk, self.path)) as changes:
            async for names in changes:
                yield names or []
