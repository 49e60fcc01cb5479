"""Data directories go from Apache ZooKeeper to kraal and back, byte for byte.

The reference server is killed, not stopped, after it wrote znodes of every kind; kraal must
recover what its clients saw, with equal digests. What kraal writes must be readable for the
reference's tools, and the reference must start on it.
"""

from __future__ import annotations

import subprocess
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha1
from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.model.config import SnapshotCodec, StorageConfig
from kraal.storage import data_dir
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import Recovered, recover, save_initial
from kraal.storage.snapshot_store import SnapshotStore
from kraal.storage.txn_log import TxnLog
from kraal.tree import snapshot
from kraal.tree.data_tree import DataTree
from kraal.wire.records.data import decode_acls
from tests.storage.support import History
from tests.support.raw_client import (
    AUTH_XID,
    OPCODES,
    OPEN_ACL,
    RawClient,
    Reader,
    Reply,
    auth_body,
    create_body,
    create_ttl_body,
    multi_body,
    path_and_int,
    path_and_watch,
    set_acl_body,
    set_data_body,
    ustring,
)
from tests.support.servers import Server, apache, four_letter_word, require_reference

pytestmark = [pytest.mark.apache, pytest.mark.timeout(300)]

FS = OsFileSystem()
DIGEST_ACL = ((31, "digest", "someone:0123456789abcdef"), (1, "world", "anyone"))
SUPER = b"super:test"
SUPER_DIGEST = "super:" + b64encode(sha1(SUPER, usedforsecurity=False).digest()).decode()
"""Reading every ACL in full takes the rights of the super user."""
Znodes = dict[str, tuple[bytes | None, bytes, list[tuple[int, str | None, str | None]]]]
"""Data, stat and ACL by path."""


@pytest.fixture(scope="module", autouse=True)
def classpath() -> str:
    return require_reference()


def configured(directory: Path, codec: SnapshotCodec = SnapshotCodec.NONE) -> StorageConfig:
    data = PurePath(directory / "data")
    return StorageConfig(data_dir=data, data_log_dir=data, snapshot_codec=codec)


def reference(directory: Path, codec: SnapshotCodec = SnapshotCodec.NONE) -> Server:
    return apache(
        directory,
        properties={
            "zookeeper.snapCount": 30,
            "zookeeper.preAllocSize": 64,
            "zookeeper.snapshot.compression.method": str(codec),
            "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
        },
    )


def create(client: RawClient, path: str, flags: int = 0, data: bytes | None = b"data") -> Reply:
    return client.call("create", create_body(path, data, OPEN_ACL, flags))


def write_every_kind(client: RawClient, other: RawClient) -> None:
    """Znodes, sessions and refused requests of every kind; `other` is closed at the end."""
    for step in range(25):
        create(client, f"/plain-{step}", data=(None, b"", b"x" * step)[step % 3])
    create(client, "/Grüße-中文")
    for depth in range(1, 12):
        create(client, "/deep" * depth)
    for _ in range(5):
        create(client, "/plain-1/seq-", 2)
        create(client, "/plain-2/ephemeral-seq-", 3)
    create(client, "/large", data=b"L" * 1_000_000)
    client.call("createContainer", create_body("/container", b"c", OPEN_ACL, 4))
    create(client, "/container/child")
    client.call("createTTL", create_ttl_body("/ttl", b"t", OPEN_ACL, 5, 3_600_000))
    client.call("create2", create_body("/plain-3/two", b"2", DIGEST_ACL, 0))
    for step in range(10):
        client.call("setData", set_data_body(f"/plain-{step}", b"new", -1))
        client.call("setData", set_data_body("/plain-0", b"bad version", 77))
    client.call("setACL", set_acl_body("/plain-4", DIGEST_ACL, -1))
    client.call("setData", set_data_body("/", b"root", -1))
    for step in range(12, 18):
        client.call("delete", path_and_int(f"/plain-{step}", -1))
    create(client, "/plain-1")
    create(client, "/missing/child")
    parts = [
        (OPCODES["create"], create_body("/multi", b"m", OPEN_ACL, 0)),
        (OPCODES["create"], create_body("/multi/child", b"m", OPEN_ACL, 0)),
        (OPCODES["setData"], set_data_body("/plain-5", b"multi", -1)),
        (OPCODES["check"], path_and_int("/plain-5", -1)),
        (OPCODES["delete"], path_and_int("/multi/child", -1)),
    ]
    client.call("multi", multi_body(parts))
    client.call("multi", multi_body(parts))
    client.call("multi", multi_body([]))
    limits = "/zookeeper/quota/plain-6"
    create(client, limits)
    create(client, limits + "/zookeeper_limits", data=b"count=5,bytes=100")
    create(client, limits + "/zookeeper_stats", data=b"count=0,bytes=0")
    create(client, "/plain-6/counted")
    for step in range(4):
        create(other, f"/other-{step}", 1)
    create(client, "/ephemeral", 1)
    other.call("closeSession")


