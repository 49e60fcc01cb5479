"""Epochs: a server's never go back, whatever it forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.sim.checks.watcher import Watcher
from kraal.sim.violation import violated
from kraal.storage.epochs import Epochs
from kraal.storage.recovery import Recovered

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

PROMISE = "epochs never go back"


class EpochCheck(Watcher):
    """What was saved is there after every crash, and only ever grows."""

    def __init__(self) -> None:
        self._saved: dict[tuple[int, str], int] = {}

    def saving_epoch(self, server: SimServer, which: str, epoch: int) -> None:
        saved = self._saved.get((server.id, which), -1)
        if epoch < saved:
            violated(PROMISE, "%s saves %s epoch %d after %d", server.name, which, epoch, saved)

    def saved_epoch(self, server: SimServer, which: str, epoch: int) -> None:
        self._saved[server.id, which] = epoch
        accepted = self._saved.get((server.id, "accepted"), 0)
        if which == "current" and epoch > accepted:
            violated(PROMISE, "%s is in epoch %d, but accepted %d", server.name, epoch, accepted)

    def booted(self, server: SimServer, recovered: Recovered, known: Epochs) -> None:
        for which, epoch in (("accepted", known.accepted), ("current", known.current)):
            saved = self._saved.get((server.id, which), -1)
            if epoch < saved:
                violated(
                    PROMISE, "%s starts with %s epoch %d, but saved %d",
                    server.name, which, epoch, saved,
                )  # fmt: skip
            self._saved[server.id, which] = epoch
