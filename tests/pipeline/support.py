"""What the tests of the pipeline share: connections of nobody, trees made in a few words."""

from __future__ import annotations

from kraal.model.acl import OPEN_UNSAFE, Acl
from kraal.pipeline.connection import ClientConnection
from kraal.tree.acl_cache import AclList
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn
from kraal.wire.records.data import encode_acls

OPEN = encode_acls(OPEN_UNSAFE)
SESSION = 0x100


class NullChannel:
    """A peer that takes everything."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def connection(host: str = "127.0.0.1") -> ClientConnection:
    return ClientConnection(NullChannel(), host, 1, 0)


def acl_list(*entries: Acl) -> AclList:
    return AclList(7, encode_acls(entries))


class Tree:
    """A tree that changes by transactions, one zxid and one millisecond each."""

    def __init__(self) -> None:
        self.tree = DataTree.pristine(extended_types=True)
        self.wall_ms = 1000

    def apply(self, kind: int, body: Record, session: int = SESSION) -> None:
        zxid = self.tree.last_zxid + 1
        apply(self.tree, txn.Txn(session, 0, zxid, self.wall_ms, kind, body, None))
        self.tree.events.clear()

    def create(self, path: bytes, data: bytes = b"", *, ephemeral: bool = False) -> None:
        self.apply(OpCode.CREATE, txn.CreateTxn(path, data, OPEN, ephemeral, self._next(path)))

    def create_container(self, path: bytes) -> None:
        body = txn.CreateContainerTxn(path, b"", OPEN, self._next(path))
        self.apply(OpCode.CREATE_CONTAINER, body)

    def create_ttl(self, path: bytes, ttl_ms: int) -> None:
        body = txn.CreateTtlTxn(path, b"", OPEN, self._next(path), ttl_ms)
        self.apply(OpCode.CREATE_TTL, body)

    def delete(self, path: bytes) -> None:
        self.apply(OpCode.DELETE, txn.DeleteTxn(path))

    def set_data(self, path: bytes, data: bytes) -> None:
        version = self.tree.nodes[path].version + 1
        self.apply(OpCode.SET_DATA, txn.SetDataTxn(path, data, version))

    def _next(self, path: bytes) -> int:
        parent = self.tree.nodes[path[: path.rindex(b"/")]]
        return parent.created_children + 1
