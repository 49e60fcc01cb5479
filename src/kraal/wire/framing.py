"""Frames of the client connection: a length of 4 bytes and that many bytes.

Rules: reference/client-protocol.md section 2.1.
"""

from __future__ import annotations

import struct

from kraal.errors import DecodeError

_LENGTH = struct.Struct(">i")
_unpack = _LENGTH.unpack_from
LENGTH_BYTES = 4
KEPT_BYTES = 8
"""Of a frame that is too long: xid and type of a request."""


class FrameReader:
    """Cuts what a socket delivers into frames; keeps at most one frame that is not complete."""

    __slots__ = ("_dropped_max", "_left_out", "_needed", "_rest", "limit", "too_long")

    def __init__(self, limit: int, dropped_max: int = 0) -> None:
        """A frame longer than `limit` is an error; up to `dropped_max` its beginning is kept."""
        self.limit = limit
        self.too_long: list[int] = []
        """Lengths of frames that were cut to their first `KEPT_BYTES`; who looks clears it."""
        self._dropped_max = dropped_max
        self._left_out = 0
        """Bytes of such a frame that are still to come, and to be dropped."""
        self._rest = bytearray()
        self._needed = LENGTH_BYTES

    def feed(self, data: bytes) -> tuple[list[bytes], DecodeError | None]:
        """The frames that are complete now, and the error that ends the connection, if any.

        Frames in front of the bad length are returned with it.
        """
        if self._left_out:
            dropped = min(self._left_out, len(data))
            self._left_out -= dropped
            data = data[dropped:]
        if self._rest:
            # Joined only when a frame is complete: a byte at a time must not cost a copy each.
            self._rest += data
            if len(self._rest) < self._needed:
                return [], None
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[bytes] = []
        at, size = 0, len(data)
        while at + LENGTH_BYTES <= size:
            (length,) = _unpack(data, at)
            if length < 0 or length > self.limit:
                if not KEPT_BYTES <= length <= self._dropped_max:
                    return frames, DecodeError(f"frame length {length}")
                kept = at + LENGTH_BYTES + KEPT_BYTES
                if kept > size:
                    self._needed = LENGTH_BYTES + KEPT_BYTES
                    self._rest += data[at:]
                    return frames, None
                self.too_long.append(length)
                frames.append(data[at + LENGTH_BYTES : kept])
                at += LENGTH_BYTES + length
                self._left_out = max(0, at - size)
                continue
            end = at + LENGTH_BYTES + length
            if end > size:
                self._needed = LENGTH_BYTES + length
                self._rest += data[at:]
                return frames, None
            frames.append(data[at + LENGTH_BYTES : end])
            at = end
        if at < size:
            self._needed = LENGTH_BYTES
            self._rest += data[at:]
        return frames, None
