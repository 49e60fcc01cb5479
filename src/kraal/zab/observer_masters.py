"""Which follower an observer is served by.

Source: reference/quorum-protocol.md section 5.11. Every voter may be one: whether it listens
shows when it is dialled. Beyond the reference, whose observers of a lone voter never find
anybody: when nobody serves in a whole pass, the leader is asked itself.
"""

from __future__ import annotations

from random import Random

from kraal.model.ensemble import EnsembleConfig


class ObserverMasters:
    """The voters in random order, each in its turn; a new order with every membership."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._voters: frozenset[int] = frozenset()
        self._order: list[int] = []
        self._at = 0
        self._in_vain = 0
        """Turns since one served."""

    def served(self) -> None:
        """The last one whose turn it was is a master."""
        self._in_vain = 0

    def next(self, config: EnsembleConfig) -> tuple[int | None, bool]:
        """The id of the next voter, and whether it is the first of a further pass.

        None instead of an id: the leader's own port, because nobody serves.
        """
        if config.voters != self._voters:
            self._voters = config.voters
            self._order = sorted(config.voters)
            self._random.shuffle(self._order)
            self._at = self._in_vain = 0
        if self._in_vain >= len(self._order):
            self._in_vain = 0
            return None, False
        self._in_vain += 1
        is_next_pass = self._at == len(self._order)
        if is_next_pass:
            self._at = 0
        self._at += 1
        return self._order[self._at - 1], is_next_pass
