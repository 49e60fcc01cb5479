"""The disk: what was flushed is there after every crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.zxid import show
from kraal.sim.checks.watcher import Watcher
from kraal.sim.violation import violated
from kraal.storage.epochs import Epochs
from kraal.storage.recovery import Recovered

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

PROMISE = "what was flushed stays"


class DurabilityCheck(Watcher):
    """A start finds no less than what the last process had flushed and not given up."""

    def __init__(self) -> None:
        self._durable: dict[int, int] = {}

    def flushed(self, server: SimServer, zxid: int) -> None:
        self._durable[server.id] = zxid

    def giving_up(self, server: SimServer, zxid: int) -> None:
        self._durable[server.id] = min(self._durable.get(server.id, -1), zxid)

    def given_up(self, server: SimServer, zxid: int) -> None:
        self._durable[server.id] = zxid

    def cut_refused(self, server: SimServer, zxid: int) -> None:
        violated(PROMISE, "%s cannot end its history at %s, as its leader wants it",
                 server.name, show(zxid))  # fmt: skip

    def booted(self, server: SimServer, recovered: Recovered, known: Epochs) -> None:
        durable = self._durable.get(server.id, -1)
        if recovered.tree.last_zxid < durable:
            violated(
                PROMISE, "%s starts with %s, but had flushed %s",
                server.name, show(recovered.tree.last_zxid), show(durable),
            )  # fmt: skip
        self._durable[server.id] = recovered.tree.last_zxid
