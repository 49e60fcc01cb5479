"""Fast leader election: which server leads, without a clock and without a socket.

Source: reference/quorum-protocol.md section 3 (rows are cited by their section).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from kraal.errors import ConfigError, DecodeError
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.wire.records.election import Notification, decode_notification, encode_notification
from kraal.zab.state import State

logger = logging.getLogger("kraal.zab.election")

NOBODY = -(1 << 63)
"""The leader that non-voters propose; observers send it as zxid and peerEpoch too."""
FINALIZE_WAIT_MS = 200
"""How long a quorum's choice must stay without a better vote (pitfall P9)."""
ECHO_WAIT_MS = 100
"""The same answer to the same question of a non-voter is not repeated within this time: two
servers that take each other for non-voters would answer each other's answers without end."""
ANSWERED_MAX = 1000
"""Non-voters that are remembered; beyond that they are forgotten all at once."""

_EMPTY_DATABASE = -1
"""The zxid of a server whose empty database is not trusted (section 7.3)."""


class Vote(NamedTuple):
    """A candidate as it is voted for: ids, zxid and epochs are signed 64-bit numbers."""

    leader: int
    zxid: int
    round: int
    """The round of the election, `electionEpoch` on the wire; -1 after a reconfiguration."""
    peer_epoch: int


class Courier(Protocol):
    """Takes notifications to other servers."""

    def send(self, server_id: int, message: bytes) -> None:
        """Send a notification to a server, which is never the sender itself.

        Must not raise, block, or call the election back. It may lose messages, deliver them
        twice, and deliver an old one late. What is still unsent when a newer one is given may
        be dropped; if there is no connection, this call is the reason to make one.
        """
        ...


class _Heard(NamedTuple):
    vote: Vote
    state: int
    version: int

    def matches(self, other: _Heard) -> bool:
        """Whether both count for the same leader (section 3.6, matching rule)."""
        if State.LOOKING in (self.state, other.state):
            return self.vote == other.vote
        if (self.version > 0) != (other.version > 0):
            return self.vote.leader == other.vote.leader
        return (self.vote.leader, self.vote.peer_epoch) == (
            other.vote.leader,
            other.vote.peer_epoch,
        )


