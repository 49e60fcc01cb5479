"""The queue of a lock: contenders in the order of their numbers, each waiting for one other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from kraal.client import (
    Acl,
    Client,
    ConnectionLossError,
    EventType,
    NoNodeError,
    SessionExpiredError,
    WatchEvent,
    send_together,
)
from kraal.client.futures import ignore_outcome
from kraal.recipes._arguments import check_place
from kraal.recipes._background import executed, patiently
from kraal.recipes._claim import Claim
from kraal.recipes._names import Entry, Role, ahead, child, in_order


@dataclass(frozen=True, slots=True)
class Queue:
    """A directory of contenders, and what the ones of this recipe look like in it."""

    zk: Client
    path: str
    marks: tuple[str, ...]
    role: Role
    data: bytes = b""
    acl: Sequence[Acl] | None = None

    def __post_init__(self) -> None:
        check_place(self.zk, self.path)

    async def take_turn(self, *, blocking: bool = True) -> Claim | None:
        """Join the queue and wait until nobody before this contender excludes it.

        Without `blocking` None at once if somebody does. If the session ends in the meantime,
        or somebody deletes the contender's znode, it joins again, at the end. If this raises
        or is cancelled, the znodes and the watch of the contender are removed.
        """
        if not blocking and await self._is_taken():
            return None
        while True:
            claim = Claim(self.zk, self.path, self.marks, self.data, self.acl)
            # Asked right behind the creation, in the same packet: both answers come together.
            reading = asyncio.get_running_loop().create_task(self._children())
            send_together(self.zk)
            try:
                await claim.create()
                is_ours = await self._wait(claim, await reading, blocking=blocking)
            except BaseException:
                reading.add_done_callback(ignore_outcome)
                reading.cancel()
                claim.abandon()
                raise
            if is_ours:
                claim.watch()
                return claim
            await claim.delete()
            if not blocking:
                return None

    async def contenders(self) -> list[Entry]:
        """Everybody in the queue, first come first."""
        return in_order(await self._children())

    async def identifiers(self) -> list[str]:
        """What the contenders say of themselves, in the same order; see `identifiers_of`."""
        return await identifiers_of(
            self.zk, self.path, [entry.name for entry in await self.contenders()]
        )

    async def _children(self) -> list[str]:
        """The names in the directory, which may be gone with the last contender."""
        try:
            return await patiently(self.zk, partial(self.zk.get_children, self.path))
        except NoNodeError:
            return []

    async def _is_taken(self) -> bool:
        return any(
            self.role is Role.EXCLUSIVE or entry.role is Role.EXCLUSIVE
            for entry in await self.contenders()
        )

    async def _wait(self, claim: Claim, children: list[str], *, blocking: bool) -> bool:
        """Whether it is the contender's turn; False if its znodes are gone, or it may not wait.

        `children` may be older than the znodes.
        """
        if not claim.is_among(children):
            children = await self._children()
        while not claim.is_gone and claim.is_among(children):
            other = ahead(children, claim.number, self.role)
            if other is None:
                return True
            if not blocking:
                return False
            is_deleted = await self._wait_for(child(self.path, other.name), claim)
            if is_deleted and other.is_last and not claim.is_gone:
                return True
            children = await self._children()
        return False

    async def _wait_for(self, path: str, claim: Claim) -> bool:
        """Until the znode changes or is deleted, or the contender's own znodes are gone.

        Returns whether it is known to be deleted, and `claim.is_gone` as it was at that time.
        """
        woken = asyncio.Event()
        is_deleted = False

        def on_event(event: WatchEvent) -> None:
            nonlocal is_deleted
            is_deleted = event.type is EventType.DELETED
            woken.set()

        claim.on_change = woken.set
        try:
            # A read of data leaves no watch when the znode is missing, `exists` would.
            await executed(self.zk, partial(self.zk.get, path, watch=on_event))
            claim.watch()
            if not claim.is_gone:
                await woken.wait()
            await claim.watched()
        except NoNodeError:
            # Likely where locks are short; our own znodes were there a moment ago.
            is_deleted = True
        except (ConnectionLossError, SessionExpiredError):
            pass
        finally:
            claim.on_change = None
            if not is_deleted:
                self.zk.forget_watch(path, on_event)
        return is_deleted


async def identifiers_of(zk: Client, parent: str, names: Iterable[str]) -> list[str]:
    """The data of children as text, bytes that are none as U+FFFD; deleted ones are left out."""
    read = [_identifier(zk, child(parent, name)) for name in names]
    return [text for text in await asyncio.gather(*read) if text is not None]


async def _identifier(zk: Client, path: str) -> str | None:
    try:
        node = await patiently(zk, partial(zk.get, path))
    except NoNodeError:
        return None
    return node.data.decode("utf-8", "replace")
