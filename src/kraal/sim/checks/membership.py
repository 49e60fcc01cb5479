"""The membership: one for each version, and none that nobody has asked for.

A configuration whose transaction was lost with a leader's unflushed log may have been stored by
it: the next leader that has seen it establishes it with its NEWLEADER
(reference/quorum-protocol.md section 4.8), and a quorum's acknowledgement of that commits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import counter, show
from kraal.sim.checks.history import History
from kraal.sim.checks.watcher import Watcher
from kraal.sim.violation import violated
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import HEADER, SetDataTxn, Txn

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
        self._proposed: dict[int, str] = {}
        """By version: what leaders have made of requests."""

    def appended(self, server: SimServer, zxid: int, payload: bytes) -> None:
        if HEADER.unpack_from(payload)[-1] == OpCode.RECONFIG:
            body = Txn.decode(payload).body
            assert isinstance(body, SetDataTxn)
            self._proposed[zxid] = (body.data or b"").decode()

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
        """Every version is the first leader's, or that of a transaction."""
        for version, text in self._texts.items():
            if not counter(version):
                continue
            proposed = self._proposed.get(version)
            if proposed is None:
                violated(PROMISE, "version %s was never proposed", show(version))
            elif proposed != text:
                violated(PROMISE, "version %s is not what was proposed", show(version))
        for version in self._history.txns.keys() & self._proposed.keys():
            if version not in self._texts:
                violated(PROMISE, "version %s was committed and never activated", show(version))

    def newest(self) -> EnsembleConfig | None:
        """The one that everybody must have in the end."""
        return EnsembleConfig.parse(self._texts[max(self._texts)]) if self._texts else None