class Election:
    """Looks for a leader, and tells others about the one it has found.

    All times are milliseconds of one monotonic clock. The owner calls `start` when it has no
    leader, `received` for every notification in every state, and `tick` when `deadline_ms` has
    come. `decided` is called once per start, from within `received` or `tick`; it may call
    `start` again.

    Retransmission differs from section 3.5: the original looks at its transport's queues and
    then either sends again or only connects again. Here the proposal is always sent again,
    since sending replaces an unsent message and connects where there is no connection. The
    intervals are the original's, but traffic does not put them off, so a lost message is made
    good whatever the courier does, and news of a leader brings the next one forward.
    """

    def __init__(
        self,
        me: int,
        settings: EnsembleSettings,
        courier: Courier,
        decided: Callable[[State, Vote], None],
    ) -> None:
        self.me = me
        self.state = State.LOOKING
        self.vote = Vote(NOBODY, NOBODY, 0, NOBODY)
        """The proposal while LOOKING, else the vote that was decided."""
        self.electors: frozenset[int] = frozenset()
        """Whose votes made the decision."""
        self.config_seen: Callable[[EnsembleConfig], None] | None = None
        """Called when a notification carries a newer configuration while LOOKING (3.7). Who
        adopts it sets `config` and, if the members differ, calls `start` again."""
        self.looking_seen: Callable[[int], None] | None = None
        """Called when a voter is LOOKING while this server is LEADING (section 3.9)."""
        self.settled_seen: Callable[[int, Notification], None] | None = None
        """Called when a voter that has a leader says so while this server has one, too."""
        self._is_multi_address = settings.multi_address
        self._shortest_ms = max(settings.min_notification_interval_ms, 1)
        self._longest_ms = max(settings.max_notification_interval_ms, 1)
        self._courier = courier
        self._decided = decided
        self._is_started = False
        self._round = 0
        self._own = self.vote
        """The vote for itself with which this server started."""
        self._votes: dict[int, _Heard] = {}
        """`recvset`: by voter, what it says in this round."""
        self._out_of_election: dict[int, _Heard] = {}
        """By voter, what it says about a leader that it has already."""
        self._finalize_at_ms: int | None = None
        """A quorum agrees with the proposal: when that becomes the decision."""
        self._resend_at_ms = 0
        self._interval_ms = 0
        self._unanswered: set[int] = set()
        """Who asked in vain while this server was LOOKING: it is told what was decided."""
        self._answered: dict[int, tuple[int, bytes, bytes]] = {}
        """By non-voter: when it was answered last, its question and the answer."""
        self._unparsed = b""
        """The last foreign configuration that was no reason to call `config_seen`."""
        self._config = settings.config
        self._config_text = b""
        self._last_seen = settings.last_seen
        self._know(settings.config, settings.last_seen)

    # The configurations

    @property
    def config(self) -> EnsembleConfig:
        """The committed configuration, which every notification carries."""
        return self._config

    @config.setter
    def config(self, config: EnsembleConfig) -> None:
        self._know(config, self._last_seen)

    @property
    def last_seen(self) -> EnsembleConfig | None:
        """The newest proposed configuration; counted with when it is newer than `config`."""
        return self._last_seen

    @last_seen.setter
    def last_seen(self, config: EnsembleConfig | None) -> None:
        self._know(self._config, config)

    def _know(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None:
        self._config, self._last_seen = config, last_seen
        self._config_text = config.text().encode()
        self._voters = config.voters | (last_seen.voters if last_seen else frozenset())
        self._verifiers = [config]
        if last_seen is not None and last_seen.version > config.version:
            self._verifiers.append(last_seen)
        self._unparsed = b""

    # What the owner does

    def start(self, now_ms: int, *, zxid: int, peer_epoch: int) -> None:
        """Look for a leader in a new round, with this server's own vote (sections 3.2, 3.4).

        `zxid` is the last one of the database, log tail included, and `peer_epoch` the
        `currentEpoch`; both are -1 for an empty database that is not trusted (section 7.3).
        """
        if self.me in self._config.observers:
            zxid = peer_epoch = NOBODY
        self.state = State.LOOKING
        self._is_started = True
        self._forget()
        self._round = _signed(self._round + 1)
        leader = self.me if self.me in self._config.voters else NOBODY
        self._own = Vote(leader, zxid, self._round, peer_epoch)
        self._interval_ms = self._shortest_ms
        self._resend_at_ms = now_ms + self._interval_ms
        self._propose(self._own)
        self._count(now_ms)

    def settle(self, state: State, vote: Vote) -> None:
        """Take a role without an election, as a reconfiguration says (section 6.5)."""
        assert state is not State.LOOKING, "a settled server has a leader"
        self._forget()
        self._is_started = True
        self.state, self.vote = state, vote

    def synced(self, epoch: int) -> None:
        """The leader's epoch is established: answers show it from now on (pitfall P7)."""
        assert self.state is not State.LOOKING, "without a leader there is no new epoch"
        self.vote = self.vote._replace(peer_epoch=epoch)

    def ask(self) -> None:
        """Ask all voters for their leaders, who answer whoever looks; nobody counts this.

        It proposes nobody, as observers do, in a round that is over everywhere.
        """
        message = encode_notification(State.LOOKING, NOBODY, NOBODY, 0, NOBODY, self._config_text)
        for server_id in sorted(self._voters - {self.me}):
            self._courier.send(server_id, message)

    def deadline_ms(self) -> int | None:
        """When `tick` must be called; None while there is nothing to wait for."""
        if self.state is not State.LOOKING or not self._is_started:
            return None
        return self._resend_at_ms if self._finalize_at_ms is None else self._finalize_at_ms

    def tick(self, now_ms: int) -> None:
        """Do what is due; harmless when nothing is."""
        deadline = self.deadline_ms()
        if deadline is None or now_ms < deadline:
            return
        if self._finalize_at_ms is not None:
            self._decide(self.vote, self.electors)
            return
        self._interval_ms = min(2 * self._interval_ms, self._longest_ms)
        self._resend_at_ms = now_ms + self._interval_ms
        self._send_to_all()

    def received(self, now_ms: int, server_id: int, message: bytes) -> None:
        """Take a notification that `server_id` sent; what is malformed is ignored (3.1, 3.7)."""
        if not self._is_started:
            return
        try:
            said = decode_notification(message)
        except DecodeError as error:
            logger.warning("Notification of server %d: %s", server_id, error)
            return
        if self._restarts(said.config):
            return
        if server_id not in self._voters:
            self._answer_non_voter(now_ms, server_id, message)
        elif self.state is State.LOOKING:
            self._while_looking(now_ms, server_id, said)
        elif said.state == State.LOOKING:
            if self.state is State.LEADING and self.looking_seen is not None:
                self.looking_seen(server_id)
            self._send(server_id)
        elif self.settled_seen is not None:
            self.settled_seen(server_id, said)

    # Looking

    def _while_looking(self, now_ms: int, server_id: int, said: Notification) -> None:
        is_looking = said.state == State.LOOKING
        if is_looking and said.round < self._round:
            self._send(server_id)
        if said.leader not in self._voters:
            if is_looking and said.leader == NOBODY:
                self._join_round(now_ms, server_id, said.round)
            return
        vote = Vote(said.leader, said.zxid, said.round, said.peer_epoch)
        if is_looking:
            self._vote_of_looking(now_ms, server_id, vote)
        elif said.state in (State.FOLLOWING, State.LEADING):
            self._vote_of_settled(now_ms, server_id, _Heard(vote, said.state, said.version))

    def _join_round(self, now_ms: int, server_id: int, round_: int) -> None:
        """Beyond the original: a server that votes only in the pending configuration proposes
        nobody, and hears no vote of an earlier round than its own. Others come to its round."""
        if round_ <= self._round:
            return
        if self._finalize_at_ms is not None:
            self._unanswered.add(server_id)
            return
        self._round = round_
        self._votes.clear()
        self._propose(self._own._replace(round=round_))
        self._count(now_ms)

    def _vote_of_looking(self, now_ms: int, server_id: int, vote: Vote) -> None:
        """Section 3.4."""
        if _EMPTY_DATABASE in (self._own.zxid, vote.zxid) or vote.round < self._round:
            return
        if self._finalize_at_ms is not None and not self._beats(vote, self.vote):
            # Not even a later round is a reason to give up what a quorum agrees on: the others
            # decide in this round, and whoever is in a later one joins them.
            if vote.round > self._round:
                self._unanswered.add(server_id)
            return
        if vote.round > self._round:
            self._round = vote.round
            self._votes.clear()
            own = self._own._replace(round=vote.round)
            self._propose(vote if self._beats(vote, own) else own)
        elif self._beats(vote, self.vote):
            self._propose(vote)
        elif self._beats(self.vote, vote):
            # Beyond the original: it may not have been looking yet when it was told of ours,
            # and would hear of it only with the next retransmission.
            self._send(server_id)
        self._votes[server_id] = _Heard(vote, State.LOOKING, 0)
        self._count(now_ms)

    def _vote_of_settled(self, now_ms: int, server_id: int, heard: _Heard) -> None:
        """Section 3.6."""
        vote = heard.vote
        if self._out_of_election.get(server_id) != heard:
            # There is a leader, it seems: do not wait up to a minute before asking the others.
            soon = now_ms + self._shortest_ms
            self._resend_at_ms = min(self._resend_at_ms, soon)
        if vote.round == self._round:
            self._votes[server_id] = heard._replace(version=0)
            if electors := self._followed(self._votes, heard):
                self._decide(vote, electors)
                return
        self._out_of_election[server_id] = heard
        if electors := self._followed(self._out_of_election, heard):
            self._round = vote.round
            self._decide(vote, electors)

    def _beats(self, candidate: Vote, current: Vote) -> bool:
        """Section 3.3."""
        return self._config.weight(candidate.leader) != 0 and (
            candidate.peer_epoch,
            candidate.zxid,
            candidate.leader,
        ) > (current.peer_epoch, current.zxid, current.leader)

    def _propose(self, vote: Vote) -> None:
        """Change the proposal, count it as this server's own vote, and tell every voter."""
        self.vote = vote
        self._finalize_at_ms = None
        is_counted = _EMPTY_DATABASE not in (self._own.zxid, vote.zxid)
        if is_counted and {self.me, vote.leader} <= self._voters:
            self._votes[self.me] = _Heard(vote, State.LOOKING, 0)
        self._send_to_all()

    def _count(self, now_ms: int) -> None:
        """If a quorum agrees with the proposal, begin to wait for better votes."""
        electors = _matching(self._votes, _Heard(self.vote, State.LOOKING, 0))
        if self._finalize_at_ms is None and self._is_quorum(electors):
            self.electors = electors
            self._finalize_at_ms = now_ms + FINALIZE_WAIT_MS

    def _followed(self, votes: Mapping[int, _Heard], heard: _Heard) -> frozenset[int]:
        """The quorum that has this leader, if the leader itself says so too; else nobody.

        The original asks for one of the pending configuration, too. That may be one that was
        lost with its leader and that nobody else counts by; who leads sees to its own quorums.
        """
        electors = _matching(votes, heard)
        leader = heard.vote.leader
        if leader == self.me:
            is_confirmed = heard.vote.round == self._round and self._is_quorum(electors)
        else:
            is_leading = leader in votes and votes[leader].state == State.LEADING
            is_confirmed = is_leading and self._config.contains_quorum(electors)
        return electors if is_confirmed else frozenset()

    def _is_quorum(self, ids: Collection[int]) -> bool:
        return all(config.contains_quorum(ids) for config in self._verifiers)

    def _decide(self, vote: Vote, electors: frozenset[int]) -> None:
        unanswered, self._unanswered = sorted(self._unanswered), set()
        self._forget()
        self.vote, self.electors = vote, electors
        if vote.leader == self.me:
            self.state = State.LEADING
        elif self.me in self._config.observers:
            self.state = State.OBSERVING
        else:
            self.state = State.FOLLOWING
        self._decided(self.state, vote)
        # Afterwards, so that a leader is announced when it is ready for followers (P10).
        for server_id in unanswered:
            self._send(server_id)

    def _forget(self) -> None:
        self._votes.clear()
        self._out_of_election.clear()
        self._finalize_at_ms = None
        self.electors = frozenset()

    # Telling others

    def _message(self, round_: int) -> bytes:
        vote = self.vote
        return encode_notification(
            self.state, vote.leader, vote.zxid, round_, vote.peer_epoch, self._config_text
        )

    def _send(self, server_id: int) -> None:
        self._courier.send(server_id, self._message(self.vote.round))

    def _send_to_all(self) -> None:
        message = self._message(self.vote.round)
        for server_id in sorted(self._voters - {self.me}):
            self._courier.send(server_id, message)

    def _answer_non_voter(self, now_ms: int, server_id: int, question: bytes) -> None:
        """Tell an observer or a joiner what this server knows, with the round it is in."""
        answer = self._message(self._round)
        at_ms, *last = self._answered.get(server_id, (0, b"", b""))
        if last == [question, answer] and now_ms - at_ms < ECHO_WAIT_MS:
            return
        if len(self._answered) >= ANSWERED_MAX:
            self._answered.clear()
            self._unanswered &= self._voters
        self._answered[server_id] = (now_ms, question, answer)
        if self.state is State.LOOKING:
            self._unanswered.add(server_id)
        self._courier.send(server_id, answer)

    def _restarts(self, text: bytes | None) -> bool:
        """Offer a newer configuration to the owner; whether that began another election."""
        if (
            self.state is not State.LOOKING
            or self.config_seen is None
            or text in (None, self._config_text, self._unparsed)
        ):
            return False
        assert text is not None
        try:
            seen = EnsembleConfig.parse(
                text.decode(errors="replace"), multi_address=self._is_multi_address
            )
        except ConfigError as error:
            logger.warning("Configuration in a notification: %s", error)
            self._unparsed = text
            return False
        if seen.version <= self._config.version:
            self._unparsed = text
            return False
        before = self._config
        self.config_seen(seen)
        # What was said before a restart is not heard; the sender is asked again anyway.
        return not before.same_members(self._config)


def _matching(votes: Mapping[int, _Heard], heard: _Heard) -> frozenset[int]:
    return frozenset(sid for sid, other in votes.items() if heard.matches(other))


def _signed(number: int) -> int:
    """As a signed 64-bit number: a peer may have claimed the last round there is."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
