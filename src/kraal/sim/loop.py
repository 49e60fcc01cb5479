"""An asyncio event loop in virtual time: what an application runs on in a simulated process.

One loop belongs to one `Host`. It reads no clock, opens no socket and starts no thread: timers are
the scheduler's, and connections lead to the client ports of simulated servers. Tasks and futures
are hashed in the order of their creation, so that sets of them are the same in every process.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, TypeVarTuple

from kraal.sim.dial import Dial, Directory
from kraal.sim.scheduler import MS, SECOND, Host
from kraal.sim.transport import SimTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

TURN_US = (1, 30)
"""How long a turn of the loop takes."""
TURNS_MAX = 50_000
"""In one second: a loop that has more to do works for nothing."""
WIND_UP_TURNS_MAX = 2000
WIND_UP_PATIENCE_TURNS = 50
LOOKUP_US = (10, 2 * MS)

Ts = TypeVarTuple("Ts")


class SimFuture(asyncio.Future[Any]):
    """A future whose place in a set depends on nothing but when it was made."""

    def __init__(self, serial: int, loop: SimLoop) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class SimTask(asyncio.Task[Any]):
    """A task, likewise."""

    def __init__(
        self, serial: int, coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any], **how: Any
    ) -> None:
        self._serial = serial
        super().__init__(coro, **how)

    def __hash__(self) -> int:
        return self._serial


class SimLoop(asyncio.AbstractEventLoop):
    """Runs callbacks as turns of its host, in the order in which they became ready."""

    def __init__(
        self,
        host: Host,
        directory: Directory,
        random: Random,
        failed: Callable[[dict[str, Any]], None],
    ) -> None:
        """`failed` is told what the loop's exception handler is told."""
        self.host = host
        self.rate = 1.0
        """Seconds of this machine's clock in one of true time."""
        self._directory = directory
        self.random = random
        self._failed = failed
        self._ready: deque[asyncio.Handle] = deque()
        self._is_scheduled = False
        self._is_dead = False
        self._serial = 0
        self._began_s = float(random.randrange(1 << 20))
        """What the clock showed at the begin of the run: its origin means nothing."""
        self._timers: dict[asyncio.TimerHandle, None] = {}
        self._second = 0
        self._second_turns = 0
        self._remains: list[asyncio.Task[Any]] = []
        self.transports: dict[SimTransport, None] = {}
        """Those of which the connection is not lost."""

    # Time and turns

    def time(self) -> float:
        return self._began_s + self.host.scheduler.now_us * self.rate / SECOND

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """There is no other mode."""

    def is_running(self) -> bool:
        return not self._is_dead

    def is_closed(self) -> bool:
        return self._is_dead

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._schedule()
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers[handle] = None
        if not self._is_dead:
            self._arm(handle)
        return handle

    def _arm(self, handle: asyncio.TimerHandle) -> None:
        delay_us = math.ceil((handle.when() - self.time()) * SECOND / self.rate)
        self.host.after(max(delay_us, 0), partial(self._due, handle))

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if handle not in self._timers:
            return
        if handle.when() > self.time():
            self._arm(handle)
            return
        del self._timers[handle]
        self._ready.append(handle)
        self._schedule()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A timer's handle calls this when it is cancelled."""
        self._timers.pop(handle, None)

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """What is due one day."""
        return list(self._timers)

    def _schedule(self) -> None:
        if not self._is_scheduled and not self._is_dead:
            self._is_scheduled = True
            self.host.after(self.random.randint(*TURN_US), self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        self._count_turn()
        self._run_ready()
        if self._ready:
            self._schedule()

    def _run_ready(self) -> None:
        """Everything that is ready now, as one turn of asyncio's loops."""
        before = events._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, self._generator_is_dropped)
        events._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(before)
            sys.set_asyncgen_hooks(*hooks)

    def _count_turn(self) -> None:
        second = self.host.scheduler.now_us // SECOND
        if second != self._second:
            self._second, self._second_turns = second, 0
        self._second_turns += 1
        if self._second_turns == TURNS_MAX:
            tasks = [task.get_name() for task in self.tasks()]
            self.call_exception_handler({"message": f"the loop spins; tasks: {tasks}"})

    # Tasks

    def create_future(self) -> asyncio.Future[Any]:
        self._serial += 1
        return SimFuture(self._serial, self)

    def create_task(
        self, coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any], **how: Any
    ) -> asyncio.Task[Any]:
        self._serial += 1
        return SimTask(self._serial, coro, loop=self, **how)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that are not done, the oldest first."""
        return sorted(asyncio.all_tasks(self), key=hash)

    def stacks(self) -> list[str]:
        """Where each task waits, for people."""
        return [
            f"{task.get_name()}: {' > '.join(_waits(task.get_coro()))}" for task in self.tasks()
        ]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._is_dead:
            self._failed(context)

    def _generator_is_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Somebody stopped reading in the midst of it."""
        self.create_task(generator.aclose())

    def die(self) -> None:
        """The process is gone. Nothing of it runs any more, not even what cleans up."""
        self._remains = self.tasks()  # kept: their coroutines would be closed otherwise
        self._is_dead = True
        self.transports.clear()

    def wind_up(self) -> None:
        """When all is over: end what is left of the tasks, outside of the story and its time.

        Otherwise Python would end them one day, and could not where they wait to clean up.
        """
        assert self._is_dead
        for turn in range(WIND_UP_TURNS_MAX):
            if turn % WIND_UP_PATIENCE_TURNS == 0:
                for task in self.tasks():  # also once more: some wait for others to clean up
                    task.cancel()
            if not self._ready and not self.tasks():
                break
            if not self._ready and self._timers:
                timer = min(self._timers, key=asyncio.TimerHandle.when)
                del self._timers[timer]
                self._began_s += max(timer.when() - self.time(), 0)
                self._ready.append(timer)
            self._run_ready()
        self._ready.clear()
        self._timers.clear()
        self._remains.clear()

    # The network

    async def getaddrinfo(
        self, host: str | bytes | None, port: str | int | bytes | None, **_hints: int
    ) -> list[Any]:
        await asyncio.sleep(self.random.randint(*LOOKUP_US) / SECOND)
        address = self._directory.address(host)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host != address and not self._directory.world.are_names_known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port or 0)))]

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: object = None,
        **_how: object,
    ) -> tuple[SimTransport, asyncio.BaseProtocol]:
        """A connection to a server's client port.

        Raises ConnectionRefusedError where nobody listens, gaierror for an unknown name.
        Hangs where nothing is heard. Raises ValueError for TLS, which this network has not.
        """
        if ssl:
            raise ValueError("the simulated network has no TLS")
        [(_, _, _, _, (address, _))] = await self.getaddrinfo(host, port)
        waiter = self.create_future()
        dial = Dial(self._directory, self.host, address, port, waiter)
        dial.attempt()
        try:
            near = await waiter
        except BaseException:
            dial.give_up()
            raise
        protocol = protocol_factory()
        made = self.create_future()
        transport = SimTransport(self, near, protocol, (address, port or 0), made)
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol


def _waits(coro: Any) -> Iterator[str]:
    """The chain of awaits below a coroutine."""
    while coro is not None:
        code = getattr(coro, "cr_code", None) or getattr(coro, "ag_code", None)
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "ag_frame", None)
        if code is None:
            return
        yield f"{code.co_qualname}:{frame.f_lineno if frame else '?'}"
        coro = getattr(coro, "cr_await", None) or getattr(coro, "ag_await", None)
