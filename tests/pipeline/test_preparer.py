"""From a write request to its transaction: what stands before every rule of its own."""

from __future__ import annotations

import struct

import pytest

from kraal.errors import ErrorCode
from kraal.model.config import SecurityConfig
from kraal.pipeline.auth.authority import Authority
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.prepare.draft import Context, Draft, Rules
from kraal.pipeline.prepare.preparer import Preparer
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import ErrorTxn, Txn
from tests.pipeline.support import SESSION, Tree
from tests.support import raw_client as raw

_WRITES = {
    "create": raw.create_body("/a/b", b"", raw.OPEN_ACL, 0),
    "delete": raw.path_and_int("/a", -1),
    "setData": raw.set_data_body("/a", b"new", -1),
    "setACL": raw.set_acl_body("/a", raw.OPEN_ACL, -1),
    "deleteContainer": raw.ustring("/a"),
}


def _preparer(tree: Tree) -> Preparer:
    rules = Rules(
        extended_types=True, enforce_quota=False, reconfig_enabled=True, close_session_txn=True
    )
    outstanding = Outstanding(tree.tree)
    return Preparer(Context(tree.tree, outstanding, Authority(SecurityConfig()), rules))


@pytest.mark.parametrize("name", [*_WRITES, "reconfig"])
@pytest.mark.parametrize("code", [ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED])
def test_a_session_that_may_not_write_changes_nothing(name: str, code: ErrorCode) -> None:
    tree = Tree()
    tree.create(b"/a")
    draft = Draft(SESSION, 7, (), tree.tree.last_zxid + 1, 0)
    draft.session_error = code
    body = _WRITES.get(name) or raw.reconfig_body(None, "2", "", -1)
    frame = struct.pack(">ii", 7, raw.OPCODES[name]) + body
    payload, changes, digest, reply = _preparer(tree).write(draft, raw.OPCODES[name], frame)
    txn = Txn.decode(payload)
    assert (txn.kind, txn.body) == (OpCode.ERROR, ErrorTxn(code))
    assert (changes, digest) == ([], tree.tree.digest)
    assert struct.unpack_from(">iiqi", reply) == (16, 7, draft.zxid, code)


def test_such_a_session_ends_all_the_same() -> None:
    tree = Tree()
    tree.create(b"/mine", ephemeral=True)
    draft = Draft(SESSION, 7, (), tree.tree.last_zxid + 1, 0)
    draft.session_error = ErrorCode.SESSION_EXPIRED
    payload, changes, _, _ = _preparer(tree).close_session(draft)
    assert Txn.decode(payload).kind == OpCode.CLOSE_SESSION
    assert changes[0] == (b"/mine", None, False)
