"""A replica driven by hand: channels that remember, a log that becomes durable on command."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from kraal.model.config import ServerConfig, StorageConfig
from kraal.model.session_id import password
from kraal.pipeline.connection import ClientConnection
from kraal.replica.leading import Leading
from kraal.tree.apply import apply, digest_matches
from kraal.tree.data_tree import DataTree
from kraal.wire.records.txn import Txn

OPEN = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"
WALL_MS = 1_700_000_000_000
FIRST_SESSION = 0x0100_0000_0000_0000


def buffer(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def create(path: bytes, data: bytes = b"", flags: int = 0, acl: bytes = OPEN) -> bytes:
    return buffer(path) + buffer(data) + acl + struct.pack(">i", flags)


def set_data(path: bytes, data: bytes, version: int = -1) -> bytes:
    return buffer(path) + buffer(data) + struct.pack(">i", version)


def path_watch(path: bytes, watch: bool = False) -> bytes:
    return buffer(path) + bytes([watch])


@dataclass
class Channel:
    """What a client would see of its connection."""

    frames: list[bytes] = field(default_factory=list)
    closed: bool = False
    reading: bool = True

    def write(self, data: bytes) -> None:
        assert not self.closed, "written to after the close"
        while data:
            (size,) = struct.unpack_from(">i", data)
            self.frames.append(data[4 : 4 + size])
            data = data[4 + size :]

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def replies(self) -> list[tuple[int, int, int]]:
        """(xid, zxid, err) of each frame."""
        return [struct.unpack_from(">iqi", frame) for frame in self.frames]

    def xids(self) -> list[int]:
        return [xid for xid, _, _ in self.replies()]


class Driver:
    """One replica, its clock and its log; a follower's tree applies what was logged."""

    def __init__(self, config: ServerConfig | None = None) -> None:
        directory = PurePath("unused")
        self.config = config or ServerConfig(
            storage=StorageConfig(data_dir=directory, data_log_dir=directory),
            tick_time_ms=2000,
            min_session_timeout_ms=4000,
            max_session_timeout_ms=40_000,
            extended_types=True,
        )
        self.now_ms = 0
        self.log: list[tuple[int, bytes]] = []
        self.durable = 0
        self.tree = DataTree.pristine(extended_types=True)
        self.follower = DataTree.pristine(extended_types=True)
        self.replica = Leading(
            self.config, self.tree, self, first_session_id=FIRST_SESSION, now_ms=0
        )

    @classmethod
    def throttled(cls, **limits: Any) -> Driver:
        config = Driver().config
        return cls(replace(config, throttle=replace(config.throttle, **limits)))

    def append(self, zxid: int, payload: bytes) -> None:
        """`LogSink`."""
        assert zxid == (self.log[-1][0] if self.log else 0) + 1, "a gap in the log"
        self.log.append((zxid, payload))

    def sync(self) -> None:
        """Everything appended is durable now; the follower applies it too."""
        pending = self.log[self.durable :]
        self.durable = len(self.log)
        if pending:
            self.replica.committed(self.now_ms, WALL_MS + self.now_ms, pending[-1][0])
        for _, payload in pending:
            txn = Txn.decode(payload)
            apply(self.follower, txn)
            self.follower.events.clear()
            assert digest_matches(self.follower, txn), f"digest after {txn.zxid:x}"

    def tick(self, advance_ms: int) -> None:
        self.now_ms += advance_ms
        self.replica.tick(self.now_ms, WALL_MS + self.now_ms)

    def open(self) -> ClientConnection:
        conn = ClientConnection(Channel(), "127.0.0.1", 5, WALL_MS)
        self.replica.opened(conn)
        return conn

    def connect(
        self, session_id: int = 0, secret: bytes | None = None, timeout_ms: int = 10_000
    ) -> ClientConnection:
        conn = self.open()
        if secret is None:
            secret = password(session_id) if session_id else bytes(16)
        request = struct.pack(">iqiq", 0, 0, timeout_ms, session_id) + buffer(secret) + b"\0"
        self.replica.connect(self.now_ms, WALL_MS + self.now_ms, conn, request)
        self.sync()
        return conn

    def send(self, conn: ClientConnection, *requests: tuple[int, int, bytes]) -> None:
        """Requests of one socket read: (xid, opcode, body)."""
        frames = [struct.pack(">ii", xid, op) + body for xid, op, body in requests]
        self.replica.frames(self.now_ms, WALL_MS + self.now_ms, conn, frames)


def channel(conn: ClientConnection) -> Channel:
    found = conn.channel
    assert isinstance(found, Channel)
    return found
