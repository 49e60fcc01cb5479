"""What a write must do to a tree: the rules of the operations, written a second time.

From reference/client-protocol.md section 5; only what simulated clients ask for.
"""

from __future__ import annotations

from kraal.errors import ErrorCode
from kraal.model.path import ROOT
from kraal.sim.client import Request
from kraal.tree.data_tree import DataTree
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import (
    CreateContainerTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
    Txn,
)

EPHEMERAL = 1
SEQUENTIAL = 2
SESSION_ERRORS = (
    ErrorCode.SESSION_EXPIRED,
    ErrorCode.SESSION_MOVED,
    # What an observer master makes of a write for a session that has gone elsewhere; requests
    # that do not decode are in no workload.
    ErrorCode.MARSHALLING_ERROR,
)


def refuses_session(body: Record) -> bool:
    """Whether a write failed because its session is over or belongs to another connection."""
    if isinstance(body, MultiTxn):
        return any(refuses_session(part) for _, part in body.ops)
    return isinstance(body, ErrorTxn) and body.code in SESSION_ERRORS


class _View:
    """A tree with the changes of the earlier parts of a multi."""

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        self._versions: dict[bytes, int | None] = {}
        self._owners: dict[bytes, int] = {}
        self._children: dict[bytes, int] = {}
        self._created: dict[bytes, int] = {}

    def version(self, path: bytes) -> int | None:
        """None: there is no such znode."""
        if path in self._versions:
            return self._versions[path]
        node = self._tree.nodes.get(path)
        return None if node is None else node.version

    def owner(self, path: bytes) -> int:
        if path in self._owners:
            return self._owners[path]
        return self._tree.nodes[path].ephemeral_owner

    def children(self, path: bytes) -> int:
        node = self._tree.nodes.get(path)
        return (len(node.children or ()) if node else 0) + self._children.get(path, 0)

    def created(self, path: bytes) -> int:
        """How many children were ever created."""
        node = self._tree.nodes.get(path)
        return (node.created_children if node else 0) + self._created.get(path, 0)

    def create(self, path: bytes, parent: bytes, owner: int) -> None:
        self._versions[path] = 0
        self._owners[path] = owner
        self._children[parent] = self._children.get(parent, 0) + 1
        self._created[parent] = self._created.get(parent, 0) + 1

    def delete(self, path: bytes, parent: bytes) -> None:
        self._versions[path] = None
        self._children[parent] = self._children.get(parent, 0) - 1

    def write(self, path: bytes, version: int) -> None:
        self._versions[path] = version


def difference(tree: DataTree, request: Request, txn: Txn) -> str | None:
    """Why the transaction is not what the request asks for in this tree; None: it is."""
    body = txn.body
    if refuses_session(body):
        return None  # sessions are another matter
    view = _View(tree)
    if request.op != OpCode.MULTI:
        code = _check(view, request, txn.client_id)
        if isinstance(body, ErrorTxn):
            return None if body.code == code else f"error {body.code} where {code} is due"
        if code:
            return f"success where {code} is due"
        return _compare(view, request, txn.kind, body)
    if not isinstance(body, MultiTxn):
        return f"{body} instead of a multi"
    return _multi(view, request, body, txn.client_id)


def _multi(view: _View, request: Request, body: MultiTxn, session_id: int) -> str | None:
    if len(body.ops) != len(request.parts):
        return f"{len(body.ops)} operations where there were {len(request.parts)}"
    failed = False
    for (kind, part), asked in zip(body.ops, request.parts, strict=True):
        code = ErrorCode.RUNTIME_INCONSISTENCY if failed else _check(view, asked, session_id)
        if code:
            failed = True
            if not isinstance(part, ErrorTxn) or part.code != code:
                return f"{kind} {part} in a multi where {code} is due"
        elif isinstance(part, ErrorTxn):
            return f"error {part.code} in a multi where none is due"
        elif found := _compare(view, asked, kind, part):
            return found
    return None


def _parent(path: bytes) -> bytes:
    return path[: path.rindex(b"/")] or ROOT


def _check(view: _View, request: Request, session_id: int) -> ErrorCode:
    """The error that the request meets; OK: none, and the view has its effect."""
    path, op = request.path, request.op
    if op in (OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER):
        return _check_create(view, request, session_id)
    version = view.version(path)
    if version is None:
        return ErrorCode.NO_NODE
    if request.version not in (-1, version):
        return ErrorCode.BAD_VERSION
    if op == OpCode.DELETE:
        if view.children(path):
            return ErrorCode.NOT_EMPTY
        view.delete(path, _parent(path))
    elif op == OpCode.SET_DATA:
        view.write(path, version + 1)
    return ErrorCode.OK


def _check_create(view: _View, request: Request, session_id: int) -> ErrorCode:
    path, parent = request.path, _parent(request.path)
    if view.version(parent) is None:
        return ErrorCode.NO_NODE
    if request.flags & SEQUENTIAL:
        path += b"%010d" % view.created(parent)
    if view.version(path) is not None:
        return ErrorCode.NODE_EXISTS
    if view.owner(parent):
        return ErrorCode.NO_CHILDREN_FOR_EPHEMERALS
    view.create(path, parent, session_id if request.flags & EPHEMERAL else 0)
    return ErrorCode.OK


def _compare(view: _View, request: Request, kind: int, body: object) -> str | None:
    """The view has the effect of the request already."""
    op, path = request.op, request.path
    if op == OpCode.CHECK:
        return None
    if kind != op:
        return f"a transaction of type {kind} for {request}"
    if isinstance(body, CreateTxn):
        if request.flags & SEQUENTIAL:
            path += b"%010d" % (view.created(_parent(path)) - 1)
        expected = (path, request.data, bool(request.flags & EPHEMERAL))
        found = (body.path, body.data, body.ephemeral)
    elif isinstance(body, CreateContainerTxn):
        expected = (path, request.data)  # type: ignore[assignment]
        found = (body.path, body.data)  # type: ignore[assignment]
    elif isinstance(body, SetDataTxn):
        expected = (path, request.data, view.version(path))  # type: ignore[assignment]
        found = (body.path, body.data, body.version)  # type: ignore[assignment]
    elif isinstance(body, DeleteTxn):
        expected, found = (path,), (body.path,)  # type: ignore[assignment]
    else:
        return f"{body} for {request}"
    return None if expected == found else f"{found} where {expected} is due"
