"""The network between the members of an ensemble, which can be cut, stalled and delayed.

Every member must see the same text of the configuration, so no line of it can name a proxy that
only one of them uses. The text names hosts instead (`member1`, `member2`, …), and each process
resolves these names in its own way: its own name is the address that it binds, any other name is
the address of a proxy for exactly that pair of members. The resolver is libc's `getaddrinfo`,
which both Java and Python ask; a small library that is preloaded answers first (``names.c``).
That needs a C compiler and Linux (the whole of 127.0.0.0/8 is local there), but no rights.

What a proxy can do, told by what the members see:

* `cut`: connections are reset and new ones refused, both ways, as a firewall that rejects.
* `stall`: what one member sends to another is held, one way, as packets that are lost without a
  word; connections stay open, and new ones between the two hang. Healing lets the bytes through,
  as retransmission would.
* `delay`: the same, for a time that each byte waits; order is kept.
* `reset`: connections are reset once.

A proxy cannot leave a connection request unanswered, so a dialler is connected to the proxy
before the proxy knows whether the other end listens. A refusal there shows as a reset about half
a second later; members that are known to be down refuse at once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import permutations
from pathlib import Path
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_SOURCE = Path(__file__).with_name("names.c")
_LIBRARY = Path(__file__).resolve().parents[2] / "build" / "names.so"
_HELD_BYTES_MAX = 1 << 18
_DIAL_ATTEMPTS = 5
_DIAL_PAUSE_S = 0.1
_CLOSING_TURNS = 5
"""Of the loop: in one a connection that was accepted is made, in the next ones it is lost."""


class LinksMissingError(Exception):
    """The library that resolves names cannot be built here; the text says why."""


def build_resolver() -> Path:
    """Compile ``names.c`` if it is newer than its library; returns the library."""
    if _LIBRARY.exists() and _LIBRARY.stat().st_mtime > _SOURCE.stat().st_mtime:
        return _LIBRARY
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise LinksMissingError(f"no C compiler: {compiler} is not installed (set CC)")
    _LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    fresh = _LIBRARY.with_name(f"{_LIBRARY.name}.{os.getpid()}")
    done = subprocess.run(
        [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         "-o", str(fresh), str(_SOURCE), "-ldl"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LinksMissingError(f"{compiler} failed:\n{done.stderr}")
    fresh.replace(_LIBRARY)
    return _LIBRARY


def host_name(member: int) -> str:
    """The name of a member in the configuration."""
    return f"member{member}"


def bound_address(member: int) -> str:
    """Where a member listens for the others."""
    return f"127.0.0.{member}"


def proxy_address(source: int, target: int) -> str:
    """Where `source` finds `target`."""
    return f"127.{source}.{target}.1"


def resolver_environment(member: int, members: Iterable[int]) -> dict[str, str]:
    """What a member's process needs in its environment to reach the others through proxies."""
    hosts = [
        f"{host_name(other)}={bound_address(member)}"
        if other == member
        else f"{host_name(other)}={proxy_address(member, other)}"
        for other in members
    ]
    return {"LD_PRELOAD": str(build_resolver()), "TEST_HOSTS": ",".join(hosts)}


class _Route:
    """The way from one member to another, for all their connections."""

    def __init__(self) -> None:
        self.stalled = False
        self.delay_s = 0.0
        self.flows: set[_Flow] = set()

    def change(self, *, stalled: bool | None = None, delay_s: float | None = None) -> None:
        self.stalled = self.stalled if stalled is None else stalled
        self.delay_s = self.delay_s if delay_s is None else delay_s
        for flow in list(self.flows):
            flow.run()


