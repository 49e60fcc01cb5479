"""Snapshots: sessions, ACL lists and znodes, in a file or on the wire.

A file's stream has a header, the digest and the last zxid, and is sealed three times
(reference/storage-formats.md section 4.1); a leader's has a signature at its end and nothing
else (reference/quorum-protocol.md section 4.5). Reading is a generator that waits for the next
piece, so both are read by the same parser. Writing is a generator of slices, so that
the tree goes on changing in between: the snapshot is fuzzy (section 4.5). A znode created
after the first slice is left out, because replay creates it; so every znode that is written
finds its parent written before it.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar
from zlib import adler32, crc32

from kraal.errors import DecodeError
from kraal.model.create_mode import CONTAINER_OWNER, is_extended_owner
from kraal.model.path import ROOT, SYSTEM
from kraal.tree.acl_cache import OPEN_ID, AclList
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.tree.znode import ReapedZnode, Znode
from kraal.wire.jute.primitives import (
    NULL,
    pack_int,
    skip_acl_vector,
    unpack_int,
    write_text,
)
from kraal.wire.records.txn import DIGEST_VERSION

T = TypeVar("T")
Parser = Generator[None, bytes | None, T]
"""Waits for pieces (None: there are no more) and returns what it made of them."""

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
_SIGNATURE = write_text("BenWasHere")
_SEAL_BYTES = 8 + len(_END)
_DIGEST_BYTES = _DIGEST.size + _SEAL_BYTES
_LAST_ZXID_BYTES = 8 + _SEAL_BYTES
"""Each of the last two sections with its seal."""
_ENDING_BYTES = _SEAL_BYTES + _DIGEST_BYTES + _LAST_ZXID_BYTES
_ZERO = bytes(4)
_SLASH = ROOT[0]
_UNCOUNTED = SYSTEM + b"/"
SLICE_NODES = 25
SLICE_BYTES = 64 << 10
"""A slice ends with the znode that takes it over one of both."""
CHILD_BYTES = 32
"""As which each child counts that is found."""
SLICE_SESSIONS = 200


@dataclass(frozen=True, slots=True)
class SnapshotDigest:
    """The tree digest that a snapshot carries, and the zxid from which it holds."""

    zxid: int
    digest: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What the last sections of a file say, of when its last znode was written."""

    digest: SnapshotDigest | None = None
    """None: the section is missing, empty, or of another version."""
    last_zxid: int | None = None
    """The last transaction that the tree held; None: the section is missing."""

    @property
    def zxids(self) -> list[int]:
        """What the tree held by then."""
        found = [] if self.last_zxid is None else [self.last_zxid]
        return found if self.digest is None else [*found, self.digest.zxid]


def encode(
    tree: DataTree, *, last_zxid_section: bool = True, digest_holds: bool = True
) -> Iterator[bytes]:
    """The file's stream in slices, each soon done; `tree.last_zxid` at the first names the file.

    `digest_holds` is False for a tree that came as a fuzzy stream and may still be a mixture:
    the digest section is empty then, as the reference leaves it.
    """
    contents = _contents(tree)
    piece = _FILE_HEADER.pack(MAGIC, VERSION, -1) + next(contents)
    seal = adler32(piece)
    yield piece
    for piece in contents:
        seal = adler32(piece, seal)
        yield piece
    seal = adler32(_END, seal)
    piece = _END + _LONG.pack(seal) + _END
    seal = adler32(piece[len(_END) :], seal)
    if tree.digests:
        # Without a transaction there is nothing to compare with: the section is empty.
        zxid = tree.last_zxid if digest_holds else 0
        section = _DIGEST.pack(zxid, DIGEST_VERSION, signed(tree.digest) if zxid else 0)
        seal = adler32(section, seal)
        tail = _LONG.pack(seal) + _END
        seal = adler32(tail, seal)
        piece += section + tail
    if last_zxid_section:
        section = _LONG.pack(tree.last_zxid)
        seal = adler32(section, seal)
        piece += section + _LONG.pack(seal) + _END
    yield piece


