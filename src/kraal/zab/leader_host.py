"""What a leader asks of the server around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from kraal.model.acl import Id
from kraal.model.ensemble import EnsembleConfig
from kraal.zab.learner_handler import LearnerHandler


class LeaderHost(Protocol):
    """What the leader asks of the server around it."""

    def save_accepted_epoch(self, epoch: int) -> None:
        """Make the promise durable before returning."""

    def save_current_epoch(self, epoch: int) -> None:
        """Make it durable before returning."""

    def append(self, zxid: int, payload: bytes) -> None:
        """Hand a transaction to the log; `Leader.logged` is the answer."""

    def snapshot(self) -> Iterator[bytes]:
        """The stream of the tree as it is now (section 4.5)."""

    def established(self, now_ms: int, epoch: int) -> None:
        """A quorum is in step: begin to serve."""

    def committed(self, now_ms: int, zxid: int) -> None:
        """Apply everything up to zxid."""

    def request(
        self,
        now_ms: int,
        handler: LearnerHandler,
        session_id: int,
        frame: bytes,
        identities: tuple[Id, ...],
    ) -> None:
        """A write of a learner's client; `frame` is as the client sent it."""

    def revalidate(self, now_ms: int, handler: LearnerHandler, session_id: int) -> bool:
        """Whether the session lives; if so it is the learner's from now on."""

    def touch(self, now_ms: int, session_id: int, timeout_ms: int) -> None:
        """A session was heard of."""

    def see_config(self, config: EnsembleConfig) -> None:
        """A reconfiguration is proposed: elections count by it, too, from here on."""

    def activate(self, config: EnsembleConfig, designated: int) -> None:
        """A reconfiguration is committed; `designated` leads from here on."""

    def give_up(self, reason: str) -> None:
        """Leading is over: back to the election."""

    def wake(self) -> None:
        """There is output: call `Leader.flush` at the end of this turn."""