def znodes(client: RawClient, path: str = "/") -> Iterator[tuple[str, bytes | None, bytes, object]]:
    """The tree as a client sees it: path, data, the stat's 68 bytes, ACL."""
    children = client.call("getChildren", path_and_watch(path, False))
    if children.err:
        return
    client.send("getData", path_and_watch(path, False))
    reader = Reader(client.receive_frame())
    client._pending.clear()
    reader.take(16)
    data, stat = reader.buffer(), reader.rest()
    acl = client.call("getACL", ustring(path)).value
    assert isinstance(acl, tuple)
    yield path, data, stat, acl[0]
    assert isinstance(children.value, list)
    for child in children.value:
        yield from znodes(client, path.rstrip("/") + "/" + child)


def seen(port: int) -> Znodes:
    with RawClient(port) as client:
        client.connect()
        client.call("auth", auth_body(0, "digest", SUPER), xid=AUTH_XID)
        found: Znodes = {}
        for path, data, stat, acl in znodes(client):
            assert isinstance(acl, list)
            found[path] = data, stat, acl
        client.call("closeSession")
    return found


def held(tree: DataTree) -> Znodes:
    """The same of kraal's tree."""
    return {
        path.decode() or "/": (
            node.data,
            node.stat,
            [(acl.perms, acl.scheme, acl.id) for acl in decode_acls(node.acl.encoded)],
        )
        for path, node in tree.nodes.items()
        if path
    }


def recovered(directory: Path) -> Recovered:
    found = recover(FS, configured(directory), extended_types=True)
    assert found.digest_mismatches == 0, found.warnings
    return found


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_a_killed_reference_server_is_taken_over(tmp_path: Path, codec: SnapshotCodec) -> None:
    server = reference(tmp_path, codec)
    with server, RawClient(server.port) as client, RawClient(server.port) as other:
        session = client.connect().session
        other.connect()
        write_every_kind(client, other)
        expected = seen(server.port)
        last = create(client, "/last").zxid
        expected_last = client.call("exists", path_and_watch("/", False))
        server.kill()
    found = recovered(tmp_path)
    tree = found.tree
    assert expected_last.zxid == last == tree.last_zxid
    assert tree.sessions == {session: 40_000}
    mine = held(tree)
    del mine["/last"]
    root = mine.pop("/")
    assert root[0] == b"root"
    assert mine == {path: node for path, node in expected.items() if path != "/"}
    assert tree.containers == {b"/container": None}
    assert tree.ttls == {b"/ttl": 3_600_000}
    assert len(tree.ephemerals[session]) == 6
    # Every snapshot that the server left leads to the same tree.
    store = SnapshotStore(FS, configured(tmp_path))
    snapshots = store.valid()
    assert len(snapshots) > 2
    assert {one.codec for one in snapshots} == {codec}
    for one in snapshots[:-1]:
        FS.unlink(store.directory / one.name)
        again = recovered(tmp_path)
        assert held(again.tree) == held(tree)
        assert again.tree.digest == tree.digest


