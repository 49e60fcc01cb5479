"""Applying a transaction: the only way in which the tree changes.

Every server applies the same transactions in the same order, at run time and when it replays
its log over a snapshot that may already hold some of their effects. An error that the state
explains (no node, node exists) is raised as RequestError and ignored in replay; anything else
is a bug and stops the server. Rules: reference/storage-formats.md sections 3.2 to 3.4.

The value of `apply` is what the reply needs: the stat of the znode that was written (empty
where there is none), or a list of those for a multi.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kraal.errors import ErrorCode, RequestError
from kraal.model.create_mode import CONTAINER_OWNER, ttl_owner
from kraal.model.limits import MAX_TTL_MS
from kraal.model.path import QUOTA, ROOT, STATS_NAME
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed, term, with_owner
from kraal.tree.stat_rules import (
    DELETED,
    acl_set,
    children_changed,
    created,
    data_set,
    with_data_length,
)
from kraal.tree.znode import UNKNOWN_DIGEST, Znode
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.txn import Txn

Applied = bytes | list[bytes]
Change = tuple[bytes, Znode | None, bool]
"""Path, the znode as it becomes (None: deleted), and whether its data changes."""
NO_STAT = b""


def apply(tree: DataTree, txn: Txn) -> Applied:
    """Apply one transaction. Raises RequestError for what replay may ignore."""
    try:
        return _APPLY[txn.kind](tree, txn, txn.body)
    finally:
        tree.advance(txn.zxid, tree.digest)


def install(tree: DataTree, changes: list[Change]) -> None:
    """Change the znodes of a transaction that was validated here, by the images made then.

    Has the effect of `apply` without computing stats and digests a second time;
    `DataTree.advance` completes it.
    """
    nodes = tree.nodes
    for path, image, event in changes:
        node = nodes.get(path)
        if image is None:
            assert node is not None, f"{path!r} is deleted twice"
            parent_path = path[: path.rindex(b"/")]
            tree.detach(path, node, parent_path, nodes[parent_path])
        elif node is None:
            parent_path = path[: path.rindex(b"/")]
            tree.attach(path, image, parent_path, nodes[parent_path])
        else:
            node.stat = image.stat
            node.acl = image.acl
            node.digest = image.digest
            if event:
                size = len(image.data) if image.data else 0
                growth = size - (len(node.data) if node.data else 0)
                node.data = image.data
                tree.data_changed(path or ROOT, node, growth)
            elif path > QUOTA and path.endswith(STATS_NAME):
                # Usage may have changed since the image was made (it is no transaction).
                node.stat = with_data_length(node.stat, len(node.data) if node.data else 0)


def digest_matches(tree: DataTree, txn: Txn) -> bool:
    """Whether the tree agrees with the digest that the transaction carries, if any."""
    return txn.digest is None or not tree.digests or signed(tree.digest) == txn.digest


def _restamp_parent(
    tree: DataTree, path: bytes, parent: Znode, parent_cversion: int, zxid: int
) -> None:
    """Give a parent the stat that follows from a change of its children."""
    count = len(parent.children) if parent.children else 0
    stat, stamp = children_changed(parent.stat, count, parent_cversion, zxid)
    _restamp(tree, path, parent, stat, stamp)


def _restamp(tree: DataTree, path: bytes, node: Znode, stat: bytes, stamp: bytes) -> None:
    """Replace a stat and keep the digest in step; the root's path is empty here."""
    if tree.digests:
        old = node.digest
        if old == UNKNOWN_DIGEST:
            old = tree.node_digest(path, node)
        if type(node) is not Znode:
            stamp = with_owner(stamp, node.stored_owner())
        node.digest = new = term(path, node.data, stamp)
        tree.digest += new - old
    node.stat = stat


def _create(  # the reference's DataTree.createNode
    tree: DataTree,
    txn: Txn,
    body: txns.CreateTxn | txns.CreateContainerTxn | txns.CreateTtlTxn,
    owner: int,
    repairs: bool,
) -> bytes:
    path = body.path
    assert path is not None
    nodes = tree.nodes
    parent_path = path[: path.rindex(b"/")]
    parent = nodes.get(parent_path)
    if parent is None:
        raise RequestError(ErrorCode.NO_NODE)
    acl = tree.acls.intern(body.acl)
    existing = nodes.get(path)
    if existing is not None:
        existing.acl = acl
        # Repair a parent that a fuzzy snapshot shows behind its child (section 3.4).
        if repairs and body.parent_cversion >= 0:
            _restamp_parent(tree, parent_path, parent, body.parent_cversion, txn.zxid)
        raise RequestError(ErrorCode.NODE_EXISTS)
    zxid, time_ms = txn.zxid, txn.time_ms
    data = body.data
    size = len(data) if data else 0
    node = tree.make_node(data, acl, b"", owner) if owner else Znode(data, acl, b"")
    is_plain = type(node) is Znode
    stat, stamp = created(zxid, time_ms, owner if is_plain else 0, size)
    node.stat = stat
    if tree.digests:
        node.digest = term(path, data, stamp if is_plain else with_owner(stamp, owner))
        tree.digest += node.digest
    tree.attach(path, node, parent_path, parent)
    _restamp_parent(tree, parent_path, parent, body.parent_cversion, zxid)
    return stat  # as written: that of a usage znode may be another by now


