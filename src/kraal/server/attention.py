"""Looking for the next request of a client that is alone, instead of sleeping until it comes.

Who asks one thing after the other is back some microseconds after each answer. To let a processor
go to sleep and to wake it takes longer than that, and often longer than a request. So while one
client asks and nobody else does, the loop stays awake for a moment after each answer. It looks
turn by turn, and whatever else there is to do has its turn as ever. The moment is not longer than
sleeping and waking take, and when it was in vain, some answers are followed by none.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

SHORT_REST = 8
LONG_REST = 4096
"""So many answers are followed by no looking after it was in vain: at first, and at most."""


class Attention:
    """To be told of every socket that is read or written; which one, only its identity says."""

    def __init__(self, microseconds: int) -> None:
        """How long the next request is looked for; 0: not at all."""
        self._seconds = microseconds / 1e6
        self._asker: object = None
        """Who was read last."""
        self._expected: object = None
        """Whose request is looked for; None: nobody's."""
        self._ends_at = 0.0
        self._is_looking = False
        self._rest = self._next_rest = SHORT_REST

    def asked(self, client: object) -> None:
        """Something came from a client."""
        if client is self._expected:
            self._next_rest = SHORT_REST
        elif client is not self._asker:
            self._asker = client
            self._rest = max(self._rest, SHORT_REST)
        self._expected = None

    def answered(self, client: object) -> None:
        """Something went to a client."""
        if client is not self._asker or not self._seconds:
            return
        if self._rest:
            self._rest -= 1
            return
        self._expected = client
        self._ends_at = perf_counter() + self._seconds
        if not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Between two of these the loop reads what has come, without waiting for it."""
        if self._expected is not None:
            if perf_counter() < self._ends_at:
                asyncio.get_running_loop().call_soon(self._look)
                return
            self._expected = None
            self._rest = self._next_rest
            self._next_rest = min(2 * self._next_rest, LONG_REST)
        self._is_looking = False
