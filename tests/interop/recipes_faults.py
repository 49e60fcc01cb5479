"""What befalls the servers and the applications of `recipes_under_faults`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.interop.ensemble_load import exchange
from tests.interop.recipes_stage import RealActor
from tests.support import raw_client as raw
from tests.support.ensembles import Member

if TYPE_CHECKING:
    from tests.interop.recipes_under_faults import Run

PAUSE_S = (0.05, 1.0)
LASTS_S = (0.1, 4.0)
DEAF_S = (0.1, 3.0)
FROZEN_S = (0.1, 3.0)


class Faults:
    """Each method is one fault, and puts right what it did; says whom it hit."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._random = run.random
        self.counted: Counter[str] = Counter()

    async def strike_until(self, end: float) -> None:
        """One fault after the other until the (monotonic) time is up."""
        names, weights = zip(*WEIGHTS.items(), strict=True)
        while time.monotonic() < end:
            (name,) = self._random.choices(names, weights)
            hit = await FAULTS[name](self)
            self.counted[name] += 1
            self._run.say(f"{name}: {hit}")
            await asyncio.sleep(self._random.uniform(*PAUSE_S))

    # Servers

    async def kill(self) -> str:
        return await self._down([self._random.choice(self._run.members)])

    async def kill_leader(self) -> str:
        leader = await asyncio.to_thread(self._run.ensemble.leader)
        return await self._down([leader or self._run.members[0]])

    async def kill_all(self) -> str:
        return await self._down(self._run.members)

    async def kill_most(self) -> str:
        survivor = self._random.choice(self._run.members)
        return await self._down([each for each in self._run.members if each is not survivor])

    async def stop(self) -> str:
        """As an operator would."""
        member = self._random.choice(self._run.members)
        await asyncio.to_thread(member.stop)
        await self._lasting()
        await self._up([member])
        return f"{member.id}"

    async def pause(self) -> str:
        member = self._random.choice(self._run.members)
        member.pause()
        await self._lasting()
        member.resume()
        await asyncio.to_thread(self._run.wait_serving)
        return f"{member.id}"

    async def _down(self, members: list[Member]) -> str:
        for member in members:
            await asyncio.to_thread(member.kill)
        await self._lasting()
        await self._up(members)
        return ", ".join(str(member.id) for member in members)

    async def _up(self, members: list[Member]) -> None:
        for member in members:
            member.launch()
        await asyncio.to_thread(self._run.wait_serving)

    async def _lasting(self) -> None:
        await asyncio.sleep(self._random.uniform(*LASTS_S))

    # Applications

    def _any(self) -> tuple[str, RealActor]:
        name = self._random.choice(sorted(self._run.scenarios))
        return name, self._random.choice(self._run.living(name))

    async def hang_up(self) -> str:
        """All connections of everybody, or of one."""
        if self._random.random() < 0.3:
            for name in self._run.scenarios:
                for app in self._run.living(name):
                    for proxy in app.proxies:
                        proxy.cut()
            return "everybody"
        _, app = self._any()
        for proxy in app.proxies:
            proxy.cut()
        return app.name

    async def deafen(self) -> str:
        """Some hear no answers, or are not heard, or both."""
        apps = [self._any()[1] for _ in range(4)]
        is_deaf, is_mute = self._random.choice(((True, False), (False, True), (True, True)))
        for proxy in (proxy for app in apps for proxy in app.proxies):
            if is_deaf:
                proxy.hold_answers()
            if is_mute:
                proxy.hold_requests()
        await asyncio.sleep(self._random.uniform(*DEAF_S))
        for proxy in (proxy for app in apps for proxy in app.proxies):
            proxy.release()
        return ", ".join(app.name for app in apps)

    async def freeze(self) -> str:
        """The process of all applications gets no processor time; the servers go on."""
        seconds = self._random.uniform(*FROZEN_S)
        time.sleep(seconds)  # nothing else is to run here
        for name in self._run.scenarios:
            for app in self._run.living(name):
                app.resumed_us = app.now_us
        return f"everybody for {seconds:.1f} s"

    async def die(self) -> str:
        name, app = self._any()
        self._run.replace(name, app)
        return app.name

    async def end_session(self) -> str:
        """Somebody else ends the session of a client that lives."""
        _, app = self._any()
        session_id = app.clients[-1].session_id if app.clients else 0
        if session_id:
            with suppress(raw.ClosedError, OSError):
                port = self._random.choice(self._run.members).client_port
                await asyncio.to_thread(exchange, port, [None], session_id)
        return app.name


FAULTS: Mapping[str, Callable[[Faults], Awaitable[str]]] = {
    "kill": Faults.kill, "kill leader": Faults.kill_leader, "kill all": Faults.kill_all,
    "kill most": Faults.kill_most, "stop": Faults.stop, "pause": Faults.pause,
    "hang up": Faults.hang_up, "deafen": Faults.deafen, "freeze": Faults.freeze,
    "die": Faults.die, "end session": Faults.end_session,
}  # fmt: skip
WEIGHTS: Mapping[str, int] = {
    "kill": 4, "kill leader": 4, "kill all": 1, "kill most": 1, "stop": 1, "pause": 4,
    "hang up": 8, "deafen": 4, "freeze": 3, "die": 5, "end session": 4,
}  # fmt: skip
