"""What is wrong with a path, in the Java client's words; nothing is sent for it."""

from __future__ import annotations

from kraal.shell.errors import CommandError


def check(path: str, *, is_sequential: bool = False) -> None:
    """Raise CommandError for what cannot be the path of a znode.

    Positions count UTF-16 units, as the original's do. A sequential znode may have no name but
    its number. Rules: reference/client-protocol.md section 5.4.
    """
    whole = path + "1" if is_sequential else path
    if not whole:
        raise CommandError("Path length must be > 0")
    if not whole.startswith("/"):
        raise CommandError("Path must start with / character")
    if whole == "/":
        return
    if whole.endswith("/"):
        raise CommandError("Path must not end with / character")
    if reason := _fault(whole):
        raise CommandError(f'Invalid path string "{whole}" caused by {reason}')


def _fault(path: str) -> str | None:
    at = 1
    for name in path[1:].split("/"):
        if not name:
            return f"empty node name specified @{at}"
        if name in (".", ".."):
            return f"relative paths not allowed @{at + len(name) - 1}"
        for each in name:
            if each == "\0":
                return f"null character not allowed @{at}"
            if _is_illegal(each):
                return f"invalid character @{at}"
            at += 1
        at += 1
    return None


def _is_illegal(character: str) -> bool:
    code = ord(character)
    return (
        code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or code >= 0xFFF0
    )  # supplementary characters are surrogates in Java


def child(path: str, name: str) -> str:
    """The path of a child."""
    return f"/{name}" if path == "/" else f"{path}/{name}"


def parent(path: str) -> str:
    """The path of the parent; that of `/` is `/`."""
    return path.rpartition("/")[0] or "/"


def lineage(path: str) -> list[str]:
    """The paths from below `/` down to this one."""
    names = path.split("/")[1:] if path != "/" else []
    return ["/" + "/".join(names[:count]) for count in range(1, len(names) + 1)]


def below(root: str, path: str) -> str:
    """A path as it is seen from the root of a subtree, put where that subtree is."""
    return root if path == "/" else path if root == "/" else f"{root}{path}"


def seen_from(root: str, path: str) -> str:
    """The reverse of `below`."""
    return path if root == "/" else path[len(root) :] or "/"
