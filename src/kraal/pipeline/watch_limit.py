"""How many watches a session may have at this server: `maxWatchesPerSession`, kraal's own.

A request that would set one more is refused with QuotaExceeded, and nothing else happens to its
session. Watches that a client brings along when it comes back are taken as they are: it would not
learn that it has lost them. Complaint 15 of reference/operations.md section 9.
"""

from __future__ import annotations

import logging

from kraal.errors import ErrorCode, RequestError
from kraal.model.zxid import show
from kraal.pipeline.connection import ClientConnection
from kraal.pipeline.counters import Counts

logger = logging.getLogger("kraal.pipeline.limits")


class WatchLimit:
    """Counts what it refuses; the first, second, fourth and so on are warned about."""

    def __init__(self, most: int, counters: Counts) -> None:
        self.most = most
        """0: any number."""
        self._counters = counters

    def admit(self, conn: ClientConnection, more: int) -> None:
        """Let a session have so many more watches. Raises RequestError."""
        if not more or len(conn.data_watches) + len(conn.child_watches) + more <= self.most:
            return
        self._counters.watches_refused += 1
        count = self._counters.watches_refused
        logger.log(
            logging.DEBUG if count & count - 1 else logging.WARNING,
            "Session %s of %s would have more than %d watches (maxWatchesPerSession): refused;"
            " `most_watched` tells which",
            show(conn.session.id if conn.session else 0), conn.host, self.most,
        )  # fmt: skip
        raise RequestError(ErrorCode.QUOTA_EXCEEDED)
