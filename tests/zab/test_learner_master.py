"""Time limits of learners that are busy with taking their history."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import LearnerInfo, PacketType
from kraal.zab.history import CommittedLog
from kraal.zab.learner_handler import LearnerHandler, Stage
from kraal.zab.observer_master import ObserverMaster
from tests.zab.election_network import configuration, settings_of

TICK_MS = 100
INIT_MS = 10 * TICK_MS
OBSERVER = 4


class SlowLink:
    """A connection that takes a slice of a history when it is told to."""

    def __init__(self) -> None:
        self.slices: Iterator[bytes] = iter(())
        self.is_closed = False

    def take(self) -> None:
        next(self.slices, None)

    def send(self, data: bytes) -> None: ...

    def stream(self, slices: Iterator[bytes]) -> None:
        self.slices = slices

    def close(self) -> None:
        self.is_closed = True

    def finish(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Host:
    """A follower with a large tree."""

    config: EnsembleConfig = configuration([1, 2, 3], [OBSERVER])
    last_seen: EnsembleConfig = config

    def snapshot(self) -> Iterator[bytes]:
        for _ in range(1000):
            yield b"a slice"

    def relay_request(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None: ...

    def relay_sync(
        self, handler: LearnerHandler, session_id: int, frame: bytes, identities: tuple[Id, ...]
    ) -> None: ...

    def relay_revalidation(
        self, handler: LearnerHandler, session_id: int, timeout_ms: int
    ) -> None: ...

    def touch(self, session_id: int, timeout_ms: int) -> None: ...
    def wake(self) -> None: ...


def test_who_takes_a_long_history_is_not_late() -> None:
    """It cannot answer before it has all of it; one that takes nothing is late."""
    master = ObserverMaster(
        settings_of(Host.config), tick_ms=TICK_MS, packet_limit=1 << 20, epoch=1,
        last_zxid=1 << 32 | 5, history=CommittedLog(500), host=Host(), now_ms=0,
    )  # fmt: skip
    link = SlowLink()
    handler = master.connected(0, link, "observer")
    assert handler is not None
    info = LearnerInfo(OBSERVER, wire.PROTOCOL_VERSION, 0).encode()
    master.received(0, handler, wire.with_data(PacketType.OBSERVER_INFO, 0, info))
    master.received(0, handler, wire.with_data(PacketType.ACK_EPOCH, 0, struct.pack(">i", 0)))
    assert handler.stage is Stage.SYNCING
    now_ms = 0
    for _ in range(20):
        link.take()
        now_ms += INIT_MS - 1
        master.tick(now_ms)
        assert not link.is_closed
    master.tick(now_ms + INIT_MS)
    assert not link.is_closed
    master.tick(now_ms + INIT_MS + 1)
    assert link.is_closed
    assert master.handlers == {}
