"""What operators ask of a server, and what its clients notice of that.

One server with many sessions that watch. Its clients are measured quiet and busy in turn, within
one run. Busy means: the metrics are scraped, `cons` and `wchp` are asked for once a second each,
and one online backup follows the other; of Apache ZooKeeper, which has neither that nor the
endpoint without a package more, `mntr` and the admin command `snapshot`. Whoever asks reads and
throws away, and only takes processor time that nobody else wants, as far as the system knows such
a thing: elsewhere it would be another machine's.

What counts is latency at a rate: a share of what the server can do at most, the same for quiet and
busy. At saturation the clients take both cores, and there is no time for whoever asks that is not
taken from them, whatever the server does.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench import loader
from bench.lifecycle import fill
from bench.loader import Load
from bench.runner import STARTERS
from tests.support import raw_client as raw
from tests.support.servers import HOST, Server, four_letter_word, free_port

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
ASKED_EVERY_S = 1.0
SESSION_MS = 3_600_000
WATCHED = 1000
OPEN_FILES = 20_000
LOADS = (
    Load("read", 48, 1), Load("write", 48, 1), Load("read", 9, 10), Load("write", 9, 10),
)  # fmt: skip
STATES = ("quiet", "busy")
RATE, SATURATED = PACES = ("rate", "saturated")
FIGURES = ("per_second", "p50_us", "p99_us", "p999_us", "server_cores", "other_cores")
LIMIT = 1.3
CAPACITY_SECONDS = 2.0
"""How long it is measured what a server can do at most."""
_BACKUP = "backup"
ASKS = ("metrics", "cons", "wchp", _BACKUP)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does."""

    servers: tuple[str, ...] = ("apache", "kraal")
    paces: tuple[str, ...] = PACES
    share: float = 0.5
    """The rate, as a part of what the server can do at most."""
    rounds: int = 3
    seconds: float = 4.0
    sessions: int = 10_000
    znodes: int = 100_000
    asks: tuple[str, ...] = ASKS


@dataclass(frozen=True)
class Row:
    """Of which server, at which pace and under which load something was measured."""

    server: str
    pace: str
    load: str


@dataclass
class Outcome:
    """Figures by row, state and name, one for each round; what was asked."""

    samples: dict[tuple[Row, str, str], list[float]] = field(default_factory=dict)
    asked: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Seconds that each answer took, by server and question."""

    def rows(self, pace: str) -> list[Row]:
        return list(dict.fromkeys(row for row, _, _ in self.samples if row.pace == pace))

    def middle(self, row: Row, state: str, name: str) -> float:
        return median(self.samples[row, state, name])

    def ratio(self, row: Row) -> float:
        """The p99 of busy clients over that of quiet ones."""
        return self.middle(row, "busy", "p99_us") / self.middle(row, "quiet", "p99_us")


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


@dataclass(frozen=True)
class Target:
    """A running server, and where it is asked."""

    name: str
    server: Server
    admin_port: int
    metrics_port: int

    def asks(self) -> dict[str, Callable[[], int]]:
        """What to call for each question; the size of the answer."""
        port, is_apache = self.server.port, self.name == "apache"
        backup = "/commands/snapshot" if is_apache else "/commands/backup"
        words = {"cons": "cons", "wchp": "wchp", **({"metrics": "mntr"} if is_apache else {})}
        return {
            "metrics": partial(read_http, self.metrics_port, "/metrics"),
            _BACKUP: partial(read_http, self.admin_port, backup),
            **{what: partial(_answer_size, port, word) for what, word in words.items()},
        }


class Operators:
    """Threads that ask, as long as the context lasts."""

    def __init__(self, target: Target, asked: tuple[str, ...], outcome: Outcome) -> None:
        self._target = target.name
        self._stopping = threading.Event()
        self._outcome = outcome
        self.problem = ""
        asks = target.asks()
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
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # this thread alone
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if ask() < 1000:
                    raise loader.LoaderError(f"{what} says next to nothing")
            except (OSError, http.client.HTTPException, loader.LoaderError) as error:
                self.problem = f"{what}: {error!r}"
                return
            took = time.monotonic() - began
            self._outcome.asked.setdefault((self._target, what), []).append(took)
            # The admin server limits how often snapshots are taken, backups with them.
            self._stopping.wait(0.5 if what == _BACKUP else max(0.0, ASKED_EVERY_S - took))


def _answer_size(port: int, word: str) -> int:
    return len(four_letter_word(port, word, 60))


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


@contextmanager
def running(name: str) -> Iterator[Target]:
    """A server of this name on an empty data directory, with its ports for operators."""
    admin, metrics = free_port(), free_port()
    settings: dict[str, object] = {
        "admin.enableServer": "true", "admin.serverPort": admin, "admin.serverAddress": HOST,
        "maxSessionTimeout": SESSION_MS,
    }  # fmt: skip
    if name == "kraal":
        settings |= {
            "metricsProvider.className": PROMETHEUS, "metricsProvider.httpPort": metrics,
            "metricsProvider.httpHost": HOST,
        }  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="operating-") as directory,
        STARTERS[name](Path(directory), settings=settings) as server,
    ):
        yield Target(name, server, admin, metrics)


def run(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Each server with all loads in each round, quiet and busy; raises LoaderError, OSError."""
    outcome = Outcome()
    for name in plan.servers:
        with running(name) as target:
            _run(plan, target, outcome, partial(_say, say, name))
    return outcome


