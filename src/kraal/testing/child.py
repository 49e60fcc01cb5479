"""One server process as the kit sees it; everything here runs in the kit's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from kraal.local.layout import HOST, Place, make
from kraal.local.process import ServerProcess, State
from kraal.local.status import Figures, ask, parse_srvr
from kraal.model import properties
from kraal.server.config.file import load
from kraal.testing import settings as zoo_cfg
from kraal.testing.errors import StartError

POLL_SECONDS = 0.01
LOG_LINES = 30
STOP_SECONDS = 10.0


def write(place: Place, values: Mapping[str, str]) -> None:
    """Make the directory of a server with its `zoo.cfg`. Raises ConfigError, OSError."""
    make(place)
    chosen = {
        "dataDir": str(place.data),
        "clientPort": str(place.client_port),
        "clientPortAddress": HOST,
    }
    lines = [f"{properties.written(*pair)}\n" for pair in {**chosen, **values}.items()]
    place.zoo_cfg.write_text("".join(lines), "latin-1")
    zoo_cfg.check(load(place.zoo_cfg, defines={}, environment={}, overrides={}))


@dataclass(eq=False)
class Child:
    """A process and what was done to it."""

    process: ServerProcess

    @property
    def is_up(self) -> bool:
        """Whether it can be expected to serve."""
        return self.process.state is State.RUNNING

    async def figures(self) -> Figures | None:
        """What it says of itself; None: it does not serve. Raises StartError when it ended."""
        self.process.poll()
        if self.process.state is State.FAILED:
            raise StartError(self.last_words())
        if not self.is_up:
            return None
        try:
            return parse_srvr(await ask(self.process.place.client_port, "srvr"))
        except OSError:
            return None

    async def answers(self) -> bool:
        """Whether its port is open, even if only to say that it does not serve."""
        try:
            return bool(await ask(self.process.place.client_port, "srvr"))
        except OSError:
            return False

    async def serving(self) -> Figures:
        """Wait until it serves. Raises StartError when it ends instead."""
        while (figures := await self.figures()) is None:
            await asyncio.sleep(POLL_SECONDS)
        return figures

    def slow_disk(self, seconds: float) -> None:
        """How long a sync takes from now on, in this process."""
        self.process.tell(str(float(seconds)))

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        await self._ended()

    async def stop(self) -> None:
        """SIGTERM, and wait for its end; SIGKILL when it does not come."""
        self.process.stop()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._ended()
        except TimeoutError:
            await self.kill()

    async def _ended(self) -> None:
        while self.process.pid is not None:
            self.process.poll()
            await asyncio.sleep(POLL_SECONDS / 10)

    def last_words(self) -> str:
        """How it ended, and the end of its log."""
        place, code = self.process.place, self.process.exit_code
        tail = "\n".join(self.process.log_tail(LOG_LINES))
        return f"server {place.id} has ended with code {code}; the end of {place.log}:\n{tail}"
