"""What operators ask of a server, and what its clients notice of that.

One server with many sessions that watch. Its clients are measured quiet and busy in turn, within
one run. Busy means: the metrics are scraped, `cons` and `wchp` are asked for once a second each,
and one online backup follows the other. Whoever asks reads and throws away, so that what is
measured is the server and not the tools beside it.
"""

from __future__ import annotations

import http.client
import json
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import loader
from bench.lifecycle import fill
from bench.loader import Load
from tests.support import raw_client as raw
from tests.support.servers import HOST, Server, four_letter_word, free_port, kraal

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
ASKED_EVERY_S = 1.0
SESSION_MS = 3_600_000
WATCHED = 1000
OPEN_FILES = 20_000
LOADS = (
    Load("read", 48, 1), Load("write", 48, 1), Load("read", 9, 10), Load("write", 9, 10),
)  # fmt: skip
STATES = ("quiet", "busy")
LIMIT = 1.3
_BACKUP = "backup"
ASKS = ("metrics", "cons", "wchp", _BACKUP)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does."""

    rounds: int = 3
    seconds: float = 4.0
    sessions: int = 10_000
    znodes: int = 100_000
    asks: tuple[str, ...] = ASKS


@dataclass
class Outcome:
    """Percentiles in µs by load, state and name, one for each round; what was asked."""

    samples: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    asked: dict[str, list[float]] = field(default_factory=dict)
    """Seconds that each answer took."""

    def middle(self, load: str, state: str, name: str) -> float:
        return median(self.samples[load, state, name])

    def ratio(self, load: str, name: str) -> float:
        return self.middle(load, "busy", name) / self.middle(load, "quiet", name)


def name_of(load: Load) -> str:
    return f"{load.mode} {load.connections}x{load.outstanding}"


@contextmanager
def held_sessions(port: int, count: int) -> Iterator[None]:
    """So many sessions, each with a watch on one of the watched znodes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
    with ExitStack() as stack:
        first = stack.enter_context(raw.RawClient(port, timeout=60))
        first.connect(raw.connect_request(timeout=SESSION_MS))
        for number in range(WATCHED):
            first.send("create", raw.create_body(f"/watched-{number}", b"x", raw.OPEN_ACL, 0))
        for _ in range(WATCHED):
            first.receive()
        for number in range(1, count):
            client = stack.enter_context(raw.RawClient(port, timeout=60))
            client.connect(raw.connect_request(timeout=SESSION_MS))
            path = f"/watched-{number % WATCHED}"
            assert client.call("getData", raw.path_and_watch(path, True)).err == 0
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Operators:
    """Threads that ask, as long as the context lasts."""

    def __init__(
        self, server: Server, admin: int, metrics: int, asked: tuple[str, ...], outcome: Outcome
    ) -> None:
        self._stopping = threading.Event()
        self._outcome = outcome
        self.problem = ""
        asks: dict[str, Callable[[], int]] = {
            "metrics": lambda: read_http(metrics, "/metrics"),
            "cons": lambda: len(four_letter_word(server.port, "cons", 60)),
            "wchp": lambda: len(four_letter_word(server.port, "wchp", 60)),
            _BACKUP: lambda: read_http(admin, "/commands/backup"),
        }
        self._threads = [
            threading.Thread(target=self._ask, args=(what, asks[what]), daemon=True)
            for what in asked
        ]

    def __enter__(self) -> Operators:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, what: str, ask: Callable[[], int]) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if ask() < 1000:
                    raise loader.LoaderError(f"{what} says next to nothing")
            except (OSError, http.client.HTTPException, loader.LoaderError) as error:
                self.problem = f"{what}: {error!r}"
                return
            took = time.monotonic() - began
            self._outcome.asked.setdefault(what, []).append(took)
            # The admin server limits how often snapshots are taken, backups with them.
            self._stopping.wait(0.5 if what == _BACKUP else max(0.0, ASKED_EVERY_S - took))


