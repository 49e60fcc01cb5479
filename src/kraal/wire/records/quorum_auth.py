"""What servers say to each other before anything else when they log in by SASL.

Source: reference/quorum-protocol.md section 2.5.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from kraal.errors import DecodeError

_HEAD = struct.Struct(">8sii")
MAGIC = bytes.fromhex("5f2435013501edcc")
TOKEN_MAX_BYTES = 64 << 10


class AuthStatus(IntEnum):
    """How far an exchange is."""

    IN_PROGRESS = 0
    SUCCESS = 1
    ERROR = -1


class AuthPacket(NamedTuple):
    """A token of one end."""

    status: AuthStatus
    token: bytes

    def encode(self) -> bytes:
        return _HEAD.pack(MAGIC, self.status, len(self.token)) + self.token


def may_begin(data: bytes) -> bool:
    """Whether these are, or can still become, the first bytes of a packet."""
    return MAGIC.startswith(data[: len(MAGIC)])


def decode(data: bytes) -> tuple[AuthPacket, int] | None:
    """The packet at the beginning, and where it ends; None: it is not all there. DecodeError."""
    if not may_begin(data):
        raise DecodeError("no packet of SASL")
    if len(data) < _HEAD.size:
        return None
    _, status, size = _HEAD.unpack_from(data)
    if not -1 <= size <= TOKEN_MAX_BYTES:
        raise DecodeError(f"a token of {size} bytes")
    try:
        known = AuthStatus(status)
    except ValueError:
        raise DecodeError(f"status {status} of SASL") from None
    end = _HEAD.size + max(size, 0)
    return (AuthPacket(known, data[_HEAD.size : end]), end) if len(data) >= end else None
