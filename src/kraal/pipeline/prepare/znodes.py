"""Writes of single znodes: from a request to the body of a transaction.

Each function takes the values of its request, checks in the order of
reference/client-protocol.md section 5.2, records what will change in `Outstanding`, and returns
the transaction's type, its body, and the body of the reply. The first check that fails raises
RequestError.
"""

from __future__ import annotations

from kraal.errors import DecodeError, ErrorCode, RequestError
from kraal.model.acl import ADMIN, CREATE, DELETE, READ, WRITE
from kraal.model.create_mode import (
    ALL_MODES,
    CONTAINER_OWNER,
    EPHEMERAL_MODES,
    SEQUENTIAL_MODES,
    TTL_MODES,
    ttl_owner,
)
from kraal.model.limits import MAX_INT, MAX_TTL_MS
from kraal.model.path import CONFIG, LIMITS_NAME, QUOTA, ROOT, UNDELETABLE, is_valid
from kraal.pipeline.outstanding import image_of
from kraal.pipeline.prepare.draft import Context, Draft, require, require_node
from kraal.tree import quota
from kraal.tree.stat_rules import (
    DELETED,
    acl_set,
    child_created,
    children_changed,
    created,
    data_set,
)
from kraal.tree.znode import NO_OWNER, OWNER, VERSION_OFFSET, ReapedZnode, Znode
from kraal.wire.jute.primitives import unpack_int as _unpack_int
from kraal.wire.jute.primitives import write_buffer
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn

Prepared = tuple[int, bytes, bytes]
"""Type and encoded body of a transaction, and the reply's body once it is committed."""

_CREATE = OpCode.CREATE
_CREATE_CONTAINER = OpCode.CREATE_CONTAINER
_CREATE_TTL = OpCode.CREATE_TTL
_pack_create = txn.CreateTxn.pack
_pack_set_data = txn.SetDataTxn.pack
_ROOT_QUOTA = QUOTA + LIMITS_NAME
ANY_VERSION = -1


def _key(path: bytes) -> bytes:
    return b"" if path == ROOT else path


def _checked_version(current: int, expected: int) -> int:
    """The version after a conditional write, wrapping as Java's int does."""
    if expected not in (ANY_VERSION, current):
        raise RequestError(ErrorCode.BAD_VERSION)
    return current + 1 if current != MAX_INT else -MAX_INT - 1


def _split(path: bytes | None) -> tuple[bytes, bytes, bytes]:
    """Path, its parent's key and its name, for operations that need a parent."""
    if path is None:
        raise RequestError(ErrorCode.MARSHALLING_ERROR)
    parent_path, slash, name = path.rpartition(b"/")
    if not slash or 0 in path:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    return path, parent_path, name


def _check_flags(context: Context, kind: int, flags: int, ttl_ms: int | None) -> None:
    """Known flags; and a TTL and the flags of a TTL znode must come together."""
    if flags not in ALL_MODES:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    if flags not in TTL_MODES and kind != _CREATE_TTL:
        return
    if flags not in TTL_MODES:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    if not context.rules.extended_types:
        raise RequestError(ErrorCode.UNIMPLEMENTED)
    if ttl_ms is None or not 0 < ttl_ms <= MAX_TTL_MS:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)


def _check_new_path(path: bytes) -> None:
    if not is_valid(path) or path == _ROOT_QUOTA:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)


