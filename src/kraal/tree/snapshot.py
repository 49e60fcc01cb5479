"""The snapshot stream: sessions, ACL lists, znodes, digest, last zxid, sealed three times.

Layout: reference/storage-formats.md section 4.1. Writing is a generator of slices, so that
the tree goes on changing in between: the snapshot is fuzzy (section 4.5). A znode created
after the first slice is left out, because replay creates it; so every znode that is written
finds its parent written before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import adler32

from kraal.errors import DecodeError
from kraal.model.create_mode import CONTAINER_OWNER, is_extended_owner
from kraal.model.path import ROOT
from kraal.tree.acl_cache import OPEN_ID, AclList
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.tree.znode import wire_cversion
from kraal.wire.jute.primitives import pack_int, read_buffer, skip_acl_vector
from kraal.wire.records.data import STAT
from kraal.wire.records.txn import DIGEST_VERSION

MAGIC = b"ZKSN"
VERSION = 2
_FILE_HEADER = struct.Struct(">4siq")
_COUNT = struct.Struct(">i")
_SESSION = struct.Struct(">qi")
_LONG = struct.Struct(">q")
_NODE = struct.Struct(">qqqqqiiiqq")
"""ACL id, then StatPersisted: czxid, mzxid, ctime, mtime, versions, owner, pzxid."""
_DIGEST = struct.Struct(">qiq")
_END = b"\x00\x00\x00\x01/"
_SEAL_BYTES = 8 + len(_END)
SLICE_NODES = 200


@dataclass(frozen=True, slots=True)
class SnapshotDigest:
    """The tree digest that a snapshot carries, and the zxid from which it holds."""

    zxid: int
    digest: int


def encode(tree: DataTree, *, last_zxid_section: bool = True) -> Iterator[bytes]:
    """The stream in slices, each soon done; `tree.last_zxid` at the first names the file."""
    base_zxid = tree.last_zxid
    paths = list(tree.nodes)
    head = [_FILE_HEADER.pack(MAGIC, VERSION, -1), _COUNT.pack(len(tree.sessions))]
    head += [_SESSION.pack(*session) for session in tree.sessions.items()]
    lists = list(tree.acls)
    head.append(_COUNT.pack(len(lists)))
    head += [_LONG.pack(acl.id) + acl.encoded for acl in lists]
    known = {OPEN_ID, *(acl.id for acl in lists)}
    piece = b"".join(head)
    seal = adler32(piece)
    yield piece
    for begin in range(0, len(paths), SLICE_NODES):
        piece = b"".join(_slice(tree, paths[begin : begin + SLICE_NODES], base_zxid, known))
        seal = adler32(piece, seal)
        yield piece
    seal = adler32(_END, seal)
    piece = _END + _LONG.pack(seal) + _END
    seal = adler32(piece[len(_END) :], seal)
    if tree.digests:
        # Without a transaction there is nothing to compare with: the section is empty.
        value = signed(tree.digest) if tree.last_zxid else 0
        section = _DIGEST.pack(tree.last_zxid, DIGEST_VERSION, value)
        seal = adler32(section, seal)
        tail = _LONG.pack(seal) + _END
        seal = adler32(tail, seal)
        piece += section + tail
    if last_zxid_section:
        section = _LONG.pack(tree.last_zxid)
        seal = adler32(section, seal)
        piece += section + _LONG.pack(seal) + _END
    yield piece


def _slice(tree: DataTree, paths: list[bytes], base_zxid: int, known: set[int]) -> Iterator[bytes]:
    for path in paths:
        node = tree.nodes.get(path)
        if node is None or path == ROOT:  # the root is written under its empty name
            continue
        c, m, ct, mt, version, cversion, aversion, _, _, children, pzxid = STAT.unpack(node.stat)
        if c > base_zxid:
            continue
        data = node.data
        # A list set after the first slice is not in the file; its setACL will be replayed.
        acl_id = node.acl.id if node.acl.id in known else OPEN_ID
        yield pack_int(len(path))
        yield path
        yield pack_int(-1 if data is None else len(data))
        if data:
            yield data
        yield _NODE.pack(
            acl_id, c, m, ct, mt, version, ((cversion + children) & 0xFFFF_FFFF) >> 1, aversion,
            node.stored_owner(), pzxid,
        )  # fmt: skip


def decode(
    buf: bytes, *, extended_types: bool, digests: bool, last_zxid_section: bool
) -> tuple[DataTree, SnapshotDigest | None]:
    """Read and verify a whole stream into a fresh tree; `last_zxid` is left to the caller.

    Raises DecodeError for whatever does not follow the layout, a seal included.
    """
    tree = DataTree(extended_types=extended_types, digests=digests)
    try:
        magic, _, _ = _FILE_HEADER.unpack_from(buf)
        if magic != MAGIC:
            raise DecodeError("not a snapshot")
        at = _decode_sessions(tree, buf, _FILE_HEADER.size)
        lists, at = _decode_acls(tree, buf, at)
        at = _decode_nodes(tree, lists, buf, at)
        at = _check_seal(buf, at)
        carried = None
        if digests and at < len(buf):
            zxid, version, value = _DIGEST.unpack_from(buf, at)
            at = _check_seal(buf, at + _DIGEST.size)
            if version == DIGEST_VERSION and zxid:
                carried = SnapshotDigest(zxid, value)
        if last_zxid_section and at < len(buf):
            _check_seal(buf, at + _LONG.size)
    except (struct.error, IndexError) as error:
        raise DecodeError(f"a snapshot is cut off: {error}") from error
    if b"" not in tree.nodes:
        raise DecodeError("a snapshot without a root")
    tree.loaded()
    return tree, carried


def _check_seal(buf: bytes, at: int) -> int:
    (seal,) = _LONG.unpack_from(buf, at)
    if seal != adler32(memoryview(buf)[:at]):
        raise DecodeError(f"the checksum at offset {at} does not match")
    if buf[at + 8 : at + _SEAL_BYTES] != _END:
        raise DecodeError(f"no end mark at offset {at + 8}")
    return at + _SEAL_BYTES


def _decode_sessions(tree: DataTree, buf: bytes, at: int) -> int:
    (count,) = _COUNT.unpack_from(buf, at)
    at += _COUNT.size
    for _ in range(count):
        session_id, timeout_ms = _SESSION.unpack_from(buf, at)
        tree.sessions[session_id] = timeout_ms
        at += _SESSION.size
    return at


def _decode_acls(tree: DataTree, buf: bytes, at: int) -> tuple[dict[int, AclList], int]:
    (count,) = _COUNT.unpack_from(buf, at)
    at += _COUNT.size
    lists: dict[int, AclList] = {OPEN_ID: tree.acls.open}
    for _ in range(count):
        (acl_id,) = _LONG.unpack_from(buf, at)
        encoded, at = skip_acl_vector(buf, at + 8)
        if encoded is None:
            raise DecodeError(f"ACL list {acl_id} is null")
        lists[acl_id] = tree.acls.load(acl_id, encoded)
    return lists, at


def _decode_nodes(tree: DataTree, lists: dict[int, AclList], buf: bytes, at: int) -> int:
    """The hot loop of recovery: a few microseconds per znode."""
    unpack_node, node_bytes, pack_stat = _NODE.unpack_from, _NODE.size, STAT.pack
    load, make_node, extended = tree.load, tree.make_node, tree.extended_types
    while True:
        path, at = read_buffer(buf, at)
        if path == ROOT:
            return at
        if path is None or (path and path[0] != 0x2F):
            raise DecodeError(f"impossible path before offset {at}")
        data, at = read_buffer(buf, at)
        acl_id, c, m, ct, mt, version, created, aversion, owner, pzxid = unpack_node(buf, at)
        at += node_bytes
        reaped = owner == CONTAINER_OWNER or (extended and is_extended_owner(owner))
        stat = pack_stat(
            c, m, ct, mt, version, wire_cversion(created, 0), aversion,
            0 if reaped else owner, len(data) if data else 0, 0, pzxid,
        )  # fmt: skip
        acl = lists.get(acl_id)
        if acl is None:
            raise DecodeError(f"{path!r} has the unknown ACL list {acl_id}")
        try:
            load(path, make_node(data, acl, stat, owner))
        except KeyError:
            raise DecodeError(f"{path!r} comes before its parent") from None
