"""An ensemble of server processes with everything that can go wrong between them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TypeVar

from kraal.local.layout import HOST, Place
from kraal.local.process import ServerProcess
from kraal.model.ensemble import Role
from kraal.model.session_id import show
from kraal.testing import remote
from kraal.testing import settings as zoo_cfg
from kraal.testing.arguments import check_seconds, check_session_id
from kraal.testing.child import POLL_SECONDS, STOP_SECONDS, Child, write
from kraal.testing.context import Context
from kraal.testing.errors import UnavailableError, WaitError
from kraal.testing.loop_thread import LoopThread
from kraal.testing.member import command
from kraal.testing.ports import Ports
from kraal.testing.proxy import Door, Way

T = TypeVar("T")
TIMEOUT_SECONDS = 30.0
MODES = ("leader", "follower", "observer")


class Ensemble(Context):
    """Members with the ids 1, 2, …, voters first and then observers, each a process.

    It starts with `with` or `async with`, or by `start`, which waits until all members serve. All
    processes end with the one that started them, however that one ends. What members say to each
    other, and clients to members, passes doors of the kit, which can be shut.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        observers: int = 0,
        directory: str | PathLike[str] | None = None,
        settings: zoo_cfg.Settings | None = None,
    ) -> None:
        """`size` voters, from two on; `settings` are keys of `zoo.cfg` for all members.

        It lives in a directory that stays, or in a temporary one.
        Raises ConfigError for keys that the ensemble chooses itself.
        """
        if not isinstance(size, int) or not isinstance(observers, int):
            raise TypeError(f"size and observers must be ints, not {size!r} and {observers!r}")
        if size < 2 or observers < 0:
            raise ValueError("an ensemble has at least two voters; one alone is a ServerProcess")
        self._settings = zoo_cfg.for_tests(settings, is_member=True)
        self._size, self._observers = size, observers
        self._kept = None if directory is None else Path(directory).absolute()
        self._directory: Path | None = None
        self._ports = Ports()
        self._thread = LoopThread("kraal-testing", at_exit=self.close)
        self._children: dict[int, Child] = {}
        self._client_doors: dict[int, Door] = {}
        self._member_doors: dict[tuple[int, int], list[Door]] = {}
        """By who dials and who is dialled: of the quorum port and of the election port."""

    # Life

    def start(self, member: int | None = None) -> None:
        """Start all members, or one, unless they run; waits until all of them serve, or that one.

        Where one reaches no quorum it cannot serve, and is waited for until its port answers: so
        members can be started one after the other.
        Raises StartError with the end of a log, ConfigError for a wrong setting.
        """
        if not self._thread.is_running:
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise
            self._thread.start()
        if member is None:
            self._call("a start", self._start(self._children.values()))
            self.wait_healthy()
        else:
            self._call("a start", self._start([self._child(member)]))
            self._call("a start", self._until_started(member))

    def close(self) -> None:
        """Stop it for good: all processes end, a temporary directory is deleted."""
        try:
            if self._thread.is_running:
                self._call("the end", self._stop_all(), 2 * STOP_SECONDS)
        finally:
            self._thread.stop()
            self._ports.release()
            if self._directory is not None and self._kept is None:
                shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None
            self._children, self._client_doors, self._member_doors = {}, {}, {}

    # What it is

    @property
    def members(self) -> list[int]:
        """The ids of all members."""
        return list(range(1, self._size + self._observers + 1))

    @property
    def directory(self) -> Path:
        """Where each member has a directory with `zoo.cfg`, `data` and `server.log`."""
        if self._directory is None:
            raise UnavailableError("the ensemble was not started")
        return self._directory

    @property
    def hosts(self) -> str:
        """The connect string with all members."""
        self._child(1)
        return ",".join(self.hosts_of(member) for member in self.members)

    def hosts_of(self, *members: int) -> str:
        """The connect string with these members only. Raises ValueError for none."""
        if not members:
            raise ValueError("at least one member must be named; `hosts` has all of them")
        return ",".join(f"{HOST}:{self._client_door(member).port}" for member in members)

    def is_running(self, member: int) -> bool:
        """Whether there is a process, which may be paused."""
        return self.pid(member) is not None

    def pid(self, member: int) -> int | None:
        """None: there is no process."""
        return self._child(member).process.pid

    def log(self, member: int, lines: int = 30) -> str:
        """The end of what a member has logged."""
        return "\n".join(self._child(member).process.log_tail(lines))

    # What it does

    def modes(self) -> dict[int, str]:
        """`leader`, `follower` or `observer` by member; empty for one that does not serve."""
        return self._call("a look", self._modes())

    def leader(self, timeout: float = TIMEOUT_SECONDS) -> int:
        """The member that leads; waits until there is one that reaches a quorum, and no other."""
        return self._call("an election", self._until_led(timeout), timeout + 1)

    def followers(self) -> list[int]:
        """The members that follow now."""
        return [member for member, mode in self.modes().items() if mode == "follower"]

    def wait_healthy(self, timeout: float = TIMEOUT_SECONDS) -> None:
        """Wait until one member leads, and all serve that run and reach it and a quorum.

        Raises WaitError, or StartError with the log of one that ended by itself.
        """
        self._call("health", self._until_healthy(timeout), timeout + 1)

    # Between tests

    def reset(self) -> None:
        """Make it as good as new: all znodes and sessions are gone, all faults are over.

        Clients are disconnected, and learn that their session has expired when they come back.
        """
        self.heal()
        self.wait_healthy()
        port = self._child(self.leader()).process.place.client_port
        self._call("the reset", self._wipe(port))

    # Sessions

    def sessions(self) -> list[int]:
        """The ids of all sessions that live."""
        port = self._child(self.leader()).process.place.client_port
        return self._call("the look at the sessions", remote.sessions(port))

    def expire(self, session_id: int) -> None:
        """End a session of any client, as when nothing is heard of it for its timeout.

        Its client is disconnected and learns of it when it comes back. Its ephemerals are gone for
        all who connect from now on. Raises UnavailableError when there is no such session.
        """
        check_session_id(session_id)
        port = self._child(self.leader()).process.place.client_port
        if not self._call("the end of a session", remote.expire(HOST, port, session_id)):
            raise UnavailableError(f"there is no session {show(session_id)}")

    # Faults

    def kill(self, member: int) -> None:
        """SIGKILL: it is gone when this returns; `start` starts it again with its data."""
        self._call("the end", self._child(member).kill())

    def stop(self, member: int) -> None:
        """SIGTERM: it ends in order; `start` starts it again with its data."""
        self._call("the end", self._child(member).stop(), 2 * STOP_SECONDS)

    def pause(self, member: int) -> None:
        """SIGSTOP: connections stay open, and nobody is answered."""
        self._child(member).process.pause()

    def resume(self, member: int) -> None:
        """SIGCONT."""
        self._child(member).process.resume()

    def cut(self, one: int, other: int, *, silently: bool = False) -> None:
        """Let two members not reach each other.

        Connections are reset and new ones refused; silently, nothing arrives any more and nobody
        is told, as when a network loses its packets.
        """
        self._set(self._between(one, other), Way.SILENT if silently else Way.REFUSED)

    def isolate(self, member: int, *, silently: bool = False) -> None:
        """Cut a member off from all others; clients still reach it."""
        for other in self.members:
            if other != member:
                self.cut(member, other, silently=silently)

    def cut_clients(self, *members: int, silently: bool = False) -> None:
        """Let no client reach these members, or any member when none is named."""
        doors = [self._client_door(member) for member in members or self.members]
        self._set(doors, Way.SILENT if silently else Way.REFUSED)

    def disconnect(self) -> None:
        """Cut all clients off; they may come back at once, with their sessions."""
        self._call("disconnecting", self._reset_clients())

    def slow_disk(self, member: int, seconds: float) -> None:
        """Let every write of a member take so long to be on disk; 0: as long as it takes."""
        check_seconds(seconds)
        self._child(member).slow_disk(seconds)

    def heal(self) -> None:
        """End all faults: everybody reaches everybody, the paused go on, the dead start again.

        It does not wait for them; `wait_healthy` does.
        """
        self._call("healing", self._heal())

    # In the thread

    def _prepare(self) -> None:
        self._directory = self._kept or Path(tempfile.mkdtemp(prefix="kraal-ensemble-"))
        pairs = [(one, other) for one in self.members for other in self.members if one != other]
        ports = iter(self._ports.take(4 * len(self.members) + 2 * len(pairs)))
        places = {member: self._place(self._directory, member, ports) for member in self.members}
        for one, other in pairs:
            targets = (*places[other].quorum_ports, *places[other].election_ports)
            self._member_doors[one, other] = [
                Door(next(ports), port, says_open=True) for port in targets
            ]
        for member, place in places.items():
            self._client_doors[member] = Door(next(ports), place.client_port)
            doors = {
                door.target: door.port
                for (one, _), doors in self._member_doors.items()
                for door in doors
                if one == member
            }
            self._children[member] = Child(ServerProcess(place, command(doors)))
            write(place, {**self._settings, **self._server_lines(places)})

    def _place(self, root: Path, member: int, ports: Iterator[int]) -> Place:
        return Place(
            id=member,
            directory=root / f"server-{member}",
            is_observer=member > self._size,
            client_port=next(ports),
            quorum_ports=(next(ports),),
            election_ports=(next(ports),),
        )

    def _server_lines(self, places: dict[int, Place]) -> dict[str, str]:
        """The same for all: whom they dial, they reach through doors."""
        return {
            f"server.{member}": f"{HOST}:{quorum}:{election}:{role}"
            for member, place in places.items()
            for quorum, election in zip(place.quorum_ports, place.election_ports, strict=True)
            for role in [Role.OBSERVER if place.is_observer else Role.PARTICIPANT]
        }

    async def _start(self, children: Iterable[Child]) -> None:
        for door in self._doors():
            if door.way is Way.NEW:
                await door.set(Way.OPEN)
        for child in children:
            child.process.poll()
            child.process.start()

    async def _until_started(self, member: int) -> None:
        child = self._children[member]
        while await child.figures() is None:
            for other in self._children.values():
                other.process.poll()
            if not self._reaches_quorum(member) and await child.answers():
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _wipe(self, port: int) -> None:
        await remote.end_sessions(port)
        await remote.wipe(f"{HOST}:{port}")

    async def _stop_all(self) -> None:
        for door in self._doors():
            await door.set(Way.REFUSED)
        await asyncio.gather(*(child.stop() for child in self._children.values()))

    async def _modes(self) -> dict[int, str]:
        children = self._children
        seen = await asyncio.gather(*(child.figures() for child in children.values()))
        modes = ("" if figures is None else figures.mode for figures in seen)
        return dict(zip(children, modes, strict=True))

    async def _until_led(self, timeout: float) -> int:
        modes: dict[int, str] = {}
        try:
            async with asyncio.timeout(timeout):
                while True:
                    modes = await self._modes()
                    leader = self._leader(modes)
                    if leader is not None:
                        return leader
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise WaitError(f"no leader within {timeout:g} s: {self._shown(modes)}") from None

    async def _until_healthy(self, timeout: float) -> None:
        modes: dict[int, str] = {}
        try:
            async with asyncio.timeout(timeout):
                while True:
                    modes = await self._modes()
                    if self._is_healthy(modes):
                        return
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise WaitError(f"not healthy within {timeout:g} s: {self._shown(modes)}") from None

    def _leader(self, modes: dict[int, str]) -> int | None:
        """The only one that leads, unless it is cut off and has not noticed yet."""
        leaders = [member for member, mode in modes.items() if mode == "leader"]
        return leaders[0] if len(leaders) == 1 and self._reaches_quorum(leaders[0]) else None

    def _is_healthy(self, modes: dict[int, str]) -> bool:
        leader = self._leader(modes)
        return leader is not None and all(
            modes[member] in MODES
            for member, child in self._children.items()
            if child.is_up and self._are_joined(member, leader) and self._reaches_quorum(member)
        )

    def _reaches_quorum(self, member: int) -> bool:
        voters = self.members[: self._size]
        reached = [
            voter
            for voter in voters
            if self._children[voter].is_up and self._are_joined(member, voter)
        ]
        return len(reached) > self._size // 2

    def _are_joined(self, one: int, other: int) -> bool:
        doors = [
            *self._member_doors.get((one, other), ()),
            *self._member_doors.get((other, one), ()),
        ]
        return all(door.way is Way.OPEN for door in doors)

    def _shown(self, modes: dict[int, str]) -> str:
        return ", ".join(
            f"server {member} "
            + (modes.get(member) or ("does not serve" if child.is_up else child.process.state))
            for member, child in self._children.items()
        )

    async def _heal(self) -> None:
        for door in self._doors():
            await door.set(Way.OPEN)
        for child in self._children.values():
            child.process.poll()
            child.slow_disk(0)
            child.process.resume()
            child.process.start()

    async def _reset_clients(self) -> None:
        for door in self._client_doors.values():
            door.reset()

    async def _set_all(self, doors: Iterable[Door], way: Way) -> None:
        for door in doors:
            await door.set(way)

    def _set(self, doors: Iterable[Door], way: Way) -> None:
        self._call("cutting", self._set_all(doors, way))

    def _doors(self) -> Iterator[Door]:
        yield from self._client_doors.values()
        for doors in self._member_doors.values():
            yield from doors

    def _between(self, one: int, other: int) -> list[Door]:
        self._child(one), self._child(other)
        if one == other:
            raise ValueError("a member cannot be cut off from itself")
        return [*self._member_doors[one, other], *self._member_doors[other, one]]

    def _client_door(self, member: int) -> Door:
        self._child(member)
        return self._client_doors[member]

    def _child(self, member: int) -> Child:
        if not self._children:
            raise UnavailableError("the ensemble was not started")
        if type(member) is not int:
            raise TypeError(f"a member is named by its id, an int, not {member!r:.100}")
        if member not in self._children:
            raise ValueError(f"no member {member}; there are 1 to {len(self._children)}")
        return self._children[member]

    def _call(
        self, doing: str, work: Coroutine[object, object, T], timeout: float = TIMEOUT_SECONDS
    ) -> T:
        return self._thread.call(f"{doing} of an ensemble", work, timeout)
