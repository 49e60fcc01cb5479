"""A network of connections that keep order, and of election messages that need not.

A connection is a byte stream in each direction, cut into pieces anywhere. A partition holds
what is on its way, as TCP does, until it heals or an end gives up; it may be one-way. A
connection that is cut, or whose end dies, loses a suffix of what was on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from kraal.sim.scheduler import MS, Host, Scheduler

STALE_US = 2_000 * MS
"""How late an election message may come a second time."""
SLICE_US = 200
"""Between two slices of a stream."""


@dataclass
class Conditions:
    """What the network does; probabilities, and delays in microseconds."""

    delay_us: tuple[int, int] = (50, 500)
    late: float = 0.0
    """Share of pieces that take up to `late_us`."""
    late_us: int = 20 * MS
    chopped: float = 0.1
    """Share of deliveries that bring only a part."""
    lost: float = 0.0
    repeated: float = 0.0
    """Shares of election messages."""


class Endpoint:
    """One end of a connection; Zab knows it as its `Link`. No method raises."""

    def __init__(self, network: Network, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self.received: Callable[[bytes], None] = _nobody_takes
        self.lost: Callable[[], None] = _nobody_cares
        self.is_open = True
        self.peer: Endpoint
        self.unsent: deque[bytes | Iterator[bytes]] = deque()
        """A stream and what waits behind it; empty without one."""
        self._network = network
        self._inbox: deque[tuple[int, bytes | None]] = deque()
        """On its way to here, with the time at which it is due; None is the end."""
        self._is_scheduled = False
        self._is_reading = True
        self._is_streaming = False

    # What both ends do

    def send(self, data: bytes) -> None:
        """Send bytes, in order."""
        if self.unsent:
            self.unsent.append(data)
        elif self.is_open:
            self._put(data)

    def stream(self, slices: Iterator[bytes]) -> None:
        """Send what the iterator makes, slice by slice, in order."""
        if self.is_open:
            self.unsent.append(slices)
            self._schedule_stream()

    def close(self) -> None:
        """Close now: nothing further arrives, and a suffix of what was sent may be lost."""
        self._end(keep=self._network.random.randint(0, len(self.peer._inbox)))

    def finish(self) -> None:
        """Close once everything written before is sent."""
        self._end(keep=len(self.peer._inbox))

    def vanish(self) -> None:
        """The machine lost its power: the peer hears nothing, or everything that was sent."""
        self.is_open = False
        self._inbox.clear()
        self.unsent.clear()

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._schedule()

    @property
    def waiting_bytes(self) -> int:
        """What was sent and not yet taken by the peer."""
        return sum(len(data) for _, data in self.peer._inbox if data)

    # The way

    def _end(self, keep: int) -> None:
        if self.is_open:
            self.is_open = False
            self._inbox.clear()
            self.unsent.clear()
            inbox = self.peer._inbox
            while len(inbox) > keep:
                inbox.pop()
            self._put(None)

    def _put(self, data: bytes | None) -> None:
        peer = self.peer
        if not peer.is_open:
            if data is not None and peer.host.is_up and self._network.reaches(self.host, peer.host):
                # Nobody is there any more: the machine says so.
                self._inbox.append((self._network.due(), None))
                self._schedule()
            return
        due = self._network.due()
        inbox = peer._inbox
        if inbox and inbox[-1][0] > due:
            due = inbox[-1][0]
        inbox.append((due, data))
        peer._schedule()

    def _schedule(self) -> None:
        if self._inbox and not self._is_scheduled and self._is_reading and self.is_open:
            self._is_scheduled = True
            delay = max(self._inbox[0][0] - self._network.scheduler.now_us, 0)
            self.host.after(delay, self._arrive)

    def _arrive(self) -> None:
        self._is_scheduled = False
        if not self.is_open or not self._is_reading or not self._inbox:
            return
        network = self._network
        if (self.peer.host, self.host) in network.blocked:
            network.held.append(self)
            return
        now, inbox = network.scheduler.now_us, self._inbox
        pieces: list[bytes] = []
        while inbox and inbox[0][0] <= now:
            data = inbox[0][1]
            if data is None:
                if not pieces:
                    inbox.clear()
                    self.is_open = False
                    self.unsent.clear()
                    self.lost()
                    return
                break
            pieces.append(data)
            inbox.popleft()
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            random = network.random
            if len(data) > 1 and random.random() < network.conditions.chopped:
                at = random.randrange(1, len(data))
                inbox.appendleft((network.due(), data[at:]))
                data = data[:at]
            self.received(data)
        self._schedule()

    def release(self) -> None:
        """The partition is healed: what was held goes on."""
        self._schedule()

    def _schedule_stream(self) -> None:
        if not self._is_streaming:
            self._is_streaming = True
            self.host.after(self._network.random.randint(0, SLICE_US), self._pump)

    def _pump(self) -> None:
        """One slice in each turn."""
        self._is_streaming = False
        unsent = self.unsent
        while unsent and self.is_open:
            head = unsent[0]
            if isinstance(head, bytes):
                unsent.popleft()
                self._put(head)
                continue
            piece = next(head, None)
            if piece is not None:
                self._put(piece)
                self._schedule_stream()
                return
            unsent.popleft()


class Network:
    """Who can reach whom, and all connections."""

    def __init__(self, scheduler: Scheduler, random: Random, conditions: Conditions) -> None:
        self.scheduler = scheduler
        self.random = random
        self.conditions = conditions
        self.blocked: set[tuple[Host, Host]] = set()
        """Directions in which nothing passes."""
        self.held: list[Endpoint] = []
        self.connections: dict[tuple[Endpoint, Endpoint], None] = {}

    def delay(self) -> int:
        """How long a piece takes, in microseconds."""
        conditions, random = self.conditions, self.random.random
        shortest, longest = conditions.delay_us
        if conditions.late and random() < conditions.late:
            longest = conditions.late_us
        return shortest + int(random() * (longest - shortest))

    def due(self) -> int:
        """When a piece that leaves now arrives."""
        return self.scheduler.now_us + self.delay()

    # Partitions

    def reaches(self, source: Host, target: Host) -> bool:
        return (source, target) not in self.blocked

    def block(self, source: Host, target: Host) -> None:
        """Nothing passes in this direction."""
        self.blocked.add((source, target))

    def unblock(self, source: Host, target: Host) -> None:
        """This direction is open again."""
        self.blocked.discard((source, target))
        self._release()

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.blocked.clear()
        self._release()

    def _release(self) -> None:
        held, self.held = self.held, []
        for endpoint in held:
            endpoint.release()

    # Connections

    def connect(self, dialler: Host, acceptor: Host, name: str) -> tuple[Endpoint, Endpoint]:
        """The two ends of a new connection."""
        near, far = Endpoint(self, dialler, name), Endpoint(self, acceptor, name)
        near.peer, far.peer = far, near
        self.connections[near, far] = None
        if len(self.connections) > 1000:
            self.connections = {pair: None for pair in self.connections if _is_alive(pair)}
        return near, far

    def living(self) -> list[tuple[Endpoint, Endpoint]]:
        """Connections of which both ends are open."""
        return [pair for pair in self.connections if _is_alive(pair)]

    def cut(self, near: Endpoint, far: Endpoint, *, lose_all: bool = False) -> None:
        """Break a connection: each direction loses a suffix of what is on its way, or all."""
        for end in (near, far):
            inbox = end._inbox
            for _ in range(len(inbox) if lose_all else self.random.randint(0, len(inbox))):
                inbox.pop()
            end.unsent.clear()
            inbox.append((max(self.due(), inbox[-1][0] if inbox else 0), None))
            end._schedule()

    # Election messages

    def carry(self, source: Host, target: Host, deliver: Callable[[], None]) -> None:
        """Take a message, which may be lost, come twice, or come late."""
        conditions, random = self.conditions, self.random
        if not self.reaches(source, target) or not target.is_up:
            return
        if conditions.lost and random.random() < conditions.lost:
            return
        target.after(self.delay(), deliver)
        if conditions.repeated and random.random() < conditions.repeated:
            # Once more, when much may have changed.
            target.after(random.randint(0, STALE_US), deliver)


def _is_alive(pair: tuple[Endpoint, Endpoint]) -> bool:
    return pair[0].is_open and pair[1].is_open


def _nobody_takes(_data: bytes) -> None:
    """An end that is not set up yet."""


def _nobody_cares() -> None:
    """An end that is not set up yet."""