class Written:
    """A directory of kraal's: random transactions, snapshots in between, one of them fuzzy."""

    def __init__(self, directory: Path, codec: SnapshotCodec, seed: int) -> None:
        self.config = configured(directory, codec)
        start = recover(FS, self.config, extended_types=True)
        if start.needs_initial_snapshot:
            save_initial(FS, self.config, start.tree)
        self.history = History(Random(seed), start.tree)
        self.log = TxnLog(FS, self.config)
        self.append(40)
        save_initial(FS, self.config, self.history.tree)
        self.log.roll()
        self.append(40)
        writer = SnapshotStore(FS, self.config).create(self.history.tree.last_zxid)
        for piece in snapshot.encode(self.history.tree):
            writer.write(piece)
            self.append(10)
        self.log.roll()
        self.name = writer.commit()
        self.append(40)
        self.log.close()

    def append(self, count: int) -> None:
        for _ in range(count):
            txn = self.history.next()
            self.log.append(txn.zxid, txn.payload)
            if txn.zxid % 7 == 0:
                self.flush()
        self.flush()

    def flush(self) -> None:
        flush = self.log.take()
        if flush is not None:
            flush.run()


def tool(classpath: str, name: str, *arguments: str) -> str:
    done = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-cp", classpath, f"org.apache.zookeeper.{name}",
         *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("codec", SnapshotCodec)
def test_the_reference_reads_what_kraal_wrote(
    tmp_path: Path, codec: SnapshotCodec, classpath: str
) -> None:
    written = Written(tmp_path, codec, 1)
    tree = written.history.tree
    version_2 = tmp_path / "data" / "version-2"
    counted = 0
    for log in sorted(version_2.glob("log.*")):
        printed = tool(classpath, "server.persistence.TxnLogToolkit", str(log))
        assert "CRC ERROR" not in printed
        assert "dbid 0 txnlog format version 2" in printed
        counted += int(printed.rpartition("EOF reached after ")[2].split()[0])
    assert counted == tree.last_zxid
    printed = tool(classpath, "server.SnapshotFormatter", str(version_2 / written.name))
    assert "/zookeeper/quota\n" in printed

    server = reference(tmp_path, codec)
    with server:
        found = seen(server.port)
        mismatches = [
            line for line in four_letter_word(server.port, "mntr").splitlines()
            if "digest_mismatches_count" in line
        ]  # fmt: skip
    assert found == held(tree)
    assert [line.split()[1] for line in mismatches] == ["0"]
    assert "Digests are not matching" not in server.log_path.read_text()


def test_back_and_forth(tmp_path: Path) -> None:
    for turn, codec in enumerate(SnapshotCodec):
        before = set(held(Written(tmp_path, codec, turn).history.tree))
        server = reference(tmp_path, codec)
        with server, RawClient(server.port) as client:
            client.connect()
            for step in range(40):
                create(client, f"/turn-{turn}-{step}")
            expected = seen(server.port)
            server.kill()
        assert before <= set(expected)
        assert held(recovered(tmp_path).tree) == expected


def test_the_lock_and_unfinished_files_do_not_disturb_the_reference(tmp_path: Path) -> None:
    config = configured(tmp_path)
    held_lock = data_dir.lock(FS, config)
    Written(tmp_path, SnapshotCodec.NONE, 3)
    held_lock.release()
    for name in ("unfinished-log.ff", "unfinished-snapshot.ff"):
        (tmp_path / "data" / "version-2" / name).write_bytes(b"torn")
    assert (tmp_path / "data" / data_dir.LOCK_NAME).exists()
    with reference(tmp_path) as server:
        assert "Mode: standalone" in four_letter_word(server.port, "srvr")
