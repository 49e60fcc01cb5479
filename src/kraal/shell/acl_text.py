"""ACLs as they are written and shown: `scheme:id:perms`, separated by commas."""

from __future__ import annotations

from collections.abc import Callable

from kraal.client import Acl, Perms

_LETTERS = {
    "r": Perms.READ, "w": Perms.WRITE, "c": Perms.CREATE, "d": Perms.DELETE, "a": Perms.ADMIN,
}  # fmt: skip


def parse(text: str, complain: Callable[[str], None]) -> list[Acl]:
    """The entries of an ACL; what cannot be read is complained about and left out, as in zkCli."""
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
    return found


def perms_text(perms: int) -> str:
    """Permissions as letters, in the order of zkCli."""
    return "".join(letter for letter in "cdrwa" if perms & _LETTERS[letter])
