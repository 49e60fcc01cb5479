"""Values of a configuration, read key by key in the syntax that the reference gives each key.

Keys that the parser itself knows are decimal or exactly true/false, and a wrong value is fatal.
Pass-through keys take Java's `decode` form and fall back to the default silently; here the
fall-back is a warning. Source: reference/operations.md sections 1.1 and 1.7.
"""

from __future__ import annotations

from collections.abc import Mapping

from kraal.model.setting import decimal, decode, is_decodable, refuse
from kraal.model.setting import number as parse_number
from kraal.server.config.keys import PARSED, Syntax


class Settings:
    """Merged keys and values; remembers which keys were read and what was odd about them."""

    def __init__(self, values: Mapping[str, str], sources: Mapping[str, str] | None = None) -> None:
        """`sources` says where keys were set, as far as that is not clear."""
        self.values = dict(values)
        self._sources = {} if sources is None else sources
        self.warnings: list[str] = []
        self.initial_text = ""
        """The text of zoo.cfg; empty where there is none."""
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
        self.warnings.append(self.located(key, f"{key}={self.values[key]}: {text}"))

    def warns_of(self, text: str) -> bool:
        """Whether a warning ends like this already."""
        return any(warning.endswith(text) for warning in self.warnings)

    def located(self, key: str | None, text: str) -> str:
        """The text, behind the place where the key was set."""
        source = self._sources.get(key) if key is not None else None
        return text if source is None else f"{source}: {text}"

    def named(self, key: str) -> str:
        """The key, and where it was set if that is known."""
        source = self._sources.get(key)
        return key if source is None else f"{key} ({source})"

    def text(self, key: str) -> str | None:
        self._read.add(key)
        return self.values.get(key)

    def names_provider(self, name: str) -> bool:
        """Whether an `authProvider.X` names this class."""
        keys = [key for key, value in self.values.items()
                if key.startswith("authProvider.") and value == name]  # fmt: skip
        self._read.update(keys)  # they are not among those that are left out
        return bool(keys)

    def parsed_number(self, key: str, default: int) -> int:
        """A number of section 1.2, already checked by `check_parsed`."""
        value = self.text(key)
        return default if value is None else parse_number(value)

    def parsed_flag(self, key: str, default: bool) -> bool:
        """A boolean of section 1.2, already checked by `check_parsed`."""
        value = self.text(key)
        return default if value is None else value.lower() == "true"

    def number(self, key: str, default: int, *, minimum: int | None = None, bits: int = 32) -> int:
        """A pass-through number; what is none of so many bits gives the default, with a warning."""
        value = self.text(key)
        if value is None:
            return default
        number = decode(value, bits)
        if number is None:
            wrong = "not a number"
            if is_decodable(value):
                least = -(1 << bits - 1) if minimum is None else minimum
                is_low = value.startswith("-")
                bound = f"at least {least}" if is_low else f"at most {(1 << bits - 1) - 1}"
                wrong = f"out of range, {bound}"
            self.warn(key, f"{wrong}; the default {default} is used")
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
