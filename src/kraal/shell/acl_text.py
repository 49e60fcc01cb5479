"""ACLs as they are written and shown: `scheme:id:perms`, separated by commas."""

from __future__ import annotations

import re
from collections.abc import Callable

from kraal.client import Acl, InvalidAclError, Perms

_LETTERS = {
    "r": Perms.READ, "w": Perms.WRITE, "c": Perms.CREATE, "d": Perms.DELETE, "a": Perms.ADMIN,
}  # fmt: skip


def parse(text: str, complain: Callable[[str], None]) -> list[Acl]:
    """The entries of an ACL; what cannot be read is complained about and left out, as in zkCli.

    Raises InvalidAclError if nothing is left.
    """
    found: list[Acl] = []
    for entry in text.rstrip(",").split(","):
        scheme, colon, rest = entry.partition(":")
        user, last_colon, letters = rest.rpartition(":")
        if not colon or not last_colon:
            complain(f"{entry} does not have the form scheme:id:perm")
            continue
        perms = 0
        for letter in letters:
            if letter not in _LETTERS:
                complain(f"Unknown perm type: {letter}")
            perms |= _LETTERS.get(letter, 0)
        found.append(Acl(perms, scheme, user))
    if not found:
        raise InvalidAclError()
    return found


def perms_text(perms: int) -> str:
    """Permissions as letters, in the order of zkCli."""
    return "".join(letter for letter in "cdrwa" if perms & _LETTERS[letter])


def entry_text(entry: Acl) -> str:
    """An entry so that `entry_of` reads the same; permissions without a letter as a number."""
    perms = perms_text(entry.perms) if 0 <= entry.perms <= Perms.ALL else str(entry.perms)
    return f"{entry.scheme or ''}:{entry.id or ''}:{perms}"


def entry_of(text: str) -> Acl:
    """The entry that `scheme:id:perms` is. Raises ValueError."""
    scheme, colon, rest = text.partition(":")
    user, last_colon, perms = rest.rpartition(":")
    if not colon or not last_colon or not scheme:
        raise ValueError(f"{text!r} does not have the form scheme:id:perms")
    if re.fullmatch(r"-?[0-9]{1,10}", perms, re.ASCII):
        return Acl(int(perms), scheme, user)
    wrong = [letter for letter in perms if letter not in _LETTERS]
    if wrong:
        raise ValueError(f"{text!r}: {wrong[0]!r} is no permission; there are c, d, r, w, a")
    return Acl(sum(_LETTERS[letter] for letter in set(perms)), scheme, user)


_ESCAPED = str.maketrans(
    {"\0": "%00", "\n": "%0A", "\r": "%0D", "%": "%25", ",": "%2C", "}": "%7D"}
)


def csv(text: str | None) -> str:
    """Text as the original's records print it."""
    return "" if text is None else f"'{text.translate(_ESCAPED)}"
