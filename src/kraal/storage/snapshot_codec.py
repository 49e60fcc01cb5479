"""The codecs of snapshot files: plain, gzip, and snappy blocks in xerial framing.

Rules: reference/storage-formats.md section 4.3. Both directions work on pieces, so that no
snapshot is held twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

from kraal.errors import DecodeError
from kraal.model.config import SnapshotCodec

GZIP_MAGIC = b"\x1f\x8b"
SNAPPY_MAGIC = b"\x82SNAPPY\x00"
_SNAPPY_HEADER = SNAPPY_MAGIC + b"\x00\x00\x00\x01" * 2
_SNAPPY_BLOCK_BYTES = 32768
_SNAPPY_BLOCK_MAX_BYTES = 64 << 20
_GZIP_WINDOW = 31  # zlib's way to ask for gzip
_GZIP_LEVEL = 6


class Encoder(Protocol):
    def encode(self, data: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class PlainEncoder:
    def encode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class GzipEncoder:
    def __init__(self) -> None:
        self._zlib = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def encode(self, data: bytes) -> bytes:
        return self._zlib.compress(data)

    def finish(self) -> bytes:
        return self._zlib.flush()


class SnappyEncoder:
    def __init__(self) -> None:
        from cramjam import snappy  # noqa: PLC0415 - a compiled library that few need

        self._compress = snappy.compress_raw
        self._rest = b""
        self._header = _SNAPPY_HEADER

    def encode(self, data: bytes) -> bytes:
        data = self._rest + data
        whole = len(data) - len(data) % _SNAPPY_BLOCK_BYTES
        self._rest = data[whole:]
        return self._blocks(data[:whole])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return self._blocks(rest)

    def _blocks(self, data: bytes) -> bytes:
        parts = [self._header]
        self._header = b""
        for at in range(0, len(data), _SNAPPY_BLOCK_BYTES):
            block = bytes(self._compress(data[at : at + _SNAPPY_BLOCK_BYTES]))
            parts += (len(block).to_bytes(4, "big"), block)
        return b"".join(parts)


def encoder(codec: SnapshotCodec) -> Encoder:
    if codec is SnapshotCodec.GZIP:
        return GzipEncoder()
    if codec is SnapshotCodec.SNAPPY:
        return SnappyEncoder()
    return PlainEncoder()


def decoded(pieces: Iterable[bytes], codec: SnapshotCodec) -> Iterator[bytes]:
    """The uncompressed stream, piece by piece. DecodeError where it is damaged or cut off."""
    if codec is SnapshotCodec.GZIP:
        return _gunzipped(pieces)
    if codec is SnapshotCodec.SNAPPY:
        return _unsnapped(pieces)
    return iter(pieces)


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW)
    try:
        for piece in pieces:
            left = piece
            while left:
                if member.eof:
                    member = zlib.decompressobj(_GZIP_WINDOW)
                out = member.decompress(left)
                left = member.unused_data
                if out:
                    yield out
    except zlib.error as error:
        raise DecodeError(f"gzip: {error}") from error
    if not member.eof:
        raise DecodeError("the gzip stream is cut off")


def _unsnapped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    from cramjam import DecompressionError, snappy  # noqa: PLC0415

    left = b""
    at = 0
    began = False
    for piece in pieces:
        left = left[at:] + piece
        at = 0
        if not began:
            if len(left) < len(_SNAPPY_HEADER):
                continue
            if not left.startswith(SNAPPY_MAGIC):
                raise DecodeError("no snappy stream")
            began = True
            at = len(_SNAPPY_HEADER)
        while len(left) - at >= 4:
            size = int.from_bytes(left[at : at + 4], "big")
            if size > _SNAPPY_BLOCK_MAX_BYTES:
                raise DecodeError(f"a snappy block of {size} bytes")
            if len(left) - at - 4 < size:
                break
            block = left[at + 4 : at + 4 + size]
            at += 4 + size
            try:
                yield bytes(snappy.decompress_raw(block))
            except DecompressionError as error:
                raise DecodeError(f"snappy: {error}") from error
    if not began or at != len(left):
        raise DecodeError("the snappy stream is cut off")
