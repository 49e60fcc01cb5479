"""A server that does nothing but elect: the real election over the real transport."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.server.election_transport import ElectionTransport
from kraal.zab.election import Election, Vote
from kraal.zab.state import State


def now_ms() -> int:
    return monotonic_ns() // 1_000_000


class Voter:
    """Takes part in elections until it is stopped; `decisions` holds what it decided.

    It adopts newer configurations as a server with reconfigEnabled does.
    """

    def __init__(self, me: int, settings: EnsembleSettings) -> None:
        self.transport = ElectionTransport(me, settings, self._received)
        self.election = Election(me, settings, self.transport, self._decided)
        self.election.config_seen = self._adopt
        self.decisions: asyncio.Queue[tuple[State, Vote]] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._data = (0, 0)

    async def start(self, zxid: int = 0, epoch: int = 0) -> None:
        await self.transport.start()
        self._data = zxid, epoch
        self.look()

    def look(self) -> None:
        """Begin a round with the zxid and epoch of the start."""
        zxid, epoch = self._data
        self.election.start(now_ms(), zxid=zxid, peer_epoch=epoch)
        self._arm()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self.transport.stop()

    async def decision(self) -> tuple[State, int]:
        """State and leader of the next decision."""
        state, vote = await self.decisions.get()
        return state, vote.leader

    def _received(self, server_id: int, message: bytes) -> None:
        self.election.received(now_ms(), server_id, message)
        self._arm()

    def _decided(self, state: State, vote: Vote) -> None:
        self.decisions.put_nowait((state, vote))

    def _adopt(self, config: EnsembleConfig) -> None:
        is_other = not config.same_members(self.election.config)
        self.election.config = config
        self.transport.reconfigure(config, None)
        if is_other:
            self.look()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.election.deadline_ms()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(deadline - now_ms(), 0) / 1000, self._due)

    def _due(self) -> None:
        self.election.tick(now_ms())
        self._arm()
