"""The packets between a leader and its learners.

Layouts: reference/quorum-protocol.md sections 4.1, 5.4, 5.6 and 5.8. A packet is a type, a
zxid, a buffer and the identities of a client; packets follow each other without a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from kraal.errors import DecodeError
from kraal.model.acl import Id
from kraal.wire.jute.primitives import NULL, pack_int, read_text, unpack_int, write_text


class PacketType(IntEnum):
    """What a packet says (section 4.1)."""

    REQUEST = 1
    PROPOSAL = 2
    ACK = 3
    COMMIT = 4
    PING = 5
    REVALIDATE = 6
    SYNC = 7
    INFORM = 8
    COMMIT_AND_ACTIVATE = 9
    NEW_LEADER = 10
    FOLLOWER_INFO = 11
    UP_TO_DATE = 12
    DIFF = 13
    TRUNC = 14
    SNAP = 15
    OBSERVER_INFO = 16
    LEADER_INFO = 17
    ACK_EPOCH = 18
    INFORM_AND_ACTIVATE = 19


Packet = tuple[int, int, bytes | None, tuple[Id, ...]]
"""Type, zxid, data (None: the null buffer), identities. Plain, because there are so many."""
PROTOCOL_VERSION = 0x10000
NO_ZXID = -1
IDENTITIES_KEPT = 1024
"""Clients send the same ones with every write."""
IDENTITIES_KEPT_BYTES = 1024
IDENTITIES_MAX = 1000
"""Of one packet; the vector's count comes from the peer."""
_IDENTITY_MAX_BYTES = 2 << 20
_IDENTITIES_MAX_BYTES = 8 << 20
_HEAD = struct.Struct(">iqi")
_BARE = struct.Struct(">iqii")
_HEAD_BYTES = _HEAD.size
_unpack_head = _HEAD.unpack_from
_pack_head = _HEAD.pack
_pack_bare = _BARE.pack
_LEARNER_INFO = struct.Struct(">qiq")
_TOUCH = struct.Struct(">qi")
_VALIDITY = struct.Struct(">q?")
_LONG = struct.Struct(">q")
_REQUEST = struct.Struct(">qii")
_NO_IDENTITIES: tuple[Id, ...] = ()


def bare(kind: int, zxid: int) -> bytes:
    """A packet without data: null buffer, null identities."""
    return _pack_bare(kind, zxid, -1, -1)


def with_data(kind: int, zxid: int, data: bytes) -> bytes:
    """A packet with data and null identities."""
    return _pack_head(kind, zxid, len(data)) + data + NULL


def acks(zxids: Iterable[int]) -> bytes:
    """An ACK for each zxid: the reference's leader does not take them for cumulative."""
    return b"".join([_pack_bare(PacketType.ACK, zxid, -1, -1) for zxid in zxids])


def commits(zxids: Iterable[int]) -> bytes:
    return b"".join([_pack_bare(PacketType.COMMIT, zxid, -1, -1) for zxid in zxids])


def proposal(zxid: int, payload: bytes) -> bytes:
    return _pack_head(PacketType.PROPOSAL, zxid, len(payload)) + payload + NULL


def inform(zxid: int, payload: bytes) -> bytes:
    return _pack_head(PacketType.INFORM, zxid, len(payload)) + payload + NULL


def request(session_id: int, frame: bytes, identities: tuple[Id, ...] | None) -> bytes:
    """A client's request on its way to the leader; `frame` is cxid, type and record."""
    head = _pack_head(PacketType.REQUEST, NO_ZXID, 8 + len(frame)) + _LONG.pack(session_id)
    if identities is None:
        return head + frame + NULL
    return head + frame + encode_identities(identities)


def encode_identities(identities: tuple[Id, ...]) -> bytes:
    """The vector as it stands in a packet."""
    if len(identities) > 8:
        return _encoded(identities)
    for scheme, text in identities:
        if len(scheme) + len(text) > 128:
            return _encoded(identities)
    return _kept(identities)


def _encoded(identities: tuple[Id, ...]) -> bytes:
    parts = [pack_int(len(identities))]
    for identity in identities:
        parts += (write_text(identity.scheme), write_text(identity.id))
    return b"".join(parts)


_kept = lru_cache(maxsize=IDENTITIES_KEPT)(_encoded)


def split_request(data: bytes | None) -> tuple[int, int, int, bytes]:
    """Session id, cxid, type, and the frame that a client would have sent. DecodeError."""
    if data is None or len(data) < _REQUEST.size:
        raise DecodeError("a forwarded request is cut off")
    session_id, cxid, op = _REQUEST.unpack_from(data)
    return session_id, cxid, op, data[8:]


class LearnerInfo(NamedTuple):
    """Who registers; fields that an old sender leaves out are 0."""

    server_id: int
    protocol_version: int
    config_version: int

    def encode(self) -> bytes:
        return _LEARNER_INFO.pack(*self)

    @classmethod
    def decode(cls, data: bytes | None) -> LearnerInfo:
        """Parsed by length, as the reference does (section 4.1). Raises DecodeError."""
        if data is None or len(data) < 8:
            raise DecodeError("a learner does not say its server id")
        padded = data[: _LEARNER_INFO.size].ljust(_LEARNER_INFO.size, b"\0")
        server_id, version, config = _LEARNER_INFO.unpack(padded)
        return cls(server_id, version if len(data) >= 12 else 0, config if len(data) >= 20 else 0)


