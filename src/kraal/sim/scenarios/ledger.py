"""Writes as their applications know them, against those that happened.

Every write carries data of its own, so the history tells how often it took place.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from kraal.client import ConnectionLossError, ZooKeeperError
from kraal.model.zxid import show
from kraal.sim.violation import violated
from kraal.wire.records.txn import (
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    MultiTxn,
    SetDataTxn,
    Txn,
)

if TYPE_CHECKING:
    from kraal.sim.stage import Stage

T = TypeVar("T")


class Outcome(Enum):
    """What an application knows of a write."""

    DONE = "succeeded"
    IN_DOUBT = "in doubt"
    NEVER = "did not happen"


class Ledger:
    """All writes of a trial."""

    def __init__(self, world: Stage) -> None:
        self._world = world
        self._known: dict[bytes, Outcome] = {}

    def data(self) -> bytes:
        """Data for one more write."""
        data = b"write %d" % (len(self._known) + 1)
        self._known[data] = Outcome.IN_DOUBT
        return data

    async def judge(self, data: bytes, write: Awaitable[T]) -> T:
        """Await the write that carries this data, and note what came of it."""
        try:
            result = await write
        except ConnectionLossError as error:
            if not error.sent:
                self._known[data] = Outcome.NEVER
            raise
        except ZooKeeperError:
            self._known[data] = Outcome.NEVER
            raise
        except asyncio.CancelledError:
            raise
        self._known[data] = Outcome.DONE
        return result

    def compare(self) -> None:
        """What succeeded happened once, what is in doubt once at most. Raises ViolationError."""
        happened: Counter[bytes] = Counter()
        last: dict[bytes, int] = {}
        for zxid, txn in self._world.history.txns.items():
            for data in written(txn):
                happened[data] += 1
                last[data] = zxid
        for data, outcome in self._known.items():
            count = happened[data]
            is_right = {
                Outcome.DONE: count == 1,
                Outcome.IN_DOUBT: count <= 1,
                Outcome.NEVER: count == 0,
            }[outcome]
            if not is_right:
                violated(
                    "a write happens at most once", "%s %s and happened %d times, last as %s",
                    data.decode(), outcome.value, count, show(last.get(data, 0)),
                )  # fmt: skip


def written(txn: Txn) -> Iterator[bytes]:
    """The data that a transaction puts into znodes."""
    body = txn.body
    bodies = [body]
    if isinstance(body, MultiTxn):
        bodies = [] if body.failed else [part for _, part in body.ops]
    for part in bodies:
        if isinstance(part, CreateTxn | CreateContainerTxn | CreateTtlTxn | SetDataTxn):
            yield part.data or b""
