"""One history: what was committed, in its order, and the tree that it makes.

The first server that reaches a transaction tells that it is committed; that is the leader, whose
followers hear of it later. From then on every serving server must have it in the same place.
The tree here is made from the transactions alone, so that each server can be compared with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from kraal.errors import RequestError
from kraal.model.path import ROOT
from kraal.model.zxid import counter, epoch, make, show
from kraal.replica.replica import Replica
from kraal.replica.status import Mode
from kraal.sim.checks.watcher import Watcher
from kraal.sim.violation import violated
from kraal.storage.epochs import Epochs
from kraal.storage.recovery import Recovered
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree, EventType
from kraal.tree.digest import signed
from kraal.wire.opcodes import OpCode
from kraal.wire.records.data import Stat
from kraal.wire.records.txn import SetAclTxn, Txn

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

PROMISE = "one history"
TxnHook = Callable[[Txn], None]


class Version:
    """A znode as it was from one transaction on; `data` and `stat` as on the wire."""

    __slots__ = ("children", "data", "stat", "zxid")

    def __init__(
        self, zxid: int, data: bytes | None, stat: bytes, children: frozenset[bytes] | None
    ) -> None:
        self.zxid = zxid
        self.data = data
        self.stat = stat
        self.children = children
        """Full paths; None: there is no such znode."""

    @property
    def mzxid(self) -> int:
        """When the data was written."""
        return Stat.unpack(self.stat).mzxid


class History:
    """The committed transactions and every state they led through."""

    def __init__(self) -> None:
        self.tree = DataTree.pristine()
        self.tip = 0
        """The last committed zxid; 0 is the empty history."""
        self.proposed: dict[int, bytes] = {}
        """What any server ever logged, by zxid."""
        self.txns: dict[int, Txn] = {}
        self.zxids: list[int] = [0]
        self.digests: dict[int, int] = {0: self.tree.digest}
        self.bases: dict[int, int] = {0: 0}
        """By epoch, where the history stood when its leader was established."""
        self.events: list[tuple[int, EventType, bytes]] = []
        self.event_zxids: list[int] = []
        self.before: list[TxnHook] = []
        """Called with each transaction before it is applied to the tree, and after."""
        self.after: list[TxnHook] = []
        self._versions: dict[bytes, list[Version]] = {}
        for path in self.tree.nodes:
            self._note(0, path)

    # What servers do

    def propose(self, who: str, zxid: int, payload: bytes) -> None:
        """A server logs a transaction: the same zxid is the same transaction everywhere."""
        known = self.proposed.setdefault(zxid, payload)
        if known != payload:
            violated(PROMISE, "%s logs another transaction %s", who, show(zxid))

    def establish(self, who: str, epoch_: int, base: int) -> None:
        """A leader begins an epoch upon a history that ends at `base`: that is committed now."""
        if epoch_ in self.bases:
            violated("one leader per epoch", "%s establishes epoch %d again", who, epoch_)
        newest = max(self.bases)
        if epoch_ < newest:
            violated(PROMISE, "%s establishes epoch %d after %d", who, epoch_, newest)
        base = self.floor(base)
        if base < self.tip:
            violated(
                "no committed write is lost",
                "%s leads epoch %d with %s, but %s is committed",
                who, epoch_, show(base), show(self.tip),
            )  # fmt: skip
        self._extend(who, base)
        self.bases[epoch_] = base

    def reach(self, who: str, zxid: int) -> int:
        """A serving server's tree is at `zxid`; returns the transaction that this is."""
        zxid = self.floor(zxid)
        if zxid > self.tip:
            self._extend(who, zxid)
        elif zxid not in self.digests:
            violated(PROMISE, "%s has %s, which is not in the history", who, show(zxid))
        return zxid

    def floor(self, zxid: int) -> int:
        """The transaction at which a tree with this `last_zxid` stands."""
        if counter(zxid) or zxid < 0:
            return zxid
        return self.bases.get(epoch(zxid), zxid)

    def _extend(self, who: str, zxid: int) -> None:
        while self.tip < zxid:
            tip = self.tip
            following = tip + 1
            if epoch(zxid) != epoch(tip):
                following = make(epoch(zxid), 1)
                if self.bases.get(epoch(zxid)) != tip:
                    violated(PROMISE, "%s commits %s behind %s", who, show(following), show(tip))
            self._commit(who, following)

    def _commit(self, who: str, zxid: int) -> None:
        payload = self.proposed.get(zxid)
        if payload is None:
            violated(PROMISE, "%s has %s, which nobody ever logged", who, show(zxid))
        txn = Txn.decode(payload)
        tree = self.tree
        for hook in self.before:
            hook(txn)
        try:
            apply(tree, txn)
        except RequestError as error:
            violated("valid transactions", "%s fails: %s", show(zxid), error)
        if txn.digest is not None and txn.digest != signed(tree.digest):
            violated("valid transactions", "%s has another digest than it makes", show(zxid))
        self.tip = zxid
        self.txns[zxid] = txn
        self.zxids.append(zxid)
        self.digests[zxid] = tree.digest
        self._note_changes(txn)
        for hook in self.after:
            hook(txn)

    # The states

    def _note_changes(self, txn: Txn) -> None:
        zxid, tree = txn.zxid, self.tree
        changed: dict[bytes, None] = {}
        for kind, path, _, parent_acl in tree.events:
            self.events.append((zxid, kind, path))
            self.event_zxids.append(zxid)
            changed[path] = None
            if parent_acl is not None:
                changed[path[: path.rindex(b"/")] or ROOT] = None
        tree.events.clear()
        if txn.kind == OpCode.SET_ACL:
            assert isinstance(txn.body, SetAclTxn)
            changed[txn.body.path or ROOT] = None
        for path in changed:
            self._note(zxid, path)

    def _note(self, zxid: int, path: bytes) -> None:
        node = self.tree.nodes.get(path)
        if node is None:
            version = Version(zxid, None, b"", None)
        else:
            version = Version(zxid, node.data, node.stat, frozenset(node.children or ()))
        versions = self._versions.setdefault(path, [])
        if versions and versions[-1].zxid == zxid:
            versions[-1] = version
        else:
            versions.append(version)

    def at(self, zxid: int, path: bytes) -> Version | None:
        """The znode in the state of `zxid`, or None."""
        versions = self._versions.get(path)
        if versions is None:
            return None
        found = bisect_right(versions, zxid, key=_zxid_of) - 1
        if found < 0 or versions[found].children is None:
            return None
        return versions[found]

    def since(self, zxid: int, path: bytes) -> list[Version | None]:
        """The znode in every state from that of `zxid` to the present one; None: not there."""
        versions = self._versions.get(path, [])
        first = bisect_right(versions, zxid, key=_zxid_of) - 1
        found = [version if version.children is not None else None for version in versions]
        return [None, *found] if first < 0 else list(found[first:])

    def events_after(self, zxid: int) -> list[tuple[int, EventType, bytes]]:
        """What happened to znodes later than `zxid`."""
        return self.events[bisect_right(self.event_zxids, zxid) :]


