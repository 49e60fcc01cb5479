"""The lock that readers share and writers have alone."""

from __future__ import annotations

from collections.abc import Sequence

from kraal.client import Acl, Client
from kraal.recipes._names import READ_MARKS, WRITE_MARKS, Layout, Role
from kraal.recipes.errors import AlreadyHeldError
from kraal.recipes.held import Held
from kraal.recipes.lock import QueueLock


class _Side(QueueLock):
    """The read lock or the write lock of a ReadWriteLock."""

    def __repr__(self) -> str:
        return f"ReadWriteLock({self.path!r}).{_side(self._queue.role is Role.SHARED)}"

    def __str__(self) -> str:
        return f"the {_side(self._queue.role is Role.SHARED)} lock of {self.path}"

    def _again(self, held: Held) -> Held:
        if held.is_shared and self._queue.role is Role.EXCLUSIVE:
            raise AlreadyHeldError(
                f"the caller holds {self.path} as a reader: as a writer it would wait for itself"
            )
        if not self._reentrant:
            side = _side(held.is_shared)
            raise AlreadyHeldError(f"the caller holds the {side} lock of {self.path} already")
        return super()._again(held)


def _side(is_shared: bool) -> str:
    return "read" if is_shared else "write"


class ReadWriteLock:
    """`read` is a lock that any number of clients hold, `write` one that excludes all others.

        lock = ReadWriteLock(zk, "/locks/b")
        async with lock.read:
            ...
        async with lock.write as held:
            ...
            await lock.downgrade(held)

    Promised: what `Lock` promises, of a writer towards everybody and of a reader towards writers.
    The queue is one for both, and fair: a reader waits only for writers that came before it, a
    writer for everybody that did, so that neither can be kept waiting for ever by later ones, and
    no two contenders wait for each other. The release of a writer wakes all the readers that
    waited for it, and nothing else wakes more than one contender.

    A writer may become a reader without a moment in between (`downgrade`); a reader cannot become
    a writer, because two that tried would wait for each other for ever: it has to release first.
    With `reentrant` a task that writes may also `acquire` the read lock, which counts as holding
    the write lock once more.

    The other arguments are those of `Lock`. Excluded are holders of kazoo's `ReadLock` and
    `WriteLock`, of Curator's `InterProcessReadWriteLock`, and of a `Lock` with the same path.
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
        self.read: QueueLock = _Side(
            zk, path, identifier, READ_MARKS, Role.SHARED,
            layout=layout, reentrant=reentrant, strict=strict, acl=acl,
        )  # fmt: skip
        self.write: QueueLock = _Side(
            zk, path, identifier, WRITE_MARKS, Role.EXCLUSIVE,
            layout=layout, reentrant=reentrant, strict=strict, acl=acl,
        )  # fmt: skip
        self.write._held = self.read._held  # a task that waits for itself is found in both
        self._read_marks = READ_MARKS.written(layout)

    async def downgrade(self, held: Held) -> None:
        """Make a writer a reader, in one transaction: no other writer gets in between.

        `held` stays what it is, with its token, and is released as before. A cancelled
        call goes on in the background. Raises LostError if the lock is lost.
        """
        held.check()
        if not held.is_shared:
            await held.exchange(self._read_marks)
            held.check()

    async def contenders(self) -> list[str]:
        """See `Lock.contenders`; readers and writers."""
        return await self.read.contenders()
