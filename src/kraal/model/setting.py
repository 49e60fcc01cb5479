"""Keys and values of a configuration in the number syntax of the original.

Source: reference/operations.md sections 1.1 and 1.7.
"""

from __future__ import annotations

import re

from kraal.errors import ConfigError

_DIGITS_MAX = 30
_DECIMAL = re.compile(r"[+-]?[0-9]+")
_HEXADECIMAL = re.compile(r"0*[0-9a-fA-F]{1,16}")
_DECODABLE = re.compile(
    r"(?P<sign>[+-]?)(?:(?:0[xX]|#)(?P<hex>[0-9a-fA-F]+)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*))"
)


def refuse(key: str, value: str, reason: str) -> ConfigError:
    """The error for a wrong value; it names key, value and reason."""
    return ConfigError(f"{key}={value}: {reason}", key)


def decimal(text: str, bits: int = 32) -> int | None:
    """Java's `parseInt` (or `parseLong` with 64 bits): decimal digits in range, or None."""
    return _in_range(number(text), bits) if _DECIMAL.fullmatch(text) else None


def decode(text: str, bits: int = 32) -> int | None:
    """Java's `Integer.decode`: also `0x10`, `#10` and octal `010`; None when unparsable."""
    match = _DECODABLE.fullmatch(text)
    if match is None:
        return None
    if digits := match["hex"]:
        magnitude = int(digits, 16)
    elif digits := match["octal"]:
        magnitude = int(digits, 8)
    else:
        magnitude = number(match["decimal"])
    return _in_range(-magnitude if match["sign"] == "-" else magnitude, bits)


def is_decodable(text: str) -> bool:
    """Whether `decode` reads it, were there no limit to its size."""
    return _DECODABLE.fullmatch(text) is not None


def hexadecimal(text: str) -> int | None:
    """Java's `parseLong` with radix 16, for what is never negative; None when unparsable."""
    value = int(text, 16) if _HEXADECIMAL.fullmatch(text) else -1
    return value if 0 <= value < 1 << 63 else None


def number(text: str) -> int:
    """Decimal digits as a number; Python refuses to read thousands, and no setting has them."""
    digits = text.lstrip("+-").lstrip("0")[:_DIGITS_MAX]
    return int(f"-{digits}" if text.startswith("-") else digits) if digits else 0


def _in_range(value: int, bits: int) -> int | None:
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None
