"""One election driven by hand, a notification and a millisecond at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from kraal.model.ensemble import EnsembleConfig
from kraal.wire.records.election import (
    Notification,
    decode_notification,
    encode_notification,
)
from kraal.zab.election import Election, Vote
from kraal.zab.state import State
from tests.zab.election_network import configuration, settings_of

LOOKING, FOLLOWING, LEADING, OBSERVING = State
FIVE = configuration(range(1, 6))
THREE = configuration(range(1, 4))


@dataclass
class Bench:
    """One election by hand: time, what it sends, and what it decides."""

    me: int = 3
    config: EnsembleConfig = FIVE
    last_seen: EnsembleConfig | None = None
    now_ms: int = 1000
    zxid: int = 100
    epoch: int = 1
    sent: list[tuple[int, Notification]] = field(default_factory=list)
    decided: list[tuple[State, Vote]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.election = Election(
            self.me, settings_of(self.config), self, lambda *one: self.decided.append(one)
        )
        self.election.last_seen = self.last_seen

    def send(self, server_id: int, message: bytes) -> None:
        self.sent.append((server_id, decode_notification(message)))

    def start(self) -> Bench:
        self.election.start(self.now_ms, zxid=self.zxid, peer_epoch=self.epoch)
        return self

    def hear(
        self,
        sender: int,
        leader: int,
        *,
        state: int = LOOKING,
        zxid: int = 100,
        round_: int = 1,
        epoch: int = 1,
        config: bytes | None = None,
    ) -> None:
        """A notification arrives."""
        text = self.election.config.text().encode() if config is None else config
        message = encode_notification(state, leader, zxid, round_, epoch, text)
        self.election.received(self.now_ms, sender, message)

    def wait(self, ms: int) -> None:
        """Time passes, with every tick that is due."""
        end = self.now_ms + ms
        while (due := self.election.deadline_ms()) is not None and due <= end:
            self.now_ms = due
            self.election.tick(due)
        self.now_ms = end

    def take(self) -> list[tuple[int, Notification]]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, []
        return sent

    def told(self) -> dict[int, Vote]:
        """The same, as votes by receiver; each receiver is sent at most one."""
        sent = self.take()
        votes = {id_: Vote(n.leader, n.zxid, n.round, n.peer_epoch) for id_, n in sent}
        assert len(votes) == len(sent)
        return votes
