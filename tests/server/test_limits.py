"""The limits of a real process: what is over them is refused, and memory stays bounded."""

from __future__ import annotations

import resource
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server.conftest import (
    Memory,
    assert_alive,
    connected,
    create,
    data_of,
    figure,
    running,
)
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.servers import HOST, Server

OK, MARSHALLING, THROTTLED = 0, -5, -127
MIB = 1 << 20
MAX_FRAME = 1_048_575
MEGABYTE_NODE = "/large"
LARGEST_DATA = 1_048_500
SILENT_CONNECTIONS = 10_000
_REPLY_HEADER = struct.Struct(">iqi")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the limits of a configuration that names none, but for connections."""
    with running(tmp_path_factory.mktemp("limits")) as process:
        with connected(process.port) as client:
            assert create(client, MEGABYTE_NODE, b"x" * LARGEST_DATA) == OK
        yield process


def is_refused(port: int, source: str = HOST) -> bool:
    """Whether a new connection is closed without a byte, instead of being given a session."""
    with socket.create_connection((HOST, port), timeout=20, source_address=(source, 0)) as sock:
        record = raw.connect_request()
        try:
            sock.sendall(raw.i32(len(record)) + record)
            return sock.recv(100) == b""
        except (ConnectionResetError, BrokenPipeError):
            return True


# Frames


def padded_set_data(size: int) -> bytes:
    """The body of a setData that makes a frame of this size."""
    body = raw.set_data_body("/edge", b"", -1)
    return raw.set_data_body("/edge", b"x" * (size - 8 - len(body)), -1)


def test_a_limit_that_no_client_can_connect_with_is_told_of(tmp_path: Path) -> None:
    with servers.kraal(tmp_path, settings={"jute.maxbuffer": 10}) as server:
        for _ in range(20):
            assert is_refused(server.port)
        log = server.log_path.read_text()
    assert "jute.maxbuffer=10: clients cannot connect: their first request has 45 bytes" in log
    assert "before it has a session: frame length 45; jute.maxbuffer=10" in log
    assert log.count("before it has a session") <= 3


class TestFrameLength:
    def test_the_largest_frame(self, server: Server) -> None:
        with connected(server.port) as client:
            create(client, "/edge")
            request = client.encode("setData", padded_set_data(MAX_FRAME))
            assert raw.Reader(request).i32() == MAX_FRAME
            client.send_bytes(request)
            reply = client.receive()
            assert isinstance(reply, raw.Reply)
            assert reply.err == OK
            assert len(data_of(client, "/edge") or b"") > 1_048_500

    def test_one_byte_more_closes(self, server: Server) -> None:
        with connected(server.port) as client:
            client.send("setData", padded_set_data(MAX_FRAME + 1))
            assert client.receive_until_closed() == []

    def test_one_byte_more_is_refused_if_that_is_wanted(self, tmp_path: Path) -> None:
        limits = {"refusedRequestMaxBytes": 2 * MIB}
        with running(tmp_path, **limits) as server, connected(server.port) as client:
            for op in ("setData", "create", "multi", "getData", "reconfig"):
                assert client.call(op, padded_set_data(MAX_FRAME + 1)).err == MARSHALLING, op
            assert client.call("getData", raw.path_and_watch("/", False)).err == OK
            assert figure(server, "kraal_too_long_requests") == 5
            assert "bytes, more than jute.maxbuffer=1048575" in server.log_path.read_text()

    def test_a_long_one_takes_no_memory(self, tmp_path: Path) -> None:
        limits = {"refusedRequestMaxBytes": 64 * MIB}
        with running(tmp_path, **limits) as server, connected(server.port) as client:
            memory = Memory(server)
            length = 60 * MIB
            client.socket.sendall(raw.i32(length) + raw.i32(7) + raw.i32(5))
            for _ in range(length // MIB - 1):
                client.socket.sendall(bytes(MIB))
            assert memory.peak_growth() < 20 * MIB
            client.socket.sendall(bytes(MIB - 8))
            reply = raw.Reader(client.receive_frame())
            assert (reply.i32(), reply.i64() > 0, reply.i32()) == (7, True, MARSHALLING)
            client.socket.sendall(raw.i32(65 * MIB))
            assert client.receive_until_closed() == []

    def test_a_limit_of_ones_own(self, tmp_path: Path) -> None:
        with running(tmp_path, jute__maxbuffer=2000) as server, connected(server.port) as client:
            create(client, "/edge")
            assert client.call("setData", padded_set_data(2000)).err == OK
            client.send("setData", padded_set_data(2001))
            assert client.receive_until_closed() == []

    def test_replies_may_be_longer_than_requests(self, tmp_path: Path) -> None:
        with running(tmp_path, jute__maxbuffer=2000) as server, connected(server.port) as client:
            for number in range(200):
                assert create(client, f"/node-{number:020}") == OK
            children = client.call("getChildren", raw.path_and_watch("/", False)).value
            assert isinstance(children, list)
            assert len(children) == 201
            log = server.log_path.read_text()
            assert "is longer than jute.maxbuffer, 2000" in log
            assert "comes near" not in log

    def test_what_comes_near_is_counted_and_named(self, tmp_path: Path) -> None:
        with running(tmp_path, jute__maxbuffer=2000) as server, connected(server.port) as client:
            create(client, "/edge")
            for size in (1600, 1601, 1700, 1800):
                assert client.call("setData", padded_set_data(size)).err == OK
            assert figure(server, "kraal_near_limit_requests") == 3
            assert data_of(client, "/edge")
            assert figure(server, "kraal_near_limit_answers") == 1
            log = server.log_path.read_text()
            assert log.count("comes near jute.maxbuffer, 2000") == 3, (
                "the third request is not said"
            )
            assert "A request of 1601 bytes (SETD, session 0x" in log
            assert "(GETD, session 0x" in log

    def test_a_long_answer_is_named_among_others(self, tmp_path: Path) -> None:
        with running(tmp_path, jute__maxbuffer=2000) as server, connected(server.port) as client:
            for number in range(40):
                assert create(client, f"/node-{number:040}") == OK
            root = raw.path_and_watch("/", False)
            write = client.encode("setData", raw.set_data_body("/", b"", -1))
            for first in (b"", write):  # what waits behind a write is answered with it
                requests = [("exists", root), ("getChildren", root), ("exists", root)]
                packet = b"".join(client.encode(*request) for request in requests)
                client.send_bytes(first + packet)
                for _ in range(len(requests) + bool(first)):
                    client.receive()
            log = server.log_path.read_text()
            assert log.count("(GETC, session 0x") == 2, log
            assert "(EXIS" not in log


# Connections


class TestConnections:
    def test_of_one_address(self, tmp_path: Path) -> None:
        with running(tmp_path, maxClientCnxns=3) as server, ExitStack() as stack:
            clients = [stack.enter_context(connected(server.port)) for _ in range(3)]
            assert is_refused(server.port)
            refusal = "WARN  kraal.server.listener Too many connections from /127.0.0.1 - max is 3"
            assert refusal in server.log_path.read_text()
            assert not is_refused(server.port, "127.0.0.2")
            assert clients[0].call("ping").err == OK
            clients.pop().call("closeSession")
            while is_refused(server.port):  # until the server has seen the end of the third
                continue

    def test_of_all_addresses(self, tmp_path: Path) -> None:
        settings = {"maxClientCnxns": 0, "maxCnxns": 4}
        with running(tmp_path, **settings) as server:
            with ExitStack() as stack:
                clients = [stack.enter_context(connected(server.port)) for _ in range(4)]
                assert is_refused(server.port)
                assert is_refused(server.port, "127.0.0.2")
                assert all(client.call("ping").err == OK for client in clients)
            while is_refused(server.port):
                continue
            assert figure(server, "connection_rejected") >= 2

    def test_without_a_limit(self, server: Server) -> None:
        """maxClientCnxns=0, which is more than the 60 of the default."""
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(server.port)) for _ in range(150)]
            assert all(client.call("ping").err == OK for client in clients)

    def test_the_default_is_sixty(self, tmp_path: Path) -> None:
        with servers.kraal(tmp_path) as server:
            config = tmp_path / "zoo.cfg"
            lines = config.read_text().splitlines(keepends=True)
            server.stop()
            config.write_text("".join(line for line in lines if "maxClientCnxns" not in line))
            server.start()
            with ExitStack() as stack:
                for _ in range(60):
                    stack.enter_context(connected(server.port))
                assert is_refused(server.port)
            while is_refused(server.port):
                continue

    def test_those_without_a_session_are_closed(self, tmp_path: Path) -> None:
        with (
            running(tmp_path, nio__sessionlessCnxnTimeout=300) as server,
            connected(server.port) as client,
            raw.RawClient(server.port) as silent,
            raw.RawClient(server.port) as halting,
        ):
            halting.send_bytes(raw.i32(45) + bytes(10))
            assert silent.receive_until_closed() == []
            assert halting.receive_until_closed() == []
            assert client.call("ping").err == OK

    def test_connection_throttle(self, tmp_path: Path) -> None:
        settings = {
            "connection_throttle_tokens": 3,
            "connection_throttle_fill_time": 10_000_000,
            "connection_throttle_fill_count": 1,
        }
        server = servers.kraal(tmp_path, settings=settings)
        with server, ExitStack() as stack:
            clients = [stack.enter_context(connected(server.port)) for _ in range(3)]
            assert is_refused(server.port)
            assert servers.four_letter_word(server.port, "ruok") == "imok"
            assert all(client.call("ping").err == OK for client in clients)


# Peers that do not read


class TestPeersThatDoNotRead:
    def test_requests_for_large_data(self, server: Server) -> None:
        """A gigabyte is asked for at once: the server makes answers as they are taken."""
        count = 1000
        memory = Memory(server)
        with connected(server.port) as greedy, connected(server.port) as other:
            body = raw.path_and_watch(MEGABYTE_NODE, False)
            greedy.send_bytes(b"".join(greedy.encode("getData", body) for _ in range(count)))
            for number in range(50):
                assert create(other, f"/meanwhile-{number}") == OK
            grown = memory.peak_growth()
            for xid in range(1, count + 1):
                frame = greedy.receive_frame()
                assert raw.Reader(frame).i32() == xid
                assert len(frame) > LARGEST_DATA
        print(f"{count} unread getData of 1 MB: memory grew by {grown / MIB:.1f} MiB")
        assert grown < 50 * MIB

    def test_events(self, tmp_path: Path) -> None:
        """100 MB of events that nobody takes: their connection goes, the server stays."""
        path = "/" + "e" * 100_000
        with running(tmp_path) as server, connected(server.port) as writer:
            create(writer, path)
            memory = Memory(server)
            with connected(server.port) as watcher:
                assert watcher.call("addWatch", raw.path_and_int(path, 0)).err == OK
                for _ in range(1000):
                    assert writer.call("setData", raw.set_data_body(path, b"", -1)).err == OK
                grown = memory.peak_growth()
                events = watcher.receive_until_closed()
            print(f"100 MB of unread events: memory grew by {grown / MIB:.1f} MiB")
            assert 0 < len(events) < 1000
            assert "does not read" in server.log_path.read_text()
            assert grown < 200 * MIB
            assert create(writer, "/after") == OK

    def test_an_answer_to_a_four_letter_word(self, tmp_path: Path) -> None:
        """It asks and does not take the answer: its place comes free again."""
        path = "/" + "w" * 500_000
        settings = {"maxClientCnxns": 2, "nio__sessionlessCnxnTimeout": 300}
        with running(tmp_path, **settings) as server, ExitStack() as stack:
            watcher = stack.enter_context(connected(server.port))
            for number in range(20):
                watch = raw.path_and_int(f"{path}{number}", 0)
                assert watcher.call("addWatch", watch).err == OK
            asking = stack.enter_context(socket.socket())
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            asking.connect((HOST, server.port))
            asking.sendall(b"wchp")
            while is_refused(server.port):
                continue
            assert watcher.call("ping").err == OK
            watcher.call("closeSession")

    def test_a_multi_read_of_more_than_memory(self, server: Server) -> None:
        """A request of a kilobyte may ask for 64 MiB, and no more."""
        part = (raw.OPCODES["getData"], raw.path_and_watch(MEGABYTE_NODE, False))
        memory = Memory(server)
        with connected(server.port) as client, connected(server.port) as other:
            reply = client.call("multiRead", raw.multi_body([part] * 60))
            assert isinstance(reply.value, list)
            assert len(reply.value) == 61
            assert client.call("multiRead", raw.multi_body([part] * 70)).err == MARSHALLING
            assert client.call("multiRead", raw.multi_body([part] * 40_000)).err == MARSHALLING
            assert other.call("ping").err == OK
        grown = memory.peak_growth()
        print(f"multiRead of 60 and more times 1 MB: memory grew by {grown / MIB:.1f} MiB")
        assert grown < 300 * MIB


# Pipelined writes


class Flood:
    """Pipelines writes from a thread of its own, so that their replies can be read meanwhile."""

    def __init__(self, client: raw.RawClient, count: int) -> None:
        self.client = client
        body = raw.set_data_body("/flooded", b"x" * 100, -1)
        data = b"".join(client.encode("setData", body) for _ in range(count))
        self.thread = threading.Thread(target=client.send_bytes, args=(data,))
        self.thread.start()

    def take(self, first: int, last: int) -> list[int]:
        """The error codes of these replies, which must come in order."""
        codes = []
        for xid in range(first, last + 1):
            found, _, code = _REPLY_HEADER.unpack(self.client.receive_frame()[:16])
            assert found == xid
            codes.append(code)
        return codes


class TestPipelinedWrites:
    def test_many_are_taken_as_there_is_room(self, tmp_path: Path) -> None:
        count, limit = 20_000, 50
        with (
            running(tmp_path, globalOutstandingLimit=limit) as server,
            connected(server.port) as client,
            connected(server.port) as other,
        ):
            create(other, "/flooded")
            memory = Memory(server)
            flood = Flood(client, count)
            highest = 0
            for begin in range(1, count, 1000):
                highest = max(highest, figure(server, "outstanding_requests"))
                assert data_of(other, "/flooded") is not None
                assert set(flood.take(begin, begin + 999)) == {OK}
            flood.thread.join()
            assert highest <= limit + 2
            grown = memory.peak_growth()
            print(f"{count} pipelined writes: at most {highest} in flight, {grown / MIB:.1f} MiB")
            assert grown < 60 * MIB

    def test_what_waited_too_long_is_refused(self, tmp_path: Path) -> None:
        count = 4000
        settings = {"request_throttle_max_requests": 1, "throttled_op_wait_time": 1}
        with running(tmp_path, **settings) as server, connected(server.port) as client:
            create(client, "/flooded")
            flood = Flood(client, count)
            codes = flood.take(2, count + 1)
            flood.thread.join()
            # How many wait too long is up to the disk; a replica's own test has it exactly.
            assert set(codes) <= {OK, THROTTLED}
            assert create(client, "/calm-again") == OK
            versions = client.call("exists", raw.path_and_watch("/flooded", False)).value
            assert isinstance(versions, raw.Stat)
            assert versions.version == codes.count(OK), "refused and yet executed"

    def test_large_requests_have_a_budget(self, tmp_path: Path) -> None:
        settings = {"largeRequestThreshold": 1000, "largeRequestMaxBytes": 10_000}
        with running(tmp_path, **settings) as server:
            with connected(server.port) as client:
                for number in range(30):
                    assert create(client, f"/one-by-one-{number}", b"x" * 5000) == OK
                client.send("create", raw.create_body("/over", b"x" * 12_000, raw.OPEN_ACL, 0))
                assert client.receive_until_closed() == []
            with connected(server.port) as other:
                assert other.call("exists", raw.path_and_watch("/over", False)).err == -101


# Long runs


@pytest.mark.soak
@pytest.mark.timeout(900)
class TestManyOfThem:
    def test_connections_that_say_nothing(self, tmp_path: Path) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 < most < SILENT_CONNECTIONS + 200:
            pytest.skip(f"only {most} open files are allowed")
        before_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        try:
            with (
                running(tmp_path, nio__sessionlessCnxnTimeout=3_600_000) as server,
                ExitStack() as stack,
                connected(server.port) as client,
            ):
                memory = Memory(server)
                silent = [
                    stack.enter_context(socket.create_connection((HOST, server.port), timeout=30))
                    for _ in range(SILENT_CONNECTIONS)
                ]
                while figure(server, "num_alive_connections") < SILENT_CONNECTIONS:
                    continue
                for number in range(1000):
                    assert create(client, f"/node-{number}") == OK
                grown = memory.growth()
                each = grown / len(silent) / 1024
                print(
                    f"{len(silent)} silent connections: {grown / MIB:.1f} MiB, {each:.1f} KiB each"
                )
                assert each < 32
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before_limit)

    def test_ten_thousand_requests_for_a_megabyte(self, server: Server) -> None:
        count = 10_000
        memory = Memory(server)
        with connected(server.port, timeout=300) as greedy, connected(server.port) as other:
            body = raw.path_and_watch(MEGABYTE_NODE, False)
            data = b"".join(greedy.encode("getData", body) for _ in range(count))
            sender = threading.Thread(target=greedy.send_bytes, args=(data,))
            sender.start()
            for xid in range(1, count + 1):
                assert raw.Reader(greedy.receive_frame()).i32() == xid
                if xid % 1000 == 0:
                    assert other.call("ping").err == OK
            sender.join()
        grown = memory.peak_growth()
        print(f"{count} getData of 1 MB: memory grew by {grown / MIB:.1f} MiB")
        assert grown < 100 * MIB
        assert_alive(server)

    def test_a_hundred_thousand_pipelined_writes(self, tmp_path: Path) -> None:
        count = 100_000
        with (
            running(tmp_path) as server,
            connected(server.port, timeout=300) as client,
            connected(server.port) as other,
        ):
            create(other, "/flooded")
            memory = Memory(server)
            flood = Flood(client, count)
            highest = 0
            for begin in range(1, count, 5000):
                highest = max(highest, figure(server, "outstanding_requests"))
                assert set(flood.take(begin, begin + 4999)) == {OK}
                assert data_of(other, "/flooded") is not None
            flood.thread.join()
            grown = memory.peak_growth()
            print(f"{count} writes: at most {highest} in flight, {grown / MIB:.1f} MiB more")
            assert highest <= 1002
            assert grown < 100 * MIB


# Watches


class TestWatches:
    QUOTA_EXCEEDED, NO_NODE = -125, -101

    def test_of_a_session(self, tmp_path: Path) -> None:
        with running(tmp_path, maxWatchesPerSession=3) as server, connected(server.port) as client:
            for path in ("/a", "/b", "/c"):
                create(client, path)

            def get(path: str) -> int:
                return client.call("getData", raw.path_and_watch(path, True)).err

            def add(path: str, mode: int) -> int:
                return client.call("addWatch", raw.path_and_int(path, mode)).err

            assert [get("/a"), get("/b"), get("/a")] == [OK] * 3, "one that is there is not new"
            assert add("/c", 0) == self.QUOTA_EXCEEDED, "it would be two"
            assert add("/c", 1) == OK
            assert get("/d") == self.NO_NODE
            exists = client.call("exists", raw.path_and_watch("/d", True))
            assert exists.err == self.QUOTA_EXCEEDED
            children = client.call("getChildren", raw.path_and_watch("/a", True))
            assert children.err == self.QUOTA_EXCEEDED
            # Nothing else has changed for this session, nor anything for others.
            assert client.call("getChildren", raw.path_and_watch("/a", False)).err == OK
            assert figure(server, "kraal_watches_refused") == 3
            with connected(server.port) as other:
                assert other.call("exists", raw.path_and_watch("/d", True)).err == self.NO_NODE
            client.call("setData", raw.set_data_body("/a", b"", -1))
            assert get("/b") == OK
            assert get("/a") == OK, "its watch has fired"
            assert "would have more than 3 watches" in server.log_path.read_text()

    def test_those_that_a_client_brings_along_are_taken(self, tmp_path: Path) -> None:
        with running(tmp_path, maxWatchesPerSession=2) as server, connected(server.port) as client:
            paths = [f"/none/{number}" for number in range(5)]
            assert client.call("setWatches", raw.set_watches_body(0, [], paths, [])).err == OK
            assert figure(server, "watch_count") == 5
            refused = client.call("exists", raw.path_and_watch("/d", True))
            assert refused.err == self.QUOTA_EXCEEDED
