"""What the servers of a local ensemble say of themselves, asked by four-letter word.

Every question has a time limit, so a server that hangs costs nobody anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kraal.local.layout import HOST
from kraal.model.zxid import epoch

INTERVAL_SECONDS = 0.5
LIMIT_SECONDS = 1.0
_PIECE_BYTES, _ANSWER_MAX_BYTES = 1 << 16, 1 << 20
_SRVR = re.compile(
    r"^Latency min/avg/max: \S+?/(?P<average>[\d.E-]+)/(?P<maximum>\d+)$.*"
    r"^Received: (?P<received>\d+)$.*"
    r"^Connections: (?P<connections>\d+)$.*"
    r"^Zxid: 0x(?P<zxid>[0-9a-f]+)$.*"
    r"^Mode: (?P<mode>[a-z-]+)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The answer to `srvr`, without what asking adds to it."""

    mode: str
    zxid: int
    clients: int
    average_ms: float
    maximum_ms: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A server at its last poll."""

    figures: Figures | None = None
    """None: it gave none, for this reason."""
    reason: str = ""
    epoch: int | None = None
    requests_per_s: float | None = None


def parse_srvr(text: str) -> Figures | None:
    """The figures in an answer to `srvr`; None when there are none, as without a leader."""
    found = _SRVR.search(text)
    if found is None:
        return None
    return Figures(
        mode=found["mode"],
        zxid=int(found["zxid"], 16),
        clients=max(0, int(found["connections"]) - 1),
        average_ms=float(found["average"]),
        maximum_ms=int(found["maximum"]),
        received=int(found["received"]),
    )


async def ask(port: int, word: str) -> str:
    """The whole answer. Raises OSError; TimeoutError, one of them, after the time limit."""
    async with asyncio.timeout(LIMIT_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(word.encode())
            answer = b""
            while (piece := await reader.read(_PIECE_BYTES)) and len(answer) < _ANSWER_MAX_BYTES:
                answer += piece
            return answer.decode(errors="replace")
        finally:
            writer.close()


class Poller:
    """Asks one server again and again; `seen` is what it said last."""

    def __init__(self, port: int, data: Path, changed: Callable[[], None]) -> None:
        self._port = port
        self._current_epoch = data / "version-2" / "currentEpoch"
        self._changed = changed
        self._counted: tuple[float, int] | None = None
        """When requests were counted last, and how many."""
        self._pid: int | None = None
        self.seen = Seen()

    def watch(self, pid: int | None) -> None:
        """Which process is asked, if any; what another one said is forgotten."""
        if pid != self._pid:
            self._pid = pid
            self._counted = None
            self.seen = Seen()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            if (pid := self._pid) is not None:
                seen = await self._look()
                if pid == self._pid:
                    self.seen = seen
                    self._changed()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _look(self) -> Seen:
        try:
            text = await ask(self._port, "srvr")
        except ConnectionRefusedError:
            return self._without("does not listen yet")
        except OSError:
            return self._without("does not answer")
        figures = parse_srvr(text)
        if figures is None:
            return self._without(
                "has no leader" if "not currently" in text else "is not understood"
            )
        return Seen(
            figures=figures,
            epoch=self._epoch(figures.zxid),
            requests_per_s=self._rate(figures.received),
        )

    def _without(self, reason: str) -> Seen:
        self._counted = None
        return Seen(reason=reason, epoch=self._epoch(None))

    def _epoch(self, zxid: int | None) -> int | None:
        """The file knows it before the first transaction of the epoch."""
        try:
            return int(self._current_epoch.read_text())
        except (OSError, ValueError):
            return None if zxid is None else epoch(zxid)

    def _rate(self, received: int) -> float | None:
        """Requests per second since the last poll, which was one itself."""
        now = asyncio.get_running_loop().time()
        before, self._counted = self._counted, (now, received)
        if before is None or received <= before[1] or now <= before[0]:
            return None  # the count began anew
        return (received - before[1] - 1) / (now - before[0])
