"""Values as Java prints them, which is how tools and dashboards expect to read them.

Source: reference/operations.md, notation and sections 2.2 and 2.3.
"""

from __future__ import annotations

import ipaddress
import math
import time
from decimal import ROUND_HALF_UP, Decimal

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_FOUR_PLACES = Decimal("0.0001")


def hex_long(value: int) -> str:
    """`Long.toHexString`: 64 bits, two's complement, no prefix."""
    return f"{value & 0xFFFF_FFFF_FFFF_FFFF:x}"


def average(value: float) -> float:
    """Round an average as the reference does: four places, halves up."""
    return float(Decimal(value).quantize(_FOUR_PLACES, ROUND_HALF_UP))


def number(value: int | float) -> str:
    """`Long.toString` or `Double.toString`: 0.0, 1.1732, 1.0E7."""
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return format(Decimal(repr(value)), "f")
    sign, digits, _ = Decimal(repr(value)).normalize().as_tuple()
    exponent = Decimal(repr(value)).adjusted()
    fraction = "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{digits[0]}.{fraction}E{exponent}"


def date(wall_ms: int) -> str:
    """`Date.toString` in the local zone; names are English whatever the locale."""
    local = time.localtime(wall_ms // 1000)
    return (
        f"{_DAYS[local.tm_wday]} {_MONTHS[local.tm_mon - 1]} {local.tm_mday:02}"
        f" {local.tm_hour:02}:{local.tm_min:02}:{local.tm_sec:02} {local.tm_zone} {local.tm_year}"
    )


def socket_address(host: str, port: int) -> str:
    """`InetSocketAddress.toString` of an address without a name; IPv6 is not abbreviated."""
    plain, percent, zone = host.partition("%")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return f"/{host}:{port}"
    if isinstance(address, ipaddress.IPv4Address):
        return f"/{address}:{port}"
    if address.ipv4_mapped:
        return f"/{address.ipv4_mapped}:{port}"
    groups = ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
    return f"/[{groups}{percent}{zone}]:{port}"


def path(raw: bytes) -> str:
    """A znode's path; clients may have sent bytes that are no UTF-8."""
    return raw.decode("utf-8", "replace")
