"""Bad input to a real process: it answers or closes, and nobody else notices.

Every request of client-protocol.md section 13, which brings the reference down or wedges it,
every close of section 5.6, and damaged bytes at every layer. The reply that is expected is the
one that the reference suggests.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import seeds
from tests.server.conftest import assert_alive, connected, create, data_of, running
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.servers import Server

QUOTA = "/zookeeper/quota"
REPLACEMENT = "\ufffd"
OK, MARSHALLING, UNIMPLEMENTED, BAD_ARGUMENTS = 0, -5, -6, -8
NO_NODE, NO_AUTH, AUTH_FAILED = -101, -102, -115


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("bad-input")
    with running(directory, tickTime=500, maxSessionTimeout=40_000) as process:
        yield process


@pytest.fixture
def client(server: Server) -> Iterator[raw.RawClient]:
    with connected(server.port) as one:
        yield one


@pytest.fixture(autouse=True)
def bystander(server: Server) -> Iterator[raw.RawClient]:
    """A client beside the one that misbehaves; its session and its reads and writes go on."""
    with connected(server.port) as other:
        path = "/bystander"
        create(other, path)
        yield other
        assert other.call("setData", raw.set_data_body(path, b"still here", -1)).err == OK
        assert data_of(other, path) == b"still here"
        assert other.call("delete", raw.path_and_int(path, -1)).err == OK
        assert other.call("closeSession").err == OK
    assert_alive(server)


def assert_closed(client: raw.RawClient) -> list[raw.Frame]:
    """The server closes the connection; what it sent before."""
    return client.receive_until_closed()


# Section 13


class TestRequestsThatHurtTheReference:
    @pytest.mark.parametrize("op", ["create", "create2", "delete", "setData", "setACL"])
    def test_a_write_with_an_empty_body(self, client: raw.RawClient, op: str) -> None:
        before = client.call("sync", raw.ustring("/")).zxid
        reply = client.call(op)
        assert (reply.err, reply.zxid) == (MARSHALLING, before)

    @pytest.mark.parametrize("flags", range(7))
    def test_a_negative_ttl(self, client: raw.RawClient, flags: int) -> None:
        body = raw.create_ttl_body("/ttl", b"", raw.OPEN_ACL, flags, -1)
        assert client.call("createTTL", body).err == BAD_ARGUMENTS
        assert client.call("exists", raw.path_and_watch("/ttl", False)).err == NO_NODE

    def test_a_quota_on_the_root(self, client: raw.RawClient) -> None:
        assert create(client, f"{QUOTA}/zookeeper_limits", b"count=1") == BAD_ARGUMENTS
        assert create(client, "/any") == OK
        assert client.call("delete", raw.path_and_int("/any", -1)).err == OK

    @pytest.mark.parametrize(
        "text", [b"garbage", b"", None, b"count=x", b"=,;=", b"\xff\xfe", b"count=" + b"9" * 5000]
    )
    def test_usage_that_cannot_be_read(self, client: raw.RawClient, text: bytes | None) -> None:
        create(client, f"{QUOTA}/q")
        create(client, f"{QUOTA}/q/zookeeper_limits", b"count=10,bytes=1000")
        create(client, f"{QUOTA}/q/zookeeper_stats")
        stats = f"{QUOTA}/q/zookeeper_stats"
        assert client.call("setData", raw.set_data_body(stats, text, -1)).err == OK
        create(client, "/q")
        assert create(client, "/q/below", b"12345") == OK
        assert client.call("setData", raw.set_data_body("/q/below", b"1", -1)).err == OK
        assert client.call("delete", raw.path_and_int("/q/below", -1)).err == OK

    def test_delete_container_needs_what_a_delete_needs(self, client: raw.RawClient) -> None:
        read_only = [(1, "world", "anyone"), (31, "digest", "nobody:x")]
        closed = raw.create_body("/closed", b"", [(5, "world", "anyone")], 0)
        assert client.call("create", closed).err == OK
        assert client.call("create", raw.create_body("/closed/a", b"", read_only, 0)).err == OK
        assert client.call("deleteContainer", raw.ustring("/closed/a")).err == NO_AUTH
        assert client.call("exists", raw.path_and_watch("/closed/a", False)).err == OK

    def test_a_wrong_password_leaves_the_client_alone(
        self, server: Server, client: raw.RawClient
    ) -> None:
        assert client.handshake is not None
        with raw.RawClient(server.port) as thief:
            answer = thief.connect(raw.connect_request(client.handshake.session, b"x" * 16))
            assert (answer.session, answer.timeout, answer.password) == (0, 0, bytes(16))
            assert assert_closed(thief) == []
        assert client.call("ping").err == OK

    def test_a_restart_on_the_directory_works(self, tmp_path: Path) -> None:
        """All of them on one server, which then finds its data as it left them."""
        port = servers.free_port()
        server = servers.kraal(tmp_path, port=port)
        server.start()
        try:
            with connected(port) as client:
                self._hurt(client)
                children = client.call("getChildren2", raw.path_and_watch("/", False))
            server.kill()
            server.start()
            with connected(port) as client:
                again = client.call("getChildren2", raw.path_and_watch("/", False))
                assert again.value == children.value
                assert data_of(client, "/q") == b"12345"
            log = server.log_path.read_text()
            assert "digest" not in log.lower(), log
        finally:
            server.stop()

    def _hurt(self, client: raw.RawClient) -> None:
        for op in ("create", "setData", "multi", "createTTL", "deleteContainer"):
            client.call(op)
        for flags in range(7):
            client.call("createTTL", raw.create_ttl_body("/t", b"", raw.OPEN_ACL, flags, -1))
        create(client, f"{QUOTA}/zookeeper_limits", b"count=1")
        for path in (f"{QUOTA}/q", f"{QUOTA}/q/zookeeper_limits", f"{QUOTA}/q/zookeeper_stats"):
            assert create(client, path, b"count=1") == OK
        client.call("setData", raw.set_data_body(f"{QUOTA}/q/zookeeper_stats", b"?", -1))
        assert create(client, "/q", b"12345") == OK
        client.call("deleteContainer", raw.ustring("/q/none"))


class TestTransactionsLongerThanRequests:
    """What the log holds must be read back: a record may be longer than any request."""

    def test_the_end_of_a_session_with_many_ephemerals(self, tmp_path: Path) -> None:
        with servers.kraal(tmp_path) as server:
            with connected(server.port) as client:
                for number in range(25):
                    assert create(client, f"/{number}-" + "e" * 100_000, flags=1) == OK
                assert client.call("closeSession").err == OK
            server.kill()
            server.start()
            with connected(server.port) as client:
                assert client.call("getChildren", raw.path_and_watch("/", False)).value == [
                    "zookeeper"
                ]

    def test_auth_entries_in_a_multi(self, tmp_path: Path) -> None:
        """Each list stays within its bound, but there are several."""
        with servers.kraal(tmp_path) as server:
            with connected(server.port) as client:
                for number in range(100):
                    auth = raw.auth_body(0, "digest", b"user-%d:p" % number)
                    assert client.call("auth", auth, raw.AUTH_XID).err == OK
                listed = [(perms, "auth", None) for perms in range(150)]
                bodies = [raw.create_body(f"/{n}", b"", listed, 0) for n in range(4)]
                client.call("multi", raw.multi_body([(raw.OPCODES["create"], b) for b in bodies]))
            server.kill()
            server.start()
            assert_alive(server)


# Frames


class TestFrames:
    @pytest.mark.parametrize(
        "length", [-1, -(2**31), -4, 1_048_576, 2**31 - 1, 0x72756F6B], ids=hex
    )
    def test_an_impossible_length_closes_without_a_reply(
        self, client: raw.RawClient, length: int
    ) -> None:
        client.send_bytes(raw.i32(length))
        assert assert_closed(client) == []

    @pytest.mark.parametrize("size", [0, 1, 4, 7])
    def test_a_frame_without_a_header_closes(self, client: raw.RawClient, size: int) -> None:
        client.send_frame(bytes(size))
        assert assert_closed(client) == []

    def test_requests_in_front_of_a_bad_frame_are_answered(self, client: raw.RawClient) -> None:
        request = client.encode("exists", raw.path_and_watch("/", False))
        client.send_bytes(request + raw.i32(-1) + request)
        answers = assert_closed(client)
        assert [type(answer) for answer in answers] == [raw.Reply]

    def test_one_byte_at_a_time(self, client: raw.RawClient) -> None:
        """Joined once: a frame of a megabyte would otherwise be copied a million times."""
        request = client.encode("create", raw.create_body("/slow", b"x" * 30_000, raw.OPEN_ACL, 0))
        for at in range(len(request)):
            client.send_bytes(request[at : at + 1])
        reply = client.receive()
        assert isinstance(reply, raw.Reply)
        assert reply.err == OK
        assert client.call("delete", raw.path_and_int("/slow", -1)).err == OK

    @pytest.mark.parametrize("cut", [1, 3, 4, 5, 11, 30])
    def test_a_frame_that_is_never_finished(self, server: Server, cut: int) -> None:
        client = connected(server.port)
        client.send_bytes(client.encode("create", raw.create_body("/n", b"", [], 0))[:cut])
        client.close()

    @pytest.mark.parametrize("seed", range(5))
    def test_random_bytes_from_many(self, server: Server, seed: int) -> None:
        random = Random(seed)
        for _ in range(30):
            with raw.RawClient(server.port) as stranger:
                stranger.send_bytes(random.randbytes(random.choice((1, 4, 20, 45, 300))))

    @pytest.mark.parametrize("seed", range(5))
    def test_mutated_requests(self, server: Server, seed: int) -> None:
        """Sound requests with some bytes changed: answered or refused by a close."""
        random = Random(seed)
        frames = [
            frame for frame in seeds.request_frames() if raw.Reader(frame[4:]).i32() not in (-11, 0)
        ]
        for _ in range(6):
            with connected(server.port) as client:
                for _ in range(30):
                    frame = bytearray(random.choice(frames))
                    for _ in range(random.randrange(3)):
                        frame[random.randrange(4, len(frame))] = random.getrandbits(8)
                    client.send_frame(bytes(frame))
                client.half_close()
                while not client.closed:
                    _receive_any(client)


def _receive_any(client: raw.RawClient) -> None:
    try:
        client.receive_frame()
    except raw.ClosedError:
        assert client.closed


# Bodies


GIANT = raw.i32(2**31 - 1)


class TestBodies:
    @pytest.mark.parametrize(
        ("op", "body"),
        [
            ("create", raw.ustring("/a") + raw.buffer(b"") + GIANT),
            ("create", raw.ustring("/a") + GIANT),
            ("create", GIANT),
            ("create", raw.i32(-2) + bytes(100)),
            ("create", raw.ustring("/a") + raw.i32(-(2**31)) + bytes(100)),
            ("setACL", raw.ustring("/a") + GIANT + bytes(1000)),
            ("setWatches", raw.i64(0) + GIANT + bytes(1000)),
            ("setWatches2", raw.i64(0) + raw.i32(0) * 4 + GIANT),
            ("multi", raw.i32(1) + b"\0" + raw.i32(-1) + GIANT),
            ("multi", raw.i32(1)),
            ("multiRead", raw.i32(4) + b"\0" + raw.i32(-1) + GIANT),
            ("getData", GIANT + b"/"),
            ("getData", raw.i32(-1) + b"\0"),
            ("getACL", raw.i32(-1)),
            ("addWatch", raw.path_and_int("/", 7)),
            ("removeWatches", raw.path_and_int("/", 0)),
            ("reconfig", GIANT),
        ],
    )
    def test_what_cannot_be_decoded_is_refused(
        self, client: raw.RawClient, op: str, body: bytes
    ) -> None:
        assert client.call(op, body).err == MARSHALLING
        assert client.call("ping").err == OK

    def test_a_megabyte_of_null_watches(self, client: raw.RawClient) -> None:
        nulls = raw.i32(200_000) + raw.i32(-1) * 200_000
        assert client.call("setWatches", raw.i64(0) + nulls).err == MARSHALLING
        assert client.call("ping").err == OK

    def test_an_acl_of_fifty_thousand_entries(self, client: raw.RawClient) -> None:
        """Duplicates are found without comparing each with each."""
        acl = [(perms, "ip", "1.2.3.4") for perms in range(45_000)]
        assert client.call("create", raw.create_body("/acl", b"", acl, 0)).err == OK
        assert client.call("delete", raw.path_and_int("/acl", -1)).err == OK

    @pytest.mark.parametrize("id_", ["9" * 5000 + ".1.1.1", "1.2.3.4/" + "9" * 5000, "0" * 9000])
    def test_numbers_of_thousands_of_digits(self, client: raw.RawClient, id_: str) -> None:
        body = raw.create_body("/digits", b"", [(31, "ip", id_)], 0)
        assert client.call("create", body).err == -114

    @pytest.mark.parametrize(
        ("sent", "echoed"),
        [
            (b"/\xff\xc0\x80", "/" + 3 * REPLACEMENT),
            (b"/\xed\xa0\x80", "/" + REPLACEMENT),
            (b"/\xe2\x82", "/" + REPLACEMENT),
            ("/\u65e5".encode(), "/\u65e5"),
        ],
    )
    def test_malformed_utf8(self, client: raw.RawClient, sent: bytes, echoed: str) -> None:
        assert client.call("sync", raw.ustring(sent)).value == echoed
        assert client.call("getData", raw.path_and_watch(sent, True)).err == NO_NODE
        wanted = BAD_ARGUMENTS if REPLACEMENT in echoed else OK
        assert create(client, sent) == wanted
        if wanted == OK:
            assert client.call("delete", raw.path_and_int(sent, -1)).err == OK

    def test_supplementary_characters_leave_as_surrogates(self, client: raw.RawClient) -> None:
        client.send("sync", raw.ustring("/\U0001f600"))
        assert client.receive_frame().endswith(bytes.fromhex("2f eda0bd edb880"))


# Before a session


class TestHandshakes:
    @pytest.mark.parametrize(
        "record",
        [
            b"",
            bytes(8),
            raw.i32(-2) + raw.i32(11),
            raw.connect_request()[:20],
            raw.connect_request()[:27],
            raw.connect_request()[:30],
            raw.connect_request()[:24] + raw.i32(-2),
            raw.connect_request()[:24] + GIANT,
            raw.connect_request(last_zxid=2**62),
        ],
    )
    def test_what_is_no_connect_request_closes(self, server: Server, record: bytes) -> None:
        with raw.RawClient(server.port) as stranger:
            stranger.send_frame(record)
            assert assert_closed(stranger) == []

    @pytest.mark.parametrize("size", [1, 3, 4, 10, 40, 48])
    def test_half_of_one_and_then_nothing(self, server: Server, size: int) -> None:
        record = raw.connect_request()
        stranger = raw.RawClient(server.port)
        stranger.send_bytes((raw.i32(len(record)) + record)[:size])
        stranger.close()

    def test_an_unknown_session(self, server: Server) -> None:
        with raw.RawClient(server.port) as stranger:
            answer = stranger.connect(raw.connect_request(7, raw.session_password(7)))
            assert (answer.session, answer.timeout) == (0, 0)
            assert assert_closed(stranger) == []

    def test_requests_behind_it_are_answered_behind_it(self, server: Server) -> None:
        """Also those that are otherwise answered out of order."""
        with raw.RawClient(server.port) as client:
            record = raw.connect_request()
            packets = client.encode("auth", raw.auth_body(0, "digest", b"u:p"), raw.AUTH_XID)
            packets += client.encode("whoAmI")
            client.send_bytes(raw.i32(len(record)) + record + packets)
            assert raw.decode_handshake(client.receive_frame()).session != 0
            replies = [client.receive(), client.receive()]
            assert [reply.op for reply in replies if isinstance(reply, raw.Reply)] == [
                "auth", "whoAmI"
            ]  # fmt: skip
            assert isinstance(replies[1], raw.Reply)
            assert ("digest", "u") in replies[1].value  # type: ignore[operator]


class TestFourLetterWords:
    @pytest.mark.parametrize("sent", [b"ruok", b"ruok\n", b"ruokXYZ", b"ruok" + bytes(5000)])
    def test_bytes_behind_a_word_are_ignored(self, server: Server, sent: bytes) -> None:
        with raw.RawClient(server.port) as asking:
            asking.send_bytes(sent)
            assert _everything(asking.socket) == b"imok"

    def test_a_word_in_pieces(self, server: Server) -> None:
        with raw.RawClient(server.port) as asking:
            for letter in b"ruok":
                asking.send_bytes(bytes([letter]))
            assert _everything(asking.socket) == b"imok"

    @pytest.mark.parametrize("word", [b"abcd", b"RUOK", b"\xff\xff\xff\xff"])
    def test_what_is_no_word_closes(self, server: Server, word: bytes) -> None:
        with raw.RawClient(server.port) as asking:
            asking.send_bytes(word)
            assert _everything(asking.socket) == b""

    def test_a_word_with_an_argument(self, server: Server) -> None:
        with raw.RawClient(server.port) as asking:
            asking.send_bytes(b"stmk" + bytes(3))
            asking.send_bytes(bytes(4) + b"\x07rest")
            assert _everything(asking.socket) == b"7"


def _everything(sock: socket.socket) -> bytes:
    """What comes until the end; a reset is an end, because the server left bytes unread."""
    received = b""
    try:
        while chunk := sock.recv(65536):
            received += chunk
    except ConnectionResetError:
        return received
    return received


# Section 5.6


def _send(op: str | int, body: bytes = b"") -> Callable[[raw.RawClient], None]:
    return lambda client: client.send(op, body)


CLOSES: dict[str, tuple[Callable[[raw.RawClient], None], list[tuple[int, int]]]] = {
    "unknown opcode": (_send(99), [(-1, UNIMPLEMENTED)]),
    "opcode zero": (_send("notification"), [(-1, UNIMPLEMENTED)]),
    "check outside a multi": (
        _send("check", raw.path_and_int("/", -1)), [(-1, UNIMPLEMENTED)]
    ),
    "authentication refused": (
        _send("auth", raw.auth_body(0, "bogus", b"")), [(0, AUTH_FAILED)]
    ),
    "no credentials": (_send("auth", raw.auth_body(0, "digest", None)), [(0, AUTH_FAILED)]),
    "auth packet cut": (_send("auth", raw.auth_body(0, "digest", b"u:p")[:9]), []),
    "SASL record cut": (_send("sasl", raw.i32(5) + b"x"), []),
    "SASL token null": (_send("sasl", raw.buffer(None)), []),
}  # fmt: skip


class TestCloses:
    @pytest.mark.parametrize("name", CLOSES)
    def test_what_is_sent_before_a_close(self, client: raw.RawClient, name: str) -> None:
        act, wanted = CLOSES[name]
        act(client)
        answers = assert_closed(client)
        assert [
            (answer.zxid, answer.err) for answer in answers if isinstance(answer, raw.Reply)
        ] == wanted

    def test_close_session_is_answered(self, client: raw.RawClient) -> None:
        client.send("closeSession")
        (answer,) = assert_closed(client)
        assert isinstance(answer, raw.Reply)
        assert (answer.op, answer.err) == ("closeSession", OK)

    def test_requests_behind_a_close_are_dropped(self, client: raw.RawClient) -> None:
        body = raw.create_body("/behind-the-end", b"", raw.OPEN_ACL, 0)
        client.send_bytes(client.encode("closeSession") + client.encode("create", body))
        assert len(assert_closed(client)) == 1

    def test_a_session_that_is_taken_over(self, server: Server, client: raw.RawClient) -> None:
        assert client.handshake is not None
        session, password = client.handshake.session, client.handshake.password
        with raw.RawClient(server.port) as heir:
            assert heir.connect(raw.connect_request(session, password)).session == session
            assert assert_closed(client) == []
            assert heir.call("ping").err == OK

    def test_a_session_that_expires_while_connected(self, server: Server) -> None:
        with connected(server.port, timeout_ms=1) as client:
            assert client.handshake is not None
            assert client.handshake.timeout == 1000
            assert create(client, "/ephemeral", flags=1) == OK
            assert assert_closed(client) == []
        with connected(server.port) as other:
            assert other.call("exists", raw.path_and_watch("/ephemeral", False)).err == NO_NODE

    def test_enforced_authentication(self, tmp_path: Path) -> None:
        settings = {"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"}
        with servers.kraal(tmp_path, settings=settings) as server:
            with connected(server.port) as stranger:
                stranger.send("ping", xid=5)
                frame = stranger.receive_frame()
                assert struct.unpack(">iqi", frame) == (5, 0, -124)
                with pytest.raises(raw.ClosedError):
                    stranger.receive_frame()
            with connected(server.port) as known:
                auth = raw.auth_body(0, "digest", b"u:p")
                assert known.call("auth", auth, raw.AUTH_XID).err == OK
                assert create(known, "/a") == OK
