"""Bugs on purpose in the client and its recipes: what the scenarios must find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count
from typing import Any

from kraal.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    EventType,
    Node,
    Stat,
    WatchEvent,
)
from kraal.client.connection import Connection
from kraal.client.session import SessionKeeper
from kraal.client.watches import WatchTable
from kraal.recipes import (
    Barrier,
    DelayQueue,
    DoubleBarrier,
    Held,
    Item,
    Lease,
    Partitioner,
    PersistentNode,
    Semaphore,
    TreeCache,
    _queue,
    counter,
    key_value,
    locking_queue,
    unique_ids,
)
from kraal.recipes._claim import Claim
from kraal.recipes._names import Ahead, Role
from kraal.recipes.queues import Entry, EntryQueue
from kraal.sim.bugs import Bug, patched


def _resend_silently() -> AbstractContextManager[None]:
    """What was sent and not answered is sent again on the next connection."""

    def lost(
        sound: Callable[..., None],
        keeper: SessionKeeper,
        connection: Connection,
        error: Exception | None,
    ) -> None:
        keeper._outbox.extendleft(reversed(connection.take_pending()))
        sound(keeper, connection, error)

    return patched(SessionKeeper, "lost", lost)


def _no_gap() -> AbstractContextManager[None]:
    """Nobody is told that persistent watches may have missed something."""

    def gap(_sound: Callable[..., None], *_args: Any, **_kwargs: Any) -> None:
        pass

    return patched(WatchTable, "gap", gap)


def _lose_event() -> AbstractContextManager[None]:
    """One-shot watches on children are not told every time."""

    def fire(
        sound: Callable[..., None], table: WatchTable, number: int, path: bytes, zxid: int
    ) -> None:
        if number != EventType.CHILDREN.value or zxid % 4:
            sound(table, number, path, zxid)

    return patched(WatchTable, "fire", fire)


def _keep_watch() -> AbstractContextManager[None]:
    """A watch that nobody wants any more stays on the server."""

    def forget(_sound: Callable[..., None], *_args: Any) -> None:
        pass

    return patched(SessionKeeper, "_forget", forget)


# Recipes


def _hold_on() -> AbstractContextManager[None]:
    """Who holds a lock never learns that it is lost."""

    def check(_sound: Callable[..., None], _held: Held) -> None:
        pass

    return patched(Held, "check", check)


def _jump_the_queue() -> AbstractContextManager[None]:
    """Sometimes nobody is seen to be first."""

    def ahead(
        sound: Callable[..., Ahead | None], children: Sequence[str], number: int, role: Role
    ) -> Ahead | None:
        return None if number % 8 == 6 else sound(children, number, role)

    return patched(_queue, "ahead", ahead)


def _one_too_many() -> AbstractContextManager[None]:
    """A semaphore has a place more than its users were told."""

    def make(
        sound: Callable[..., None], semaphore: Semaphore, zk: Client, path: str, limit: int,
        *args: Any,
    ) -> None:  # fmt: skip
        sound(semaphore, zk, path, limit + 1, *args)

    return patched(Semaphore, "__init__", make)


def _hurry() -> AbstractContextManager[None]:
    """Each look at the leader's clock finds it a minute ahead."""
    looks = count(1)

    async def leader_time(sound: Callable[..., Any], lease: Lease, lock: Held) -> float:
        return float(await sound(lease, lock)) + 60 * next(looks)

    return patched(Lease, "_leader_time", leader_time)


def _token_of_the_reader() -> AbstractContextManager[None]:
    """A writer that becomes a reader gets a token above those of writers that wait already."""

    async def exchange(sound: Callable[..., Any], claim: Claim, marks: tuple[str, ...]) -> None:
        claim.token = -1
        await sound(claim, marks)

    return patched(Claim, "exchange", exchange)


def _add_again() -> AbstractContextManager[None]:
    """An addition whose reply is lost is made again."""

    async def set_if(
        _sound: Callable[..., Any], zk: Client, path: str, data: bytes, version: int
    ) -> Stat:
        try:
            return await zk.set(path, data, version=version)
        except ConnectionLossError:
            raise BadVersionError(path=path) from None

    return patched(counter, "set_if", set_if)


def _open_barrier() -> AbstractContextManager[None]:
    """Nobody waits at a barrier."""

    async def wait(_sound: Callable[..., Any], _barrier: Barrier) -> None:
        pass

    return patched(Barrier, "wait", wait)


def _leave_early() -> AbstractContextManager[None]:
    """Who has finished does not wait for the others."""

    async def is_over(_sound: Callable[..., Any], _barrier: DoubleBarrier) -> bool:
        return True

    return patched(DoubleBarrier, "_is_over", is_over)


def _leave_behind() -> AbstractContextManager[None]:
    """Who gives up waiting leaves its znodes in the queue."""

    def abandon(_sound: Callable[..., None], _claim: Claim) -> None:
        pass

    return patched(Claim, "abandon", abandon)


