"""Four-letter words: the expected texts were captured from Apache ZooKeeper 3.9.5."""

from __future__ import annotations

import dataclasses
import time

import pytest

from kraal.admin import java_text
from kraal.admin.four_letter_words import KNOWN
from kraal.admin.version import VERSION
from kraal.replica.status import Latency, Mode
from tests.admin.support import CLIENT, CONFIG, STATUS, Source, answer

CLIENT_AFTER_RESET = dataclasses.replace(
    CLIENT, received=0, sent=0, last_operation="NA", last_cxid=-1, last_zxid=-1,
    last_response_ms=0, latency=Latency(),
)  # fmt: skip


def ask(word: str, **changes: object) -> str:
    """The answer of a server whose status differs in `changes`."""
    return answer(word, Source(status=dataclasses.replace(STATUS, **changes)))  # type: ignore[arg-type]


SRVR = f"""\
Zookeeper version: {VERSION}
Latency min/avg/max: 0/0.6579/13
Received: 172
Sent: 173
Connections: 4
Outstanding: 0
Zxid: 0x91
Mode: standalone
Node count: 8
"""
CAPTURED = {
    "ruok": "imok",
    "isro": "rw",
    "gtmk": "306",
    "srst": "Server stats reset.\n",
    "crst": "Connection stats reset.\n",
    "hash": "80: 7799483068\n",
    "dirs": "datadir_size: 67109358\nlogdir_size: 5\n",
    "srvr": SRVR,
    "stat": SRVR.replace(
        "Latency",
        "Clients:\n"
        " /127.0.0.1:59480[0](queued=0,recved=1,sent=0)\n"
        " /127.0.0.1:37820[1](queued=0,recved=149,sent=150)\n\nLatency",
    ),
    "cons": (
        " /127.0.0.1:59480[0](queued=0,recved=1,sent=0)\n"
        " /127.0.0.1:37820[1](queued=0,recved=149,sent=150,sid=0x100000f1db60000,lop=GETD,"
        "est=1795356158261,to=10000,lcxid=0x94,lzxid=0x91,lresp=991221,llat=0,minlat=0,avglat=0,"
        "maxlat=13)\n\n"
    ),
    "conf": """\
clientPort=47995
secureClientPort=-1
dataDir=/var/lib/zk/version-2
dataDirSize=67109358
dataLogDir=/var/log/zk/version-2
dataLogSize=5
tickTime=2000
maxClientCnxns=0
minSessionTimeout=4000
maxSessionTimeout=40000
clientPortListenBacklog=-1
serverId=0
""",
    "dump": """\
SessionTracker dump:
Session Sets (1)/(2):
2 expire at Sun Nov 22 14:02:49 UTC 2026:
	0x100000f1db60001
	0x100000f1db60000
ephemeral nodes dump:
Sessions with Ephemerals (1):
0x100000f1db60000:
	/app/e-0000000000
Connections dump:
Connections Sets (1)/(2):
2 expire at Sun Nov 22 14:03:07 UTC 2026:
	ip: /127.0.0.1:59480 sessionId: 0x0
	ip: /127.0.0.1:37820 sessionId: 0x100000f1db60000
""",
    "wchs": "2 connections watching 3 paths\nTotal watches:4\n",
    "wchc": (
        "0x100000f1db60000\n\t/caf\u00e9\n\t/app\n\t/nope\n0x100000f1db60001\n\t/app\n\n"
    ),
    "wchp": (
        "/caf\u00e9\n\t0x100000f1db60000\n"
        "/app\n\t0x100000f1db60000\n\t0x100000f1db60001\n"
        "/nope\n\t0x100000f1db60000\n\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("word", CAPTURED)
def test_answers_are_the_reference_s(word: str) -> None:
    assert answer(word, Source()) == CAPTURED[word]


def test_every_word_is_known_by_its_bytes() -> None:
    assert set(KNOWN.values()) == {*CAPTURED, "envi", "mntr", "stmk"}
    assert all(code.decode() == word for code, word in KNOWN.items())


def test_resets_reach_the_server() -> None:
    source = Source()
    answer("srst", source)
    answer("crst", source)
    assert source.resets == ["server", "connections"]


def test_stmk_echoes_the_mask() -> None:
    assert answer("stmk", Source(), (306).to_bytes(8, "big")) == "306"
    assert answer("stmk", Source(), b"\xff" * 8) == "-1"


def test_mntr_begins_with_version_state_and_gauges() -> None:
    lines = answer("mntr", Source()).splitlines()
    assert lines[:2] == [f"zk_version\t{VERSION}", "zk_server_state\tstandalone"]
    shown = dict(line.split("\t") for line in lines)
    expected = {
        "ephemerals_count": "1", "num_alive_connections": "4", "avg_latency": "0.6579",
        "znode_count": "8", "global_sessions": "2", "packets_sent": "173", "watch_count": "5",
        "packets_received": "172", "connection_drop_probability": "0.0", "uptime": "738",
        "approximate_data_size": "74", "max_latency": "13", "avg_fsynctime": "1.0",
        "cnt_fsynctime": "1", "sum_fsynctime": "1", "avg_sync_processor_batch_size": "145.0",
        "p999_sync_processor_queue_and_flush_time_ms": "2", "cnt_commit_process_time": "0",
        "avg_app_write_per_namespace": "10.0", "cnt_app_write_per_namespace": "3",
    }  # fmt: skip
    assert {key: shown.get(f"zk_{key}") for key in expected} == expected
    assert "zk_quorum_size" not in shown
    assert len(lines) == 494 + 5 + 8, "with a namespace and what kraal adds"


def test_envi_lists_the_reference_s_keys_in_order() -> None:
    lines = answer("envi", Source()).splitlines()
    assert lines[:2] == ["Environment:", f"zookeeper.version={VERSION}"]
    assert [line.partition("=")[0] for line in lines[1:]] == [
        "zookeeper.version", "host.name", "java.version", "java.vendor", "java.home",
        "java.class.path", "java.library.path", "java.io.tmpdir", "java.compiler", "os.name",
        "os.arch", "os.version", "user.name", "user.home", "user.dir", "os.memory.free",
        "os.memory.max", "os.memory.total",
    ]  # fmt: skip
    assert all(line.partition("=")[2] for line in lines[1:])


def test_cons_after_a_reset() -> None:
    text = answer("cons", Source(connections=[CLIENT_AFTER_RESET]))
    assert text == (
        " /127.0.0.1:37820[1](queued=0,recved=0,sent=0,sid=0x100000f1db60000,lop=NA,"
        "est=1795356158261,to=10000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,"
        "maxlat=0)\n\n"
    )


def test_connections_without_a_deadline_are_only_counted() -> None:
    connection = dataclasses.replace(CLIENT, deadline_ms=None)
    text = answer("dump", Source(connections=[connection]))
    assert text.endswith("Connections dump:\nConnections Sets (0)/(1):\n")


def test_read_only_servers() -> None:
    read_only = ask("srvr", mode=Mode.READ_ONLY).splitlines()
    assert read_only[1] == "READ-ONLY mode; serving only read-only clients"
    assert ask("isro", mode=Mode.READ_ONLY) == "ro"


class TestNotServing:
    @pytest.mark.parametrize("word", ["ruok", "gtmk", "envi"])
    def test_some_words_answer_all_the_same(self, word: str) -> None:
        assert ask(word, serving=False) == ask(word)

    @pytest.mark.parametrize(
        ("word", "text"),
        [
            ("srvr", "This ZooKeeper instance is not currently serving requests\n"),
            ("mntr", "This ZooKeeper instance is not currently serving requests\n"),
            ("srst", "This ZooKeeper instance is not currently serving requests\n"),
            ("hash", "This ZooKeeper instance is not currently serving requests"),
            ("isro", "null"),
        ],
    )
    def test_the_others_say_so(self, word: str, text: str) -> None:
        assert ask(word, serving=False) == text


def test_only_enabled_words_are_executed() -> None:
    config = dataclasses.replace(CONFIG, four_letter_words=frozenset({"srvr", "ruok"}))
    source = Source(config=config)
    assert answer("ruok", source) == "imok"
    assert answer("srvr", source) == SRVR
    assert answer("srst", source) == "srst is not executed because it is not in the whitelist.\n"
    assert source.resets == []


class TestJavaText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.0, "0.0"), (1.1732, "1.1732"), (1e7, "1.0E7"), (12345678.9, "1.23456789E7"),
            (0.001, "0.001"), (0.00095, "9.5E-4"), (-0.0, "-0.0"), (-1e-5, "-1.0E-5"),
            (9999999.999, "9999999.999"), (float("nan"), "NaN"), (float("-inf"), "-Infinity"),
            (7, "7"), (10**12, "1000000000000"),
        ],
    )  # fmt: skip
    def test_numbers(self, value: float, text: str) -> None:
        assert java_text.number(value) == text

    def test_averages_round_halves_up(self) -> None:
        assert java_text.average(1 / 32) == 0.0313

    @pytest.mark.parametrize(
        ("host", "text"),
        [
            ("10.0.0.1", "/10.0.0.1:5"),
            ("::1", "/[0:0:0:0:0:0:0:1]:5"),
            ("2001:db8::ab:0", "/[2001:db8:0:0:0:0:ab:0]:5"),
            ("::ffff:1.2.3.4", "/1.2.3.4:5"),
            ("fe80::1%eth0", "/[fe80:0:0:0:0:0:0:1%eth0]:5"),
            ("pipe", "/pipe:5"),
        ],
    )
    def test_addresses(self, host: str, text: str) -> None:
        assert java_text.socket_address(host, 5) == text

    def test_dates_are_english_and_local(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert java_text.date(0) == "Thu Jan 01 00:00:00 UTC 1970"
        monkeypatch.setenv("TZ", "CET-1")
        time.tzset()
        assert java_text.date(0) == "Thu Jan 01 01:00:00 CET 1970"
