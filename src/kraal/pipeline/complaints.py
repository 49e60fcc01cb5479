"""Lines of the log that strangers can cause as often as they like: one a second is enough."""

from __future__ import annotations

import logging

EVERY_MS = 1000


class Complaints:
    """Warns at most once a second, and says how many lines were left out since the last one."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._due_ms: float | None = None
        self._left_out = 0

    def warn(self, now_ms: float, text: str, *args: object) -> None:
        """A line for the operator; on the level DEBUG where another one was just written."""
        if self._due_ms is not None and now_ms < self._due_ms:
            self._left_out += 1
            self._logger.debug(text, *args)
            return
        if self._left_out:
            text += " (left out since the last such line: %d)"
            args = (*args, self._left_out)
        self._due_ms, self._left_out = now_ms + EVERY_MS, 0
        self._logger.warning(text, *args)
