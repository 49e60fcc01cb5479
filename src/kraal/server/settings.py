"""Values of a configuration, read key by key in the syntax that the reference gives each key.

Keys that the parser itself knows are decimal or exactly true/false, and a wrong value is fatal.
Pass-through keys take Java's `decode` form and fall back to the default silently; here the
fall-back is a warning. Source: reference/operations.md sections 1.1 and 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from kraal.errors import ConfigError
from kraal.server.config_keys import PARSED, Syntax

_DIGITS_MAX = 30
_DECIMAL = re.compile(r"[+-]?[0-9]+")
_DECODABLE = re.compile(
    r"(?P<sign>[+-]?)(?:(?:0[xX]|#)(?P<hex>[0-9a-fA-F]+)|0(?P<octal>[0-7]+)|(?P<decimal>0|[1-9][0-9]*))"
)


def refuse(key: str, value: str, reason: str) -> ConfigError:
    """The error for a wrong value; it names key, value and reason."""
    return ConfigError(f"{key}={value}: {reason}")


def decimal(text: str, bits: int = 32) -> int | None:
    """Java's `parseInt` (or `parseLong` with 64 bits): decimal digits in range, or None."""
    return _in_range(_number(text), bits) if _DECIMAL.fullmatch(text) else None


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
        magnitude = _number(match["decimal"])
    return _in_range(-magnitude if match["sign"] == "-" else magnitude, bits)


def _number(text: str) -> int:
    """Decimal digits as a number; Python refuses to read thousands, and no setting has them."""
    digits = text.lstrip("+-").lstrip("0")[:_DIGITS_MAX]
    return int(f"-{digits}" if text.startswith("-") else digits) if digits else 0


def _in_range(value: int, bits: int) -> int | None:
    return value if -(1 << bits - 1) <= value < 1 << bits - 1 else None


class Settings:
    """Merged keys and values; remembers which keys were read and what was odd about them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)
        self.warnings: list[str] = []
        self._read: set[str] = set()

    def check_parsed(self) -> None:
        """Refuse what the reference's parser refuses, also in keys that are not used here."""
        for key in sorted(self.values.keys() & PARSED.keys()):
            value = self.values[key]
            if PARSED[key] is Syntax.DECIMAL and decimal(value) is None:
                raise refuse(key, value, f'For input string: "{value}"')
            if PARSED[key] is Syntax.BOOLEAN and value.lower() not in {"true", "false"}:
                raise refuse(
                    key, value, f"Invalid option {value} for {key}. Choose 'true' or 'false.'"
                )

    def unread(self) -> dict[str, str]:
        return {key: value for key, value in self.values.items() if key not in self._read}

    def warn(self, key: str, text: str) -> None:
        self.warnings.append(f"{key}={self.values[key]}: {text}")

    def text(self, key: str) -> str | None:
        self._read.add(key)
        return self.values.get(key)

    def parsed_number(self, key: str, default: int) -> int:
        """A number of section 1.2, already checked by `check_parsed`."""
        value = self.text(key)
        return default if value is None else _number(value)

    def parsed_flag(self, key: str, default: bool) -> bool:
        """A boolean of section 1.2, already checked by `check_parsed`."""
        value = self.text(key)
        return default if value is None else value.lower() == "true"

    def number(self, key: str, default: int, *, minimum: int | None = None, bits: int = 32) -> int:
        """A pass-through number; unparsable text gives the default, with a warning."""
        value = self.text(key)
        if value is None:
            return default
        number = decode(value, bits)
        if number is None:
            self.warn(key, f"not a number; the default {default} is used")
            return default
        if minimum is not None and number < minimum:
            self.warn(key, f"too small; {minimum} is used")
            return minimum
        return number

    def flag(self, key: str, default: bool) -> bool:
        """A pass-through boolean: `true` in any case is true, everything else false."""
        value = self.text(key)
        if value is None:
            return default
        if value.lower() not in {"true", "false"}:
            self.warn(key, "neither true nor false; it counts as false")
        return value.lower() == "true"

    def word(self, key: str, *, other: str, default: str) -> bool:
        """Whether a `yes`/`no` key says `other`, the one word that changes the default."""
        value = self.text(key)
        if value not in {None, other, default}:
            self.warn(key, f"neither {default} nor {other}; it counts as {default}")
        return value == other
