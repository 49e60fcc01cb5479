"""Frames of the client connection: a length of 4 bytes and that many bytes.

Rules: reference/client-protocol.md section 2.1.
"""

from __future__ import annotations

import struct

from kraal.errors import DecodeError

_LENGTH = struct.Struct(">i")
_unpack = _LENGTH.unpack_from
LENGTH_BYTES = 4


class FrameReader:
    """Cuts what a socket delivers into frames; keeps at most one frame that is not complete."""

    __slots__ = ("_needed", "_rest", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rest = bytearray()
        self._needed = LENGTH_BYTES

    def feed(self, data: bytes) -> tuple[list[bytes], DecodeError | None]:
        """The frames that are complete now, and the error that ends the connection, if any.

        Frames in front of the bad length are returned with it.
        """
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
                return frames, DecodeError(f"frame length {length}")
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
