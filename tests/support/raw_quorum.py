"""Blocking ends of quorum and election connections, for saying anything to a real server.

They share no code with kraal: what is right is written here again, from
reference/quorum-protocol.md sections 2 to 4, and what is wrong is up to the test.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.support.raw_client import ClosedError, buffer, i32, i64, ustring

HOST = "127.0.0.1"
VERSION = 0x10000

REQUEST, PROPOSAL, ACK, COMMIT, PING, REVALIDATE, SYNC, INFORM = range(1, 9)
NEW_LEADER, FOLLOWER_INFO, UP_TO_DATE, DIFF, TRUNC, SNAP, OBSERVER_INFO = range(10, 17)
LEADER_INFO, ACK_EPOCH = 17, 18
LOOKING = 0


class Packet(NamedTuple):
    """One packet of a quorum connection, without its identities."""

    kind: int
    zxid: int
    data: bytes | None


def packet(
    kind: int,
    zxid: int,
    data: bytes | None = None,
    identities: Sequence[tuple[str, str]] | None = None,
) -> bytes:
    """A sound packet."""
    if identities is None:
        tail = i32(-1)
    else:
        pairs = (ustring(scheme) + ustring(name) for scheme, name in identities)
        tail = i32(len(identities)) + b"".join(pairs)
    return i32(kind) + i64(zxid) + buffer(data) + tail


def learner_info(server_id: int, *, version: int = VERSION, config: int = 0) -> bytes:
    return i64(server_id) + i32(version) + i64(config)


class RawPeer:
    """One end of a quorum connection."""

    def __init__(self, end: socket.socket, timeout: float = 20.0) -> None:
        self.socket = end
        end.settimeout(timeout)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    @classmethod
    def dial(cls, port: int, timeout: float = 20.0) -> RawPeer:
        return cls(socket.create_connection((HOST, port), timeout=timeout), timeout)

    def send(self, *data: bytes) -> None:
        """A peer that has closed is noticed when reading."""
        try:
            self.socket.sendall(b"".join(data))
        except OSError:
            return

    def _more(self) -> None:
        try:
            chunk = self.socket.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            chunk = b""
        if not chunk:
            raise ClosedError
        self._rest += chunk

    def _take(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def receive(self) -> Packet:
        """The next packet. ClosedError at the end, TimeoutError when nothing comes."""
        kind, zxid, size = struct.unpack(">iqi", self._take(16))
        data = None if size < 0 else self._take(size)
        (count,) = struct.unpack(">i", self._take(4))
        for _ in range(2 * max(count, 0)):
            self._take(max(struct.unpack(">i", self._take(4))[0], 0))
        return Packet(kind, zxid, data)

    def receive_but_pings(self) -> Packet:
        while (found := self.receive()).kind == PING:
            pass
        return found

    def skip_snapshot(self) -> None:
        """Read what follows a SNAP packet."""
        end = b"\0\0\0\1/\0\0\0\x0aBenWasHere"
        while end not in self._rest:
            self._more()
        self._rest = self._rest[self._rest.index(end) + len(end) :]

    def is_closed(self) -> bool:
        """Whether the other side closes, whatever it says before; TimeoutError when it does not."""
        try:
            while True:
                self._more()
                self._rest = b""
        except ClosedError:
            return True

    def learn(self, server_id: int, *, is_observer: bool = False) -> int:
        """Register with a leader and fall in step with nothing; returns its epoch's first zxid."""
        kind = OBSERVER_INFO if is_observer else FOLLOWER_INFO
        self.send(packet(kind, 0, learner_info(server_id)))
        found = self.receive()
        assert found.kind == LEADER_INFO, found
        self.send(packet(ACK_EPOCH, 0, i32(0)))
        opening = self.receive_but_pings()
        if opening.kind == SNAP:
            self.skip_snapshot()
        while (came := self.receive_but_pings()).kind != NEW_LEADER:
            assert came.kind in (PROPOSAL, COMMIT, INFORM), came
        self.send(packet(ACK, found.zxid))
        while self.receive_but_pings().kind != UP_TO_DATE:
            pass
        self.send(packet(ACK, found.zxid))
        return found.zxid

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FakeLeader:
    """Has itself elected by servers that look for a leader, and waits for them.

    Its id must be the largest, so that it is the one who dials.
    """

    def __init__(self, server_id: int, quorum_port: int, election_port: int, config: str) -> None:
        self.id = server_id
        self._config = config.encode()
        self._address = f"{HOST}:{election_port}".encode()
        self._listening = socket.create_server((HOST, quorum_port))
        self._round = 1000

    def elect_by(self, election_port: int, *, zxid: int, epoch: int) -> RawPeer:
        """The connection of a server that follows it now."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self._try(election_port, zxid, epoch)
            except (TimeoutError, ConnectionError):
                assert time.monotonic() < deadline, "the server does not follow it"
                time.sleep(0.05)

    def _try(self, election_port: int, zxid: int, epoch: int) -> RawPeer:
        self._round += 1
        with socket.create_connection((HOST, election_port), timeout=5) as voting:
            hello = i64(-65536) + i64(self.id) + buffer(self._address)
            vote = i32(LOOKING) + i64(self.id) + i64(zxid) + i64(self._round) + i64(epoch)
            vote += i32(2) + buffer(self._config)
            voting.sendall(hello)
            voting.sendall(buffer(vote))
            self._listening.settimeout(1.5)
            follower, _ = self._listening.accept()
            return RawPeer(follower)

    def close(self) -> None:
        self._listening.close()

    def __enter__(self) -> FakeLeader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