def _take_without_deleting() -> AbstractContextManager[None]:
    """An item that is taken stays in the queue."""

    async def remove(_sound: Callable[..., Any], _queue: EntryQueue, *_item: Any) -> bool:
        return True

    return patched(EntryQueue, "_remove", remove)


def _take_for_nobody() -> AbstractContextManager[None]:
    """What was taken for somebody who has given up is not put back."""

    async def undo(
        _sound: Callable[..., Any], _queue: EntryQueue, removal: Awaitable[bool], *_item: Any
    ) -> None:
        await removal

    return patched(EntryQueue, "_undo", undo)


def _take_any() -> AbstractContextManager[None]:
    """The last item comes first."""

    async def entries(sound: Callable[..., Any], queue: EntryQueue) -> list[Entry]:
        return list(reversed(await sound(queue)))

    return patched(EntryQueue, "_entries", entries)


def _take_early() -> AbstractContextManager[None]:
    """Nobody looks at the clock."""

    async def available(_sound: Callable[..., Any], queue: DelayQueue) -> list[Entry]:
        return await queue._entries()

    return patched(DelayQueue, "_available", available)


def _consume_in_words() -> AbstractContextManager[None]:
    """A consumed item stays in the queue."""

    async def consume(_sound: Callable[..., Any], item: Item) -> None:
        await item.release()

    return patched(Item, "_consume", consume)


def _stay_away() -> AbstractContextManager[None]:
    """Who was a member before its session ended does not come back."""

    async def write(sound: Callable[..., Any], node: PersistentNode) -> None:
        if node._written is None:
            await sound(node)

    return patched(PersistentNode, "_assert", write)


def _overlook_gaps() -> AbstractContextManager[None]:
    """A cache does not read again what it may have missed."""

    def on_event(sound: Callable[..., None], cache: TreeCache, event: WatchEvent) -> None:
        if event.type is not EventType.GAP:
            sound(cache, event)

    return patched(TreeCache, "_on_event", on_event)


def _leave_one_out() -> AbstractContextManager[None]:
    """Nobody cares for the last partition."""

    def plan(
        sound: Callable[..., None], partitioner: Partitioner, members: Sequence[str], me: str
    ) -> None:
        partitioner.partitions = partitioner.partitions[:4]
        sound(partitioner, members, me)

    return patched(Partitioner, "_plan", plan)


def _reserve_together() -> AbstractContextManager[None]:
    """Who is not the first to reserve a block takes it all the same."""

    async def set_if(
        sound: Callable[..., Any], zk: Client, path: str, data: bytes, version: int
    ) -> None:
        with suppress(BadVersionError):
            await sound(zk, path, data, version)

    return patched(unique_ids, "set_if", set_if)


def _deny() -> AbstractContextManager[None]:
    """A change whose reply is lost is called refused."""

    async def set_if(
        _sound: Callable[..., Any], zk: Client, path: str, data: bytes, version: int
    ) -> Stat:
        try:
            return await zk.set(path, data, version=version)
        except ConnectionLossError:
            raise BadVersionError(path=path) from None

    return patched(key_value, "set_if", set_if)


def _look_at_once() -> AbstractContextManager[None]:
    """A snapshot is what the cache has, in the middle of a burst, too."""

    async def snapshot(_sound: Callable[..., Any], cache: TreeCache) -> dict[str, Node]:
        return {path: node for path in cache if (node := cache.get(path))}

    return patched(TreeCache, "snapshot", snapshot)


# Bugs that the simulation has found, brought back.


def _release_anybody() -> AbstractContextManager[None]:
    """Who releases an item again, in doubt, releases the next holder's as well."""

    async def delete_one(_sound: Callable[..., Any], claim: Claim, path: str) -> None:
        await Claim._delete_one(claim, path)

    return patched(locking_queue._ItemClaim, "_delete_one", delete_one)


def _drop_at_the_door() -> AbstractContextManager[None]:
    """An item is lost if who gets it is cancelled while its watch is being removed."""

    async def put_back(_sound: Callable[..., Any], _queue: EntryQueue, _item: Any) -> None:
        pass

    return patched(EntryQueue, "_put_back", put_back)


RECIPE_BUGS: Mapping[str, Bug] = {
    "resend silently": _resend_silently,
    "no gap": _no_gap,
    "lose an event": _lose_event,
    "keep a watch": _keep_watch,
    "hold on": _hold_on,
    "jump the queue": _jump_the_queue,
    "one too many": _one_too_many,
    "hurry": _hurry,
    "token of the reader": _token_of_the_reader,
    "add again": _add_again,
    "open barrier": _open_barrier,
    "leave early": _leave_early,
    "leave behind": _leave_behind,
    "take without deleting": _take_without_deleting,
    "take for nobody": _take_for_nobody,
    "take any": _take_any,
    "take early": _take_early,
    "consume in words": _consume_in_words,
    "stay away": _stay_away,
    "overlook gaps": _overlook_gaps,
    "leave one out": _leave_one_out,
    "reserve together": _reserve_together,
    "deny": _deny,
    "look at once": _look_at_once,
    "release anybody": _release_anybody,
    "drop at the door": _drop_at_the_door,
}
