"""The membership: one for each version, and none that was not committed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import counter, show
from kraal.sim.checks.history import History
from kraal.sim.checks.watcher import Watcher
from kraal.sim.violation import violated
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import SetDataTxn

if TYPE_CHECKING:
    from kraal.sim.server import SimServer

PROMISE = "one membership"


class MembershipCheck(Watcher):
    """Configurations that servers take for committed."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._texts: dict[int, str] = {}
        """By version."""
        self._versions: dict[int, int] = {}
        """By server."""

    def activated(
        self, server: SimServer, config: EnsembleConfig, last_seen: EnsembleConfig | None
    ) -> None:
        if not config.version:
            return  # as its file said: a joiner's differs
        version = config.version
        known = self._texts.setdefault(version, config.text())
        if known != config.text():
            violated(PROMISE, "%s has another version %s", server.name, show(version))
        if version < self._versions.get(server.id, 0):
            violated(PROMISE, "%s goes back to version %s", server.name, show(version))
        self._versions[server.id] = version

    def finish(self) -> None:
        """Every version is the first leader's, or a committed transaction's."""
        for version, text in self._texts.items():
            txn = self._history.txns.get(version)
            if not counter(version):
                continue
            if txn is None or txn.kind != OpCode.RECONFIG or not isinstance(txn.body, SetDataTxn):
                violated(PROMISE, "version %s was never committed", show(version))
            elif (txn.body.data or b"").decode() != text:
                violated(PROMISE, "version %s is not what was committed", show(version))

    def newest(self) -> EnsembleConfig | None:
        """The one that everybody must have in the end."""
        committed = [
            version
            for version in self._texts
            if not counter(version) or version in self._history.txns
        ]
        return EnsembleConfig.parse(self._texts[max(committed)]) if committed else None
