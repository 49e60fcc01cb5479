"""Create flags and the owner field that encodes a znode's kind.

Rules: reference/client-protocol.md sections 3.3, 4.4 and 6.
"""

from __future__ import annotations

from enum import IntEnum

from kraal.model.limits import MAX_TTL_MS


class CreateMode(IntEnum):
    """What kind of znode is created: how long it lives, and whether its name gets a number."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6


ALL_MODES = frozenset(mode.value for mode in CreateMode)
SEQUENTIAL_MODES = frozenset((2, 3, 6))
EPHEMERAL_MODES = frozenset((1, 3))
TTL_MODES = frozenset((5, 6))

CONTAINER_OWNER = -0x8000_0000_0000_0000
"""Owner of container znodes: 0x8000000000000000 as a signed long."""

_TTL_MARK = 0xFF << 56
_TTL_FEATURE_MASK = 0xFFFF << 40
_TTL_VALUE_MASK = 0xFF_FFFF_FFFF


def ttl_owner(ttl_ms: int) -> int:
    """The signed owner value that stores a TTL in milliseconds."""
    assert 0 < ttl_ms <= MAX_TTL_MS
    return (_TTL_MARK | ttl_ms) - (1 << 64)


def is_extended_owner(owner: int) -> bool:
    """Whether the top byte marks an extended type (TTL)."""
    return (owner >> 56) & 0xFF == 0xFF


def owner_ttl_ms(owner: int) -> int:
    """The TTL in an extended owner; ValueError when feature bits or the TTL are unknown."""
    ttl = owner & _TTL_VALUE_MASK
    if owner & _TTL_FEATURE_MASK or not ttl:
        raise ValueError(f"unknown extended owner 0x{owner & 0xFFFF_FFFF_FFFF_FFFF:x}")
    return ttl
