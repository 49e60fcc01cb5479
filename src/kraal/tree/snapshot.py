"""The snapshot stream: sessions, ACL lists, znodes, digest, last zxid, sealed three times.

Layout: reference/storage-formats.md section 4.1. Writing is a generator of slices, so that
the tree goes on changing in between: the snapshot is fuzzy (section 4.5). A znode created
after the first slice is left out, because replay creates it; so every znode that is written
finds its parent written before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from zlib import adler32, crc32

from kraal.errors import DecodeError
from kraal.model.create_mode import CONTAINER_OWNER, is_extended_owner
from kraal.model.path import ROOT, SYSTEM
from kraal.tree.acl_cache import OPEN_ID, AclList
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.tree.znode import ReapedZnode, Znode
from kraal.wire.jute.primitives import NULL, pack_int, skip_acl_vector, unpack_int
from kraal.wire.records.txn import DIGEST_VERSION

MAGIC = b"ZKSN"
VERSION = 2
_FILE_HEADER = struct.Struct(">4siq")
_COUNT = struct.Struct(">i")
_SESSION = struct.Struct(">qi")
_LONG = struct.Struct(">q")
_NODE = struct.Struct(">qqqqqiiiqq")
"""ACL id, then StatPersisted: czxid, mzxid, ctime, mtime, versions, owner, pzxid."""
_unpack_slices = struct.Struct(">q16s36s8s").unpack_from
"""`_NODE` in the slices of which the wire's stat and the digest are put together: ACL id, czxid
and mzxid, what lies between, pzxid."""
_unpack_rare = struct.Struct(">44xi4xq").unpack_from
"""Of `_NODE`, what is looked at: children ever created, owner."""
_unpack_counts = struct.Struct(">36xi16xi8x").unpack
"""Of the wire's stat: cversion and numChildren."""
_DIGEST = struct.Struct(">qiq")
_END = b"\x00\x00\x00\x01/"
_SEAL_BYTES = 8 + len(_END)
_ZERO = bytes(4)
_SLASH = ROOT[0]
_UNCOUNTED = SYSTEM + b"/"
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
        piece = _slice(tree, paths[begin : begin + SLICE_NODES], base_zxid, known)
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


def _slice(tree: DataTree, paths: list[bytes], base_zxid: int, known: set[int]) -> bytes:
    """The znodes of these paths; like decoding, it moves slices of the stat."""
    nodes = tree.nodes
    newest = _LONG.pack(base_zxid)
    parts: list[bytes] = []
    for path in paths:
        node = nodes.get(path)
        if node is None or path == ROOT:  # the root is written under its empty name
            continue
        stat = node.stat
        if stat[:8] > newest:  # czxid
            continue
        data = node.data
        # A list set after the first slice is not in the file; its setACL will be replayed.
        acl_id = node.acl.id if node.acl.id in known else OPEN_ID
        stored = stat[:52] + stat[60:]
        if stat[36:40] != _ZERO or stat[56:60] != _ZERO:
            cversion, children = _unpack_counts(stat)
            created = ((cversion + children) & 0xFFFF_FFFF) >> 1
            stored = stat[:36] + pack_int(created) + stored[40:]
        if type(node) is ReapedZnode:
            stored = stored[:44] + _LONG.pack(node.owner) + stored[52:]
        parts += (
            pack_int(len(path)),
            path,
            NULL if data is None else pack_int(len(data)),
            data or b"",
            _LONG.pack(acl_id),
            stored,
        )
    return b"".join(parts)


def decode(
    stream: bytes | Iterable[bytes], *, extended_types: bool, digests: bool
) -> tuple[DataTree, SnapshotDigest | None]:
    """Read and verify a stream, whole or in pieces; `last_zxid` is left to the caller.

    Which of the last two sections are there shows in what is left, so no setting has to agree
    with the writer's. Raises DecodeError for whatever does not follow the layout, a seal
    included.
    """
    tree = DataTree(extended_types=extended_types, digests=False)
    source = _Source((stream,) if isinstance(stream, bytes) else stream)
    magic, _, _ = _FILE_HEADER.unpack(source.take(_FILE_HEADER.size))
    if magic != MAGIC:
        raise DecodeError("not a snapshot")
    _decode_sessions(tree, source)
    lists = _decode_acls(tree, source)
    try:
        digest = _decode_nodes(tree, lists, source, digests)
    except (ValueError, struct.error) as error:
        raise DecodeError(f"an impossible znode: {error}") from error
    source.check_seal()
    carried = _decode_digest(source)
    if source.left():
        source.take(_LONG.size)
        source.check_seal()
    if b"" not in tree.nodes:
        raise DecodeError("a snapshot without a root")
    tree.loaded()
    if digests:  # summed up on the way already
        tree.digests, tree.digest = True, digest
    return tree, carried


def _decode_digest(source: _Source) -> SnapshotDigest | None:
    """The digest section, unless only the section of the last zxid follows, or nothing."""
    if source.left() in (0, _LONG.size + _SEAL_BYTES):
        return None
    zxid, version, value = _DIGEST.unpack(source.take(_DIGEST.size))
    source.check_seal()
    return SnapshotDigest(zxid, value) if version == DIGEST_VERSION and zxid else None


