"""Start ensembles of real servers on loopback: Apache ZooKeeper, kraal, or a mixture.

Each member has a directory of its own, with its `zoo.cfg`, `myid`, data and logs. It can be
stopped, killed, paused and started again, also as another kind of server on the same directory.
All members have the same server lines. With `proxied`, everything that members say to each other
passes `Links`, where it can be cut.
"""

from __future__ import annotations

import random
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.support.links import Links, host_name, resolver_environment
from tests.support.servers import (
    HOST,
    KRAAL_PATH,
    REFERENCE_VERSION,
    Server,
    apache_command,
    four_letter_word,
    kraal_command,
)

T = TypeVar("T")

KRAAL = "kraal"
APACHE = f"apache-{REFERENCE_VERSION}"
APACHE_BEFORE = "apache-3.8.6"
"""The newest release of the line before."""

SERVING = ("leader", "follower", "observer")
_EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Ports that this process has chosen, whether a member listens there already or not.
_given: set[int] = set()
_WORD_TIMEOUT_S = 2.0
_POLL_S = 0.02
# Members live for seconds: the compiler's best code comes too late, and memory is shared.
_JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m")


class EnsembleError(Exception):
    """An ensemble does not do what was waited for; the text says what its members show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an ensemble is made of; members have the ids 1, 2, …, participants first."""

    participants: tuple[str, ...]
    observers: tuple[str, ...] = ()
    tick_ms: int = 500
    init_limit: int = 20
    sync_limit: int = 6
    # Further keys of zoo.cfg, for all and by member.
    settings: Mapping[str, object] = field(default_factory=dict)
    own_settings: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    groups: Mapping[int, Sequence[int]] = field(default_factory=dict)
    weights: Mapping[int, int] = field(default_factory=dict)
    # Server lines in a dynamic configuration file, with client addresses, and reconfigEnabled.
    dynamic: bool = False
    proxied: bool = False
    # Level of Apache's log: WARN, INFO or DEBUG.
    log_level: str = "WARN"
    java_options: tuple[str, ...] = _JAVA_OPTIONS

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.participants + self.observers


def known_kind(text: str) -> str:
    """The full name of a kind of server: `kraal`, or `apache` with a version; or ValueError."""
    kind = {"apache": APACHE, "apache-3.9": APACHE, "apache-3.8": APACHE_BEFORE}.get(text, text)
    if kind != KRAAL and not re.fullmatch(r"apache-\d+\.\d+\.\d+", kind):
        raise ValueError(f"neither kraal nor apache nor apache-x.y.z: {text}")
    return kind


def quiet_ports(count: int) -> list[int]:
    """Free ports that no outgoing connection is given, so that a restart finds them free."""
    limit = 32768
    if _EPHEMERAL_PORTS.exists():
        limit = int(_EPHEMERAL_PORTS.read_text().split()[0])
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        for port in random.sample(range(limit - 16_000, limit), 4000):
            if port in _given:
                continue
            probe = socket.socket()
            held.append(probe)
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                _given.update(found)
                return found
    finally:
        for probe in held:
            probe.close()
    raise EnsembleError(f"no {count} free ports below {limit}")


