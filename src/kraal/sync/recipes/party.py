"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.client import Acl
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class GroupMember(Facade[aio.GroupMember]):
    """A member with an id that is its own, and data that the others see.

    See `kraal.recipes.GroupMember`.
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
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.GroupMember(zk._async, path, identifier, data, acl=acl)
        )

    @property
    def identifier(self) -> str:
        return self._async.identifier

    @property
    def path(self) -> str:
        return self._async.path

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def join(self) -> None:
        """Become a member, and wait until that is so."""
        self._portal.run(self._async.join())

    def set_data(self, data: bytes) -> None:
        """Show other data from now on, now or when the member joins."""
        self._portal.run(self._async.set_data(data))

    def members(self) -> dict[str, bytes]:
        """The data of all members, by their ids."""
        return self._portal.run(self._async.members())

    def follow(self) -> Iterator[list[str]]:
        """The ids of the members now, and again whenever some have come or gone."""
        return self._portal.iterate(self._async.follow())

    @property
    def is_member(self) -> bool:
        """Whether this member is there, as far as this client knows."""
        return self._async.is_member

    def leave(self) -> None:
        """Leave; without effect on who has not joined."""
        self._portal.end(self._async.leave())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))


class Party(Facade[aio.Party]):
    """A crowd of members, each with an identifier that need not be its own alone.

    See `kraal.recipes.Party`.
    """

    def __init__(
        self, zk: Client, path: str, identifier: str = "", *, acl: Sequence[Acl] | None = None
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.Party(zk._async, path, identifier, acl=acl))

    @property
    def identifier(self) -> str:
        return self._async.identifier

    @property
    def path(self) -> str:
        return self._async.path

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def join(self) -> None:
        """Become a member, and wait until that is so."""
        self._portal.run(self._async.join())

    def size(self) -> int:
        """How many members there are."""
        return self._portal.run(self._async.size())

    def members(self) -> list[str]:
        """The identifiers of all members, sorted."""
        return self._portal.run(self._async.members())

    def follow(self) -> Iterator[list[str]]:
        """The members now, and again whenever some have come or gone."""
        return self._portal.iterate(self._async.follow())

    @property
    def is_member(self) -> bool:
        """Whether this member is there, as far as this client knows."""
        return self._async.is_member

    def leave(self) -> None:
        """Leave; without effect on who has not joined."""
        self._portal.end(self._async.leave())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))
