"""The admin port and the metrics port of a kraal process, with what the reference has not."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kraal.admin.catalogue import CATALOGUE, Kind, Where
from tests.server.conftest import assert_alive, connected, create, data_of, running
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.ensembles import KRAAL, Ensemble, Shape, quiet_ports
from tests.support.servers import HOST, KRAAL_PATH, Server, four_letter_word, free_port

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
AUTH = {"Authorization": "digest root:any"}


@dataclass
class Kraal:
    """A server with its HTTP ports."""

    server: Server
    admin: int
    metrics: int

    def http(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        port: int | None = None,
    ) -> tuple[int, bytes]:
        url = f"http://{HOST}:{port or self.admin}{path}"
        request = urllib.request.Request(url, body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str) -> dict[str, object]:
        answer = json.loads(self.http(path)[1])
        assert isinstance(answer, dict)
        return answer


@contextmanager
def serving(directory: Path, **settings: object) -> Iterator[Kraal]:
    admin, metrics = free_port(), free_port()
    with running(
        directory,
        admin__enableServer="true",
        admin__serverPort=admin,
        admin__serverAddress=HOST,
        metricsProvider__className=PROMETHEUS,
        metricsProvider__httpPort=metrics,
        metricsProvider__httpHost=HOST,
        **settings,
    ) as server:
        yield Kraal(server, admin, metrics)


def test_health_and_paths(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal:
        assert kraal.http("/livez")[0] == 200
        assert kraal.http("/readyz")[0] == 200
        assert kraal.json("/readyz")["mode"] == "standalone"
        for behind in ("abc", "-5", ""):
            code, text = kraal.http(f"/readyz?behind={behind}")
            assert code == 400
            assert b"behind is " in text
        assert kraal.http("/readyz?behind=0x10")[0] == 200
        assert b'href="/commands/monitor"' in kraal.http("/")[1]
        assert kraal.http("/commands/")[1] == kraal.http("/commands")[1]
        assert kraal.http("/nowhere")[0] == 404
        assert kraal.http("/metrics")[0] == 404, "another port's"
        assert kraal.http("/commands/ruok", body=b"")[0] == 405
        assert kraal.http("/commands/restore", AUTH)[0] == 405
        assert kraal.json("/commands/nosuch")["error"] == "Unknown command: nosuch"
        for target in ("http://h/commands/%72uok", "HTTP://h:1/readyz?behind=5", "http://h"):
            assert "HTTP/1.1 200 " in asked(kraal.admin, target)
        assert "HTTP/1.1 404 " in asked(kraal.admin, "http://h/http://h/readyz")


def asked(port: int, target: str) -> str:
    """The answer to a GET of this target as it stands."""
    with socket.create_connection((HOST, port), timeout=20) as sock:
        request = f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


def test_a_server_that_refuses_writes_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path, disk__refuseFreeBytes=1 << 60) as kraal:
        code, text = kraal.http("/readyz")
        assert code == 503
        assert json.loads(text)["checks"]["disk"].endswith("writes are refused")
        assert kraal.http("/livez")[0] == 200


def test_a_member_without_a_leader_is_alive_and_not_ready(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(4)]
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "myid").write_text("1\n")
    server = servers.kraal(
        tmp_path,
        settings={
            "initLimit": 5, "syncLimit": 5,
            "server.1": f"{HOST}:{ports[0]}:{ports[1]}",
            "server.2": f"{HOST}:{ports[2]}:{ports[3]}",
            "server.3": f"{HOST}:{free_port()}:{free_port()}",
            "admin.enableServer": "true", "admin.serverPort": (admin := free_port()),
            "admin.serverAddress": HOST,
        },
    )  # fmt: skip
    process = server.launch()
    try:
        kraal = Kraal(server, admin, 0)
        while process.poll() is None:
            try:
                code, text = kraal.http("/readyz")
                break
            except OSError:
                continue
        assert code == 503
        assert json.loads(text)["checks"]["quorum"] == "no leader: election"
        assert kraal.http("/livez")[0] == 200
        assert kraal.json("/commands/zabstate")["zabstate"] == "election"
        assert kraal.json("/commands/srvr")["error"] == (
            "This ZooKeeper instance is not currently serving requests"
        )
    finally:
        server.kill()


def test_a_follower_that_does_not_hear_of_its_leader_is_not_ready(tmp_path: Path) -> None:
    ports = quiet_ports(3)
    own = {
        number: {"admin.enableServer": "true", "admin.serverPort": port}
        for number, port in enumerate(ports, start=1)
    }
    shape = Shape(participants=(KRAAL,) * 3, own_settings=own, tick_ms=500, sync_limit=8)
    with Ensemble(tmp_path, shape) as ensemble:
        ensemble.start()
        leader = ensemble.wait_leader()
        follower = next(m for m in ensemble.members.values() if m is not leader)
        url = f"http://{HOST}:{ports[follower.id - 1]}/readyz?behind=0"

        def reasons() -> list[str]:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    found = json.load(answer)
            except urllib.error.HTTPError as error:
                found = json.load(error)
            return list(found["reasons"])

        assert reasons() == []
        leader.pause()
        ensemble.wait("silence", lambda: any("nothing was heard of" in text for text in reasons()))


def test_taken_ports_are_complained_of_and_clients_are_served(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        settings = {
            "admin__enableServer": "true", "admin__serverPort": port, "admin__serverAddress": HOST,
            "metricsProvider__className": PROMETHEUS, "metricsProvider__httpPort": port,
            "metricsProvider__httpHost": HOST,
        }  # fmt: skip
        with running(tmp_path, **settings) as server:
            assert_alive(server)
            log = server.log_path.read_text()
    assert f"The admin server is not served, {HOST}:{port}" in log
    assert f"The metrics provider is not served, {HOST}:{port}" in log


def test_a_port_that_is_set_twice_is_that_of_clients(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "admin.enableServer": "true", "admin.serverPort": port,
        "metricsProvider.className": PROMETHEUS, "metricsProvider.httpPort": port,
    }  # fmt: skip
    with servers.kraal(tmp_path, port=port, settings=settings) as server:
        assert_alive(server)
        log = server.log_path.read_text()
    for key in ("admin.serverPort", "metricsProvider.httpPort"):
        said = (
            rf"zoo.cfg, line \d+: {key}={port}: clientPort \(\S+zoo.cfg, line 3\) is the same port"
        )
        assert re.search(said, log), log


def test_clients_have_two_ports(tmp_path: Path) -> None:
    port = free_port()
    server = servers.kraal(tmp_path, port=port, settings={"secureClientPort": port})
    assert server.launch().wait(30) == 2
    log = server.log_path.read_text()
    assert re.search(rf"secureClientPort={port}: clientPort \(.*line 3\) is the same port", log)


def test_without_its_packages_there_is_a_warning_and_service(tmp_path: Path) -> None:
    missing = tmp_path / "without" / "starlette"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text('raise ImportError("none", name="starlette")')
    path = f"{missing.parent}:{KRAAL_PATH['PYTHONPATH']}"
    settings = {"admin.enableServer": "true", "metricsProvider.className": PROMETHEUS}
    with servers.kraal(tmp_path, settings=settings, environment={"PYTHONPATH": path}) as server:
        assert_alive(server)
        log = server.log_path.read_text()
    assert "The admin server is not served: starlette is not installed" in log
    assert "The metrics provider is not served: starlette is not installed" in log


def test_load_sessions_and_large_znodes(tmp_path: Path) -> None:
    settings = {"slowRequestThresholdMs": 1, "maxSessionTimeout": 400, "tickTime": 100}
    with (
        serving(tmp_path, **settings) as kraal,
        connected(kraal.server.port, timeout_ms=400) as client,
    ):
        assert create(client, "/big", b"x" * 300_000) == 0
        for _ in range(5):
            data_of(client, "/big")
        assert create(client, "/e", b"", 1) == 0
        load = kraal.json("/commands/load")
        assert {"path": "/big", "requests": 6, "error": 0} in load["paths"]  # type: ignore[operator]
        assert {"operation": "getData", "requests": 5, "error": 0} in load["operations"]  # type: ignore[operator]
        row = load["clients"][0]  # type: ignore[index]
        assert row["host"] == HOST
        session = row["session_id"]
        largest = kraal.json("/commands/largest_znodes?limit=1")["znodes"]
        assert largest == [
            {"path": "/big", "data_bytes": 300_000, "children": 0, "children_bytes": 0,
             "share": 0.2861},
        ]  # fmt: skip
        slow = kraal.json("/commands/slow_requests")["requests"]
        assert {request["path"] for request in slow} <= {"/big", "/e", ""}  # type: ignore[attr-defined]
        # Nothing is heard of the client: its session ends, and one is told why.
        while b'"expired"' not in kraal.http(f"/commands/sessions?session={session}")[1]:
            pass
        events = kraal.json(f"/commands/sessions?session={session}")["events"]
        assert [event["event"] for event in events][:2] == ["created", "expired"]  # type: ignore[attr-defined]
        assert "its timeout of 400 ms" in events[1]["detail"]  # type: ignore[index]
        assert session in kraal.json("/commands/sessions")["sessions"]  # type: ignore[operator]
        assert "nothing is remembered" in str(kraal.json("/commands/sessions?session=7"))


def test_long_lists_come_in_pages(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal, connected(kraal.server.port) as client:
        for number in range(50):
            path = f"/w{number:02}"
            client.call("exists", raw.path_and_watch(path, True))
        page = kraal.json("/commands/wchp?offset=10&limit=3")["path_to_session_ids"]
        assert list(page) == ["/w10", "/w11", "/w12"]  # type: ignore[call-overload]
        assert len(kraal.json("/commands/wchp")["path_to_session_ids"]) == 50  # type: ignore[arg-type]
        assert kraal.json("/commands/cons?limit=0")["connections"] == []
        assert kraal.json("/commands/largest_znodes?limit=0")["znodes"] == []
        assert create(client, "/w") == 0
        for after, following in (("", ""), ("a", "a"), ("zzz", None)):
            code, text = kraal.http(f"/commands/children?path=/&limit=0&after={after}", AUTH)
            page = json.loads(text)
            assert (code, page["children"], page["next"]) == (200, [], following)
        assert "negative or too large" in str(kraal.json("/commands/cons?offset=-1")["error"])


def test_what_is_watched_most(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal, connected(kraal.server.port) as client:
        assert create(client, "/busy") == 0
        for number in range(5):
            client.call("exists", raw.path_and_watch(f"/w{number}", True))
        with connected(kraal.server.port) as other:
            other.call("getData", raw.path_and_watch("/busy", True))
            client.call("getData", raw.path_and_watch("/busy", True))
            client.call("getChildren", raw.path_and_watch("/busy", True))
            said = kraal.json("/commands/most_watched?limit=1")
    assert said["watches"] == 8
    assert said["paths"] == [{"path": "/busy", "data_watches": 2, "child_watches": 1}]
    session = said["sessions"][0]  # type: ignore[index]
    assert (session["watches"], session["host"]) == (7, HOST)


def test_a_long_answer_comes_while_clients_are_served(tmp_path: Path) -> None:
    with serving(tmp_path, jute__maxbuffer=32 << 20) as kraal:
        with connected(kraal.server.port) as client:
            paths = [f"/watched/by/one/client/{number:06}" for number in range(60_000)]
            for begin in range(0, len(paths), 20_000):
                vector = b"".join(map(raw.ustring, paths[begin : begin + 20_000]))
                body = (0).to_bytes(8, "big") + bytes(4)
                body += (20_000).to_bytes(4, "big") + vector + bytes(4)
                assert client.call("setWatches", body).err == 0
            answer = kraal.json("/commands/wchp")
        assert len(answer["path_to_session_ids"]) == 60_000  # type: ignore[arg-type]


def test_log_levels_are_set_by_who_may(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal:
        path = "/commands/set_log_level?logger=kraal.server.client&level=debug"
        assert kraal.http(path, body=b"")[0] == 401
        assert kraal.http(path, AUTH)[0] == 405
        assert kraal.http(path, AUTH, b"")[0] == 200
        levels = kraal.json("/commands/log_levels")["loggers"]
        assert levels["kraal.server.client"] == "DEBUG"  # type: ignore[index]
        with connected(kraal.server.port):
            pass
        wrong = kraal.http("/commands/set_log_level?logger=root&level=debug", AUTH, b"")
        assert b"none of kraal's" in wrong[1]
        unknown = kraal.http("/commands/set_log_level?logger=kraal.nosuch&level=debug", AUTH, b"")
        assert b"there is no logger kraal.nosuch" in unknown[1]
        for half in ("level=debug", "logger=kraal", "", "level=loud"):
            answer = kraal.http(f"/commands/set_log_level?{half}", AUTH, b"")[1]
            assert b"give both: logger" in answer
        for level in ("error", "info"):
            assert kraal.http(f"/commands/set_log_level?logger=kraal&level={level}", AUTH, b"")
        log = kraal.server.log_path.read_text()
    said = re.findall(r"INFO .*: the level of the logger (\S+) is (\S+) until", log)
    assert said == [("kraal.server.client", "DEBUG"), ("kraal", "ERROR"), ("kraal", "INFO")]


class TestSnapshotAndRestore:
    def test_what_was_saved_comes_back_and_stays(self, tmp_path: Path) -> None:
        with serving(tmp_path) as kraal:
            with connected(kraal.server.port) as client:
                assert create(client, "/kept", b"before") == 0
                code, file = kraal.http("/commands/snapshot", AUTH)
                assert code == 200
                assert (
                    client.call(
                        "setData", raw.ustring("/kept") + raw.buffer(b"after") + b"\xff" * 4
                    ).err
                    == 0
                )
                assert create(client, "/later") == 0
            code, text = kraal.http("/commands/restore", AUTH, file)
            assert code == 200, text
            assert isinstance(json.loads(text)["last_zxid"], int)
            with connected(kraal.server.port) as client:
                assert data_of(client, "/kept") == b"before"
                assert create(client, "/later") == 0, "it was gone"
            code, text = kraal.http("/commands/restore", AUTH, file)
            assert code == 429
            assert re.search(r"ask again in (29\d|300) s", json.loads(text)["error"])
            figures = kraal.json("/commands/monitor")
            assert figures["restore_rate_limited_count"] == 1
            assert figures["cnt_restore_time"] == 1
        with running(tmp_path) as server, connected(server.port) as client:
            assert data_of(client, "/kept") == b"before"

    @pytest.mark.parametrize(
        ("file", "reason"),
        [
            (b"", b"no snapshot in it"),
            (b"nonsense", b"no sound snapshot"),
            (b"\x1f\x8bnonsense", b"no sound snapshot"),
        ],
    )
    def test_what_is_no_snapshot_changes_nothing(
        self, tmp_path: Path, file: bytes, reason: bytes
    ) -> None:
        with serving(tmp_path) as kraal:
            with connected(kraal.server.port) as client:
                assert create(client, "/kept", b"x") == 0
            code, text = kraal.http("/commands/restore", AUTH, file)
            assert code == 500
            assert reason in text
            assert kraal.http("/commands/restore", AUTH, file)[0] == 500, "none has begun"
            with connected(kraal.server.port) as client:
                assert data_of(client, "/kept") == b"x"

    def test_only_who_may_everything_may_copy_everything(self, tmp_path: Path) -> None:
        with serving(tmp_path) as kraal:
            with connected(kraal.server.port) as client:
                client.call("auth", bytes(4) + raw.ustring("digest") + raw.buffer(b"root:pw"))
                acl = (1).to_bytes(4, "big") + (31).to_bytes(4, "big")
                acl += raw.ustring("auth") + raw.ustring("")
                assert client.call("setACL", raw.ustring("/") + acl + b"\xff" * 4).err == 0
            assert kraal.http("/commands/snapshot", AUTH)[0] == 403
            assert kraal.http("/commands/snapshot", {"Authorization": "ip"})[0] == 403
            assert kraal.http("/commands/snapshot", {"Authorization": "digest root:pw"})[0] == 200

    def test_turned_off(self, tmp_path: Path) -> None:
        settings = {"admin__snapshot__enabled": "false", "admin__restore__enabled": "false"}
        with serving(tmp_path, **settings) as kraal:
            assert kraal.http("/commands/snapshot", AUTH)[0] == 503
            assert kraal.http("/commands/restore", AUTH, b"x")[0] == 503


class TestMetrics:
    def test_every_metric_is_there_with_its_type(self, tmp_path: Path) -> None:
        with serving(tmp_path) as kraal, connected(kraal.server.port) as client:
            assert create(client, "/ns", b"x") == 0
            data_of(client, "/ns")
            code, text = kraal.http("/metrics", port=kraal.metrics)
            assert code == 200
            filtered = kraal.http("/metrics?name[]=znode_count", port=kraal.metrics)[1]
            assert kraal.http("/", port=kraal.metrics)[0] == 404
        assert filtered.decode().splitlines()[1:] == ["# TYPE znode_count gauge", "znode_count 6.0"]
        types = dict(
            line.removeprefix("# TYPE ").split(" ")
            for line in text.decode().splitlines()
            if line.startswith("# TYPE ")
        )
        kinds = {Kind.GAUGE: "gauge", Kind.COUNTER: "counter"}
        for metric in CATALOGUE:
            if metric.where is Where.ALL:
                assert types[metric.name] == kinds.get(metric.kind, "summary"), metric
        assert types["process_cpu_seconds_total"] == "counter"
        assert 'write_per_namespace_sum{key="ns"} 4.0' in text.decode()
        assert 'updatelatency{quantile="0.99"}' in text.decode()
        samples = [
            sample
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        ]
        assert len({(sample.name, str(sample.labels)) for sample in samples}) == len(samples)

    def test_a_reset_leaves_them_alone(self, tmp_path: Path) -> None:
        with serving(tmp_path) as kraal:
            with connected(kraal.server.port) as client:
                assert create(client, "/ns", b"x") == 0
            kraal.http("/commands/srst")
            text = kraal.http("/metrics", port=kraal.metrics)[1].decode()
            assert 'write_per_namespace_count{key="ns"} 1.0' in text
            assert "\nconnection_request_count 1.0\n" in text
            assert kraal.json("/commands/mntr")["connection_request_count"] == 0


def test_a_long_word_comes_whole(tmp_path: Path) -> None:
    with running(tmp_path, jute__maxbuffer=32 << 20) as server, connected(server.port) as client:
        paths = [f"/watched/by/one/client/{number:06}" for number in range(30_000)]
        vector = b"".join(map(raw.ustring, paths))
        body = (0).to_bytes(8, "big") + bytes(4) + len(paths).to_bytes(4, "big") + vector
        assert client.call("setWatches", body + bytes(4)).err == 0
        lines = four_letter_word(server.port, "wchp", 30).splitlines()
        assert lines[::2][:-1] == paths
        assert len(four_letter_word(server.port, "wchc", 30).splitlines()) == len(paths) + 2
        assert four_letter_word(server.port, "wchs") == (
            "1 connections watching 30000 paths\nTotal watches:30000\n"
        )
