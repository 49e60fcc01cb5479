"""What the storage tests share: golden bytes, a random history, a description of a tree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath
from random import Random
from typing import Any

from kraal.model.acl import OPEN_UNSAFE, READ_UNSAFE, Acl
from kraal.model.config import StorageConfig
from kraal.storage.interface import FileSystem
from kraal.storage.snapshot_store import SnapshotStore
from kraal.storage.txn_log import TxnLog
from kraal.tree import snapshot
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import encode_acls
from kraal.wire.records.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)

GOLDEN = Path(__file__).parents[1] / "golden"
DATA = PurePath("/data")
LOGS = PurePath("/logs")
SNAPSHOT_DIR = DATA / "version-2"
LOG_DIR = LOGS / "version-2"

_ACLS: list[bytes | None] = [
    None,
    encode_acls(OPEN_UNSAFE),
    encode_acls(READ_UNSAFE),
    encode_acls([Acl(31, "digest", "someone:secret"), Acl(1, "world", "anyone")]),
]


def golden(name: str) -> list[bytes]:
    """The blocks of a hex file: lines up to an empty one, without comments."""
    blocks = [bytearray()]
    for line in (GOLDEN / name).read_text().splitlines():
        if not line.strip():
            blocks.append(bytearray())
        blocks[-1] += bytes.fromhex(line.partition("#")[0])
    return [bytes(block) for block in blocks if block]


def configured(**settings: Any) -> StorageConfig:
    """A configuration for the in-memory file system, with small files."""
    return StorageConfig(
        **{"data_dir": DATA, "data_log_dir": LOGS, "pre_alloc_bytes": 0, **settings}
    )


def described(tree: DataTree) -> dict[str, object]:
    """Everything that two equal trees have in common."""
    return {
        "nodes": {
            path: (node.data, node.acl.encoded, node.stat, node.stored_owner())
            for path, node in tree.nodes.items()
        },
        "children": {
            path: set(node.children) for path, node in tree.nodes.items() if node.children
        },
        "sessions": dict(tree.sessions),
        "ephemerals": {owner: set(paths) for owner, paths in tree.ephemerals.items()},
        "containers": set(tree.containers),
        "ttls": dict(tree.ttls),
        "last_zxid": tree.last_zxid,
        "digest": signed(tree.digest),
        "computed": signed(tree.compute_digest()),
        "data_bytes": tree.data_bytes,
    }


class History:
    """Random transactions, valid as validation would make them, applied to `tree`."""

    def __init__(self, rng: Random, tree: DataTree | None = None) -> None:
        self.rng = rng
        self.tree = tree or DataTree.pristine(extended_types=True)
        self._now = 1_700_000_000_000
        self._sessions = 0x1_0000_0000

    def next(self, *, epoch: int = 0) -> Txn:
        """One more transaction, encoded, with the digest of the tree behind it."""
        last = self.tree.last_zxid
        zxid = max(last + 1, epoch << 32 | 1)
        kind, body, client = self._choose()
        return self.apply(kind, body, client, zxid)

    def apply(self, kind: int, body: Record, client: int = 1, zxid: int | None = None) -> Txn:
        zxid = self.tree.last_zxid + 1 if zxid is None else zxid
        self._now += self.rng.randrange(50)
        txn = Txn(client, self.rng.randrange(100), zxid, self._now, kind, body, None)
        apply(self.tree, txn)
        self.tree.events.clear()
        txn.digest = None if kind == OpCode.ERROR else signed(self.tree.digest)
        txn.encode()
        return txn

    def _choose(self) -> tuple[int, Record, int]:
        rng = self.rng
        chosen = rng.random()
        if chosen < 0.05:
            self._sessions += 1
            return (
                OpCode.CREATE_SESSION,
                CreateSessionTxn(rng.choice((30000, 40000))),
                (self._sessions),
            )
        if chosen < 0.10 and self.tree.sessions:
            session = rng.choice(sorted(self.tree.sessions))
            paths: list[bytes | None] = list(self.tree.ephemerals.get(session, ()))
            return OpCode.CLOSE_SESSION, CloseSessionTxn(paths), session
        if chosen < 0.15:
            return OpCode.ERROR, ErrorTxn(-110), 1
        if chosen < 0.25:
            return self._multi()
        client = rng.choice(sorted(self.tree.sessions) or [1])
        kind, body = self._write(client)
        return kind, body, client

    def _multi(self) -> tuple[int, Record, int]:
        """A multi whose parts do not touch each other's znodes, and now and then a failed one."""
        client = self.rng.choice(sorted(self.tree.sessions) or [1])
        parts: list[tuple[int, Record]] = []
        touched: set[bytes] = set()
        for _ in range(self.rng.randint(0, 4)):
            kind, body = self._write(client)
            path: bytes = getattr(body, "path")  # noqa: B009 - every write has one
            near = {path, path[: path.rindex(b"/")]}
            if kind != OpCode.SET_ACL and not near & touched:
                touched |= near
                parts.append((kind, body))
        parts.append((OpCode.CHECK, CheckVersionTxn(b"/", 1)))
        if self.rng.random() < 0.2:
            parts = [(OpCode.ERROR, ErrorTxn(-2)) for _ in parts]
        return OpCode.MULTI, MultiTxn(parts), client

    def _write(self, client: int) -> tuple[int, Record]:
        rng, nodes = self.rng, self.tree.nodes
        own = [p for p in nodes if p not in (b"", b"/") and not p.startswith(b"/zookeeper")]
        path = rng.choice(own) if own else None
        chosen = rng.random()
        if path is None or chosen < 0.5:
            return self._create(own, client)
        node = nodes[path]
        if chosen < 0.7 and not node.children:
            return rng.choice((OpCode.DELETE, OpCode.DELETE_CONTAINER)), DeleteTxn(path)
        if chosen < 0.85:
            return OpCode.SET_DATA, SetDataTxn(path, self._data(), node.version + 1)
        return OpCode.SET_ACL, SetAclTxn(path, rng.choice(_ACLS), node.aversion + 1)

    def _create(self, own: list[bytes], client: int) -> tuple[int, Record]:
        rng, nodes = self.rng, self.tree.nodes
        parents = [p for p in own if not nodes[p].ephemeral_owner and p.count(b"/") < 4]
        parent = rng.choice([b"", *parents])
        created = nodes[parent].created_children
        path = parent + b"/%c%d" % (rng.choice(b"nmo"), rng.choice((created, rng.randrange(4))))
        while path in nodes:
            path += b"x"
        data, acl = self._data(), rng.choice(_ACLS)
        chosen = rng.random()
        if chosen < 0.1:
            return OpCode.CREATE_CONTAINER, CreateContainerTxn(path, data, acl, created + 1)
        if chosen < 0.2:
            return OpCode.CREATE_TTL, CreateTtlTxn(path, data, acl, created + 1, 5000)
        ephemeral = client in self.tree.sessions and rng.random() < 0.4
        kind = rng.choice((OpCode.CREATE, OpCode.CREATE2))
        return kind, CreateTxn(path, data, acl, ephemeral, created + 1)

    def _data(self) -> bytes | None:
        return self.rng.choice((None, b"", b"data", self.rng.randbytes(40)))


def write_log(fs: FileSystem, config: StorageConfig, txns: Iterable[Txn]) -> None:
    """One file with these transactions."""
    log = TxnLog(fs, config)
    for txn in txns:
        log.append(txn.zxid, txn.payload)
    flush = log.take()
    assert flush is not None
    flush.run()
    log.close()


def write_snapshot(fs: FileSystem, config: StorageConfig, tree: DataTree) -> str:
    writer = SnapshotStore(fs, config).create(tree.last_zxid)
    for piece in snapshot.encode(tree, last_zxid_section=config.serialize_last_processed_zxid):
        writer.write(piece)
    return writer.commit()
