"""Paths of znodes, as the UTF-8 bytes that arrive on the wire.

A path that was validated once is a key of the tree; looking it up needs no decoding. The
root has two spellings: ``/`` on the wire and the empty path inside snapshots and as the
parent of top-level znodes. Rules: reference/client-protocol.md sections 5.3 and 5.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ROOT = b"/"
SYSTEM = b"/zookeeper"
QUOTA = b"/zookeeper/quota"
CONFIG = b"/zookeeper/config"
LIMITS_NAME = b"/zookeeper_limits"
STATS_NAME = b"/zookeeper_stats"

UNDELETABLE = frozenset((b"", ROOT, SYSTEM, QUOTA, CONFIG))

# "/", or components that are non-empty and neither "." nor "..", of printable ASCII.
_ASCII_PATH = re.compile(rb"/|(?:/(?!\.{1,2}(?:/|\Z))[\x20-\x2e\x30-\x7e]+)+")
# The same for any text; Java inspects UTF-16 units, so every supplementary character counts
# as surrogates and is illegal, like the private use area and the specials block.
_TEXT_PATH = re.compile(
    "/|(?:/(?!\\.{1,2}(?:/|\\Z))[^/\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff]+)+"
)


def is_valid(path: bytes | None) -> bool:
    """Whether a write may name this path (reference section 5.4)."""
    if not path:
        return False
    if _ASCII_PATH.fullmatch(path):
        return True
    if path.isascii():
        return False
    try:
        return _TEXT_PATH.fullmatch(path.decode()) is not None
    except UnicodeDecodeError:
        return False  # malformed bytes read as U+FFFD, which is illegal


def parent(path: bytes) -> bytes:
    """The parent as the tree's key: empty for top-level znodes. ValueError without a slash."""
    return path[: path.rindex(b"/")]


def ancestors(path: bytes) -> Iterator[bytes]:
    """Proper ancestors, nearest first, ending with ``/``; the root has none."""
    end = path.rfind(b"/")
    while end > 0:
        path = path[:end]
        yield path
        end = path.rfind(b"/")
    if len(path) > 1 or end < 0:
        yield ROOT


def first_element(path: bytes) -> bytes:
    """The name of the top-level znode; empty for the root."""
    return path.split(b"/", 2)[1] if b"/" in path else b""


def text(path: bytes | None) -> str:
    """The path for people: logs, four-letter words, errors."""
    return "" if path is None else path.decode("utf-8", "replace")