def create(
    context: Context,
    draft: Draft,
    kind: int,
    path: bytes | None,
    data: bytes | None,
    vector: bytes | None,
    flags: int,
    ttl_ms: int | None = None,
) -> Prepared:
    """create, create2, createContainer and createTTL; `kind` is the opcode."""
    if flags or kind == _CREATE_TTL:
        _check_flags(context, kind, flags, ttl_ms)
    if draft.session_error:
        draft.check_session()
    if draft.ephemeral_error and flags in EPHEMERAL_MODES:
        raise RequestError(draft.ephemeral_error)
    path, parent_path, name = _split(path)
    acl = context.authority.stored_list(vector, draft.auth)
    outstanding = context.outstanding
    parent = outstanding.node(parent_path)
    if parent is None:
        raise RequestError(ErrorCode.NO_NODE)
    if not parent.acl.world & CREATE:
        require(context, draft, parent, CREATE)
    if flags in SEQUENTIAL_MODES:
        number = b"%010d" % parent.created_children
        path, name = path + number, name + number
    # Letters and digits below a znode that exists need no closer look.
    if not name.isalnum() or parent_path == ROOT:
        _check_new_path(path)
    if outstanding.node(path) is not None:
        raise RequestError(ErrorCode.NODE_EXISTS)
    if parent.stat[OWNER] != NO_OWNER:
        raise RequestError(ErrorCode.NO_CHILDREN_FOR_EPHEMERALS)
    size = len(data) if data else 0
    if context.rules.enforce_quota:
        _check_quota(context, path, size, 1)
    listed = context.tree.acls.intern(acl)
    zxid = draft.zxid
    made, parent_stat, parent_stamp = child_created(parent.stat, zxid)
    is_ephemeral = flags in EPHEMERAL_MODES and kind != _CREATE_CONTAINER
    stat, stamp = created(zxid, draft.time_ms, draft.session_id if is_ephemeral else 0, size)
    if kind == _CREATE_CONTAINER:
        body = txn.CreateContainerTxn.pack(path, data, acl, made)
        node: Znode = ReapedZnode(data, listed, stat, CONTAINER_OWNER)
    elif ttl_ms is not None:
        body = txn.CreateTtlTxn.pack(path, data, acl, made, ttl_ms)
        node = ReapedZnode(data, listed, stat, ttl_owner(ttl_ms))
    else:
        body = _pack_create(path, data, acl, is_ephemeral, made)
        node = Znode(data, listed, stat)
    outstanding.put(path, None, node, stamp)
    if type(parent) is Znode:
        image = Znode(parent.data, parent.acl, parent_stat)
    else:
        image = image_of(parent, parent_stat)
    outstanding.put(parent_path, parent, image, parent_stamp)
    answer = write_buffer(path)
    return kind, body, answer if kind == _CREATE else answer + stat


def _delete(
    context: Context, draft: Draft, path: bytes, node: Znode, parent_path: bytes, parent: Znode
) -> None:
    stat, stamp = children_changed(parent.stat, parent.num_children - 1, DELETED, draft.zxid)
    context.outstanding.delete(path, node)
    context.outstanding.put(parent_path, parent, image_of(parent, stat), stamp)


def _deletable(path: bytes | None) -> tuple[bytes, bytes]:
    path, parent_path, _ = _split(path)
    if path in UNDELETABLE:
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    return path, parent_path


def delete(context: Context, draft: Draft, kind: int, path: bytes | None, version: int) -> Prepared:
    draft.check_session()
    path, parent_path = _deletable(path)
    parent = require_node(context, parent_path)
    require(context, draft, parent, DELETE)
    node = require_node(context, path)
    _checked_version(node.version, version)
    if node.num_children:
        raise RequestError(ErrorCode.NOT_EMPTY)
    _delete(context, draft, path, node, parent_path, parent)
    return kind, write_buffer(path), b""


def delete_container(context: Context, draft: Draft, kind: int, path: bytes | None) -> Prepared:
    """Meant for the reaper; of a client it asks what a delete asks (section 13).

    Raises DecodeError for a null path.
    """
    if path is None:
        raise DecodeError("a null path")
    path, parent_path = _deletable(path)
    node = require_node(context, path)
    parent = require_node(context, parent_path)
    if not draft.internal:
        draft.check_session()
        require(context, draft, parent, DELETE)
    if node.num_children:
        raise RequestError(ErrorCode.NOT_EMPTY)
    if node.ephemeral_owner:
        raise RequestError(ErrorCode.BAD_VERSION)
    _delete(context, draft, path, node, parent_path, parent)
    return kind, write_buffer(path), b""