def encode_stream(tree: DataTree) -> Iterator[bytes]:
    """What follows a SNAP packet, in slices (reference/quorum-protocol.md section 4.5).

    It holds the effects of all transactions up to `tree.last_zxid` at the first slice, and may
    hold those of later ones, which must follow the stream.
    """
    yield from _contents(tree)
    yield _END + _SIGNATURE


def _contents(tree: DataTree) -> Iterator[bytes]:
    """What files and streams have in common: sessions, ACL lists and znodes."""
    newest = _LONG.pack(tree.last_zxid)
    ids, timeouts, lists = list(tree.sessions), list(tree.sessions.values()), list(tree.acls)
    known = {OPEN_ID, *(acl.id for acl in lists)}
    yield _COUNT.pack(len(ids))
    for begin in range(0, len(ids), SLICE_SESSIONS):
        end = begin + SLICE_SESSIONS
        yield b"".join(map(_SESSION.pack, ids[begin:end], timeouts[begin:end]))
    yield _COUNT.pack(len(lists))
    for begin in range(0, len(lists), SLICE_SESSIONS):
        some = lists[begin : begin + SLICE_SESSIONS]
        yield b"".join(_LONG.pack(acl.id) + acl.encoded for acl in some)
    below = [b""]
    while below:
        yield _slice(tree, below, newest, known)


def _slice(tree: DataTree, below: list[bytes], newest: bytes, known: set[int]) -> bytes:
    """Some of the znodes that are `below`, their children, and so on; what is left stays there.

    A walk from the root, and no copy of all paths, which takes long in a large tree. Like
    decoding, it moves slices of the stat. `newest` is the first slice's zxid.
    """
    nodes = tree.nodes
    parts: list[bytes] = []
    size = 0
    paths = below[-SLICE_NODES:]
    del below[-SLICE_NODES:]
    for number, path in enumerate(paths):
        if size >= SLICE_BYTES:
            below += paths[number:]
            break
        node = nodes.get(path)
        if node is None:
            continue
        stat = node.stat
        if stat[:8] > newest:  # czxid
            continue
        if node.children:
            below += node.children
            size += CHILD_BYTES * len(node.children)
        data = node.data
        if data:
            size += len(data)
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
) -> tuple[DataTree, Ending]:
    """Read and verify a file's stream, whole or in pieces.

    Which of the last two sections are there shows in what is left, so no setting has to agree
    with the writer's. The tree's `last_zxid` is what the last section says, or 0; the name of a
    file says better. Raises DecodeError for whatever does not follow the layout, a seal
    included.
    """
    source = _Source(limit=None, sealed=True)
    parser = _parse_file(source, extended_types, digests)
    result: tuple[DataTree, Ending] | None = None
    next(parser)
    # To the last piece, although the end may show before: a codec checks itself there.
    for piece in chain((stream,) if isinstance(stream, bytes) else stream, (None,)):
        if result is None:
            result = _push(parser, piece)
    assert result is not None, "a parser that waits at the end"
    return result


def ending(stream: Iterable[bytes]) -> Ending | None:
    """The last sections of a file's stream, of which nothing else is read.

    None: the last seal does not hold, which covers the whole stream before it.
    """
    checksum, tail = 1, b""
    for piece in stream:
        tail += piece
        done = max(0, len(tail) - _ENDING_BYTES)
        checksum = adler32(memoryview(tail)[:done], checksum)
        tail = tail[done:]

    def is_sealed(end: int) -> bool:
        at = end - _SEAL_BYTES
        return at >= 0 and tail[at:end] == _LONG.pack(adler32(tail[:at], checksum)) + _END

    end = len(tail)
    if not is_sealed(end):
        return None
    last_zxid = None
    if is_sealed(end - _LAST_ZXID_BYTES):
        end -= _LAST_ZXID_BYTES
        (last_zxid,) = _LONG.unpack_from(tail, end)
    digest = None
    if is_sealed(end - _DIGEST_BYTES):
        digest = _carried(tail[end - _DIGEST_BYTES : end - _SEAL_BYTES])
    return Ending(digest, last_zxid)


def _carried(section: bytes) -> SnapshotDigest | None:
    zxid, version, value = _DIGEST.unpack(section)
    return SnapshotDigest(zxid, value) if version == DIGEST_VERSION and zxid else None