def read_http(port: int, path: str) -> int:
    """The size of an answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": "ip"})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise OSError(f"{path}: status {response.status}")
        size = 0
        while piece := response.read(1 << 20):
            size += len(piece)
        return size
    finally:
        connection.close()


def run(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """All loads in each round, each quiet and busy; raises LoaderError, OSError."""
    outcome = Outcome()
    admin, metrics = free_port(), free_port()
    settings = {
        "admin.enableServer": "true", "admin.serverPort": admin, "admin.serverAddress": HOST,
        "metricsProvider.className": PROMETHEUS, "metricsProvider.httpPort": metrics,
        "metricsProvider.httpHost": HOST, "maxSessionTimeout": SESSION_MS,
    }  # fmt: skip
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="operating-")))
        server = stack.enter_context(kraal(directory, settings=settings))
        say(f"filling {plan.znodes} znodes")
        fill(server, plan.znodes)
        loader.run(Load("fill", 10, 100), server.port)
        say(f"opening {plan.sessions} sessions")
        stack.enter_context(held_sessions(server.port, plan.sessions))
        for load in LOADS:
            _measure(load, 1.0, server)  # the interpreter has seen it all
        for number in range(plan.rounds):
            for load in LOADS:
                # Which of both is first changes, so that a drift is on both.
                for state in STATES if number % 2 == 0 else STATES[::-1]:
                    say(f"round {number + 1}: {name_of(load)}, {state}")
                    _round(plan, load, state, server, (admin, metrics), outcome)
    return outcome


def _round(
    plan: Plan, load: Load, state: str, server: Server, ports: tuple[int, int], outcome: Outcome
) -> None:
    if state == "busy":
        with Operators(server, *ports, plan.asks, outcome) as operators:
            figures = _measure(load, plan.seconds, server)
        if operators.problem:
            raise loader.LoaderError(operators.problem)
    else:
        figures = _measure(load, plan.seconds, server)
    for name in ("p50_us", "p99_us", "p999_us", "operations"):
        value = figures[name] / plan.seconds if name == "operations" else figures[name]
        outcome.samples.setdefault((name_of(load), state, name), []).append(value)


def _measure(load: Load, seconds: float, server: Server) -> dict[str, float]:
    timed = Load(load.mode, load.connections, load.outstanding, warm_up=0.5, seconds=seconds)
    return loader.run(timed, server.port, server.pid)


def render(plan: Plan, outcome: Outcome) -> str:
    """A table of medians of the rounds, and what the answers took."""
    lines = [
        f"{plan.sessions} sessions with a watch each, {plan.znodes} znodes, medians of "
        f"{plan.rounds} rounds of {plan.seconds:g} s; goal: p99 within {LIMIT} of quiet",
        "",
        f"{'':14}{'ops/s':>16}{'p50 (ms)':>16}{'p99 (ms)':>16}{'p99.9 (ms)':>16}  p99 busy/quiet",
    ]
    for load in map(name_of, LOADS):
        cells = [f"{load:14}"]
        for name in ("operations", "p50_us", "p99_us", "p999_us"):
            scale = 1.0 if name == "operations" else 1000.0
            both = [outcome.middle(load, state, name) / scale for state in STATES]
            shown = " / ".join(f"{v:.0f}" if name == "operations" else f"{v:.2f}" for v in both)
            cells.append(f"{shown:>16}")
        ratio = outcome.ratio(load, "p99_us")
        lines.append("".join(cells) + f"  {ratio:.2f}{'' if ratio <= LIMIT else '  ABOVE'}")
    lines.append("")
    for what, took in sorted(outcome.asked.items()):
        lines.append(
            f"{what}: {len(took)} answers, {median(took):.2f} s each, {max(took):.2f} s at most"
        )
    return "\n".join(lines)


def as_json(outcome: Outcome) -> str:
    rows = [
        {"load": load, "state": state, "figure": name, "values": values}
        for (load, state, name), values in outcome.samples.items()
    ]
    return json.dumps({"samples": rows, "asked": outcome.asked}, indent=2)


def is_quiet_enough(outcome: Outcome) -> bool:
    return all(outcome.ratio(name_of(load), "p99_us") <= LIMIT for load in LOADS)
