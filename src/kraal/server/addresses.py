"""Addresses that members say they have."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import suppress

from kraal.model.ensemble import Address


async def resolve(address: Address) -> str:
    """The first address of a host, of IPv4 if there is one. Raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{address.host!r} is no host name: {error}") from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    host = found[0][4][0]
    assert isinstance(host, str)
    return host


def is_wildcard(host: str) -> bool:
    """Whether it stands for all addresses, and nobody can dial it."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False
