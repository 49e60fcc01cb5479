"""What goes over election connections: the initial message, and notifications.

Layouts: reference/quorum-protocol.md sections 2.2, 2.3 and 3.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from kraal.errors import DecodeError
from kraal.model.ensemble import Address
from kraal.model.zxid import epoch

PROTOCOL_V1 = -65536
PROTOCOL_V2 = -65535
ADDRESSES_MAX_BYTES = 2048
MESSAGE_MAX_BYTES = 524_288
"""Longest notification; 0 is no length either."""
ANONYMOUS_OBSERVER = (1 << 63) - 1
"""The id that observers of ancient versions share; nobody can be told apart by it."""

_LONG = struct.Struct(">q")
_INT = struct.Struct(">i")
_INITIAL = struct.Struct(">qqi")

_VOTE = struct.Struct(">iqqq")
_HEAD = struct.Struct(">iqqqqii")
_PLAIN_BYTES = 40
VERSION = 2
"""The version of notifications that carry the configuration; the only one that is sent."""


class InitialMessage(NamedTuple):
    """Who dialled, and where it can be dialled back."""

    server_id: int
    addresses: tuple[Address, ...]
    """Election addresses; empty in the form of 3.4, which names none."""


def encode_initial(server_id: int, addresses: Iterable[Address], *, multi_address: bool) -> bytes:
    """The bytes that must leave in one write: v2 if multi-address is enabled, else v1."""
    text = "|".join(map(str, addresses)).encode()
    version = PROTOCOL_V2 if multi_address else PROTOCOL_V1
    return _INITIAL.pack(version, server_id, len(text)) + text


def decode_initial(buf: bytes) -> tuple[InitialMessage, int] | None:
    """The message at the start of `buf` and its length in bytes; None if it is not complete.

    Raises DecodeError as soon as the bytes cannot become a message that names a server.
    """
    if len(buf) < _LONG.size:
        return None
    (first,) = _LONG.unpack_from(buf)
    if first >= 0:
        return InitialMessage(_named(first), ()), _LONG.size
    if first not in {PROTOCOL_V1, PROTOCOL_V2}:
        raise DecodeError(f"election protocol version {first}")
    if len(buf) < _INITIAL.size:
        return None
    _, server_id, length = _INITIAL.unpack_from(buf)
    if not 0 < length <= ADDRESSES_MAX_BYTES:
        raise DecodeError(f"election addresses of {length} bytes")
    end = _INITIAL.size + length
    if len(buf) < end:
        return None
    try:
        text = buf[_INITIAL.size : end].decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"election addresses: {error}") from None
    addresses = tuple(_address(part) for part in text.split("|"))
    return InitialMessage(_named(server_id), addresses), end


def _named(server_id: int) -> int:
    if server_id < 0 or server_id == ANONYMOUS_OBSERVER:
        raise DecodeError(f"server id {server_id} on an election connection")
    return server_id


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5
    if not host or not host.isprintable() or not is_number or not 0 < int(port) <= 0xFFFF:
        raise DecodeError(f"election address {text!r}")
    return Address(host, int(port))


class Notification(NamedTuple):
    """One vote as it was sent; `state` and the numbers are whatever the peer wrote."""

    state: int
    leader: int
    zxid: int
    round: int
    peer_epoch: int
    version: int
    config: bytes | None
    """UTF-8 text of the sender's committed configuration; None before 3.5."""


def encode_notification(
    state: int, leader: int, zxid: int, round_: int, peer_epoch: int, config: bytes
) -> bytes:
    """A notification of version 2, without the length in front."""
    return _HEAD.pack(state, leader, zxid, round_, peer_epoch, VERSION, len(config)) + config


def decode_notification(buf: bytes) -> Notification:
    """Read a notification of any version. Raises DecodeError.

    Whatever has 40 bytes is of version 0, whatever it claims; what stands behind the last
    field is skipped.
    """
    size = len(buf)
    if size < _VOTE.size:
        raise DecodeError(f"a notification of {size} bytes")
    state, leader, zxid, round_ = _VOTE.unpack_from(buf)
    if size == _VOTE.size:
        return Notification(state, leader, zxid, round_, epoch(zxid), 0, None)
    if size < _PLAIN_BYTES:
        raise DecodeError(f"a notification of {size} bytes")
    (peer_epoch,) = _LONG.unpack_from(buf, _VOTE.size)
    plain = Notification(state, leader, zxid, round_, peer_epoch, 0, None)
    if size == _PLAIN_BYTES:
        return plain
    (version,) = _INT.unpack_from(buf, _PLAIN_BYTES - _INT.size)
    if version < VERSION:
        return plain._replace(version=version)
    if size < _HEAD.size:
        raise DecodeError("a notification without the length of its configuration")
    (length,) = _INT.unpack_from(buf, _PLAIN_BYTES)
    if not 0 <= length <= size - _HEAD.size:
        raise DecodeError(f"a configuration of {length} bytes in a notification of {size}")
    config = buf[_HEAD.size : _HEAD.size + length]
    return plain._replace(version=version, config=config)
