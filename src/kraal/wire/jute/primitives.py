"""Jute's types of variable size: how their bytes are read and written.

Readers take (buffer, offset) and return (value, offset behind it), or raise DecodeError.
Rules: reference/client-protocol.md section 1. Null (length -1) and empty stay distinct.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TypeVar

from kraal.errors import DecodeError

T = TypeVar("T")

_INT = struct.Struct(">i")
pack_int = _INT.pack
unpack_int = _INT.unpack_from
NULL = pack_int(-1)
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]?")
_REPLACEMENT = "\ufffd".encode()
OPEN_ACL_VECTOR = b"\0\0\0\1\0\0\0\x1f\0\0\0\5world\0\0\0\6anyone"


def read_buffer(buf: bytes, at: int) -> tuple[bytes | None, int]:
    """A buffer, or a ustring as its UTF-8 bytes."""
    start = at + 4
    if start > len(buf):
        raise DecodeError("a length is cut off")
    (length,) = unpack_int(buf, at)
    if length < 0:
        if length == -1:
            return None, start
        raise DecodeError(f"impossible length {length}")
    end = start + length
    if end > len(buf):
        raise DecodeError(f"length {length} passes the end")
    return buf[start:end], end


def write_buffer(value: bytes | None) -> bytes:
    return NULL if value is None else pack_int(len(value)) + value


def read_text(buf: bytes, at: int) -> tuple[str | None, int]:
    """A ustring as text; malformed sequences become U+FFFD and are no error."""
    value, at = read_buffer(buf, at)
    return (None if value is None else decode_text(value)), at


def decode_text(value: bytes) -> str:
    """Text of UTF-8 bytes; an encoded surrogate is one malformed sequence."""
    return _SURROGATE.sub(_REPLACEMENT, value).decode("utf-8", "replace")


def write_text(value: str | None) -> bytes:
    return NULL if value is None else write_buffer(encode_text(value))


def encode_text(value: str) -> bytes:
    """UTF-8, with a supplementary character as two surrogates of 3 bytes, as Java has it."""
    if value.isascii():
        return value.encode()
    return "".join(map(_as_surrogates, value)).encode("utf-8", "surrogatepass")


def _as_surrogates(char: str) -> str:
    if char <= "\uffff":
        return char
    offset = ord(char) - 0x10000
    return chr(0xD800 + (offset >> 10)) + chr(0xDC00 + (offset & 0x3FF))


def canonical(value: bytes) -> bytes:
    """A ustring as the reference has it once read and written again.

    Two spellings of one malformed string are one string there: every bad sequence is U+FFFD,
    and an encoded surrogate is one bad sequence (reference/client-protocol.md section 1).
    """
    if value.isascii():
        return value
    return encode_text(decode_text(value))


def read_count(buf: bytes, at: int) -> tuple[int, int]:
    """A vector's element count; -1 is null, other negative counts mean an empty vector."""
    if at + 4 > len(buf):
        raise DecodeError("a count is cut off")
    (count,) = unpack_int(buf, at)
    return (count if count >= -1 else 0), at + 4


def read_vector(
    read: Callable[[bytes, int], tuple[T, int]], buf: bytes, at: int
) -> tuple[list[T] | None, int]:
    """Elements one by one: a false count ends in DecodeError at the last byte."""
    count, at = read_count(buf, at)
    if count < 0:
        return None, at
    items = []
    for _ in range(count):
        item, at = read(buf, at)
        items.append(item)
    return items, at


def write_vector(write: Callable[[T], bytes], items: list[T] | None) -> bytes:
    if items is None:
        return NULL
    return pack_int(len(items)) + b"".join([write(item) for item in items])


def skip_acl_vector(buf: bytes, at: int) -> tuple[bytes | None, int]:
    """A vector of ACL entries, checked and returned as its own bytes (None when null).

    ACL lists repeat, so whoever needs their entries looks the bytes up in a cache.
    """
    begin = at
    count, at = read_count(buf, at)
    if count < 0:
        return None, at
    size = len(buf)
    for _ in range(count):
        at += 4  # perms
        for _field in range(2):  # scheme, id
            if at + 4 > size:
                raise DecodeError("an ACL entry is cut off")
            (length,) = unpack_int(buf, at)
            if length < -1 or at + 4 + length > size:
                raise DecodeError(f"impossible length {length} in an ACL entry")
            at += 4 + max(length, 0)
    return buf[begin:at], at


def write_raw(value: bytes | None) -> bytes:
    """Bytes that are encoded already; None is a null vector."""
    return NULL if value is None else value
