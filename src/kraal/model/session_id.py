"""Session ids and the passwords derived from them.

Rules and test vectors: reference/client-protocol.md sections 2.6 and 2.7.
"""

from __future__ import annotations

import struct

_SECRET = 0xB3415C00
_MULTIPLIER = 0x5DEECE66D
_MASK_48 = (1 << 48) - 1
_MASK_64 = (1 << 64) - 1
PASSWORD_BYTES = 16
NO_PASSWORD = bytes(PASSWORD_BYTES)


def first_session_id(server_id: int, clock_ms: int) -> int:
    """Start of a server's id counter: server id, 40 bits of a millisecond clock, zeros."""
    unsigned = (((clock_ms << 24) & _MASK_64) >> 8) | (server_id & 0xFF) << 56
    signed = unsigned - (1 << 64) if unsigned >> 63 else unsigned
    # The container owner value cannot be a session id.
    return signed + 1 if signed == -(1 << 63) else signed


def password(session_id: int) -> bytes:
    """The 16 bytes that prove a session: every server derives the same ones."""
    state = (session_id ^ _SECRET ^ _MULTIPLIER) & _MASK_48
    words = []
    for _ in range(4):
        state = (state * _MULTIPLIER + 0xB) & _MASK_48
        words.append(state >> 16)
    return struct.pack("<4I", *words)


def show(session_id: int) -> str:
    """The id as the reference prints it: 0x and lower-case hex."""
    return f"0x{session_id & _MASK_64:x}"
