"""What a leader sends a learner so that their histories agree: one pure decision.

Source: reference/quorum-protocol.md section 4.4, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kraal.model.zxid import counter, epoch, show
from kraal.wire.records import quorum as wire
from kraal.wire.records.quorum import PacketType
from kraal.zab.history import CommittedLog, Entry

OlderHistory = Callable[[int], Iterable[Entry] | None]
"""Given a zxid, what the disk has from there on, or None when it is of no use."""


SLICE_BYTES = 1 << 18
"""A slice of what is replayed ends with the transaction that fills it."""


class Plan(NamedTuple):
    """The opening packet (DIFF, TRUNC or SNAP) with its zxid, and what is replayed after it."""

    kind: PacketType
    zxid: int
    proposals: list[Entry]

    def __str__(self) -> str:
        return f"{self.kind.name} to {show(self.zxid)} and {len(self.proposals)} transactions"


def decide(
    peer_zxid: int,
    log: CommittedLog,
    last_zxid: int,
    *,
    force_snapshot: bool = False,
    older: OlderHistory | None = None,
) -> Plan:
    """The first row that applies; `last_zxid` is the last one the leader applied."""
    oldest, newest = log.bounds(last_zxid)
    is_new_epoch = counter(peer_zxid) == 0
    snapshot = Plan(PacketType.SNAP, last_zxid, [])
    if force_snapshot:
        return snapshot
    if peer_zxid == last_zxid:
        return Plan(PacketType.DIFF, peer_zxid, [])
    if peer_zxid > newest and not is_new_epoch:
        return Plan(PacketType.TRUNC, newest, [])
    if oldest <= peer_zxid <= newest:
        return _replay(log.entries(), peer_zxid, newest) or snapshot
    if peer_zxid < oldest and older is not None:
        entries = _from_disk(older(peer_zxid) or (), log, oldest)
        return _replay(entries, peer_zxid, newest) or snapshot if entries else snapshot
    return snapshot


def _from_disk(found: Iterable[Entry], log: CommittedLog, oldest: int) -> list[Entry]:
    """What disk and memory hold together; nothing if that leaves a hole.

    While the log in memory is empty, `oldest` is a transaction that only the disk has.
    """
    in_memory = log.entries()
    entries = [entry for entry in found if entry[0] < oldest + (not in_memory)]
    if not entries:
        return []
    last = entries[-1][0]
    is_whole = _follows(last, oldest) if in_memory else last == oldest
    return entries + in_memory if is_whole else []


def _follows(zxid: int, following: int) -> bool:
    return following == zxid + 1 or (epoch(following) > epoch(zxid) and counter(following) == 1)


def _replay(entries: list[Entry], peer_zxid: int, newest: int) -> Plan | None:
    """None: the peer's last transaction is unknown here and no cut makes it a prefix."""
    is_new_epoch = counter(peer_zxid) == 0
    before = None
    for at, (zxid, _) in enumerate(entries):
        if zxid == peer_zxid:
            return Plan(PacketType.DIFF, newest, entries[at + 1 :])
        if zxid > peer_zxid:
            if is_new_epoch:
                return Plan(PacketType.DIFF, newest, entries[at:])
            if before is None or epoch(zxid) != epoch(peer_zxid):
                return None
            return Plan(PacketType.TRUNC, before, entries[at:])
        before = zxid
    return Plan(PacketType.DIFF, newest, []) if is_new_epoch else None


def replayed(entries: list[Entry]) -> Iterator[bytes]:
    """PROPOSAL and COMMIT of each, for followers and observers alike (section 4.4)."""
    packets: list[bytes] = []
    size = 0
    for zxid, payload in entries:
        packets += (wire.proposal(zxid, payload), wire.bare(PacketType.COMMIT, zxid))
        size += len(packets[-2])
        if size >= SLICE_BYTES:
            yield b"".join(packets)
            packets.clear()
            size = 0
    if packets:
        yield b"".join(packets)
