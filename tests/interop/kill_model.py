"""What writes do, said a second time: a tree that holds what a server must show.

Writes are applied in the order of their zxids. Each gives the reply that the client must get
and the tree digest that the log must hold behind it. No code is shared with kraal. Rules:
reference/client-protocol.md sections 4 to 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.interop.data_directory_files import CONTAINER_OWNER, digest_term, signed, ttl_owner
from tests.support import raw_client as raw

READ, WRITE, CREATE, DELETE, ADMIN = 1, 2, 4, 8, 16
EPHEMERAL, SEQUENTIAL = 1, 2
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS = -101, -102, -103, -108
NODE_EXISTS, NOT_EMPTY, INVALID_ACL, INCONSISTENT = -110, -111, -114, -2
ANY_VERSION = -1


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changes something, or is refused."""

    op: str
    path: str = "/"
    data: bytes | None = b""
    acl: tuple[raw.Acl, ...] = raw.OPEN_ACL
    flags: int = 0
    version: int = ANY_VERSION
    ttl_ms: int = 0
    parts: tuple[Write, ...] = ()

    def body(self) -> bytes:
        if self.op == "multi":
            return raw.multi_body((raw.OPCODES[part.op], part.body()) for part in self.parts)
        arguments: tuple[object, ...]
        if self.op in ("create", "create2", "createContainer"):
            arguments = (self.path, self.data, self.acl, self.flags)
        elif self.op == "createTTL":
            arguments = (self.path, self.data, self.acl, self.flags, self.ttl_ms)
        elif self.op == "setData":
            arguments = (self.path, self.data, self.version)
        elif self.op == "setACL":
            arguments = (self.path, self.acl, self.version)
        else:
            arguments = (self.path, self.version)
        return raw.BODIES[self.op](*arguments)


