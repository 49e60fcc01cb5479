"""When a learner whose tree differs from the leader's takes the leader's tree.

The leader's tree is the one that counts: it validates what all others apply. A learner that sees
another digest than the leader's leaves and has itself sent everything (`LearningTerm`). It does so
only while the others are a quorum without it, one after the other if several differ, and not
again for a time: if it differs again, the fault is elsewhere. Beyond the reference, which only
reports (reference/operations.md section 9, complaint 25).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import Enum, auto

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.wire.records.election import Notification
from kraal.zab.election import Vote
from kraal.zab.state import State

logger = logging.getLogger("kraal.replica.tree_resync")


class Step(Enum):
    WAIT = auto()
    ASK = auto()
    """Ask all voters whom they follow; `heard` takes the answers."""
    TAKE = auto()
    """Leave, and take the leader's tree."""


class TreeResync:
    """Outlives terms: `begin` says that another one has begun."""

    def __init__(self, me: int, settings: EnsembleSettings, tick_ms: int) -> None:
        self._me = me
        self._interval_ms = settings.tree_resync_interval_ms
        self._turn_ms = settings.init_limit_ticks * tick_ms
        """What one server is given to be in step again before the next one leaves."""
        self._answer_ms = tick_ms
        self._is_wanted = False
        self._last_ms: int | None = None
        """When a tree was taken last."""
        self._ask_at_ms: int | None = None
        """When the others are asked, or were."""
        self._asked: Vote | None = None
        self._in_step: set[int] = set()
        self._is_told = False

    def begin(self, *, learns: bool) -> bool:
        """A term begins; returns whether the leader's tree is wanted, which holds for one term."""
        is_wanted, self._is_wanted = self._is_wanted, False
        self._ask_at_ms = self._asked = None
        self._in_step.clear()
        self._is_told = False
        return is_wanted and learns

    def taken(self, now_ms: int) -> None:
        """The leader's tree is this server's."""
        self._last_ms = now_ms

    def heard(self, server_id: int, said: Notification) -> None:
        """What a voter that has a leader says of it; it shows the epoch once it is in step."""
        asked = self._asked
        if (
            asked is not None
            and said.state in (State.FOLLOWING, State.LEADING)
            and (said.leader, said.peer_epoch) == (asked.leader, asked.peer_epoch)
        ):
            self._in_step.add(server_id)

    def step(self, now_ms: int, vote: Vote, configs: Iterable[EnsembleConfig]) -> Step:
        """What is to be done by a learner that serves and whose tree differs.

        `vote` is the one that its leader was decided by, `configs` those that quorums count by.
        """
        if not self._interval_ms:
            return Step.WAIT
        counted = list(configs)
        if self._ask_at_ms is None:
            self._ask_at_ms = self._begin_ms(now_ms, vote.leader, counted)
        if now_ms < self._ask_at_ms:
            return Step.WAIT
        voters = [config for config in counted if self._me in config.voters]
        if all(config.contains_quorum(self._in_step) for config in voters):
            self._is_wanted = True
            return Step.TAKE
        if self._asked is None:
            self._ask_at_ms, self._asked = now_ms, vote
            return Step.ASK
        if now_ms >= self._ask_at_ms + self._answer_ms:
            self._stay(now_ms)
        return Step.WAIT

    def _begin_ms(self, now_ms: int, leader: int, configs: Iterable[EnsembleConfig]) -> int:
        """Servers take turns: if all differ from the leader, they must not leave together."""
        turn = 0
        for config in configs:
            others = sorted(config.voters - {leader})
            turn = max(turn, others.index(self._me) if self._me in others else 0)
        begin_ms = now_ms + turn * self._turn_ms
        if self._last_ms is not None and self._last_ms + self._interval_ms > begin_ms:
            begin_ms = self._last_ms + self._interval_ms
            logger.error(
                "This server took the leader's tree %d s ago and differs again: it does not take"
                " it anew for %d s (treeResyncIntervalMs)",
                (now_ms - self._last_ms) // 1000, (begin_ms - now_ms) // 1000,
            )  # fmt: skip
        return begin_ms

    def _stay(self, now_ms: int) -> None:
        if not self._is_told:
            self._is_told = True
            logger.error(
                "This server does not take the leader's tree yet: without it only %s would be in"
                " step, which is no quorum",
                ", ".join(map(str, sorted(self._in_step))) or "nobody",
            )
        self._ask_at_ms = now_ms + self._turn_ms
        self._asked = None
        self._in_step.clear()