def _zxid_of(version: Version) -> int:
    return version.zxid


class HistoryCheck(Watcher):
    """All serving servers have the one history, and the tree that it makes."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._seen: dict[int, tuple[object, int, object]] = {}
        """By server: tree, zxid and replica of the last look."""
        self._end: dict[int, int] = {}
        """By server, where its history ended before it served."""
        self._mixed: dict[int, int] = {}
        """By server, how far what came with the last leader's tree may reach into the future."""

    def appended(self, server: SimServer, zxid: int, payload: bytes) -> None:
        self.history.propose(server.name, zxid, payload)

    def booted(self, server: SimServer, recovered: Recovered, known: Epochs) -> None:
        tree = recovered.tree
        if tree.last_zxid < self._mixed.get(server.id, 0):
            return  # its log has yet to make it whole; until then it must not serve
        digest = self.history.digests.get(self.history.floor(tree.last_zxid))
        if digest not in (None, tree.digest):
            violated(
                PROMISE, "%s starts with another tree at %s than the history makes",
                server.name, show(tree.last_zxid),
            )  # fmt: skip

    def adopting(self, server: SimServer) -> None:
        self._mixed[server.id] = self.history.tip

    def died(self, server: SimServer) -> None:
        self._seen.pop(server.id, None)

    def after_turn(self, server: SimServer) -> None:
        peer = server.peer
        tree, replica = peer.tree, peer.replica
        zxid = tree.last_zxid
        now = (tree, zxid, replica)
        before = self._seen.get(server.id)
        if before is not None and before == now:
            return
        self._seen[server.id] = now
        if replica is None or replica.mode == Mode.READ_ONLY:
            self._end[server.id] = zxid
            return
        history = self.history
        is_new = before is None or before[2] is not replica
        if is_new and replica.mode == Mode.LEADER:
            history.establish(server.name, peer.current_epoch, self._end[server.id])
        self._compare(server)

    def serving(self, server: SimServer, replica: Replica | None) -> None:
        """A term may end with a commit, in the same turn."""
        before = self._seen.get(server.id)
        if before is not None and before[0] is server.peer.tree:
            last = before[2]
            if isinstance(last, Replica) and last.mode != Mode.READ_ONLY:
                self._compare(server)

    def _compare(self, server: SimServer) -> None:
        history, tree = self.history, server.peer.tree
        floor = history.reach(server.name, tree.last_zxid)
        if history.digests[floor] != tree.digest:
            violated(
                PROMISE, "the tree of %s at %s is not what the history makes of it",
                server.name, show(tree.last_zxid),
            )  # fmt: skip