class _Flow:
    """The bytes of one connection that go one way."""

    def __init__(self, route: _Route, source: _End, target: _End) -> None:
        self._route, self._source, self._target = route, source, target
        # When each piece is due; None is the end of the stream.
        self._held: deque[tuple[float, bytes | None]] = deque()
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        route.flows.add(self)

    def feed(self, data: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        self._held.append((loop.time() + self._route.delay_s, data))
        self._held_bytes += len(data or b"")
        self.run()
        if self._held_bytes > _HELD_BYTES_MAX:
            self._source.pause_reading()

    def run(self) -> None:
        """Pass on what is due."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held and self._target.transport is not None and not self._route.stalled:
            due, data = self._held[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.run)
                break
            self._held.popleft()
            self._held_bytes -= len(data or b"")
            self._target.write(data)
        if self._held_bytes <= _HELD_BYTES_MAX:
            self._source.resume_reading()

    def discard(self) -> None:
        self._route.flows.discard(self)
        self._held.clear()
        if self._timer is not None:
            self._timer.cancel()


class _End(asyncio.Protocol):
    """One of the two sockets of a connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.flow: _Flow | None = None
        self.other: _End | None = None
        self.closed = False
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.closed:
            transport.abort()
        elif self.other is not None and self.other.flow is not None:
            self.other.flow.run()

    def data_received(self, data: bytes) -> None:
        assert self.flow is not None
        self.flow.feed(data)

    def connection_lost(self, _: Exception | None) -> None:
        if not self.closed and self.flow is not None:
            self.flow.feed(None)
        self.closed = True
        self.gone.set()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def write(self, data: bytes | None) -> None:
        assert self.transport is not None
        if data is None:
            self.closed = True
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write(data)

    def pause_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        self.closed = True
        if self.transport is not None:
            self.transport.abort()
        self.gone.set()


class _Link:
    """The proxy on which one member finds another, on all ports of the latter."""

    def __init__(
        self, pair: tuple[int, int], ports: Sequence[int], forth: _Route, back: _Route
    ) -> None:
        self.pair = pair
        self.blocks: set[str] = set()
        self._ports, self._forth, self._back = ports, forth, back
        self._servers: list[asyncio.Server] = []
        self._connections: set[tuple[_End, _End]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def update(self) -> None:
        """Listen exactly while nothing blocks the link."""
        if self.blocks:
            for server in self._servers:
                server.close()
            self._servers = []
            self.reset()
        elif not self._servers:
            address = proxy_address(*self.pair)
            loop = asyncio.get_running_loop()
            for port in self._ports:
                self._servers.append(
                    await loop.create_server(lambda p=port: self._accept(p), address, port)  # type: ignore[misc]
                )

    def reset(self) -> None:
        for near, far in list(self._connections):
            near.abort()
            far.abort()

    def _accept(self, port: int) -> _End:
        near, far = _End(), _End()
        if self.blocks:  # it was accepted while the port was closed
            near.closed = True
            return near
        near.other, far.other = far, near
        near.flow = _Flow(self._forth, near, far)
        far.flow = _Flow(self._back, far, near)
        task = asyncio.get_running_loop().create_task(self._carry(near, far, port))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return near

    async def _carry(self, near: _End, far: _End, port: int) -> None:
        """One connection, from its begin to its end."""
        connection = (near, far)
        self._connections.add(connection)
        try:
            while self._forth.stalled or self._back.stalled:
                await asyncio.sleep(_DIAL_PAUSE_S)
            if await self._dial(far, port):
                await near.gone.wait()
                await far.gone.wait()
        finally:
            for end in connection:
                end.abort()
                assert end.flow is not None
                end.flow.discard()
            self._connections.discard(connection)

    async def _dial(self, far: _End, port: int) -> bool:
        loop = asyncio.get_running_loop()
        for _ in range(_DIAL_ATTEMPTS):
            if far.closed:
                break
            try:
                await loop.create_connection(lambda: far, bound_address(self.pair[1]), port)
                return True
            except OSError:
                await asyncio.sleep(_DIAL_PAUSE_S)
        return False

    async def close(self) -> None:
        self.blocks.add("closed")
        await self.update()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Links:
    """All the links of an ensemble, in a thread of their own; members are named by their ids."""

    def __init__(self, ports: dict[int, Sequence[int]]) -> None:
        """Stand on every address that a member has for another; `ports` are those of each."""
        self._routes = {pair: _Route() for pair in permutations(ports, 2)}
        self._links = {
            (source, target): _Link(
                (source, target), ports[target],
                self._routes[source, target], self._routes[target, source],
            )
            for source, target in self._routes
        }  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()
        self._wait(self._update_all())

    def cut(self, one: int, other: int) -> None:
        """Reset what connects two members, and refuse what would."""
        self._block("cut", [(one, other), (other, one)])

    def stall(self, source: int, target: int) -> None:
        """Hold what `source` sends to `target`; the other way still works."""
        self._do(lambda: self._routes[source, target].change(stalled=True))

    def delay(self, source: int, target: int, seconds: float) -> None:
        """Let what `source` sends to `target` take some time."""
        self._do(lambda: self._routes[source, target].change(delay_s=seconds))

    def reset(self, one: int, other: int) -> None:
        """Reset what connects two members; they may connect again at once."""
        self._do(self._links[one, other].reset)
        self._do(self._links[other, one].reset)

    def down(self, member: int) -> None:
        """A member's process has ended: nobody listens there."""
        self._block("down", [pair for pair in self._links if pair[1] == member])

    def up(self, member: int) -> None:
        """A member's process has started."""
        self._unblock("down", lambda pair: pair[1] == member)

    def heal(self) -> None:
        """Undo every cut, stall and delay; held bytes go through."""

        def clear() -> None:
            for route in self._routes.values():
                route.change(stalled=False, delay_s=0.0)

        self._unblock("cut", lambda _: True)
        self._do(clear)

    def close(self) -> None:
        async def close_all() -> None:
            await asyncio.gather(*(link.close() for link in self._links.values()))
            for _ in range(_CLOSING_TURNS):
                await asyncio.sleep(0)

        self._wait(close_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _block(self, why: str, pairs: Iterable[tuple[int, int]]) -> None:
        for pair in pairs:
            self._links[pair].blocks.add(why)
        self._wait(self._update_all())

    def _unblock(self, why: str, concerns: Callable[[tuple[int, int]], bool]) -> None:
        for pair, link in self._links.items():
            if concerns(pair):
                link.blocks.discard(why)
        self._wait(self._update_all())

    async def _update_all(self) -> None:
        for link in self._links.values():
            await link.update()

    def _do(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        self._wait(run())

    def _wait(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
