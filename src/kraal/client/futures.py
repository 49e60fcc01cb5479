"""Futures whose outcome nobody asks for."""

from __future__ import annotations

import asyncio
from typing import Any


def ignore_outcome(future: asyncio.Future[Any]) -> None:
    """As a callback of a future: its error counts as seen."""
    if not future.cancelled():
        future.exception()
