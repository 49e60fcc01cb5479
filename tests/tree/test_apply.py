"""Transactions that meet a tree which is ahead of them, and those that cannot be."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kraal.errors import DecodeError, RequestError
from kraal.model.acl import OPEN_UNSAFE
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.tree.possible import check
from kraal.wire.jute.schema import Record
from kraal.wire.opcodes import OpCode
from kraal.wire.records import txn as txns
from kraal.wire.records.data import encode_acls
from kraal.wire.records.txn import Txn

ACL = encode_acls(OPEN_UNSAFE)
SESSION = 7


def create(path: bytes | None, ephemeral: bool = False) -> tuple[int, Record]:
    return OpCode.CREATE2, txns.CreateTxn(path, b"x", ACL, ephemeral, 1)


def delete(path: bytes | None) -> tuple[int, Record]:
    return OpCode.DELETE, txns.DeleteTxn(path)


def history(*steps: tuple[int, Record]) -> list[Txn]:
    return [
        Txn(SESSION, 0, zxid, 1000 + zxid, kind, body, None)
        for zxid, (kind, body) in enumerate(steps, 1)
    ]


def replay(tree: DataTree, steps: list[Txn]) -> DataTree:
    for step in steps:
        with suppress(RequestError):
            apply(tree, step)
        tree.events.clear()
    return tree


def shown(tree: DataTree) -> dict[bytes, tuple[bytes | None, list[bytes]]]:
    return {path: (node.data, sorted(node.children or ())) for path, node in tree.nodes.items()}


@pytest.mark.parametrize("begin", range(1, 10))
def test_a_znode_that_was_deleted_and_made_again_while_the_snapshot_was_taken(begin: int) -> None:
    """The state behind all of it, to which the log is applied from anywhere."""
    steps = history(
        create(b"/a"), create(b"/a/b"), delete(b"/a/b"), delete(b"/a"), create(b"/a"),
        create(b"/a/b"), create(b"/a/b/c"), create(b"/a/e", ephemeral=True), create(b"/z"),
    )  # fmt: skip
    truth = replay(DataTree.pristine(), steps)
    fuzzy = replay(replay(DataTree.pristine(), steps), steps[begin - 1 :])
    assert shown(fuzzy) == shown(truth)
    assert fuzzy.digest == fuzzy.compute_digest()
    assert fuzzy.ephemerals == truth.ephemerals
    assert fuzzy.data_bytes == truth.data_bytes


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        create(None), create(b""), create(b"a"), create(b"/"), delete(None), delete(b""),
        delete(b"/"), delete(b"/zookeeper"), delete(b"/zookeeper/config"), delete(b"a"),
        (OpCode.SET_DATA, txns.SetDataTxn(None, b"", 1)),
        (OpCode.RECONFIG, txns.SetDataTxn(b"x", b"", 1)),
        (OpCode.SET_ACL, txns.SetAclTxn(b"", ACL, 1)),
        (OpCode.CREATE_TTL, txns.CreateTtlTxn(b"/t", b"", ACL, 1, 0)),
        (OpCode.CREATE_TTL, txns.CreateTtlTxn(b"/t", b"", ACL, 1, 1 << 40)),
        (OpCode.CREATE_CONTAINER, txns.CreateContainerTxn(b"t", b"", ACL, 1)),
        (OpCode.CLOSE_SESSION, txns.CloseSessionTxn([b"/a", b"/"])),
        (OpCode.CLOSE_SESSION, txns.CloseSessionTxn([b"a"])),
        (OpCode.MULTI, txns.MultiTxn([create(b"/a"), delete(b"/")])),
    ],
)  # fmt: skip
def test_what_no_leader_proposes_is_found_before_it_is_logged(kind: int, body: Record) -> None:
    (step,) = history((kind, body))
    with pytest.raises(DecodeError):
        check(step)


def test_what_leaders_propose_is_possible() -> None:
    for step in history(
        create(b"/a"), delete(b"/a"), (OpCode.CLOSE_SESSION, txns.CloseSessionTxn(None)),
        (OpCode.SET_DATA, txns.SetDataTxn(b"/", b"", 1)),
        (OpCode.SET_ACL, txns.SetAclTxn(b"/", ACL, 1)),
        (OpCode.MULTI, txns.MultiTxn([(OpCode.ERROR, txns.ErrorTxn(-101))])),
        (OpCode.ERROR, txns.ErrorTxn(-101)), (OpCode.CREATE_SESSION, txns.CreateSessionTxn(1)),
    ):  # fmt: skip
        check(step)