def delete_ephemeral(context: Context, draft: Draft, path: bytes) -> None:
    """The end of its session deletes it, without any check."""
    parent_path = path[: path.rindex(b"/")]
    parent, node = context.outstanding.node(parent_path), context.outstanding.node(path)
    assert parent is not None and node is not None, "an ephemeral that is not in the tree"
    _delete(context, draft, path, node, parent_path, parent)


def _valid_path(path: bytes | None) -> bytes:
    if path is None or not is_valid(path):
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    return path


def set_data(
    context: Context, draft: Draft, kind: int, path: bytes | None, data: bytes | None, version: int
) -> Prepared:
    if draft.session_error:
        draft.check_session()
    outstanding = context.outstanding
    key = b"" if path == ROOT else path
    node = outstanding.node(key) if path and key is not None else None
    if node is None or path is None or key is None:
        _valid_path(path)  # a path that names a znode is valid
        raise RequestError(ErrorCode.NO_NODE)
    if not node.acl.world & WRITE:
        require(context, draft, node, WRITE)
    size = len(data) if data else 0
    if context.rules.enforce_quota:
        _check_quota(context, path, size - len(node.data or b""), 0)
    before = node.stat
    version = _checked_version(_unpack_int(before, VERSION_OFFSET)[0], version)
    stat, stamp = data_set(before, draft.zxid, draft.time_ms, version, size)
    image = Znode(data, node.acl, stat) if type(node) is Znode else image_of(node, stat)
    image.data = data
    outstanding.put(key, node, image, stamp, data=True)
    return kind, _pack_set_data(path, data, version), stat


def set_config(context: Context, draft: Draft, kind: int, text: bytes) -> Prepared:
    """What a reconfiguration does to its znode, whose version stays -1."""
    node = require_node(context, CONFIG)
    stat, stamp = data_set(node.stat, draft.zxid, draft.time_ms, -1, len(text))
    image = image_of(node, stat)
    image.data = text
    context.outstanding.put(CONFIG, node, image, stamp, data=True)
    return kind, _pack_set_data(CONFIG, text, -1), write_buffer(text) + stat


def set_acl(
    context: Context,
    draft: Draft,
    kind: int,
    path: bytes | None,
    vector: bytes | None,
    version: int,
) -> Prepared:
    draft.check_session()
    path = _valid_path(path)
    acl = context.authority.stored_list(vector, draft.auth)
    node = require_node(context, _key(path))
    require(context, draft, node, ADMIN)
    version = _checked_version(node.aversion, version)
    stat, stamp = acl_set(node.stat, version)
    image = image_of(node, stat)
    image.acl = context.tree.acls.intern(acl)
    context.outstanding.put(_key(path), node, image, stamp)
    return kind, txn.SetAclTxn.pack(path, acl, version), stat


def check(context: Context, draft: Draft, kind: int, path: bytes | None, version: int) -> Prepared:
    """Only inside a multi; the logged version is one too high, as the reference has it."""
    draft.check_session()
    path = _valid_path(path)
    node = require_node(context, _key(path))
    require(context, draft, node, READ)
    version = _checked_version(node.version, version)
    return kind, txn.CheckVersionTxn.pack(path, version), b""


def _check_quota(context: Context, path: bytes, size: int, count: int) -> None:
    """Refuse what would pass a hard limit, judged by committed usage (section 6.5)."""
    tree = context.tree
    covering = tree.quotas.covering(path)
    if covering is None:
        return
    limits = tree.nodes.get(quota.limits_path(covering))
    if limits is None:
        return
    try:
        hard = quota.hard_limits(limits.data)
    except ValueError:
        raise RequestError(ErrorCode.MARSHALLING_ERROR) from None
    stats = tree.nodes.get(quota.stats_path(covering))
    if stats is None:
        return
    used = quota.usage(stats.data)
    too_many = count and -1 < hard.count < used.get("count", -1) + count
    too_large = size and -1 < hard.bytes < used.get("bytes", -1) + size
    if too_many or too_large:
        tree.quotas.count_exceeded(covering)
        raise RequestError(ErrorCode.QUOTA_EXCEEDED)
