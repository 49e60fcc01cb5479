"""The exclusive lock."""

from __future__ import annotations

from collections.abc import Sequence

from kraal.client import Acl, Client, NoNodeError
from kraal.recipes._acquirable import Acquirable
from kraal.recipes._arguments import checked_identifier
from kraal.recipes._claim import REVOKE_MESSAGE
from kraal.recipes._names import LOCK_MARKS, Layout, Marks, Role, child
from kraal.recipes._queue import Queue
from kraal.recipes.held import Held


class QueueLock(Acquirable[Held]):
    """A lock that is one queue of contenders; what the exclusive and the shared one share."""

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes,
        marks: Marks,
        role: Role,
        *,
        layout: Layout,
        reentrant: bool,
        strict: bool,
        acl: Sequence[Acl] | None,
    ) -> None:
        super().__init__(reentrant=reentrant)
        data = checked_identifier(identifier)
        self._queue = Queue(zk, path, marks.written(layout), role, data, acl)
        self._strict = strict

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._queue.path!r})"

    @property
    def path(self) -> str:
        return self._queue.path

    async def _take(self, *, blocking: bool) -> Held | None:
        claim = await self._queue.take_turn(blocking=blocking)
        if claim is None:
            return None
        return Held(claim, strict=self._strict, is_shared=self._queue.role is Role.SHARED)

    async def contenders(self) -> list[str]:
        """The identifiers of all contenders, the holder's first, then as they will follow.

        Contenders of other programs are among them.
        """
        return await self._queue.identifiers()

    async def revoke(self) -> None:
        """Ask the first contender to give up: its `Held.revoked` is set. It need not comply.

        Works with Curator's revocable locks in both directions, because it is done in the same
        way: the data of the contender's znode, its identifier, is replaced by a message.
        """
        entries = await self._queue.contenders()
        if entries:
            path = child(self.path, entries[0].name)
            try:
                await self._queue.zk.set(path, REVOKE_MESSAGE)
            except NoNodeError:
                return  # it has given up already


class Lock(QueueLock):
    """A lock that one client at a time holds, in the order in which they asked for it.

        async with Lock(zk, "/locks/a") as held:
            ...

    Promised: of all clients that use the same `path`, at most one is a holder whose session the
    servers know, and waiting ones get the lock in the order of their arrival. A holder that dies
    loses it with its session, after the session's timeout at the latest. See `Held` for what a
    holder learns and when, and for what no lock over a network can promise; see `acquire` for
    waits that are cut short.

    A release wakes one waiter. It holds the lock at once if nobody else was before it; otherwise
    it reads the directory first.

    `identifier` is what `contenders` shows of this client. With `reentrant` a task that holds the
    lock acquires it again without waiting; without, that is an AlreadyHeldError. With `strict` it
    is taken as lost when the connection is. `acl` is for the contenders' znodes; the directory is
    a container (created with the client's default ACL), which a server removes when it is empty.

    `layout` says whom this lock excludes. Whatever is there is waited for: contenders of kazoo's
    `Lock` and read and write locks, of Curator's `InterProcessMutex` and
    `InterProcessReadWriteLock` and of recipes that name their znodes as these do. The question is
    who waits for this one: with ``"kazoo"`` and ``"curator"`` the users of that library and of
    kraal, with ``"kraal"``, the default, all of them; that costs a second znode and a
    fifth of the hand-overs per second.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes = "",
        *,
        layout: Layout = "kraal",
        reentrant: bool = False,
        strict: bool = False,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        super().__init__(
            zk, path, identifier, LOCK_MARKS, Role.EXCLUSIVE,
            layout=layout, reentrant=reentrant, strict=strict, acl=acl,
        )  # fmt: skip
