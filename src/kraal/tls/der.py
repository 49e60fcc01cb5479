"""As much of DER as tells of a certificate, and where a key lies in a JKS entry.

Source: ITU-T X.690, RFC 5280 section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from kraal.errors import DecodeError

SEQUENCE, OCTETS, UTC_TIME, TIME, VERSION = 0x30, 0x04, 0x17, 0x18, 0xA0
_LENGTH_BYTES_MAX = 4


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value, one behind the other. Raises DecodeError."""
    at = 0
    while at < len(data):
        tag, at = data[at], at + 1
        length, at = _length(data, at)
        if at + length > len(data):
            raise DecodeError("a DER value is cut off")
        yield tag, data[at : at + length]
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise DecodeError("a DER length is missing")
    first, at = data[at], at + 1
    if first < 0x80:
        return first, at
    size = first & 0x7F
    if not 0 < size <= _LENGTH_BYTES_MAX or at + size > len(data):
        raise DecodeError("a DER length is none")
    return int.from_bytes(data[at : at + size]), at + size


def element(tag: int, content: bytes) -> bytes:
    """A value as it stands in DER."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(data: bytes) -> list[tuple[int, bytes]]:
    """The members of the one sequence that the data begins with. Raises DecodeError."""
    tag, content = next(elements(data), (0, b""))
    if tag != SEQUENCE:
        raise DecodeError("no DER sequence")
    return list(elements(content))


def expiry_s(certificate: bytes) -> int:
    """When a certificate in DER expires, in seconds since 1970. Raises DecodeError."""
    try:
        fields = list(elements(sequence(certificate)[0][1]))
        if fields[0][0] == VERSION:
            fields = fields[1:]
        tag, text = list(elements(fields[3][1]))[1]
        return int(_time(tag, text.decode("ascii")).timestamp())
    except (IndexError, ValueError) as error:
        raise DecodeError("this is no certificate") from error


def _time(tag: int, text: str) -> datetime:
    if tag == UTC_TIME:  # years are 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != TIME:
        raise DecodeError("no DER time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
