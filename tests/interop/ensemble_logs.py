"""The one history of transactions that the logs of an ensemble's members hold together.

No single log needs to have all of it: a member that was sent a snapshot has a gap, and one that
had logged what nobody else did keeps that until it is told to truncate. What no two logs may do
is to hold different transactions under one zxid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tests.interop.data_directory_files import Record
from tests.interop.kill_check import BrokenPromiseError
from tests.support import raw_client as raw

COUNTER_MASK = (1 << 32) - 1
MULTI, ERROR = raw.OPCODES["multi"], raw.OPCODES["error"]
# The body of an error; no other part of a multi is so short.
_ERROR_BYTES = 4


def epoch_of(zxid: int) -> int:
    return zxid >> 32


def union(logs: Mapping[str, Sequence[Record]]) -> dict[int, Record]:
    """All records by zxid; BrokenPromiseError when two logs disagree on one."""
    found: dict[int, tuple[str, Record]] = {}
    for name, records in logs.items():
        for record in records:
            other = found.setdefault(record.zxid, (name, record))
            if _plain(other[1]) != _plain(record):
                raise BrokenPromiseError(
                    f"zxid {record.zxid:x} is {other[1]} in the log of {other[0]}, "
                    f"and {record} in that of {name}"
                )
    return {zxid: record for zxid, (_, record) in sorted(found.items())}


class Refusal(NamedTuple):
    """What was refused: the part of a multi, or 0, and the error."""

    part: int
    error: int


def refusal(record: Record) -> Refusal | None:
    """Why the request of a record was not done; None when it was.

    Not only the first part of a multi may be told that the session has moved or expired: Apache
    ZooKeeper's leader looks at the session for each part, and another thread hears meanwhile that
    the client came back elsewhere. The parts in front may be errors by type alone: see `_plain`.
    """
    if record.type == ERROR:
        return Refusal(0, raw.Reader(record.body).i32())
    if record.type == MULTI:
        for part, (kind, body) in enumerate(_parts(record)):
            if kind == ERROR and body is not None and len(body) == _ERROR_BYTES:
                return Refusal(part, raw.Reader(body).i32())
    return None


def _parts(record: Record) -> list[tuple[int, bytes | None]]:
    """Type and body of each part of a multi."""
    reader = raw.Reader(record.body)
    return [(reader.i32(), reader.buffer()) for _ in range(reader.i32())]


def _plain(record: Record) -> Record:
    """A record without what members may write differently.

    In a multi that failed, the parts in front of the failing one keep their types in the
    proposal, and every member takes them for errors. Apache ZooKeeper marks them as errors in
    memory when it applies the transaction, and its leader may do so before it writes its log.
    """
    record = record._replace(file="")
    if record.type != MULTI:
        return record
    parts = _parts(record)
    if all(kind != ERROR for kind, _ in parts):
        return record
    return record._replace(body=b"".join(raw.i32(ERROR) + raw.buffer(body) for _, body in parts))


def ends_of_epochs(logs: Iterable[Sequence[Record]], last_zxid: int) -> dict[int, set[int]]:
    """By the epoch that followed: where logs say that the epoch before it ended.

    The leader of an epoch goes on with its own log, so the true end is always among them. Every
    log goes on from `last_zxid`.
    """
    ends: dict[int, set[int]] = {}
    for records in logs:
        before = last_zxid
        # Apache ZooKeeper may log again what it has logged.
        for zxid in sorted({record.zxid for record in records}):
            if zxid & COUNTER_MASK == 1:
                ends.setdefault(epoch_of(zxid), set()).add(before)
            before = zxid
    return ends


def history(
    logs: Mapping[str, Sequence[Record]],
    last_zxid: int,
    fits: Callable[[Sequence[Record], Sequence[Record]], bool],
) -> list[Record]:
    """The transactions that count, in order, without what was truncated or never agreed on.

    `last_zxid` is what all members had applied before these. Where logs disagree on the end of
    an epoch, the longest one counts for which `fits`, given what would come before and the next
    epoch's transactions, says that the tree digest is right.
    """
    records = union(logs)
    ends = ends_of_epochs(logs.values(), last_zxid)
    parts: dict[int, list[Record]] = {}
    for zxid, record in records.items():
        parts.setdefault(epoch_of(zxid), []).append(record)
    chosen: list[Record] = []
    epochs = list(parts)
    for place, epoch in enumerate(epochs, start=1):
        part = parts[epoch]
        if place < len(epochs):
            following = epochs[place]
            if following not in ends:
                raise BrokenPromiseError(f"no log has the first transaction of epoch {following}")
            candidates = [
                [*chosen, *(record for record in part if record.zxid <= end)]
                for end in sorted(ends[following], reverse=True)
            ]
            chosen = _fitting(candidates, parts[following], fits)
        else:
            chosen += part
    check_gaps(chosen, last_zxid)
    return chosen


def _fitting(
    candidates: Sequence[list[Record]],
    following: Sequence[Record],
    fits: Callable[[Sequence[Record], Sequence[Record]], bool],
) -> list[Record]:
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates:
        if fits(candidate, following):
            return candidate
    ends = ", ".join(f"{candidate[-1].zxid:x}" for candidate in candidates if candidate)
    raise BrokenPromiseError(
        f"no end of the epoch before {following[0].zxid:x} fits its digest: {ends}"
    )


def check_gaps(records: Sequence[Record], last_zxid: int) -> None:
    """Zxids follow each other inside an epoch, and epochs begin with 1."""
    for record in records:
        if record.zxid != last_zxid + 1 and record.zxid & COUNTER_MASK != 1:
            raise BrokenPromiseError(f"zxid {record.zxid:x} follows {last_zxid:x} in {record.file}")
        last_zxid = record.zxid