def read_int(data: bytes | None) -> int:
    """The leading int of a packet's data. Raises DecodeError."""
    if data is None or len(data) < 4:
        raise DecodeError("a packet's data is too short for an int")
    return int(unpack_int(data, 0)[0])


def read_long(data: bytes | None) -> int:
    """The leading long of a packet's data. Raises DecodeError."""
    if data is None or len(data) < 8:
        raise DecodeError("a packet's data is too short for a long")
    return int(_LONG.unpack_from(data)[0])


def long_data(value: int) -> bytes:
    return _LONG.pack(value)


def touches(sessions: Iterable[tuple[int, int]]) -> bytes:
    """Data of a learner's PING: session ids and timeouts in ms; never null (pitfall P13)."""
    return b"".join([_TOUCH.pack(*session) for session in sessions])


def read_touches(data: bytes | None) -> list[tuple[int, int]]:
    """Raises DecodeError unless it is a whole number of entries."""
    if not data:
        return []
    if len(data) % _TOUCH.size:
        raise DecodeError(f"{len(data)} bytes of touched sessions")
    return list(_TOUCH.iter_unpack(data))


def read_session(data: bytes | None) -> tuple[int, int]:
    """Session id and timeout in ms of a REVALIDATE request. Raises DecodeError."""
    if data is None or len(data) < _TOUCH.size:
        raise DecodeError("a revalidation is cut off")
    session_id, timeout_ms = _TOUCH.unpack_from(data)
    return session_id, timeout_ms


def validity(session_id: int, valid: bool) -> bytes:
    """Data of the answer to a REVALIDATE."""
    return _VALIDITY.pack(session_id, valid)


def read_validity(data: bytes | None) -> tuple[int, bool]:
    """Raises DecodeError."""
    if data is None or len(data) < _VALIDITY.size:
        raise DecodeError("the answer to a revalidation is cut off")
    session_id, valid = _VALIDITY.unpack_from(data)
    return session_id, valid


class PacketReader:
    """Cuts what a quorum connection delivers into packets.

    Stops behind a SNAP packet: what follows is a raw snapshot stream, which `take_rest` hands
    over; `give_back` returns what follows the stream.
    """

    __slots__ = ("_needed", "_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Largest buffer in bytes."""
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are complete now. DecodeError ends the connection."""
        if self._rest:
            # Joined only when a packet can be complete: no copy for each small piece.
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        self._needed = 0
        packets: list[Packet] = []
        at, size, limit = 0, len(data), self.limit
        while size - at >= _HEAD_BYTES + 4:
            kind, zxid, length = _unpack_head(data, at)
            if length > limit or length < -1:
                raise DecodeError(f"a packet of type {kind} with {length} bytes")
            begin = at + _HEAD_BYTES
            end = begin + length if length > 0 else begin
            if end + 4 > size:
                self._needed = end + 4 - at
                break
            (count,) = unpack_int(data, end)
            if count <= 0:
                identities, behind = _NO_IDENTITIES, end + 4
            else:
                found = _read_identities(data, end + 4, count)
                if found is None:
                    break
                identities, behind = found
            packets.append((kind, zxid, None if length < 0 else data[begin:end], identities))
            at = behind
            if kind == PacketType.SNAP:
                break
        if at < size:
            self._rest += data[at:]
        return packets

    def take_rest(self) -> bytes:
        """What follows the packets, and forget it."""
        rest = bytes(self._rest)
        self._rest.clear()
        self._needed = 0
        return rest


def _read_identities(buf: bytes, at: int, count: int) -> tuple[tuple[Id, ...], int] | None:
    """None: there is more to come. Raises DecodeError."""
    if count > IDENTITIES_MAX:
        raise DecodeError(f"a packet with {count} identities")
    begin, size = at, len(buf)
    for _ in range(2 * count):
        length = unpack_int(buf, at)[0] if at + 4 <= size else 0
        if length < -1 or length > _IDENTITY_MAX_BYTES:
            raise DecodeError(f"an identity with {length} bytes")
        at += 4 + max(length, 0)
        if at > size:
            if size - begin > _IDENTITIES_MAX_BYTES:
                raise DecodeError("a packet with endless identities")
            return None
    encoded = buf[begin:at]
    return (_known if len(encoded) <= IDENTITIES_KEPT_BYTES else _identities)(encoded), at


def _identities(encoded: bytes) -> tuple[Id, ...]:
    fields, at = [], 0
    while at < len(encoded):
        field, at = read_text(encoded, at)
        fields.append(field or "")
    return tuple(map(Id, fields[::2], fields[1::2]))


_known = lru_cache(maxsize=IDENTITIES_KEPT)(_identities)
