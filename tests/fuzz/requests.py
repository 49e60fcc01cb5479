"""Requests for a replica under fuzzing: mostly sound, colliding on few paths, sometimes damaged."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from tests.interop import differential_values as values
from tests.interop.differential_rules import LIMITS, QUOTA, STATS
from tests.support import raw_client as raw

UNKNOWN_OPCODES = (0, 10, 13, -1, -2, 23, 99, 2**31 - 1, -(2**31))
_OPS = {
    "create": 22, "create2": 10, "createContainer": 5, "createTTL": 6, "delete": 16,
    "setData": 14, "setACL": 8, "multi": 18, "getACL": 2, "exists": 5, "getData": 6,
    "getChildren": 4, "getChildren2": 3, "getAllChildrenNumber": 1, "getEphemerals": 1,
    "sync": 2, "ping": 2, "whoAmI": 1, "multiRead": 2, "reconfig": 1, "checkWatches": 2,
    "removeWatches": 2, "addWatch": 6, "setWatches": 2, "setWatches2": 2, "deleteContainer": 3,
    "auth": 4, "sasl": 1, "createSession": 2, "closeSession": 1,
}  # fmt: skip
_PARTS = ("create", "create2", "createContainer", "createTTL", "delete", "setData", "check")
_OTHER_PARTS = ("exists", "getData", "getChildren", "setACL", "sync")
QUOTA_PATHS = ("/a", "/a/b", "/zookeeper", "/zookeeper/quota", "/never")
USAGE_TEXTS = (b"count=9,bytes=99", b"count=99,bytes=-1", b"count=", b"nonsense", b"", None)


class Request(NamedTuple):
    """An opcode and a body, not always one that belongs to it."""

    op: int
    body: bytes


def request(random: Random) -> Request:
    """Any request, sometimes with a damaged body."""
    name = random.choices(tuple(_OPS), tuple(_OPS.values()))[0]
    op, body = raw.OPCODES[name], _body(random, name)
    damage = random.random()
    if damage < 0.03:
        body = body[: random.randrange(len(body) + 1)]
    elif damage < 0.06:
        body = _corrupted(random, body)
    elif damage < 0.07:
        body += random.randbytes(random.randrange(1, 9))
    elif damage < 0.073:
        op = random.choice(UNKNOWN_OPCODES)
    elif damage < 0.08:
        op = random.choice(tuple(raw.OPCODES.values()))
    return Request(op, body)


def _corrupted(random: Random, body: bytes) -> bytes:
    """Some bytes, or a whole length field, replaced."""
    damaged = bytearray(body)
    if len(body) >= 4 and random.random() < 0.5:
        at = random.randrange(len(body) - 3)
        damaged[at : at + 4] = raw.i32(random.choice((-1, -2, 0, 1, 2**31 - 1, -(2**31), 255)))
    elif body:
        for _ in range(random.randrange(1, 4)):
            damaged[random.randrange(len(body))] = random.getrandbits(8)
    return bytes(damaged)


def _path(random: Random) -> raw.Text:
    if random.random() < 0.15:
        return quota_znode(random)
    return values.path(random)


def quota_znode(random: Random) -> str:
    """A znode that sets up a quota, or one of those on the way to it."""
    below = QUOTA + random.choice(QUOTA_PATHS)
    names = below.split("/")
    return random.choice(
        ("/".join(names[: random.randrange(2, len(names) + 1)]), below, f"{below}/{LIMITS}",
         f"{below}/{STATS}", f"{below}/{STATS}")
    )  # fmt: skip


def _data(random: Random, path: raw.Text) -> bytes | None:
    if isinstance(path, str) and path.endswith(LIMITS):
        return random.choice((*values.LIMIT_TEXTS, *values.BAD_LIMIT_TEXTS))
    if isinstance(path, str) and path.endswith(STATS):
        return random.choice(USAGE_TEXTS)
    kind = random.random()
    if kind < 0.3:
        return random.choice((None, b""))
    return random.choice((b"x", b"yy")) * random.choice((1, 3, 30))


def _acl(random: Random) -> raw.AclList:
    return raw.OPEN_ACL if random.random() < 0.7 else values.acl(random)


def _version(random: Random) -> int:
    return -1 if random.random() < 0.7 else values.version(random)


def _body(random: Random, name: str) -> bytes:
    match name:
        case "multi":
            return raw.multi_body(_parts(random, _PARTS), _end(random))
        case "multiRead":
            return raw.multi_body(_parts(random, ("getData", "getChildren")), _end(random))
        case "setWatches" | "setWatches2":
            count = 3 if name == "setWatches" else 5
            lists = [_paths(random) for _ in range(count)]
            return raw.set_watches_body(random.choice((0, 5, 2**40, -1)), *lists)
        case "auth":
            known = values.AUTHS if random.random() < 0.9 else values.BAD_AUTHS
            return raw.auth_body(0, *random.choice(known))
        case "sasl":
            return raw.buffer(random.choice((b"", b"x", None)))
        case "createSession":
            return raw.i32(random.choice((0, 4000, 10_000, 2**31 - 1, -1)))
        case "ping" | "whoAmI" | "closeSession":
            return b""
        case "reconfig":
            return raw.reconfig_body(None, random.choice((None, "2")), "", -1)
        case _:
            return _znode_body(random, name)


def _znode_body(random: Random, name: str) -> bytes:
    """The body of a request that names one znode."""
    if name.startswith("create"):
        return _create_body(random, name)
    path = _path(random)
    match name:
        case "delete" | "check":
            return raw.path_and_int(path, _version(random))
        case "setData":
            return raw.set_data_body(path, _data(random, path), _version(random))
        case "setACL":
            return raw.set_acl_body(path, _acl(random), _version(random))
        case "exists" | "getData" | "getChildren" | "getChildren2":
            return raw.path_and_watch(path, random.random() < 0.6)
        case "addWatch":
            return raw.path_and_int(path, random.choice((0, 1, 0, 1, 2)))
        case "checkWatches" | "removeWatches":
            return raw.path_and_int(path, random.randrange(7))
        case _:
            return raw.ustring(path)


def _create_body(random: Random, name: str) -> bytes:
    path = _path(random)
    flags = values.create_flags(random)
    if name == "createContainer" and random.random() < 0.7:
        flags = 4
    if name == "createTTL" and random.random() < 0.8:
        flags = random.choice((5, 6))
    if flags in (2, 3, 6):
        path = values.sequential_prefix(random)
    body = raw.create_body(path, _data(random, path), _acl(random), flags)
    return body + raw.i64(values.ttl(random)) if name == "createTTL" else body


def _parts(random: Random, names: tuple[str, ...]) -> list[tuple[int, bytes]]:
    parts = []
    for _ in range(random.randrange(6)):
        name = random.choice(names if random.random() < 0.97 else _OTHER_PARTS)
        parts.append((raw.OPCODES[name], _znode_body(random, name)))
    return parts


def _end(random: Random) -> bytes:
    return (
        raw.MULTI_END if random.random() < 0.97 else random.choice((b"", b"\0\0\0\0\x07\0\0\0\0"))
    )


def _paths(random: Random) -> list[raw.Text] | None:
    if random.random() < 0.03:
        return None
    return [_path(random) for _ in range(random.randrange(4))]
