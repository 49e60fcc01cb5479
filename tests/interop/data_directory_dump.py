"""The whole state of a running server, as others see it: znodes, sessions, figures, complaints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from tests.support import raw_client as raw
from tests.support.servers import four_letter_word

T = TypeVar("T")

SUPER_AUTH = b"super:secret"
SUPER_DIGEST = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="
SUPER_SETTINGS = {"DigestAuthenticationProvider.superDigest": SUPER_DIGEST}

_PIPELINED_PATHS = 100
_SHOWN = 20
_COMPLAINT = re.compile(r" (WARN|ERROR|CRITICAL) |^Traceback|^\S*(Error|Exception)\b")
# What says nothing of the data: a slow disk, snapshots that are due sooner than done, a
# configuration without a quorum, a four-letter word before the server is ready, the wrong
# password that is refused on purpose, clients that drop their connections, and replay over a
# snapshot that was written meanwhile.
_HARMLESS = re.compile(
    r"comes near jute.maxbuffer|"
    r"Too busy to snap|Writing \d+ transactions took|fsync-ing the write ahead log|"
    r"no quorum defined in config|maxCnxns is not configured|Error closing a command socket|"
    r"NullPointerException.*ZKDatabase.removeCnxn|Incorrect password from|"
    r"Ignoring NoNodeException .* for dead session|NIOServerCnxn - Close of session|"
    r"^java.io.IOException: (Connection reset by peer|Broken pipe)"
)


class Entry(NamedTuple):
    """One znode."""

    data: bytes | None
    stat: raw.Stat
    acl: tuple[tuple[int, str | None, str | None], ...]


Dump = dict[str, Entry]


def connect_super(port: int, timeout: float = 30.0) -> raw.RawClient:
    """A new session that may read everything."""
    client = raw.RawClient(port, timeout=timeout)
    client.connect()
    authenticate(client)
    return client


def authenticate(client: raw.RawClient, auth: bytes = SUPER_AUTH) -> None:
    """Add a digest identity, by default the super user's, to a connection."""
    client.send("auth", raw.auth_body(0, "digest", auth), raw.AUTH_XID)
    reply = client.receive()
    assert isinstance(reply, raw.Reply)
    assert reply.err == 0, reply


def dump(client: raw.RawClient) -> Dump:
    """Every znode with data, stat and ACL."""
    found: Dump = {}
    level = ["/"]
    while level:
        below: list[str] = []
        for at in range(0, len(level), _PIPELINED_PATHS):
            below += _read(client, level[at : at + _PIPELINED_PATHS], found)
        level = below
    return found


def _read(client: raw.RawClient, paths: Sequence[str], found: Dump) -> list[str]:
    """Read some znodes in one go; returns their children."""
    requests = [
        client.encode("getData", raw.path_and_watch(path, False))
        + client.encode("getACL", raw.ustring(path))
        + client.encode("getChildren", raw.path_and_watch(path, False))
        for path in paths
    ]
    client.send_bytes(b"".join(requests))
    below: list[str] = []
    for path in paths:
        data, stat = _value(client, tuple)
        acl, _ = _value(client, tuple)
        found[path] = Entry(data, stat, tuple(acl))
        below += [f"{path.rstrip('/')}/{name}" for name in sorted(_value(client, list))]
    return below


def _value(client: raw.RawClient, kind: type[T]) -> T:
    reply = client.receive()
    assert isinstance(reply, raw.Reply)
    assert isinstance(reply.value, kind), reply
    return reply.value


def differences(left: Dump, right: Dump) -> list[str]:
    """Where two trees differ, a line for each znode and field; empty when they are the same."""
    lines = []
    for path in sorted(left.keys() | right.keys()):
        one, other = left.get(path), right.get(path)
        if one is None or other is None:
            lines.append(f"{path}: only on the {'right' if one is None else 'left'}")
        elif one != other:
            fields = zip(Entry._fields, one, other, strict=True)
            lines += [f"{path}: {name} {a!r:.300} / {b!r:.300}" for name, a, b in fields if a != b]
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"and {len(lines) - _SHOWN} more"]
    return lines


def last_zxid(port: int) -> int:
    """The last zxid that the server has applied."""
    found = re.search(r"^Zxid: 0x([0-9a-f]+)$", four_letter_word(port, "srvr"), re.MULTILINE)
    assert found is not None
    return int(found[1], 16)


def figures(port: int) -> dict[str, str]:
    """What `mntr` shows."""
    lines = four_letter_word(port, "mntr").splitlines()
    return {name: value for name, _, value in (line.partition("\t") for line in lines)}


def digest_history(port: int) -> dict[int, int]:
    """What `hash` shows: the tree digest by zxid."""
    lines = four_letter_word(port, "hash").splitlines()
    return {int(zxid, 16): int(value) for zxid, value in (line.split(": ") for line in lines)}


def session_ids(port: int) -> set[int]:
    """The sessions that `dump` lists."""
    text = four_letter_word(port, "dump")
    tracked = text.partition("ephemeral nodes dump:")[0]
    return {
        int(found, 16) for found in re.findall(r"^\t(?:Session )?0x([0-9a-f]+)$", tracked, re.M)
    }


def resumes(port: int, session: int, password: bytes, zxid: int = 0) -> raw.RawClient | None:
    """A connection that takes up a session, or None when the server does not know it."""
    client = raw.RawClient(port)
    try:
        shown = client.connect(raw.connect_request(session, password, last_zxid=zxid))
    except raw.ClosedError:
        return None
    if shown.session != session:
        client.close()
        return None
    return client


def complaints(text: str) -> list[str]:
    """The lines of a server's log that it should not have had to write."""
    found = [
        line for line in text.splitlines() if _COMPLAINT.search(line) and not _HARMLESS.search(line)
    ]
    return found[:_SHOWN]
