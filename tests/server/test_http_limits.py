"""What strangers may do to the admin port, and what they may not take from anybody else."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from kraal.server.http_server import CONNECTIONS_MAX, REQUESTS_MAX
from tests.server.conftest import assert_alive, connected, create
from tests.server.test_admin_server import Kraal, serving
from tests.support.servers import HOST

IDLE_MS = 400
HALF = b"GET /livez HTTP/1.1\r\nHo"
STALLED = b"POST /commands/restore HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" + (
    b"Authorization: digest root:any\r\nContent-Type: application/octet-stream\r\n\r\nbegin"
)
BACKUP = b"GET /commands/backup HTTP/1.1\r\nHost: x\r\nAuthorization: digest root:any\r\n\r\n"
NODES, NODE_BYTES = 24, 500_000
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


def wait(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dial(port: int, said: bytes = b"", receive_bytes: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(20)
    sock.connect((HOST, port))
    sock.sendall(said)
    return sock


@contextmanager
def with_data(directory: Path, **settings: object) -> Iterator[Kraal]:
    """A server whose backup is much more than the system holds between two processes."""
    with serving(directory, admin__idleTimeout=IDLE_MS, **settings) as kraal:
        with connected(kraal.server.port) as client:
            for number in range(NODES):
                assert create(client, f"/{number}", b"x" * NODE_BYTES) == 0
        yield kraal


@pytest.mark.parametrize("said", [b"", HALF, STALLED, LIVEZ + HALF])
@pytest.mark.parametrize("port", ["admin", "metrics"])
def test_who_asks_for_nothing_is_closed(tmp_path: Path, said: bytes, port: str) -> None:
    with serving(tmp_path, admin__idleTimeout=IDLE_MS) as kraal:
        number = kraal.admin if port == "admin" else kraal.metrics
        with dial(number, said) as sock:
            while sock.recv(1000):  # what it has asked for, and then the end
                pass


def test_a_head_that_comes_a_byte_at_a_time_has_its_time_as_a_whole(tmp_path: Path) -> None:
    with serving(tmp_path, admin__idleTimeout=IDLE_MS) as kraal:
        began = time.monotonic()
        with dial(kraal.admin) as sock, pytest.raises(OSError):
            while time.monotonic() - began < 20:
                sock.sendall(b"G")
                time.sleep(0.02)


def held_files(kraal: Kraal) -> int:
    found = 0
    for link in Path(f"/proc/{kraal.server.pid}/fd").iterdir():
        try:
            found += "version-2/snapshot." in str(link.readlink())
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are seen in /proc")
def test_a_reader_that_takes_nothing_lets_go_of_the_snapshot(tmp_path: Path) -> None:
    with with_data(tmp_path) as kraal, dial(kraal.admin, BACKUP, 4096) as sock:
        assert sock.recv(12) == b"HTTP/1.1 200"
        assert held_files(kraal) == 1
        wait(lambda: held_files(kraal) == 0)
        got = 0
        while more := sock.recv(1 << 20):  # what the system held, and then the end
            got += len(more)
        assert got < NODES * NODE_BYTES


def test_a_slow_reader_gets_all_of_it(tmp_path: Path) -> None:
    with with_data(tmp_path) as kraal, dial(kraal.admin, BACKUP, 64 << 10) as sock:
        began = time.monotonic()
        answer = HTTPResponse(sock)
        answer.begin()
        got = 0
        while more := answer.read(256 << 10):  # raises IncompleteRead where it is cut
            got += len(more)
            if time.monotonic() - began < 6 * IDLE_MS / 1000:
                time.sleep(0.05)
        assert got > NODES * NODE_BYTES


def test_a_slow_upload_is_not_cut(tmp_path: Path) -> None:
    pieces = 40
    with serving(tmp_path, admin__idleTimeout=IDLE_MS) as kraal:
        head = STALLED.replace(b"begin", b"").replace(b": 1000", b": %d" % (1000 * pieces))
        with dial(kraal.admin, head) as sock:
            for _ in range(pieces):
                sock.sendall(b"x" * 1000)
                time.sleep(3 * IDLE_MS / 1000 / pieces)
            assert b"no sound snapshot" in sock.recv(10_000)


def test_health_is_answered_whoever_is_connected_and_clients_are_served(tmp_path: Path) -> None:
    """More strangers than the server has descriptors."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, most[1]))
    try:
        running_ = ExitStack()
        kraal = running_.enter_context(serving(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    with running_, ExitStack() as strangers:
        began = time.monotonic()
        for _ in range(600):
            strangers.enter_context(dial(kraal.admin, HALF))
        assert kraal.http("/livez")[0] == 200
        assert kraal.http("/readyz")[0] == 200
        assert kraal.http("/commands/ruok")[0] == 200
        assert_alive(kraal.server)
        log = kraal.server.log_path.read_text()
        seconds = time.monotonic() - began
    assert "Too many connections to an HTTP port - max is 64; closing the one" in log
    assert log.count("Too many connections") <= seconds + 2  # one a second


def test_requests_under_way_are_limited_and_health_is_not(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal, ExitStack() as strangers:
        for _ in range(REQUESTS_MAX):
            strangers.enter_context(dial(kraal.admin, STALLED))
        wait(lambda: kraal.http("/commands/ruok")[0] == 503)
        for _ in range(CONNECTIONS_MAX):
            strangers.enter_context(dial(kraal.admin))
        assert kraal.http("/commands/ruok") == (503, b"Service Unavailable")
        assert kraal.http("/livez")[0] == 200
        assert kraal.http("/readyz")[0] == 200
        strangers.close()
        wait(lambda: kraal.http("/commands/ruok")[0] == 200)
        log = kraal.server.log_path.read_text()
    assert f"Too many requests to an HTTP port are under way - max is {REQUESTS_MAX}" in log


def test_strangers_write_no_lines_about_uvicorn(tmp_path: Path) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    with serving(tmp_path) as kraal:
        assert kraal.http("/livez", upgrade)[0] == 200
        for _ in range(20):
            with dial(kraal.admin, b"\x16\x03\x01\r\n\r\n") as sock:
                assert sock.recv(12) == b"HTTP/1.1 400"
        log = kraal.server.log_path.read_text()
    assert "pgrade" not in log
    assert "WebSocket" not in log
    assert log.count("Invalid HTTP request") in (1, 2)
