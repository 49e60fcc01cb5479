"""The two ends of a connection between a leader and a learner, as Zab sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Link(Protocol):
    """A connection that keeps order. No method raises, whatever the peer did."""

    def send(self, data: bytes) -> None:
        """Send bytes, in order."""
        ...

    def stream(self, slices: Iterator[bytes]) -> None:
        """Send what the iterator makes, drawn as the connection takes it, in order."""
        ...

    def close(self) -> None:
        """Close now; nothing further arrives from it."""
        ...

    def finish(self) -> None:
        """Send what was given, then close; nothing further arrives from it."""
        ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
