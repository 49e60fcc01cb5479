"""The leader latch: whether this client leads, at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kraal.client import Acl, Client
from kraal.recipes._arguments import checked_identifier
from kraal.recipes._names import LATCH_MARKS, Layout, Role
from kraal.recipes._queue import Queue
from kraal.recipes._service import Service
from kraal.recipes.errors import NotHeldError
from kraal.recipes.held import Held


class Participant(NamedTuple):
    """One of those who take part."""

    identifier: str
    is_leader: bool


class LeaderLatch(Service):
    """Takes part in an election from `start` to `close`, and says whether this client leads.

        async with LeaderLatch(zk, "/elections/scheduler", "host-1") as latch:
            leadership = await latch.wait_leading()
            ...

    Who leads does so until it closes, or loses its leadership as `Held` describes; then it takes
    part again by itself, at the end of the queue. The promises are those of `LeaderElection`.
    Excluded are leaders of Curator's `LeaderLatch` and of kazoo's `Election`, unless `layout`
    says otherwise.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        identifier: str | bytes = "",
        *,
        layout: Layout = "kraal",
        strict: bool = False,
        acl: Sequence[Acl] | None = None,
    ) -> None:
        super().__init__()
        data = checked_identifier(identifier)
        self._queue = Queue(zk, path, LATCH_MARKS.written(layout), Role.EXCLUSIVE, data, acl)
        self._strict = strict
        self._leadership: Held | None = None
        self._listeners: dict[object, Callable[[bool], None]] = {}

    def __repr__(self) -> str:
        return f"LeaderLatch({self._queue.path!r})"

    @property
    def leadership(self) -> Held | None:
        """The leadership of this client, with its token and whether it is sure, if it leads."""
        leadership = self._leadership
        return None if leadership is None or leadership.lost.is_set() else leadership

    @property
    def is_leading(self) -> bool:
        """Whether this client leads, as far as it knows; see `Held.is_sure`."""
        return self.leadership is not None

    @property
    def token(self) -> int:
        """The epoch of this client's leadership. Raises NotHeldError if it does not lead."""
        if (leadership := self.leadership) is None:
            raise NotHeldError(f"this client does not lead {self._queue.path}")
        return leadership.token

    async def wait_leading(self) -> Held:
        """Wait until this client leads, and return its leadership.

        Raises what has ended the participation if something has, and NotRunningError after `close`
        and before `start`. Limit the time with `asyncio.timeout`.
        """
        await self._until(lambda: self.is_leading)
        leadership = self.leadership
        assert leadership is not None
        return leadership

    def on_change(self, callback: Callable[[bool], None]) -> Callable[[], None]:
        """Call `callback(is_leading)` at every change; returns what ends that."""
        key = object()
        self._listeners[key] = callback
        return lambda: self._listeners.pop(key, None) and None

    async def participants(self) -> list[Participant]:
        """Everybody who takes part, the leader first, then in the order of succession."""
        identifiers = await self._queue.identifiers()
        return [Participant(text, place == 0) for place, text in enumerate(identifiers)]

    async def leader(self) -> str | None:
        """The identifier of the leader, whoever that is; None if nobody takes part."""
        participants = await self.participants()
        return participants[0].identifier if participants else None

    async def _run(self) -> None:
        while True:
            claim = await self._queue.take_turn()
            assert claim is not None
            leadership = Held(claim, strict=self._strict)
            try:
                self._change(leadership)
                await leadership.lost.wait()
            finally:
                self._change(None)
                await leadership.release()

    def _change(self, leadership: Held | None) -> None:
        self._leadership = leadership
        self._tell()
        for callback in list(self._listeners.values()):
            try:
                callback(leadership is not None)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a listener of a leader latch failed", "exception": error}
                )
