"""The `ip` scheme: an address, or a network as address/bits.

Rules: reference/client-protocol.md sections 10.1 and 10.5.
"""

from __future__ import annotations

import re
from functools import lru_cache

KNOWN_MAX = 1 << 16
"""Addresses and networks that are not parsed again: more than an ACL can hold."""
# At most three digits that count: Python refuses to read thousands of them.
_DECIMAL = re.compile(r"\+?0*([0-9]{1,3})")
_BITS = re.compile(r"([+-]?)0*([0-9]{1,3})")
_HEX = re.compile(r"[0-9a-fA-F]{1,4}")


def parse_address(text: str) -> bytes | None:
    """4 or 16 bytes; None when it is no literal address of the accepted forms."""
    return _parse_v6(text) if ":" in text else _parse_v4(text)


def _parse_v4(text: str) -> bytes | None:
    fields = [_DECIMAL.fullmatch(part) for part in text.split(".")]
    values = [int(field[1]) for field in fields if field]
    return bytes(values) if len(fields) == len(values) == 4 and max(values) <= 255 else None


def _parse_v6(text: str) -> bytes | None:
    head, gap, tail = text.partition("::")
    groups = head.split(":") if head else []
    ending = tail.split(":") if tail else []
    if not all(_HEX.fullmatch(group) for group in groups + ending):
        return None
    missing = 8 - len(groups) - len(ending)
    if (missing < 1) if gap else (missing != 0):
        return None
    values = [*groups, *["0"] * missing, *ending]
    return b"".join(int(group, 16).to_bytes(2, "big") for group in values)


def _parse_network(id_: str) -> tuple[bytes, int] | None:
    parts = id_.split("/", 1)
    address = parse_address(parts[0])
    if address is None:
        return None
    if len(parts) == 1:
        return address, len(address) * 8
    match = _BITS.fullmatch(parts[1])
    bits = int(match[1] + match[2]) if match else -1
    return (address, bits) if 0 <= bits <= len(address) * 8 else None


def is_valid(id_: str) -> bool:
    return _parse_network(id_) is not None


def matches(host: str, id_: str) -> bool:
    """Whether the address of a connection lies in the network of an ACL entry."""
    network = _prefix(id_)
    address = _prefix(host)
    return (
        network is not None
        and address is not None
        and network[0] == address[0]
        and network[2] == address[2] >> network[1]
    )


@lru_cache(KNOWN_MAX)
def _prefix(id_: str) -> tuple[int, int, int] | None:
    """Bytes of the address, bits that do not count, and the bits that do."""
    network = _parse_network(id_)
    if network is None:
        return None
    address, bits = network
    shift = len(address) * 8 - bits
    return len(address), shift, int.from_bytes(address, "big") >> shift


def show(host: str) -> str:
    """The address as identities have it: IPv6 as eight unpadded hex groups."""
    address = parse_address(host.partition("%")[0])
    if address is None or len(address) == 4:
        return host
    return ":".join(f"{int.from_bytes(address[i : i + 2], 'big'):x}" for i in range(0, 16, 2))