def _delete_path(tree: DataTree, path: bytes, zxid: int) -> None:
    parent_path = path[: max(path.rfind(b"/"), 0)]
    parent = tree.nodes.get(parent_path)
    if parent is None:
        raise RequestError(ErrorCode.NO_NODE)
    node = tree.nodes.get(path)
    if node is not None:
        if node.children:
            _delete_below(tree, path)
        if tree.digests:
            tree.digest -= tree.node_digest(path, node)
        tree.detach(path, node, parent_path, parent)
    elif parent.children is not None:
        parent.children.pop(path, None)
    _restamp_parent(tree, parent_path, parent, DELETED, zxid)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE)


def _delete_below(tree: DataTree, path: bytes) -> None:
    """Only an empty znode is ever deleted: what a fuzzy snapshot shows below it came later.

    The transactions that made it follow, and make it again.
    """
    for below in reversed(list(tree.walk(path))[1:]):
        node, parent_path = tree.nodes[below], below[: below.rindex(b"/")]
        if tree.digests:
            tree.digest -= tree.node_digest(below, node)
        tree.detach(below, node, parent_path, tree.nodes[parent_path])


def _apply_create(tree: DataTree, txn: Txn, body: txns.CreateTxn) -> bytes:
    return _create(tree, txn, body, txn.client_id if body.ephemeral else 0, repairs=True)


def _apply_create2(tree: DataTree, txn: Txn, body: txns.CreateTxn) -> bytes:
    return _create(tree, txn, body, txn.client_id if body.ephemeral else 0, repairs=False)


def _apply_create_container(tree: DataTree, txn: Txn, body: txns.CreateContainerTxn) -> bytes:
    return _create(tree, txn, body, CONTAINER_OWNER, repairs=False)


def _apply_create_ttl(tree: DataTree, txn: Txn, body: txns.CreateTtlTxn) -> bytes:
    if not 0 < body.ttl_ms <= MAX_TTL_MS:
        raise ValueError(f"impossible TTL {body.ttl_ms} in transaction {txn.zxid:x}")
    return _create(tree, txn, body, ttl_owner(body.ttl_ms), repairs=False)


def _apply_delete(tree: DataTree, txn: Txn, body: txns.DeleteTxn) -> bytes:
    assert body.path is not None
    _delete_path(tree, body.path, txn.zxid)
    return NO_STAT


def _apply_set_data(tree: DataTree, txn: Txn, body: txns.SetDataTxn) -> bytes:
    path = body.path
    assert path is not None
    node = tree.nodes.get(path)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE)
    before = len(node.data or b"")
    size = len(body.data) if body.data else 0
    key = b"" if path == ROOT else path
    if tree.digests and node.digest == UNKNOWN_DIGEST:
        tree.node_digest(key, node)  # the old term needs the old data
    node.data = body.data
    stat, stamp = data_set(node.stat, txn.zxid, txn.time_ms, body.version, size)
    _restamp(tree, key, node, stat, stamp)
    tree.data_changed(path, node, size - before)
    return stat


def _apply_set_acl(tree: DataTree, _txn: Txn, body: txns.SetAclTxn) -> bytes:
    path = body.path
    assert path is not None
    node = tree.nodes.get(path)
    if node is None:
        raise RequestError(ErrorCode.NO_NODE)
    node.acl = tree.acls.intern(body.acl)
    stat, stamp = acl_set(node.stat, body.version)
    _restamp(tree, b"" if path == ROOT else path, node, stat, stamp)
    return node.stat


def _apply_multi(tree: DataTree, txn: Txn, body: txns.MultiTxn) -> list[bytes]:
    if body.failed:
        return []
    results: list[bytes] = []
    failure: RequestError | None = None
    for kind, part in body.ops:
        try:
            done = _APPLY[kind](tree, txn, part)
            assert isinstance(done, bytes)
            results.append(done)
        except RequestError as error:
            failure = failure or error
            results.append(NO_STAT)
    if failure is not None:
        raise failure
    return results


def _apply_create_session(tree: DataTree, txn: Txn, body: txns.CreateSessionTxn) -> bytes:
    tree.sessions[txn.client_id] = body.timeout_ms
    return NO_STAT


def _apply_close_session(tree: DataTree, txn: Txn, body: txns.CloseSessionTxn) -> bytes:
    tree.sessions.pop(txn.client_id, None)
    # Listed paths first, whoever owns them by now; then what is left of the session's own.
    listed = [path for path in body.paths or () if path is not None]
    for path in dict.fromkeys([*listed, *tree.ephemerals.get(txn.client_id, ())]):
        try:
            _delete_path(tree, path, txn.zxid)
        except RequestError:
            continue  # deleted meanwhile
    return NO_STAT


def _apply_nothing(_tree: DataTree, _txn: Txn, _body: Any) -> bytes:
    return NO_STAT


_RULES: dict[OpCode, Callable[[DataTree, Txn, Any], Applied]] = {
    OpCode.CREATE: _apply_create,
    OpCode.CREATE2: _apply_create2,
    OpCode.CREATE_CONTAINER: _apply_create_container,
    OpCode.CREATE_TTL: _apply_create_ttl,
    OpCode.DELETE: _apply_delete,
    OpCode.DELETE_CONTAINER: _apply_delete,
    OpCode.SET_DATA: _apply_set_data,
    OpCode.RECONFIG: _apply_set_data,
    OpCode.SET_ACL: _apply_set_acl,
    OpCode.CHECK: _apply_nothing,
    OpCode.MULTI: _apply_multi,
    OpCode.ERROR: _apply_nothing,
    OpCode.CREATE_SESSION: _apply_create_session,
    OpCode.CLOSE_SESSION: _apply_close_session,
}
_APPLY = {int(kind): rule for kind, rule in _RULES.items()}
"""By plain ints, which are compared faster than members of an enumeration."""
