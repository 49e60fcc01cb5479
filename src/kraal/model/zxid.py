"""Transaction ids: epoch in the high 32 bits, counter in the low ones.

Source: reference/quorum-protocol.md section 1.2.
"""

from __future__ import annotations


def epoch(zxid: int) -> int:
    return zxid >> 32


def counter(zxid: int) -> int:
    return zxid & 0xFFFF_FFFF


def make(epoch_: int, counter_: int) -> int:
    return epoch_ << 32 | counter_


def show(zxid: int) -> str:
    """As the reference prints it: 0x and lower-case hex of the 64 bits."""
    return f"0x{zxid & 0xFFFF_FFFF_FFFF_FFFF:x}"