@dataclass(eq=False)
class Member:
    """One server of an ensemble; every process is ended by its own pid."""

    id: int
    kind: str
    directory: Path
    client_port: int
    links: Links | None
    environment: Mapping[str, str]
    log_level: str
    java_options: tuple[str, ...]
    server: Server | None = None
    paused: bool = False
    # Whether it is down on purpose.
    ended: bool = True
    # Which kind of server wrote which log, a file for each start.
    logs: list[tuple[str, Path]] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """Where its logs and snapshots are."""
        return self.directory / "data" / "version-2"

    @property
    def alive(self) -> bool:
        server = self.server
        return server is not None and server.process is not None and server.process.poll() is None

    def launch(self, kind: str | None = None) -> None:
        """Start the process, as another kind if one is given, and wait for nothing."""
        assert not self.alive, self
        self.kind = kind or self.kind
        config = self.directory / "zoo.cfg"
        if self.kind == KRAAL:
            command, environment = kraal_command(config), {**KRAAL_PATH, **self.environment}
        else:
            options = (*self.java_options, f"-Dreference.level={self.log_level}")
            command = apache_command(config, options, self.kind.partition("-")[2])
            environment = dict(self.environment)
        log = self.directory / f"{len(self.logs) + 1:03d}-{self.kind}.log"
        self.logs.append((self.kind, log))
        self.server = Server(command, self.client_port, self.directory, environment)
        self.paused = self.ended = False
        self.server.launch(log)
        if self.links is not None:
            self.links.up(self.id)

    def stop(self) -> int:
        """End it with SIGTERM; returns the exit code."""
        assert self.server is not None
        self.resume()
        self.ended = True
        code = self.server.stop()
        self._is_down()
        return code

    def kill(self) -> None:
        """End it with SIGKILL; a paused process dies as well."""
        assert self.server is not None
        self.ended = True
        self.server.kill()
        self._is_down()

    def _is_down(self) -> None:
        self.paused = False
        if self.links is not None:
            self.links.down(self.id)

    def pause(self) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        assert self.server is not None
        assert self.server.process is not None
        self.server.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT, if it was paused."""
        if self.paused and self.alive:
            assert self.server is not None
            assert self.server.process is not None
            self.server.process.send_signal(signal.SIGCONT)
        self.paused = False

    def word(self, word: str) -> str:
        """The answer to a four-letter word; empty while nothing answers."""
        if not self.alive or self.paused:
            return ""
        try:
            return four_letter_word(self.client_port, word, _WORD_TIMEOUT_S)
        except OSError:
            return ""

    def mode(self) -> str:
        """`leader`, `follower`, `observer`, `read-only`, `standalone`; empty: not serving."""
        found = re.search(r"^Mode: (\S+)$", self.word("srvr"), re.MULTILINE)
        return found[1] if found else ""

    def zxid(self) -> int:
        """The last zxid that it has applied; -1 while it does not serve."""
        found = re.search(r"^Zxid: 0x([0-9a-f]+)$", self.word("srvr"), re.MULTILINE)
        return int(found[1], 16) if found else -1

    def figures(self) -> dict[str, str]:
        """What `mntr` shows."""
        lines = self.word("mntr").splitlines()
        return {name: value for name, _, value in (line.partition("\t") for line in lines)}

    def digests(self) -> dict[int, int]:
        """What `hash` shows: the tree digest by zxid."""
        lines = (line.split(": ") for line in self.word("hash").splitlines())
        return {int(line[0], 16): int(line[1]) for line in lines if len(line) == 2}

    def log_text(self) -> str:
        """What it has printed since its last start."""
        return self.logs[-1][1].read_text(errors="replace") if self.logs else ""

    def __str__(self) -> str:
        if not self.alive:
            shown = "down"
        else:
            shown = "paused" if self.paused else f"{self.mode() or 'not serving'} {self.zxid():x}"
        return f"{self.id} {self.kind}: {shown}"


class Ensemble:
    """Members with a common configuration; ending the context ends every process."""

    def __init__(self, directory: Path, shape: Shape) -> None:
        self.directory = directory
        self.shape = shape
        count = len(shape.kinds)
        ports = quiet_ports(4 * count)
        self._ports = {n: ports[4 * n - 4 : 4 * n] for n in range(1, count + 1)}
        masters = {n: self._observer_master_port(n) for n in self._ports}
        self.links: Links | None = None
        if shape.proxied:
            self.links = Links(
                {n: [*own[1:3], *([masters[n]] if masters[n] else [])]
                 for n, own in self._ports.items()}
            )  # fmt: skip
        self.members: dict[int, Member] = {}
        for number, kind in enumerate(shape.kinds, start=1):
            home = directory / f"member-{number}"
            (home / "data").mkdir(parents=True)
            (home / "data" / "myid").write_text(f"{number}\n")
            environment = resolver_environment(number, self._ports) if shape.proxied else {}
            self.members[number] = Member(
                number, kind, home, self._ports[number][0], self.links, environment,
                shape.log_level, shape.java_options,
            )  # fmt: skip
            self._write_config(self.members[number])
            if self.links is not None:
                self.links.down(number)

    # ---- Configuration ----------------------------------------------------------------

    def server_lines(self) -> list[str]:
        """What every member's configuration says of the members."""
        lines = []
        for number, (client, quorum, election, _) in self._ports.items():
            host = host_name(number) if self.shape.proxied else HOST
            role = "participant" if number <= len(self.shape.participants) else "observer"
            address = f";{HOST}:{client}" if self.shape.dynamic else ""
            lines.append(f"server.{number}={host}:{quorum}:{election}:{role}{address}")
        groups, weights = self.shape.groups, self.shape.weights
        lines += [f"group.{n}={':'.join(map(str, ids))}" for n, ids in groups.items()]
        return lines + [f"weight.{number}={weight}" for number, weight in weights.items()]

    def spare_port(self, member: int) -> int:
        """A port that the configuration does not use, for what a test adds to it."""
        return self._ports[member][3]

    def _settings(self, number: int) -> dict[str, object]:
        return {**self.shape.settings, **self.shape.own_settings.get(number, {})}

    def _observer_master_port(self, number: int) -> int:
        port = self._settings(number).get("observerMasterPort", 0)
        return port if isinstance(port, int) else 0

    def _write_config(self, member: Member) -> None:
        """Written once: servers rewrite a dynamic configuration themselves."""
        shape, lines = self.shape, self.server_lines()
        values: dict[str, object] = {
            "tickTime": shape.tick_ms, "initLimit": shape.init_limit,
            "syncLimit": shape.sync_limit, "dataDir": member.directory / "data",
            "maxClientCnxns": 0, "4lw.commands.whitelist": "*", "admin.enableServer": "false",
            "extendedTypesEnabled": "true",
        }  # fmt: skip
        if member.id > len(shape.participants):
            values["peerType"] = "observer"
        if shape.dynamic:
            dynamic = member.directory / "zoo.cfg.dynamic"
            dynamic.write_text("".join(f"{line}\n" for line in lines))
            values |= {"reconfigEnabled": "true", "dynamicConfigFile": dynamic}
            lines = []
        else:
            values |= {"clientPort": member.client_port, "clientPortAddress": HOST}
        values |= self._settings(member.id)
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        (member.directory / "zoo.cfg").write_text(text + "".join(f"{line}\n" for line in lines))

    # ---- Life -------------------------------------------------------------------------

    def start(self, timeout_s: float = 60.0) -> float:
        """Start every member; returns the seconds until all serve."""
        began = time.monotonic()
        for member in self.members.values():
            member.launch()
        self.wait_serving(timeout_s)
        return time.monotonic() - began

    def close(self) -> None:
        """End every process."""
        for member in self.members.values():
            if member.alive:
                member.kill()
        if self.links is not None:
            self.links.close()

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- What it shows ----------------------------------------------------------------

    @property
    def living(self) -> list[Member]:
        """Members whose process runs and is not paused."""
        return [member for member in self.members.values() if member.alive and not member.paused]

    def leader(self) -> Member | None:
        """The member that says that it leads; None when none does, or more than one."""
        leaders = [member for member in self.living if member.mode() == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    def wait(self, what: str, probe: Callable[[], T | None], timeout_s: float = 30.0) -> T:
        """Poll until `probe` gives something true; EnsembleError when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            if found := probe():
                return found
            for member in self.members.values():
                if not member.alive and not member.ended:
                    raise EnsembleError(f"waiting for {what}, {self._last_words(member)}")
            if time.monotonic() > deadline:
                shown = "; ".join(str(member) for member in self.members.values())
                raise EnsembleError(f"no {what} within {timeout_s} s: {shown}")
            time.sleep(_POLL_S)

    def wait_serving(
        self, timeout_s: float = 60.0, members: Iterable[Member] | None = None
    ) -> Member:
        """Wait until all living members serve, or those given, one of all leads; returns it."""

        def serving() -> Member | None:
            waited_for = self.living if members is None else list(members)
            if all(member.mode() in SERVING for member in waited_for):
                return self.leader()
            return None

        return self.wait("service of all members", serving, timeout_s)

    def wait_leader(self, timeout_s: float = 30.0) -> Member:
        """Wait until exactly one member leads, whatever the others do."""
        return self.wait("leader", self.leader, timeout_s)

    def wait_mode(self, member: Member, mode: str, timeout_s: float = 30.0) -> None:
        self.wait(f"{mode} at {member.id}", lambda: member.mode() == mode, timeout_s)

    def wait_in_step(self, timeout_s: float = 30.0) -> int:
        """Wait until all living members have applied the same; returns that zxid.

        After an election they show the same only when there has been a write.
        """

        def in_step() -> int | None:
            zxids = {member.zxid() for member in self.living}
            zxid = zxids.pop()
            return zxid if not zxids and zxid >= 0 else None

        return self.wait("common zxid", in_step, timeout_s)

    def _last_words(self, member: Member) -> str:
        assert member.server is not None
        assert member.server.process is not None
        code = member.server.process.returncode
        return (
            f"{member.id} {member.kind} has ended with code {code} (its log is "
            f"{member.logs[-1][1]}):\n{member.log_text()[-3000:]}"
        )
