"""What real servers have committed, read from their transaction logs while they run.

What a quorum has logged is committed, whatever becomes of its servers (they are killed, their
machine is not), and so is what a client was shown. The tree of the history is made by kraal's own
code, and compared with the digest that every transaction carries.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from zlib import adler32

from kraal.model.zxid import counter, epoch
from kraal.sim.checks.history import History
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import HEADER, MultiTxn, Txn

WHO = "the ensemble"
_MAGIC_BYTES = 16
_FRAME = Struct(">qi")
_CHUNK_BYTES = 1 << 18
Take = Callable[[str, int, int, bytes], None]


class LogFile:
    """One log, as far as it was read (reference/storage-formats.md section 2)."""

    def __init__(self, path: Path) -> None:
        self.last = 0
        """The zxid of its last record."""
        self._path = path
        self._offset = _MAGIC_BYTES
        self._newest = 0, b""
        """Where the last record is, and its frame."""

    def is_intact(self) -> bool:
        """Whether all that was read of it is still there: a leader may want a log cut."""
        at, frame = self._newest
        with self._path.open("rb") as file:
            return os.pread(file.fileno(), len(frame), at) == frame

    def read_on(self) -> Iterator[bytes]:
        """The records that came since the last time."""
        with self._path.open("rb") as file:
            size = _CHUNK_BYTES
            while True:
                at, chunk = 0, os.pread(file.fileno(), size, self._offset)
                while (payload := _payload(chunk, at)) is not None:
                    self._newest = self._offset + at, chunk[at : at + _FRAME.size]
                    at += _FRAME.size + len(payload) + 1
                    self.last = HEADER.unpack_from(payload)[2]
                    yield payload
                self._offset += at
                if len(chunk) < size:
                    return
                if not at:
                    (_, length) = _FRAME.unpack_from(chunk)
                    if length < size:
                        return  # nothing but what was allocated before, or is being written
                    size = length + _CHUNK_BYTES


def _payload(chunk: bytes, at: int) -> bytes | None:
    """A whole record, or None."""
    if at + _FRAME.size > len(chunk):
        return None
    checksum, size = _FRAME.unpack_from(chunk, at)
    begin, end = at + _FRAME.size, at + _FRAME.size + size
    if size <= 0 or end >= len(chunk) or chunk[end : end + 1] != b"B":
        return None
    payload = chunk[begin:end]
    return payload if adler32(payload) == checksum else None


def _is_failed_multi(payload: bytes) -> bool:
    """Apache ZooKeeper marks the parts of one when it applies it, which may be before it logs it.

    So logs may differ in the types of parts that have no effect.
    """
    body = Txn.decode(payload).body
    return isinstance(body, MultiTxn) and bool(body.failed)


class MemberLog:
    """All logs of one server."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory
        self._names: list[str] = []
        self._files: dict[str, LogFile] = {}

    def read_on(self, take: Take) -> None:
        """Hand over the records that came since the last time, each with the zxid before it."""
        try:
            names = sorted(
                (path.name for path in self._directory.iterdir() if path.stem == "log"),
                key=lambda name: int(name[4:], 16),
            )
            last = 0
            for name in names:
                if name == names[-1] or names != self._names:
                    self._read_file(name, last, take)
                last = self._files[name].last or last
        except FileNotFoundError:
            return  # not begun yet, or a file is gone that was there just now
        self._names = names

    def _read_file(self, name: str, last: int, take: Take) -> None:
        file = self._files.get(name)
        if file is None or not file.is_intact():
            file = self._files[name] = LogFile(self._directory / name)
        before = file.last or last
        for payload in file.read_on():
            zxid = file.last
            take(self._name, before, zxid, payload)
            before = zxid


class LiveHistory(History):
    """The history of servers that are at work; `catch_up` brings it up to now."""

    def __init__(self, directories: Sequence[Path], quorum: int) -> None:
        super().__init__()
        self.ending: set[int] = set()
        """Sessions whose end was logged by somebody."""
        self._logs = [
            MemberLog(f"member {number}", directory)
            for number, directory in enumerate(directories, start=1)
        ]
        self._quorum = quorum
        self._bases: dict[int, int] = {}
        """By epoch, what its leader's log ended with before its first transaction."""
        self._holders: dict[int, set[str]] = {}
        """Who has ever logged a transaction."""
        self._newest = 0
        """The newest one that a quorum has logged."""
        self._is_busy = False

    def catch_up(self, seen: int = 0) -> None:
        """Take what is committed by now; `seen` is a zxid that a client was shown."""
        if self._is_busy:
            return  # one of those who are told of a transaction looks at it
        self._is_busy = True
        try:
            for log in self._logs:
                log.read_on(self._logged)
            self._extend_to(max(self._newest, seen if seen in self.proposed else 0))
        finally:
            self._is_busy = False

    def _logged(self, who: str, before: int, zxid: int, payload: bytes) -> None:
        known = self.proposed.get(zxid, payload)
        if known == payload or not (_is_failed_multi(known) and _is_failed_multi(payload)):
            self.propose(who, zxid, payload)
        holders = self._holders.setdefault(zxid, set())
        holders.add(who)
        if len(holders) >= self._quorum:
            self._newest = max(self._newest, zxid)
        if counter(zxid) == 1:
            self._bases[epoch(zxid)] = max(before, self._bases.get(epoch(zxid), 0))
        session_id, _, _, _, kind = HEADER.unpack_from(payload)
        if kind == OpCode.CLOSE_SESSION:
            self.ending.add(session_id)

    def _extend_to(self, zxid: int) -> None:
        if zxid <= self.tip:
            return
        begun, base = [], zxid
        while epoch(base) > epoch(self.tip):
            begun.append(epoch(base))
            base = self._bases[epoch(base)]
        for number in reversed(begun):
            self.establish(WHO, number, self._bases[number])
        self.reach(WHO, zxid)
