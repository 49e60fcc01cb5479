"""The `x509` scheme: the subject of a client's certificate, as text.

Rules: reference/client-protocol.md section 10.2 and reference/operations.md section 7.2. Whoever
speaks TLS with a certificate has its identity before the session begins.
"""

from __future__ import annotations

import re

_KEYWORDS = frozenset(
    {
        "CN", "C", "L", "S", "ST", "O", "OU", "T", "IP", "STREET", "DC", "DNQUALIFIER", "DNQ",
        "SURNAME", "GIVENNAME", "INITIALS", "GENERATION", "EMAIL", "EMAILADDRESS", "UID",
        "SERIALNUMBER",
    }
)  # fmt: skip
"""The names of parts that the reference knows; others are object identifiers."""
_OBJECT = re.compile(r"(?:OID\.)?([0-2])((?:\.(?:0|[1-9][0-9]{0,18})){1,32})", re.IGNORECASE)
_HEX = re.compile(r"#(?:[0-9a-fA-F]{2})+[ \n]*")
_ESCAPE = r'\\(?:[,=+<>#;"\\ ]|[0-9a-fA-F]{2})'
_QUOTED = re.compile(rf'"(?:[^"\\]|{_ESCAPE})*"[ \n]*')
_PLAIN = re.compile(rf'(?:[^,+<>;"\\]|{_ESCAPE})*')
_PIECE = re.compile(r'(?:[^,;+"\\]|\\.|"(?:[^"\\]|\\.)*")+', re.DOTALL)


def is_valid(id_: str) -> bool:
    """Whether it is a distinguished name; the empty one is."""
    at = 0
    while at < len(id_):
        piece = _PIECE.match(id_, at)
        if piece is None or not _is_part(piece[0]):
            return False
        at = piece.end()
        if at < len(id_):
            at += 1  # the separator, which something must follow
            if at == len(id_):
                return False
    return True


def _is_part(text: str) -> bool:
    keyword, equals, value = text.partition("=")
    if not equals or not _is_keyword(keyword.strip()):
        return False
    value = value.lstrip(" \n")
    form = {"#": _HEX, '"': _QUOTED}.get(value[:1], _PLAIN)
    return form.fullmatch(value) is not None


def _is_keyword(keyword: str) -> bool:
    if keyword.upper() in _KEYWORDS:
        return True
    match = _OBJECT.fullmatch(keyword)
    return match is not None and (match[1] == "2" or int(match[2].split(".")[1]) < 40)