def _say(say: Callable[[str], None], name: str, text: str) -> None:
    say(f"{name}: {text}")


def _run(plan: Plan, target: Target, outcome: Outcome, say: Callable[[str], None]) -> None:
    server = target.server
    say(f"filling {plan.znodes} znodes")
    fill(server, plan.znodes)
    loader.run(Load("fill", 10, 100), server.port)
    say(f"opening {plan.sessions} sessions")
    with held_sessions(server.port, plan.sessions):
        rates: dict[Load, float] = {}
        for load in LOADS:
            # What the interpreter, or the virtual machine, has not seen yet does not count.
            _measure(load, plan.seconds, server)
            capacity = _measure(load, min(plan.seconds, CAPACITY_SECONDS), server)["per_second"]
            rates[load] = plan.share * capacity
            say(f"{name_of(load)}: {capacity:,.0f}/s at most")
        for number in range(plan.rounds):
            for pace in plan.paces:
                for load in LOADS:
                    # Which of both is first changes, so that a drift is on both.
                    for state in STATES if number % 2 == 0 else STATES[::-1]:
                        say(f"round {number + 1}: {pace}, {name_of(load)}, {state}")
                        paced = replace(load, rate=rates[load] if pace == RATE else 0.0)
                        _round(plan, paced, state, target, outcome)


def _round(plan: Plan, load: Load, state: str, target: Target, outcome: Outcome) -> None:
    if state == "busy":
        with Operators(target, plan.asks, outcome) as operators:
            figures = _measure(load, plan.seconds, target.server)
        if operators.problem:
            raise loader.LoaderError(operators.problem)
    else:
        figures = _measure(load, plan.seconds, target.server)
    row = Row(target.name, RATE if load.rate else SATURATED, name_of(load))
    for name in FIGURES:
        outcome.samples.setdefault((row, state, name), []).append(figures[name])


def _measure(load: Load, seconds: float, server: Server) -> dict[str, float]:
    return loader.run(replace(load, warm_up=0.5, seconds=seconds), server.port, server.pid)


def render(plan: Plan, outcome: Outcome) -> str:
    """Tables of medians of the rounds, quiet / busy, and what the answers took."""
    lines = [
        f"{plan.sessions} sessions with a watch each, {plan.znodes} znodes, medians of "
        f"{plan.rounds} rounds of {plan.seconds:g} s, quiet / busy; goal: p99 within {LIMIT} of "
        "quiet at a rate",
    ]
    titles = {
        RATE: f"At a rate of {plan.share:.0%} of what each server can do under the load; latency "
        "counts from when a request was due:",
        SATURATED: "Saturated, where whoever asks takes processor time from the clients:",
    }
    for pace in plan.paces:
        lines += ["", titles[pace], _HEADER]
        lines += [_line(outcome, row) for row in outcome.rows(pace)]
    lines.append("")
    for (server, what), took in sorted(outcome.asked.items()):
        lines.append(
            f"{server}, {what}: {len(took)} answers, {median(took):.2f} s each, "
            f"{max(took):.2f} s at most"
        )
    others = [
        value
        for (_, state, name), values in outcome.samples.items()
        if (state, name) == ("quiet", "other_cores")
        for value in values
    ]
    lines.append(f"other programs took {median(others):.2f} cores while it was quiet")
    return "\n".join(lines)


_COLUMNS = (  # title, name, divisor, decimals
    ("ops/s", "per_second", 1, 0), ("p50 (ms)", "p50_us", 1000, 2), ("p99 (ms)", "p99_us", 1000, 2),
    ("p99.9 (ms)", "p999_us", 1000, 2), ("server's cores", "server_cores", 1, 2),
)  # fmt: skip
_HEADER = " " * 20 + "".join(f"{title:>17}" for title, *_ in _COLUMNS) + "  p99 busy/quiet"


def _line(outcome: Outcome, row: Row) -> str:
    cells = [f"{row.server:8}{row.load:12}"]
    for _, name, divisor, decimals in _COLUMNS:
        both = [outcome.middle(row, state, name) / divisor for state in STATES]
        cells.append(f"{' / '.join(f'{value:.{decimals}f}' for value in both):>17}")
    ratio = outcome.ratio(row)
    return "".join(cells) + f"  {ratio:.2f}{'' if ratio <= LIMIT else '  ABOVE'}"


def as_json(outcome: Outcome) -> str:
    rows = [
        {**asdict(row), "state": state, "figure": name, "values": values}
        for (row, state, name), values in outcome.samples.items()
    ]
    asked = [
        {"server": server, "asked": what, "seconds": took}
        for (server, what), took in outcome.asked.items()
    ]
    return json.dumps({"samples": rows, "asked": asked}, indent=2)


def is_quiet_enough(outcome: Outcome) -> bool:
    """Whether kraal's clients notice as little as they should."""
    rows = [row for row in outcome.rows(RATE) if row.server == "kraal"]
    return all(outcome.ratio(row) <= LIMIT for row in rows)