class StreamDecoder:
    """Reads the stream that follows a SNAP packet, as it arrives.

    Buffers no more than one znode or ACL list, and none that is larger than twice
    `max_buffer_bytes`, the largest path, data or ACL list (reference/quorum-protocol.md
    sections 4.1 and 4.5).
    """

    def __init__(self, *, extended_types: bool, digests: bool, max_buffer_bytes: int) -> None:
        self._source = _Source(limit=max_buffer_bytes, sealed=False)
        self._parser = _parse_stream(self._source, extended_types, digests)
        self._tree: DataTree | None = None
        next(self._parser)

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived: None while there is more to come, else what follows the stream.

        Raises DecodeError for whatever does not follow the layout. Nothing may be fed after
        the end or an error.
        """
        assert self._tree is None, "the stream is over"
        self._tree = _push(self._parser, data)
        return None if self._tree is None else self._source.rest()

    @property
    def tree(self) -> DataTree:
        """The whole tree, once `feed` has said so. `last_zxid` is left to the caller.

        It may be a mixture: until the transactions that follow the stream are applied, its
        digest is nobody's.
        """
        assert self._tree is not None, "there is more to come"
        return self._tree


def _push(parser: Parser[T], piece: bytes | None) -> T | None:
    """Parse a piece more (None: there is none); the result once there is one."""
    try:
        parser.send(piece)
    except StopIteration as done:
        result: T | None = done.value
        assert result is not None, "pushed after an error"
        return result
    return None


class _Source:
    """What was pushed and not yet parsed, how far it was read, the checksum up to there.

    Its generators wait by yielding until enough is there; None is pushed for the end.
    """

    def __init__(self, *, limit: int | None, sealed: bool) -> None:
        self.limit = sys.maxsize if limit is None else limit
        self._sealed = sealed
        self._checksum = 1
        self._is_over = False
        self.buf = b""
        self.at = 0

    def more(self, at: int, size: int) -> Parser[bytes]:
        """Forget what lies before `at` and wait until `size` bytes follow it, which is more
        than there are; the new buffer, to be read from 0."""
        if self._sealed:
            self._checksum = adler32(memoryview(self.buf)[:at], self._checksum)
        parts = [self.buf[at:]]
        have = len(parts[0])
        while have < size and not self._is_over:
            piece = yield
            if piece is None:
                self._is_over = True
            else:
                parts.append(piece)
                have += len(piece)
        self.buf, self.at = b"".join(parts), 0
        if have < size:
            raise DecodeError("a snapshot is cut off")
        return self.buf

    def take(self, size: int) -> Parser[bytes]:
        """The next bytes; DecodeError when there are not so many."""
        if len(self.buf) - self.at < size:
            yield from self.more(self.at, size)
        self.at += size
        return self.buf[self.at - size : self.at]

    def left(self, most: int) -> Parser[int]:
        """How many bytes follow, counted up to `most`; only for what has an end."""
        if len(self.buf) - self.at < most:
            with suppress(DecodeError):
                yield from self.more(self.at, most)
        return min(len(self.buf) - self.at, most)

    def rest(self) -> bytes:
        """What was pushed and not parsed."""
        return self.buf[self.at :]

    def check_seal(self) -> Parser[None]:
        checksum = adler32(memoryview(self.buf)[: self.at], self._checksum)
        (seal,) = _LONG.unpack((yield from self.take(_LONG.size)))
        if seal != checksum:
            raise DecodeError(f"the checksum {seal:x} does not match the content ({checksum:x})")
        if (yield from self.take(len(_END))) != _END:
            raise DecodeError("no end mark behind a checksum")


def _parse_file(
    source: _Source, extended_types: bool, digests: bool
) -> Parser[tuple[DataTree, Ending]]:
    magic, _, _ = _FILE_HEADER.unpack((yield from source.take(_FILE_HEADER.size)))
    if magic != MAGIC:
        raise DecodeError("not a snapshot")
    tree, digest = yield from _parse_contents(source, extended_types, digests)
    yield from source.check_seal()
    carried = last_zxid = None
    if (yield from source.left(_LAST_ZXID_BYTES + 1)) not in (0, _LAST_ZXID_BYTES):
        carried = _carried((yield from source.take(_DIGEST.size)))
        yield from source.check_seal()
    if (yield from source.left(1)):
        (last_zxid,) = _LONG.unpack((yield from source.take(_LONG.size)))
        tree.last_zxid = last_zxid
        yield from source.check_seal()
    _complete(tree, digest if digests else None)
    return tree, Ending(carried, last_zxid)


def _parse_stream(source: _Source, extended_types: bool, digests: bool) -> Parser[DataTree]:
    tree, digest = yield from _parse_contents(source, extended_types, digests)
    for part in (_SIGNATURE[:4], _SIGNATURE[4:]):
        if (yield from source.take(len(part))) != part:
            raise DecodeError("no signature behind a snapshot stream")
    _complete(tree, digest if digests else None)
    return tree


def _complete(tree: DataTree, digest: int | None) -> None:
    if b"" not in tree.nodes:
        raise DecodeError("a snapshot without a root")
    tree.loaded()
    if digest is not None:  # summed up on the way already
        tree.digests, tree.digest = True, digest


def _parse_contents(
    source: _Source, extended_types: bool, digests: bool
) -> Parser[tuple[DataTree, int]]:
    """Sessions, ACL lists and znodes, up to the mark behind them; the tree and its digest."""
    tree = DataTree(extended_types=extended_types, digests=False)
    yield from _parse_sessions(tree, source)
    lists = yield from _parse_acls(tree, source)
    try:
        digest = yield from _parse_nodes(tree, lists, source, digests)
    except (ValueError, struct.error) as error:
        raise DecodeError(f"an impossible znode: {error}") from error
    return tree, digest


def _parse_sessions(tree: DataTree, source: _Source) -> Parser[None]:
    (count,) = _COUNT.unpack((yield from source.take(_COUNT.size)))
    for _ in range(count):
        session_id, timeout_ms = _SESSION.unpack((yield from source.take(_SESSION.size)))
        tree.sessions[session_id] = timeout_ms


def _parse_acls(tree: DataTree, source: _Source) -> Parser[dict[int, AclList]]:
    (count,) = _COUNT.unpack((yield from source.take(_COUNT.size)))
    lists: dict[int, AclList] = {OPEN_ID: tree.acls.open}
    for _ in range(count):
        (acl_id,) = _LONG.unpack((yield from source.take(_LONG.size)))
        try:
            encoded, source.at = skip_acl_vector(source.buf, source.at)
        except DecodeError:
            encoded = yield from _parse_acl_vector(source)
        if encoded is None:
            raise DecodeError(f"ACL list {acl_id} is null")
        lists[acl_id] = tree.acls.load(acl_id, encoded)
    return lists


def _parse_acl_vector(source: _Source) -> Parser[bytes | None]:
    """A list that passes the end of a piece: field by field, so that each byte moves once."""
    parts = [(yield from source.take(4))]
    (count,) = unpack_int(parts[0], 0)
    size = 4
    for _ in range(count):
        parts.append((yield from source.take(4)))  # perms
        for _field in range(2):  # scheme, id
            parts.append((yield from source.take(4)))
            (length,) = unpack_int(parts[-1], 0)
            size += 8 + max(length, 0)
            if length < -1 or size > source.limit:
                raise DecodeError(f"impossible length {length} in an ACL entry")
            if length > 0:
                parts.append((yield from source.take(length)))
    return None if count == -1 else b"".join(parts)


def _parse_nodes(
    tree: DataTree, lists: dict[int, AclList], source: _Source, digests: bool
) -> Parser[int]:
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
            buf = yield from source.more(at, _node_bytes(buf, at, source.limit))
            at = 0
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


def _node_bytes(buf: bytes, at: int, limit: int) -> int:
    """How many bytes a znode that is cut off has at least, as its begin tells."""
    have = len(buf) - at
    size = 4
    if have >= size:
        (path_size,) = unpack_int(buf, at)
        size += path_size
        if path_size > limit:
            raise DecodeError(f"a path of {path_size} bytes")
        if have >= size:
            size += 4
            if have >= size:
                (data_size,) = unpack_int(buf, at + size - 4)
                size += max(data_size, 0) + _NODE.size
                if data_size > limit:
                    raise DecodeError(f"a znode with {data_size} bytes of data")
    return size