class _Source:
    """The pieces of a stream: a buffer, how far it was read, the checksum up to there."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._checksum = 1
        self.buf = b""
        self.at = 0

    def more(self, at: int) -> bytes:
        """Forget what lies before `at` and read on; the new buffer, to be read from 0.

        It grows by its own size at least: no damaged length makes this quadratic.
        """
        parts = [self.buf[at:]]
        wanted = size = len(parts[0])
        while size <= 2 * wanted:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            size += len(piece)
        if size == wanted:
            raise DecodeError("a snapshot is cut off")
        self._checksum = adler32(memoryview(self.buf)[:at], self._checksum)
        self.buf = b"".join(parts)
        self.at = 0
        return self.buf

    def take(self, size: int) -> bytes:
        """The next bytes; DecodeError when there are not so many."""
        while len(self.buf) - self.at < size:
            self.more(self.at)
        self.at += size
        return self.buf[self.at - size : self.at]

    def left(self) -> int:
        """How many bytes follow; only for the end, because it reads them."""
        with suppress(DecodeError):
            while True:
                self.more(self.at)
        return len(self.buf) - self.at

    def check_seal(self) -> None:
        checksum = adler32(memoryview(self.buf)[: self.at], self._checksum)
        (seal,) = _LONG.unpack(self.take(_LONG.size))
        if seal != checksum:
            raise DecodeError(f"the checksum {seal:x} does not match the content ({checksum:x})")
        if self.take(len(_END)) != _END:
            raise DecodeError("no end mark behind a checksum")


def _decode_sessions(tree: DataTree, source: _Source) -> None:
    (count,) = _COUNT.unpack(source.take(_COUNT.size))
    for _ in range(count):
        session_id, timeout_ms = _SESSION.unpack(source.take(_SESSION.size))
        tree.sessions[session_id] = timeout_ms


def _decode_acls(tree: DataTree, source: _Source) -> dict[int, AclList]:
    (count,) = _COUNT.unpack(source.take(_COUNT.size))
    lists: dict[int, AclList] = {OPEN_ID: tree.acls.open}
    for _ in range(count):
        (acl_id,) = _LONG.unpack(source.take(_LONG.size))
        while True:
            try:
                encoded, source.at = skip_acl_vector(source.buf, source.at)
                break
            except DecodeError:
                source.more(source.at)
        if encoded is None:
            raise DecodeError(f"ACL list {acl_id} is null")
        lists[acl_id] = tree.acls.load(acl_id, encoded)
    return lists


def _decode_nodes(tree: DataTree, lists: dict[int, AclList], source: _Source, digests: bool) -> int:
    """The hot loop of recovery: it moves slices and unpacks only what it must look at.

    Returns the tree digest, for which the slices lie ready here.
    """
    nodes, load, extended = tree.nodes, tree.load, tree.extended_types
    buf, at = source.buf, source.at
    digest = plain_bytes = 0
    while True:
        try:
            (path_size,) = unpack_int(buf, at)
            path_end = at + 4 + path_size
            path = buf[at + 4 : path_end]
            if path_size == 1 and path == ROOT:
                source.at = path_end
                tree.data_bytes += plain_bytes
                return digest
            if path_size < 0 or (path and path[0] != _SLASH):
                raise DecodeError(f"an impossible path: {path[:100]!r}")
            (data_size,) = unpack_int(buf, path_end)
            if data_size < -1:
                raise DecodeError(f"{path!r} has {data_size} bytes of data")
            data_at = path_end + 4
            node_at = data_at if data_size < 0 else data_at + data_size
            acl_id, front, middle, pzxid = _unpack_slices(buf, node_at)
            created, owner = _unpack_rare(buf, node_at)
        except struct.error:  # the node passes the end of this piece
            buf, at = source.more(at), 0
            continue
        data = buf[data_at:node_at] if data_size >= 0 else None
        size = buf[path_end:data_at] if data_size >= 0 else _ZERO
        at = node_at + _NODE.size
        stat = b"".join((front, middle, size, _ZERO, pzxid))
        if created:
            # The wire's cversion while there is no child, in 32 bits as Java computes it.
            stat = stat[:36] + (2 * created & 0xFFFF_FFFF).to_bytes(4, "big") + stat[40:]
        acl = lists.get(acl_id)
        if acl is None:
            raise DecodeError(f"{path!r} has the unknown ACL list {acl_id}")
        try:
            if path and not owner:  # `load` in place, for the many
                parent = nodes[path[: path.rindex(b"/")]]
                if parent.children is None:
                    parent.children = {}
                parent.children[path] = None
                nodes[path] = Znode(data, acl, stat)
                plain_bytes += path_size + (data_size if data_size > 0 else 0)
            elif owner == CONTAINER_OWNER or (extended and is_extended_owner(owner)):
                load(path, ReapedZnode(data, acl, stat[:44] + bytes(8) + stat[52:], owner))
            else:
                load(path, Znode(data, acl, stat))
        except KeyError:
            raise DecodeError(f"{path!r} comes before its parent") from None
        if digests and not path.startswith(_UNCOUNTED):
            digest += crc32(b"".join((path, data or b"", front, pzxid, middle)))
