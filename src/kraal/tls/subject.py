"""The subject of a certificate as the text that the scheme `x509` calls somebody by.

It is Java's `X500Principal.getName()`: RFC 2253, the last part first. Source:
reference/operations.md section 7.2.
"""

from __future__ import annotations

from kraal.errors import DecodeError
from kraal.tls import der

_KEYWORDS = {
    "2.5.4.3": "CN", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET",
    "2.5.4.10": "O", "2.5.4.11": "OU", "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}  # fmt: skip
_SET, _OBJECT = 0x31, 0x06
_TEXTS = frozenset({0x0C, 0x13, 0x14, 0x16, 0x1B, 0x1C, 0x1E})
"""UTF8String, PrintableString, TeletexString, IA5String, General-, Universal-, BMPString."""
_ESCAPED = ',=+<>#;"\\'
_SPACES = " \r"


def subject(certificate: bytes) -> str:
    """Of a certificate in DER. Raises DecodeError."""
    try:
        fields = list(der.elements(der.sequence(certificate)[0][1]))
        if fields[0][0] == der.VERSION:
            fields = fields[1:]
        parts = [_part(tag, content) for tag, content in der.elements(fields[4][1])]
    except (IndexError, ValueError) as error:
        raise DecodeError("this is no certificate") from error
    return ",".join(reversed(parts))


def _part(tag: int, content: bytes) -> str:
    if tag != _SET:
        raise DecodeError("no part of a subject")
    return "+".join(_pair(*one) for one in der.elements(content))


def _pair(tag: int, content: bytes) -> str:
    (kind, name), (value_tag, value) = list(der.elements(content))[:2]
    if tag != der.SEQUENCE or kind != _OBJECT:
        raise DecodeError("no part of a subject")
    dotted = _dotted(name)
    keyword = _KEYWORDS.get(dotted)
    if keyword is None or value_tag not in _TEXTS:
        return f"{keyword or dotted}=#{der.element(value_tag, value).hex()}"
    return f"{keyword}={_escaped(value.decode('utf-8', 'replace'))}"


def _escaped(text: str) -> str:
    marked = "".join(f"\\{c}" if c in _ESCAPED else c for c in text).replace("\0", "\\00")
    front = len(marked) - len(marked.lstrip(_SPACES))
    back = len(marked.rstrip(_SPACES))
    return "".join(
        f"\\{c}" if at < front or at >= back else c for at, c in enumerate(marked)
    )  # fmt: skip


def _dotted(name: bytes) -> str:
    """The numbers of an object identifier (X.690 section 8.19)."""
    numbers, number = [], 0
    for byte in name:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
