"""Finding the one bit whose change makes a record's checksum right.

Adler-32 is a pair of sums modulo a prime, so the place of a single flipped bit can be computed
from the difference of the checksums, whatever the length of the record.
"""

from __future__ import annotations

import struct
from zlib import adler32

_FRAME = struct.Struct(">qi")
_END = ord("B")
_MODULUS = 65521
_BITS = range(8)
_LENGTH_BITS = range(32)


def mended_payload(payload: bytes, checksum: int) -> bytes | None:
    """The payload that differs in one bit and has this checksum; None: none, or several."""
    have = adler32(payload)
    sum_growth = ((checksum & 0xFFFF) - (have & 0xFFFF)) % _MODULUS
    weighted_growth = ((checksum >> 16) - (have >> 16)) % _MODULUS
    found: list[tuple[int, int]] = []
    for bit in _BITS:
        for step in (1 << bit, -(1 << bit)):
            if step % _MODULUS != sum_growth:
                continue
            # A byte counts as often as it has places behind it, itself included.
            weight = weighted_growth * pow(step % _MODULUS, -1, _MODULUS) % _MODULUS
            at = len(payload) - (weight or _MODULUS)
            while at >= 0:
                if bool(payload[at] >> bit & 1) == (step < 0):
                    found.append((at, payload[at] + step))
                at -= _MODULUS
    if len(found) != 1:
        return None
    at, value = found[0]
    return payload[:at] + bytes([value]) + payload[at + 1 :]


def is_one_bit_off(checksum: int, right: int) -> bool:
    """Whether the stored checksum is the right one but for a bit."""
    return ((checksum ^ right) & 0xFFFF_FFFF_FFFF_FFFF).bit_count() == 1


def is_damaged_end(end: int) -> bool:
    """Whether a byte was the end of a record before a bit of it flipped; a crash leaves zeros."""
    return (end ^ _END).bit_count() == 1


def mended_length(frame: bytes, following: bytes, limit: int) -> int | None:
    """The length, one bit away from the one in a frame's head, with which the record is whole.

    `following` are the bytes behind the head. None when no bit, or more than one, explains it.
    """
    checksum, length = _FRAME.unpack(frame)
    found = []
    for bit in _LENGTH_BITS:
        other = (length & 0xFFFF_FFFF) ^ 1 << bit
        if not 0 < other <= min(limit, len(following) - 1):
            continue
        if following[other] == _END and adler32(following[:other]) == checksum:
            found.append(other)
    return found[0] if len(found) == 1 else None