class RefusedError(Exception):
    """The write is refused with this error code."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass(slots=True)
class Node:
    """One znode; `created` counts all children that it ever had."""

    data: bytes | None = b""
    acl: tuple[raw.Acl, ...] = raw.OPEN_ACL
    czxid: int = 0
    mzxid: int = 0
    ctime: int = 0
    mtime: int = 0
    version: int = 0
    created: int = 0
    aversion: int = 0
    owner: int = 0
    children: int = 0
    pzxid: int = 0

    def stat(self) -> raw.Stat:
        return raw.Stat(
            self.czxid, self.mzxid, self.ctime, self.mtime, self.version,
            2 * self.created - self.children, self.aversion, max(self.owner, 0),
            len(self.data or b""), self.children, self.pzxid,
        )  # fmt: skip

    def term(self, path: str) -> int:
        return digest_term(
            path, self.data,
            zxids=(self.czxid, self.mzxid, self.pzxid), times=(self.ctime, self.mtime),
            versions=(self.version, self.created, self.aversion), owner=self.owner,
        )  # fmt: skip

    def permits(self, perms: int) -> bool:
        """Clients come from this host, and have no other identity."""
        return any(entry[0] & perms and entry[1] in ("world", "ip") for entry in self.acl)


@dataclass(slots=True)
class Moment:
    """When a write happens, and whose it is."""

    session: int
    zxid: int
    time: int


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _pristine() -> dict[str, Node]:
    config = Node(acl=((READ, "world", "anyone"),), aversion=-1)
    return {
        "/": Node(children=1), "/zookeeper": Node(children=2),
        "/zookeeper/config": config, "/zookeeper/quota": Node(),
    }  # fmt: skip


@dataclass
class Model:
    """The znodes and sessions that a server must have."""

    nodes: dict[str, Node] = field(default_factory=_pristine)
    sessions: set[int] = field(default_factory=set)
    ephemerals: dict[int, set[str]] = field(default_factory=dict)
    zxid: int = 0
    _digest: int = 0
    # How the nodes of a multi were before it, to undo it; None: not there.
    _before: dict[str, Node | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._digest = sum(node.term(path) for path, node in self.nodes.items())

    @property
    def digest(self) -> int:
        return signed(self._digest)

    def apply(self, write: Write, moment: Moment) -> tuple[int, object]:
        """The error code and the value of the reply."""
        self.zxid = moment.zxid
        self._before = {}
        if write.op == "multi":
            return 0, self._multi(write.parts, moment)
        try:
            return 0, _RULES[write.op](self, write, moment)
        except RefusedError as refused:
            return refused.code, None

    def open_session(self, session: int, zxid: int) -> None:
        self.zxid = zxid
        self.sessions.add(session)

    def close_session(self, session: int, zxid: int) -> None:
        self.zxid = zxid
        self.sessions.discard(session)
        self._before = {}
        for path in sorted(self.ephemerals.get(session, ())):
            self._remove(path, zxid)

    # ---- Changing znodes --------------------------------------------------------------

    def _put(self, path: str, node: Node | None) -> None:
        """Replace a znode; keeps the digest and the index of ephemerals in step."""
        old = self.nodes.get(path)
        self._before.setdefault(path, old)
        for known, sign in ((old, -1), (node, 1)):
            if known is None:
                continue
            self._digest += sign * known.term(path)
            if known.owner > 0:
                owned = self.ephemerals.setdefault(known.owner, set())
                (owned.add if sign > 0 else owned.discard)(path)
        if node is None:
            del self.nodes[path]
        else:
            self.nodes[path] = node

    def _remove(self, path: str, zxid: int) -> None:
        self._put(path, None)
        parent = self.nodes[parent_of(path)]
        left = replace(parent, children=parent.children - 1, pzxid=zxid)
        self._put(parent_of(path), left)

    def _require(self, path: str, perms: int) -> Node:
        node = self.nodes.get(path)
        if node is None:
            raise RefusedError(NO_NODE)
        if not node.permits(perms):
            raise RefusedError(NO_AUTH)
        return node

    # ---- The operations ---------------------------------------------------------------

    def create(self, write: Write, moment: Moment) -> object:
        path, plain = write.path, write.op in ("create", "create2")
        parent = self._require(parent_of(path), CREATE)
        if plain and write.flags & SEQUENTIAL:
            path += f"{parent.created:010d}"
        if path in self.nodes:
            raise RefusedError(NODE_EXISTS)
        if parent.owner > 0:
            raise RefusedError(NO_CHILDREN_FOR_EPHEMERALS)
        owner = moment.session if plain and write.flags & EPHEMERAL else 0
        if write.op == "createContainer":
            owner = CONTAINER_OWNER
        elif write.op == "createTTL":
            owner = ttl_owner(write.ttl_ms)
        zxid, time = moment.zxid, moment.time
        node = Node(
            write.data, write.acl, zxid, zxid, time, time, owner=owner, pzxid=zxid
        )  # fmt: skip
        self._put(path, node)
        grown = replace(
            parent, created=parent.created + 1, children=parent.children + 1, pzxid=zxid
        )
        self._put(parent_of(path), grown)
        return path if write.op == "create" else (path, node.stat())

    def delete(self, write: Write, moment: Moment) -> object:
        self._require(parent_of(write.path), DELETE)
        node = self.nodes.get(write.path)
        if node is None:
            raise RefusedError(NO_NODE)
        if write.version not in (ANY_VERSION, node.version):
            raise RefusedError(BAD_VERSION)
        if node.children:
            raise RefusedError(NOT_EMPTY)
        self._remove(write.path, moment.zxid)
        return None

    def set_data(self, write: Write, moment: Moment) -> object:
        node = self._require(write.path, WRITE)
        if write.version not in (ANY_VERSION, node.version):
            raise RefusedError(BAD_VERSION)
        changed = replace(
            node, data=write.data, version=node.version + 1,
            mzxid=moment.zxid, mtime=moment.time,
        )  # fmt: skip
        self._put(write.path, changed)
        return changed.stat()

    def set_acl(self, write: Write, _moment: Moment) -> object:
        if not write.acl:
            raise RefusedError(INVALID_ACL)
        node = self._require(write.path, ADMIN)
        if write.version not in (ANY_VERSION, node.aversion):
            raise RefusedError(BAD_VERSION)
        changed = replace(node, acl=write.acl, aversion=node.aversion + 1)
        self._put(write.path, changed)
        return changed.stat()

    def check(self, write: Write, _moment: Moment) -> object:
        node = self._require(write.path, READ)
        if write.version not in (ANY_VERSION, node.version):
            raise RefusedError(BAD_VERSION)
        return None

    def _multi(self, parts: tuple[Write, ...], moment: Moment) -> list[raw.PartResult]:
        results = []
        for index, part in enumerate(parts):
            try:
                value = _RULES[part.op](self, part, moment)
            except RefusedError as refused:
                self._undo()
                codes = [0] * index + [refused.code]
                codes += [INCONSISTENT] * (len(parts) - len(codes))
                results = [raw.PartResult(-1, False, code, code) for code in codes]
                break
            kind = part.op if part.op in ("create", "delete", "setData", "check") else "create2"
            results.append(raw.PartResult(raw.OPCODES[kind], False, 0, value))
        return [*results, raw.PartResult(-1, True, -1, None)]

    def _undo(self) -> None:
        for path, node in list(self._before.items()):
            if node is not None or path in self.nodes:
                self._put(path, node)


_RULES: dict[str, Callable[[Model, Write, Moment], object]] = {
    "create": Model.create, "create2": Model.create, "createContainer": Model.create,
    "createTTL": Model.create, "delete": Model.delete, "setData": Model.set_data,
    "setACL": Model.set_acl, "check": Model.check,
}  # fmt: skip
