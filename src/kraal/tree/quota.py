"""Quotas: limits and usage kept in znodes below /zookeeper/quota.

Rules: reference/client-protocol.md section 6.5. Text that cannot be read in a usage znode
counts as no usage; the reference server ends its process there (section 13).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kraal.model.path import LIMITS_NAME, QUOTA, STATS_NAME, first_element

_NO_LIMIT = -1
_SEPARATORS = re.compile("[,;]+")
_LONG = re.compile(r"[+-]?\d+")


def limits_path(path: bytes) -> bytes:
    return QUOTA + path + LIMITS_NAME


def stats_path(path: bytes) -> bytes:
    return QUOTA + path + STATS_NAME


def parse(text: bytes | None) -> dict[str, int]:
    """Pairs of a limits or usage text. ValueError when it is neither empty nor readable."""
    values: dict[str, int] = {}
    shown = (text or b"").decode("utf-8", "replace").rstrip(",;")
    for pair in _SEPARATORS.split(shown) if shown else ():
        key, *rest = pair.rstrip("=").split("=")
        if not rest:
            raise ValueError(f"no value in {pair!r}")
        values[key] = _long(rest[0]) if rest[0] else _NO_LIMIT
    return values


def _long(text: str) -> int:
    value = int(text) if _LONG.fullmatch(text) else None
    if value is None or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{text!r} is no number")
    return value


def show(values: dict[str, int]) -> bytes:
    """The canonical text: count and bytes first, further keys sorted."""
    text = f"count={values.get('count', _NO_LIMIT)},bytes={values.get('bytes', _NO_LIMIT)}"
    further = sorted(key for key in values if key not in ("count", "bytes"))
    if further:
        text += "=" + "".join(f";{key}={values[key]}" for key in further)
    return text.encode()


@dataclass(frozen=True, slots=True)
class HardLimits:
    count: int
    bytes: int


def hard_limits(text: bytes | None) -> HardLimits:
    """The enforced limits of a limits text; -1 is none. ValueError when unreadable or null."""
    if text is None:
        raise ValueError("no text")
    values = parse(text)
    return HardLimits(
        values.get("countHardLimit", _NO_LIMIT), values.get("byteHardLimit", _NO_LIMIT)
    )


def shown_limits(text: bytes | None) -> tuple[int, int]:
    """Limits of count and bytes for people: the hard ones, else the soft ones; -1 is none."""
    try:
        values = parse(text)
    except ValueError:
        return _NO_LIMIT, _NO_LIMIT
    count = values.get("countHardLimit", _NO_LIMIT)
    size = values.get("byteHardLimit", _NO_LIMIT)
    return (
        count if count > _NO_LIMIT else values.get("count", _NO_LIMIT),
        size if size > _NO_LIMIT else values.get("bytes", _NO_LIMIT),
    )


def shown_usage(text: bytes | None) -> tuple[int, int]:
    """Znodes and bytes used, for people; -1 where the text does not say."""
    values = usage(text)
    return values.get("count", _NO_LIMIT), values.get("bytes", _NO_LIMIT)


def usage(text: bytes | None) -> dict[str, int]:
    """The usage text; unreadable text counts as zero."""
    try:
        return parse(text)
    except ValueError:
        return {"count": 0, "bytes": 0}


def add_usage(text: bytes | None, count: int, size: int) -> bytes:
    """The usage text after a change by `count` znodes and `size` bytes."""
    values = usage(text)
    values["count"] = values.get("count", _NO_LIMIT) + count
    values["bytes"] = values.get("bytes", _NO_LIMIT) + size
    return show(values)


class QuotaIndex:
    """The paths that have a limits znode."""

    def __init__(self) -> None:
        self.paths: set[bytes] = set()
        self.exceeded: dict[bytes, int] = {}
        """Refused writes by the top-level znode of the quota."""

    def add(self, path: bytes) -> None:
        """Quotas on the root are ignored: the reference cannot serve with one."""
        if path:
            self.paths.add(path)

    def discard(self, path: bytes) -> None:
        self.paths.discard(path)

    def count_exceeded(self, path: bytes) -> None:
        """A write was refused by the quota at this path."""
        top = first_element(path)
        self.exceeded[top] = self.exceeded.get(top, 0) + 1

    def covering(self, path: bytes) -> bytes | None:
        """The deepest path with a quota among the path and its ancestors."""
        while path:
            if path in self.paths:
                return path
            path = path[: path.rfind(b"/")] if b"/" in path else b""
        return None
