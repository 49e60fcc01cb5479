"""One member of an ensemble without I/O: it looks for a leader, leads, follows or observes.

Joins the election, Zab, the pipeline and the tree (reference/quorum-protocol.md section 1.1).
Every public method is one input and runs to its end. What outlives a term is here: the tree,
the newest history, the epochs, the configuration. A term is a `LeadingTerm` or a
`LearningTerm`; when it ends, what is logged and not known to be committed is applied, because
the vote of this server counts it, and the next election begins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from random import Random

from kraal.errors import ConfigError, RequestError
from kraal.model.config import EnsembleSettings, ServerConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.model.session_id import first_session_id
from kraal.model.zxid import show
from kraal.pipeline.counters import Counters
from kraal.replica.ejections import Ejections
from kraal.replica.leading_term import LeadingTerm
from kraal.replica.learning_term import LearningTerm
from kraal.replica.read_only import ReadOnly
from kraal.replica.replica import Replica
from kraal.replica.shell import Shell
from kraal.replica.tree_resync import TreeResync
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.wire.records.txn import Txn
from kraal.zab.election import Courier, Election, Vote
from kraal.zab.history import CommittedLog, Entry
from kraal.zab.learner import Learner
from kraal.zab.learner_handler import LearnerHandler
from kraal.zab.link import Link
from kraal.zab.observer_masters import ObserverMasters
from kraal.zab.state import State

logger = logging.getLogger("kraal.replica.peer")
READ_ONLY_DELAY_MS = 2000
LOGGED_BYTES = 150
"""What a transaction takes in the log at least, about."""
SNAPSHOT_SHARE = 0.33
"""As `snapshotSizeFactor`, judged before the disk is asked: reading it holds up the clients."""
UNVOTED = -1


class Peer:
    """A server of an ensemble. Times: `now_ms` monotonic, `wall_ms` for transactions."""

    def __init__(
        self,
        config: ServerConfig,
        tree: DataTree,
        shell: Shell,
        courier: Courier,
        *,
        history: Iterable[Entry],
        accepted_epoch: int,
        current_epoch: int,
        counters: Counters,
        now_ms: int,
        random: Random,
    ) -> None:
        assert config.ensemble is not None
        self.settings: EnsembleSettings = config.ensemble
        self.server_config = config
        self.me = config.server_id
        self.tree = tree
        self.shell = shell
        self.counters = counters
        self.history = CommittedLog(self.settings.commit_log_count, history)
        self.accepted_epoch = accepted_epoch
        self.current_epoch = current_epoch
        self.config = self.settings.config
        """The committed configuration."""
        self.last_seen = self.settings.last_seen or self.config
        """The newest one proposed; the committed one unless a reconfiguration is under way."""
        self.learner_master: int | None = None
        """Whom this server follows or observes, or is about to."""
        self._is_observer_master = False
        """Whether that is a follower's port for observers."""
        self._random = random
        self._observer_masters = ObserverMasters(random)
        self._ejections = Ejections()
        self._dial_at_ms: int | None = None
        """When to dial, if that is still to be done."""
        self._look_at_ms = now_ms
        """No election begins before; observers leave others some time."""
        self.next_session_id = first_session_id(self.me, now_ms)
        self.replica: Replica | None = None
        self.term: LeadingTerm | LearningTerm | None = None
        self.now_ms = now_ms
        self.wall_ms = 0
        self.looking_since_ms = now_ms
        self._election_since_ms = now_ms
        self._appended = self._logged = tree.last_zxid
        """Ends of what was handed to the log and of what is durable in it."""
        self._designated: int | None = None
        """Whom a reconfiguration has made the leader, while the last term winds up."""
        self.is_unlogged = False
        """Whether the disk lacks the end of the history for good: observers may keep no log."""
        self._disk_jobs = 0
        """Cuts of the log and snapshots that are under way."""
        self._frozen: LeadingTerm | None = None
        """What this server led until it restored; its followers still wait for it."""
        self._tail: list[Entry] | None = None
        """Logged or being logged and not yet applied, between two terms."""
        self.election = Election(self.me, self.settings, courier, self._elected)
        self.election.config_seen = self._config_seen
        self.election.looking_seen = self._looking_seen
        self.resync = TreeResync(self.me, self.settings, config.tick_time_ms)
        self.election.settled_seen = self.resync.heard

    @property
    def state(self) -> State:
        return self.election.state

    @property
    def packet_limit(self) -> int:
        """Largest buffer of a packet in bytes (section 4.1)."""
        return 2 * self.server_config.max_buffer_bytes

    # Inputs: the beginning and the end

    def start(self, now_ms: int, wall_ms: int) -> None:
        """Take part in the ensemble."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        logger.info("This is server %d of %s", self.me, _members(self.config))
        self._tail = []
        self._look()

    def stop(self) -> None:
        """Leave it: close every connection."""
        for term in (self.term, self._frozen):
            if term is not None:
                term.close()
        # What the disk still has to say begins no election.
        self.term = self._frozen = self._tail = self._dial_at_ms = None
        self._serve(None)

    # Inputs: the election

    def notified(self, now_ms: int, wall_ms: int, server_id: int, message: bytes) -> None:
        """A notification of another server."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self.election.received(now_ms, server_id, message)

    # Inputs: learners, while leading, and observers, while following

    def learner_connected(self, now_ms: int, link: Link, name: str) -> LearnerHandler | None:
        """Somebody dialled the quorum port; None: refused and closed."""
        self.now_ms = now_ms
        if isinstance(self.term, LeadingTerm):
            return self.term.leader.connected(now_ms, link, name)
        link.close()
        return None

    def observer_connected(self, now_ms: int, link: Link, name: str) -> LearnerHandler | None:
        """Somebody dialled the port for observers; None: refused and closed."""
        self.now_ms = now_ms
        if isinstance(self.term, LearningTerm) and self.term.observers is not None:
            return self.term.observers.master.connected(now_ms, link, name)
        link.close()
        return None

    def learner_received(
        self, now_ms: int, wall_ms: int, handler: LearnerHandler, data: bytes
    ) -> None:
        """Bytes of a learner's connection."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        if isinstance(self.term, LeadingTerm):
            self.term.leader.received(now_ms, handler, data)
        elif isinstance(self.term, LearningTerm) and self.term.observers is not None:
            self.term.observers.master.received(now_ms, handler, data)

    def learner_disconnected(self, handler: LearnerHandler) -> None:
        """A learner's connection is gone."""
        if isinstance(self.term, LeadingTerm):
            self.term.leader.disconnected(handler)
        elif isinstance(self.term, LearningTerm) and self.term.observers is not None:
            self.term.observers.master.disconnected(handler)

    # Inputs: the leader, while learning

    def dialled(self, now_ms: int, wall_ms: int, link: Link) -> None:
        """The connection to the leader is there."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        if isinstance(self.term, LearningTerm):
            self.term.dialled(now_ms, link)
        else:
            link.close()

    def dial_failed(self, now_ms: int, wall_ms: int) -> None:
        """The leader does not accept."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        if isinstance(self.term, LearningTerm):
            self.term.give_up("the leader cannot be reached")

    def leader_received(self, now_ms: int, wall_ms: int, link: Link, data: bytes) -> None:
        """Bytes of the connection to the leader."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        learner = self._learner_of(link)
        if learner is not None:
            learner.received(now_ms, data)

    def leader_disconnected(self, now_ms: int, wall_ms: int, link: Link) -> None:
        """The connection to the leader is gone."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        learner = self._learner_of(link)
        if learner is not None:
            self._sent_away(learner)
            learner.disconnected()

    def _sent_away(self, learner: Learner[Txn]) -> None:
        """By its leader, which is sooner or later dialled again."""
        ejections, leader = self._ejections, self.learner_master
        if not learner.epoch or leader is None:
            return
        ejections.add(leader, learner.epoch, self.now_ms - learner.began_ms)
        if pause_ms := ejections.pause_ms(leader):
            # Connections do break: twice is no reason to wake anybody.
            level = logging.INFO if ejections.count == 2 else logging.WARNING
            logger.log(
                level,
                "Server %d has ended the connection of this server, id %d, %d times in a row, as it"
                " does when server id %d is used by two servers: then its log names their addresses"
                " and one of them needs another myid. It is not dialled again for %d ms",
                leader, self.me, ejections.count, self.me, pause_ms,
            )  # fmt: skip

    def _learner_of(self, link: Link) -> Learner[Txn] | None:
        term = self.term
        if isinstance(term, LearningTerm) and term.learner is not None:
            return term.learner if term.learner.link is link else None
        return None

    # Inputs: the disk

    def logged(self, now_ms: int, wall_ms: int, zxid: int) -> None:
        """Everything up to zxid is durable."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self._logged = max(self._logged, zxid)
        if self.term is not None:
            self.term.logged(now_ms, zxid)
        else:
            self._look()

    def truncated(
        self, now_ms: int, wall_ms: int, tree: DataTree, history: Iterable[Entry]
    ) -> None:
        """The log is cut, and this is what it holds."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self._disk_jobs -= 1
        self.is_unlogged = False
        self.replace_tree(tree, history)
        if isinstance(self.term, LearningTerm) and self.term.learner is not None:
            self.term.learner.truncated(now_ms)
        else:
            self._look()

    def cut_refused(self, now_ms: int, wall_ms: int) -> None:
        """The log cannot be cut where the leader wants it; it is as it was."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self._disk_jobs -= 1
        if isinstance(self.term, LearningTerm) and self.term.learner is not None:
            self.term.cut_refused()
        else:
            self._look()

    def snapshot_saved(self, now_ms: int, wall_ms: int) -> None:
        """The tree that was adopted is on disk."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self._disk_jobs -= 1
        if self._frozen is not None:
            self._frozen.close()
            self._frozen = None
        if isinstance(self.term, LearningTerm) and self.term.learner is not None:
            self.term.learner.snapshot_saved(now_ms)
        else:
            self._look()

    # Inputs: an operator

    def restore(self, now_ms: int, wall_ms: int, tree: DataTree) -> None:
        """Put another tree in the place of the whole history, for the ensemble as a whole.

        For Zab it is the last transaction of this leader's epoch, `tree.last_zxid`, which only a
        snapshot tells. It needs a quorum like any: this term ends, and the next election decides.
        Nobody has a larger zxid, so this server wins it and everybody gets the tree from it; but
        if others elect one of themselves first, that one's history counts, and takes the tree
        from this server again. Followers are not sent away before the tree is on the disk here.
        """
        assert isinstance(self.term, LeadingTerm)
        assert tree.last_zxid > self.term.leader.last_proposed
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self._frozen = self.term
        self._frozen.leader.freeze()
        self._disk_jobs += 1
        self.end_term("another tree is restored", ())
        self.replace_tree(tree)
        self.is_unlogged = False
        self.shell.save_snapshot(tree)

    # Inputs: time

    def tick(self, now_ms: int, wall_ms: int) -> None:
        """Time passed; also to be called when `election.deadline_ms` has come."""
        self.now_ms, self.wall_ms = now_ms, wall_ms
        self.election.tick(now_ms)
        if self._dial_at_ms is not None and now_ms >= self._dial_at_ms:
            self._dial()
        if self.term is not None:
            self.term.tick(now_ms)
        elif self._tail is not None:
            self._look()
        elif self.server_config.read_only_mode and self.replica is None and self._tail is None:
            delay_ms = max(READ_ONLY_DELAY_MS, self.server_config.tick_time_ms)
            if now_ms - self.looking_since_ms >= delay_ms:
                self._serve_read_only()
        if self.replica is not None:
            self.replica.tick(now_ms, wall_ms)

    def flush(self) -> None:
        """The end of a turn: what was collected for others leaves."""
        if self.term is not None:
            self.term.flush(self.now_ms)

    # What terms use

    def append(self, zxid: int, payload: bytes) -> None:
        """Log a transaction."""
        self._appended = zxid
        self.shell.append(zxid, payload)

    def save_accepted_epoch(self, epoch: int) -> None:
        self.shell.save_accepted_epoch(epoch)
        self.accepted_epoch = epoch

    def save_current_epoch(self, epoch: int) -> None:
        self.shell.save_current_epoch(epoch)
        self.current_epoch = epoch

    def dial_again(self) -> None:
        """Connect anew to whom this server follows or observes."""
        self._dial()

    def truncate(self, zxid: int) -> None:
        """Cut the log; `truncated` or `cut_refused` is the answer."""
        self._disk_jobs += 1
        self.shell.truncate(zxid)

    def save_snapshot(self) -> None:
        """Write the tree; `snapshot_saved` is the answer."""
        self._disk_jobs += 1
        self.is_unlogged = False
        self.shell.save_snapshot(self.tree)

    def older_history(self, zxid: int) -> Iterable[Entry] | None:
        """The log on disk, unless the whole tree is sooner read and sent."""
        tree = self.tree
        missing_bytes = (tree.last_zxid - zxid) * LOGGED_BYTES
        if missing_bytes > SNAPSHOT_SHARE * tree.data_bytes:
            return None
        return self.shell.older_history(zxid)

    def replace_tree(self, tree: DataTree, history: Iterable[Entry] = ()) -> None:
        """The history is another one from here on."""
        self.tree = tree
        self.history = CommittedLog(self.settings.commit_log_count, history)
        self._appended = self._logged = tree.last_zxid

    def apply(self, txns: Iterable[Txn]) -> None:
        """Apply transactions while nobody is served."""
        tree = self.tree
        for txn in txns:
            with suppress(RequestError):  # a fuzzy snapshot had the effect already
                apply(tree, txn)
            tree.events.clear()
            self.history.append((txn.zxid, txn.payload))

    def begin_serving(self, replica: Replica, epoch: int) -> None:
        """The term is established: clients are welcome."""
        self._observer_masters.served()
        self.election.synced(epoch)
        counters, without_ms = self.counters, self.now_ms - self.looking_since_ms
        counters.unavailable_time.add(without_ms)
        if self.state == State.LEADING:
            counters.leader_unavailable_time.add(without_ms)
        self._serve(replica)
        logger.info(
            "Serving as %s in epoch %d, at %s, after %d ms without a leader",
            replica.mode, epoch, show(self.tree.last_zxid), without_ms,
        )  # fmt: skip

    def change_role(self, leader: int, tail: Iterable[Entry]) -> None:
        """Follow a reconfiguration into a new role, without an election (section 6.5)."""
        self._designated = leader
        self.end_term(f"server {leader} is to lead", tail)

    def end_term(self, reason: str, tail: Iterable[Entry]) -> None:
        """Back to the election, once what was handed to the log is in it."""
        assert self.term is not None
        if self.state is State.OBSERVING:
            self._look_at_ms = self.now_ms + self._delay(self.settings.observer_election_delay_ms)
        logger.warning("%s no longer (%s): %s", self.state.name, show(self.tree.last_zxid), reason)
        self.term = self.learner_master = self._dial_at_ms = None
        self._tail = list(tail)
        self.looking_since_ms = self.now_ms
        self._serve(None)
        self.shell.stop_listening()
        self.shell.hang_up()
        self._look()

    def adopt_config(self, config: EnsembleConfig) -> None:
        """A configuration is committed."""
        logger.info("Membership of version %x: %s", config.version, _members(config))
        self.config = self.last_seen = config
        self._use_configs()

    def see_config(self, config: EnsembleConfig) -> None:
        """A configuration is proposed, or the committed one is the newest there is."""
        is_committed = config.version == self.config.version
        self.last_seen = self.config if is_committed else config
        self._use_configs()

    def show_config(self) -> None:
        """Put the committed configuration into `/zookeeper/config`."""
        self.tree.set_config(self.config.text().encode(), self.config.version, self.wall_ms)

    # The election

    def _look(self) -> None:
        """Begin the election as soon as the disk holds what this server may vote with."""
        if self._tail is None or self._logged < self._appended or self._disk_jobs:
            return
        if self.now_ms < self._look_at_ms:
            return
        self.shell.abandon_snapshot()
        tail, self._tail = self._tail, None
        self.apply(Txn.decode(payload) for _, payload in tail)
        if self._must_save():
            return
        if self._designated is not None:
            self._settle(self._designated)
            return
        logger.info("Looking for a leader with %s", show(self.tree.last_zxid))
        self.counters.elections += 1
        self._election_since_ms = self.now_ms
        self.election.start(self.now_ms, zxid=self.tree.last_zxid, peer_epoch=self.current_epoch)

    def _must_save(self) -> bool:
        """Who begins to log brings its tree to the disk first, or its log would have a hole."""
        if not self.is_unlogged or self.me in self.config.observers:
            return False
        self._tail = []
        self.save_snapshot()
        return True

    def _settle(self, leader: int) -> None:
        """Take the role that a reconfiguration gave; round and epoch say that nobody voted."""
        self._designated = None
        if leader == self.me:
            state = State.LEADING
        elif self.me in self.config.observers:
            state = State.OBSERVING
        else:
            state = State.FOLLOWING
        vote = Vote(leader, self.tree.last_zxid, UNVOTED, UNVOTED)
        self.election.settle(state, vote)
        self._decided(state, vote)

    def _elected(self, state: State, vote: Vote) -> None:
        if state != State.OBSERVING:
            self.counters.election_time.add(self.now_ms - self._election_since_ms)
        self._decided(state, vote)

    def _decided(self, state: State, vote: Vote) -> None:
        if self._must_save():
            return  # a configuration that was heard of meanwhile has it vote; it looks again
        logger.info("%s, leader is %d", state.name, vote.leader)
        self._serve(None)
        resyncs = self.resync.begin(learns=state != State.LEADING)
        if state == State.LEADING:
            self.term = LeadingTerm(self)
            self.term.start()
        else:
            self.term = LearningTerm(self, is_observer=state == State.OBSERVING, resyncs=resyncs)
            self._choose_master(vote.leader)

    def _choose_master(self, leader: int) -> None:
        """A follower dials the leader at once; observers take their time (section 5.11)."""
        delay_ms = 0
        self.learner_master = leader
        self._is_observer_master = False
        if self.state == State.OBSERVING:
            is_due = True
            if self.settings.observer_master_port:
                master, is_due = self._observer_masters.next(self.config)
                if master is not None:
                    self.learner_master, self._is_observer_master = master, True
            if is_due:
                delay_ms = self._delay(self.settings.observer_reconnect_delay_ms)
        delay_ms = max(delay_ms, self._ejections.pause_ms(self.learner_master))
        self._dial_at_ms = self.now_ms + delay_ms
        if not delay_ms:
            self._dial()

    def _dial(self) -> None:
        assert self.learner_master is not None, "whom to dial is chosen before"
        self._dial_at_ms = None
        if self._is_observer_master:
            self.shell.dial_observer_master(self.learner_master, self.config)
        else:
            self.shell.dial(self.learner_master, self.config)

    def _delay(self, longest_ms: int) -> int:
        return self._random.randrange(longest_ms) if longest_ms > 0 else 0

    def _config_seen(self, config: EnsembleConfig) -> None:
        """Somebody has a newer committed configuration (section 3.7)."""
        if not self.server_config.reconfig_enabled or config.version <= self.config.version:
            return
        is_other = not config.same_members(self.config)
        self.adopt_config(config)
        if is_other and self.term is None and self._tail is None:
            self.election.start(
                self.now_ms, zxid=self.tree.last_zxid, peer_epoch=self.current_epoch
            )

    def _looking_seen(self, server_id: int) -> None:
        if (
            isinstance(self.term, LeadingTerm)
            and server_id in self.election.electors
            and self.term.leader.elector_is_looking(self.now_ms)
        ):
            self.counters.disloyal_voters += 1

    def parse_config(self, text: str) -> EnsembleConfig | None:
        """A configuration that a peer sent; None when it cannot be read."""
        try:
            return EnsembleConfig.parse(text, multi_address=self.settings.multi_address)
        except ConfigError as error:
            logger.warning("A configuration cannot be read: %s", error)
            return None

    def _use_configs(self) -> None:
        pending = None if self.last_seen is self.config else self.last_seen
        self.election.config, self.election.last_seen = self.config, pending
        self.shell.activate(self.config, pending)

    # Serving

    def _serve(self, replica: Replica | None) -> None:
        if self.replica is not None:
            self.next_session_id = self.replica.next_session_id
            self.replica.close()
        self.replica = replica
        self.shell.serve(replica)

    def _serve_read_only(self) -> None:
        logger.warning("No leader in sight: serving reads to clients that accept that")
        self._serve(
            ReadOnly(
                self.server_config,
                self.tree,
                first_session_id=self.next_session_id,
                now_ms=self.now_ms,
                counters=self.counters,
            )
        )


def _members(config: EnsembleConfig) -> str:
    """Who votes and who observes, for the log."""
    text = f"voters {', '.join(map(str, sorted(config.voters)))}"
    if config.observers:
        text += f"; observers {', '.join(map(str, sorted(config.observers)))}"
    return text
