"""Conversations with Apache ZooKeeper, byte for byte: `golden_frames.txt` says where from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

import pytest

from kraal.model.acl import OPEN_UNSAFE
from kraal.model.config import ServerConfig, StorageConfig
from kraal.pipeline.connection import ClientConnection
from kraal.replica.leading import Leading
from kraal.tree.data_tree import DataTree
from kraal.wire.framing import FrameReader
from kraal.wire.records.data import encode_acls

GOLDEN = Path(__file__).with_name("golden_frames.txt")
END = b"end of stream"
MONOTONIC_MS = 1000


class Step(NamedTuple):
    """One line: its letter, what follows it, and the heading that it stands under."""

    kind: str
    text: str
    heading: str

    @property
    def frame(self) -> bytes:
        if self.text == "-":
            return END
        return bytes.fromhex(self.text.replace("OPEN", encode_acls(OPEN_UNSAFE).hex()))


def conversations() -> Iterator[tuple[str, list[Step]]]:
    name, steps, heading = "", list[Step](), ""
    _, _, body = GOLDEN.read_text().partition("\n\n=")
    for line in ("=" + body).replace("\n  ", " ").splitlines():
        kind, _, text = line.partition(" ")
        if kind == "=":
            if steps:
                yield name, steps
            name, steps, heading = text, [], ""
        elif kind == "#":
            heading = text
        elif kind:
            steps.append(Step(kind, text, heading))
    yield name, steps


CONVERSATIONS = dict(conversations())


class Peer:
    """One connection and what came over it."""

    def __init__(self) -> None:
        self.conn = ClientConnection(self, "127.0.0.1", 40000, 0)
        self.reader = FrameReader(1 << 20)
        self.received: list[bytes] = []

    def write(self, data: bytes) -> None:
        frames, error = self.reader.feed(data)
        assert error is None
        self.received += [len(frame).to_bytes(4, "big") + frame for frame in frames]

    def close(self) -> None:
        self.received.append(END)

    def abort(self) -> None:
        self.received.append(END)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Conversation:
    """A fresh server with a clock that the text sets."""

    def __init__(self, first_session_id: int) -> None:
        nowhere = PurePath("unused")
        config = ServerConfig(
            storage=StorageConfig(data_dir=nowhere, data_log_dir=nowhere),
            tick_time_ms=2000,
            min_session_timeout_ms=4000,
            max_session_timeout_ms=40_000,
            extended_types=True,
        )
        self.zxid = self.wall_ms = 0
        self.replica = Leading(
            config,
            DataTree.pristine(extended_types=True),
            self,
            first_session_id=first_session_id,
            now_ms=MONOTONIC_MS,
        )
        self.peers: dict[str, Peer] = {}

    def append(self, zxid: int, payload: bytes) -> None:
        assert payload
        self.zxid = zxid

    def peer(self, name: str) -> Peer:
        if name not in self.peers:
            self.peers[name] = Peer()
            self.replica.opened(self.peers[name].conn)
        return self.peers[name]

    def send(self, peer: Peer, frame: bytes) -> None:
        """One frame with its length; what it writes is on disk at once."""
        if peer.conn.session is None:
            self.replica.connect(MONOTONIC_MS, self.wall_ms, peer.conn, frame[4:])
        else:
            self.replica.frames(MONOTONIC_MS, self.wall_ms, peer.conn, [frame[4:]])
        self.replica.committed(MONOTONIC_MS, self.wall_ms, self.zxid)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name: str) -> None:
    talk = Conversation(int(name.partition(" ")[0], 16))
    peer = talk.peer("1")
    for kind, text, heading in CONVERSATIONS[name]:
        frame = Step(kind, text, heading).frame if kind in "CS" else b""
        match kind:
            case "@":
                peer = talk.peer(text)
            case "T":
                talk.wall_ms = int(text, 16)
            case "C":
                assert not peer.received, f"more than was expected before {heading}: {text}"
                talk.send(peer, frame)
            case "S":
                assert peer.received, f"nothing came in {heading}"
                assert peer.received.pop(0).hex(" ", 4) == frame.hex(" ", 4), heading
            case _:
                raise AssertionError(f"a line that begins with {kind}")
    assert not any(one.received for one in talk.peers.values())


def test_every_example_is_there() -> None:
    steps = [step for steps in CONVERSATIONS.values() for step in steps]
    found = {step.heading.split()[0] for step in steps if step.kind in "CS" and step.heading}
    assert found == {f"14.{number}" for number in range(1, 19)}
    assert sum(step.kind == "C" for step in steps) == 39


def test_frames_are_as_long_as_they_say() -> None:
    for name, steps in CONVERSATIONS.items():
        for step in steps:
            if step.kind in "CS" and step.frame != END:
                assert int.from_bytes(step.frame[:4], "big") == len(step.frame) - 4, name
