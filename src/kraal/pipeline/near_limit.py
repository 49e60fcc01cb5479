"""Requests and answers that come near `jute.maxbuffer`, before something breaks at it.

A write beyond the limit closes its connection, and an answer beyond that of the client, such as
the list of many children, makes the client come back for ever (reference/operations.md section 9,
complaint 11).
"""

from __future__ import annotations

import logging

from kraal.model.zxid import show
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counters
from kraal.wire.opcodes import SHORT_NAMES

logger = logging.getLogger("kraal.pipeline.limits")
_SHARE = 0.8


class NearLimit:
    """Counts them; the first, second, fourth and so on are warned about."""

    def __init__(self, limit_bytes: int, counters: Counters) -> None:
        self._limit_bytes = limit_bytes
        self._counters = counters
        self.from_bytes = int(limit_bytes * _SHARE)
        """What is larger is near the limit."""

    def wrote(self, conn: ClientConnection, op: int, size: int) -> None:
        """A write of this size came."""
        self._counters.near_limit_writes += 1
        self._warn(conn, op, self._counters.near_limit_writes, "request", size)

    def answered(self, conn: ClientConnection, op: int, size: int) -> None:
        """An answer of this size leaves."""
        self._counters.near_limit_answers += 1
        self._warn(conn, op, self._counters.near_limit_answers, "answer", size)

    def _warn(self, conn: ClientConnection, op: int, count: int, what: str, size: int) -> None:
        level = logging.DEBUG if count & count - 1 else logging.WARNING
        how = "is longer than" if size > self._limit_bytes else "comes near"
        logger.log(
            level,
            "%s %s of %d bytes (%s, session %s of %s) %s jute.maxbuffer, %d;"
            " `largest_znodes` tells which",
            "An" if what == "answer" else "A", what, size,
            SHORT_NAMES.get(op, op), show(conn.session.id if conn.session else 0), conn.host,
            how, self._limit_bytes,
        )  # fmt: skip
