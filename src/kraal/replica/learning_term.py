"""A term as follower or observer: Zab's learner on one side, the serving replica on the other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kraal.errors import DecodeError
from kraal.model.zxid import show
from kraal.replica.following import Following
from kraal.replica.observer_service import ObserverService
from kraal.replica.status import Mode
from kraal.replica.tree_resync import Step
from kraal.tree.data_tree import DataTree
from kraal.tree.possible import check
from kraal.tree.snapshot import StreamDecoder
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import SetDataTxn, Txn
from kraal.zab.history import Entry
from kraal.zab.learner import Learner, Phase, SnapshotReader
from kraal.zab.link import Link

if TYPE_CHECKING:
    from kraal.replica.peer import Peer

logger = logging.getLogger("kraal.replica.learning")


class LearningTerm:
    """Implements `LearnerHost`."""

    def __init__(self, peer: Peer, *, is_observer: bool, resyncs: bool = False) -> None:
        """`resyncs`: this server's tree differs, and the leader's is to take its place."""
        self._peer = peer
        self._is_observer = is_observer
        self._logs = peer.settings.sync_enabled or not is_observer
        self._dialled_ms = 0
        self._unlogged_zxid = 0
        """Last transaction that this observer would have logged."""
        self._adopted: DataTree | None = None
        self._is_emptied = False
        """Whether an empty tree is to take the place of the present one."""
        self.learner: Learner[Txn] | None = None
        self.replica: Following | None = None
        self.observers: ObserverService | None = None
        """Serves observers, if this follower is to."""
        self._resyncs = resyncs
        if resyncs:
            self._claim_nothing()

    # Inputs

    def dialled(self, now_ms: int, link: Link) -> None:
        """The connection to the leader is there: register."""
        peer = self._peer
        if self.learner is not None:
            link.close()  # of several addresses the first that answers is taken
            return
        self._dialled_ms = now_ms
        tick_ms = peer.server_config.tick_time_ms
        self.learner = Learner(
            peer.me,
            link,
            is_observer=self._is_observer,
            init_limit_ms=peer.settings.init_limit_ticks * tick_ms,
            sync_limit_ms=peer.settings.sync_limit_ticks * tick_ms,
            packet_limit=peer.packet_limit,
            config_version=peer.config.version,
            accepted_epoch=peer.accepted_epoch,
            current_epoch=peer.current_epoch,
            last_zxid=0 if self._is_emptied else peer.tree.last_zxid,
            host=self,
            now_ms=now_ms,
            is_emptied=self._is_emptied,
        )

    def cut_refused(self) -> None:
        """The log cannot be cut where the leader wants it: ask the same leader for everything.

        Whoever claims to have nothing is sent all there is. The leader has been told the truth
        in the connection before, and does not count this server again in the same epoch
        (reference/quorum-protocol.md section 4.3), so no vote rests on the claim; what this
        server has stays on its disk until the whole history of the leader is there.
        """
        assert self.learner is not None
        if self.learner.phase != Phase.TRUNCATING:
            return
        logger.warning("The leader is asked for its whole tree instead")
        self.learner.close()
        self.learner = None
        self._claim_nothing()
        self._peer.dial_again()

    def _claim_nothing(self) -> None:
        """An empty tree is to take the place of the present one, or the leader's."""
        self._is_emptied = True
        config = self._peer.server_config
        self._adopted = DataTree.pristine(
            extended_types=config.extended_types, digests=config.storage.digest_enabled
        )

    def logged(self, now_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable here."""
        if self.learner is not None:
            self.learner.logged(now_ms, zxid)

    def tick(self, now_ms: int) -> None:
        """Time passed."""
        if self.learner is not None:
            self.learner.tick(now_ms)
        if self.replica is not None and self.replica.is_different:
            self._compare_no_more(now_ms)
        if self.observers is not None:
            self.observers.master.tick(now_ms)

    def _compare_no_more(self, now_ms: int) -> None:
        """This server's tree differs: leave for the leader's, when nobody needs this server.

        It leaves by way of the election, so that what is logged is applied and voted for, and
        claims to have nothing in the next term only: there `cut_refused` says why it may.
        """
        peer = self._peer
        if self.learner is None or self.learner.phase is not Phase.SERVING:
            return
        configs = (peer.config, peer.last_seen)
        match peer.resync.step(now_ms, peer.election.vote, configs):
            case Step.ASK:
                peer.election.ask()
            case Step.TAKE:
                self.close()
                self.give_up("its tree differs, and the leader's is to take its place")

    def flush(self, now_ms: int) -> None:
        """The end of a turn."""
        if self.learner is not None:
            if self._unlogged_zxid:
                zxid, self._unlogged_zxid = self._unlogged_zxid, 0
                self.learner.logged(now_ms, zxid)
            self.learner.flush()
        if self.observers is not None:
            self.observers.master.flush()

    def close(self) -> None:
        """Close the connections without an election after it."""
        if self.learner is not None:
            self.learner.close()
        self._close_observers()

    def _close_observers(self) -> None:
        """What they were told arrives; it was committed."""
        if self.observers is not None:
            self.observers.master.finish()
            self.observers = None

    # What the learner asks

    def save_accepted_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self._peer.save_accepted_epoch(epoch)

    def save_current_epoch(self, epoch: int) -> None:
        """Durable before it returns."""
        self._peer.save_current_epoch(epoch)

    def parse(self, zxid: int, payload: bytes) -> Txn:
        """Raises DecodeError when it is none that can be, or that of another zxid."""
        txn = Txn.decode(payload)
        if txn.zxid != zxid:
            raise DecodeError(f"the transaction of {show(zxid)} calls itself {show(txn.zxid)}")
        check(txn)
        if self.replica is not None:
            self._peer.counters.proposal_latency.add(self._peer.wall_ms - txn.time_ms)
        if txn.kind == OpCode.RECONFIG:
            self._see_config(_config_text(txn))
        return txn

    def snapshot_reader(self) -> StreamDecoder:
        """For the leader's tree."""
        config = self._peer.server_config
        return StreamDecoder(
            extended_types=config.extended_types,
            digests=config.storage.digest_enabled,
            max_buffer_bytes=self._peer.packet_limit,
        )

    def adopt(self, reader: SnapshotReader, zxid: int) -> None:
        """The leader's tree is ours once its history is complete: until then a term may end."""
        assert isinstance(reader, StreamDecoder)
        own = self._peer.tree
        # A member that lags gets a larger tree; one that loses something is to be looked at.
        is_loss = zxid < own.last_zxid or 2 * len(reader.tree.nodes) < len(own.nodes)
        level = logging.WARNING if is_loss else logging.INFO
        logger.log(
            level,
            "The leader's tree as of %s, %d znodes, takes the place of this server's as of %s,"
            " %d znodes. Files that it does not need any more are kept as replaced-*",
            show(zxid), len(reader.tree.nodes) - 1, show(own.last_zxid), len(own.nodes) - 1,
        )  # fmt: skip
        self._adopted = reader.tree
        self._adopted.last_zxid = zxid
        self._adopted.is_mixture = True

    def save_snapshot(self) -> None:
        """Write the adopted tree."""
        self._peer.save_snapshot()

    def truncate(self, zxid: int) -> None:
        """Cut the log."""
        last = self._peer.tree.last_zxid
        logger.warning(
            "The leader does not know what this server has behind %s, up to %s: it is dropped."
            " What leaves the log is kept as replaced-* in the data directory",
            show(zxid), show(last),
        )  # fmt: skip
        self._peer.truncate(zxid)

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction, unless this observer keeps none."""
        if self.replica is not None and not self._is_observer:
            self._peer.counters.proposals_received += 1
        if self._logs:
            self._peer.append(zxid, payload)
        else:
            self._peer.is_unlogged = True
            self._unlogged_zxid = zxid
            self._peer.shell.wake()

    def apply(self, txns: Sequence[Txn]) -> None:
        """Make the leader's history ours: the tree that was adopted, if one was, then these."""
        if self._adopted is not None:
            self._peer.replace_tree(self._adopted)
            self._adopted = None
            if self._resyncs:
                self._peer.counters.tree_resyncs += 1
                self._peer.resync.taken(self._peer.now_ms)
        self._peer.apply(txns)

    def configuration(self, text: str) -> None:
        """The leader's newest configuration; it is committed when this server serves."""
        self._see_config(text)

    def _see_config(self, text: str) -> None:
        """Quorums count by it from its proposal on (reference/quorum-protocol.md section 6.4)."""
        peer = self._peer
        if peer.server_config.reconfig_enabled:
            config = peer.parse_config(text)
            if config is not None and config.version >= peer.config.version:
                peer.see_config(config)

    def established(self, now_ms: int, epoch: int) -> None:
        """In step: serve clients."""
        peer = self._peer
        assert self.learner is not None
        if peer.last_seen is not peer.config:
            peer.adopt_config(peer.last_seen)
            if (peer.me in peer.config.observers) != self._is_observer:
                self.close()
                self.give_up("the configuration gives this server another role")
                return
        peer.show_config()
        self.replica = Following(
            peer.server_config,
            peer.tree,
            self.learner,
            mode=Mode.OBSERVER if self._is_observer else Mode.FOLLOWER,
            first_session_id=peer.next_session_id,
            now_ms=now_ms,
            counters=peer.counters,
        )
        counters = peer.counters
        sync = counters.observer_sync_time if self._is_observer else counters.follower_sync_time
        sync.add(now_ms - self._dialled_ms)
        peer.begin_serving(self.replica, epoch)
        if peer.settings.observer_master_port and not self._is_observer:
            self.observers = ObserverService(peer, self.learner, self.replica, now_ms)
            peer.shell.listen_for_observers()

    def committed(self, now_ms: int, txns: Sequence[Txn]) -> None:
        """Apply these and answer who waits."""
        entries = self._apply_committed(now_ms, txns)
        if self.observers is not None:
            self.observers.committed(now_ms, txns, entries)

    def _apply_committed(self, now_ms: int, txns: Sequence[Txn]) -> list[Entry]:
        assert self.replica is not None, "commits are kept until this server serves"
        self._peer.counters.commits_received += len(txns)
        self.replica.committed(now_ms, self._peer.wall_ms, txns)
        entries = [(txn.zxid, txn.payload) for txn in txns]
        self._peer.history.extend(entries)
        return entries

    def activate(self, now_ms: int, designated: int, txn: Txn) -> None:
        """A reconfiguration is committed; role and leader may be others from here on."""
        (entry,) = self._apply_committed(now_ms, [txn])
        if self.observers is not None:
            self.observers.master.activated(now_ms, entry, designated)
        peer = self._peer
        config = peer.parse_config(_config_text(txn))
        if config is None or not peer.server_config.reconfig_enabled:
            return
        leader = peer.election.vote.leader
        peer.adopt_config(config)
        is_observer = peer.me in config.observers
        if designated == peer.me and peer.me not in config.voters:
            self.close()
            self.give_up("a reconfiguration has this server lead, which does not vote in it")
        elif designated != leader or is_observer != self._is_observer:
            self.close()
            peer.change_role(designated, self._tail())

    def touched(self) -> list[tuple[int, int]]:
        """Sessions heard of since the last ping."""
        return self.replica.touched() if self.replica is not None else []

    def revalidated(self, now_ms: int, session_id: int, valid: bool) -> None:
        """The leader's answer about a session."""
        if self.replica is not None:
            self.replica.revalidated(now_ms, self._peer.wall_ms, session_id, valid)

    def synced(self, now_ms: int) -> None:
        """The leader's answer to a sync."""
        if self.replica is not None:
            self.replica.synced(now_ms, self._peer.wall_ms)

    def give_up(self, reason: str) -> None:
        """Learning is over."""
        self._close_observers()
        self._peer.end_term(reason, self._tail())

    def _tail(self) -> list[Entry]:
        tail = [] if self.learner is None else self.learner.tail()
        return [(txn.zxid, txn.payload) for txn in tail]

    def wake(self) -> None:
        """There is output."""
        self._peer.shell.wake()


def _config_text(txn: Txn) -> str:
    """The configuration that a reconfiguration's transaction brings."""
    body = txn.body
    data = body.data if isinstance(body, SetDataTxn) else None
    return (data or b"").decode("utf-8", "replace")
