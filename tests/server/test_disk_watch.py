"""What little room on the disk leads to: alarms, refused writes, and service again."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.model.config import ServerConfig, StorageConfig
from kraal.server.disk_watch import DiskWatch, Room
from kraal.server.server import Server
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from tests.server.conftest import connected, create, data_of, figure, running
from tests.support import raw_client as raw
from tests.support.servers import HOST

OK, THROTTLED, NO_NODE = 0, -127, -101
NO_DISK_HAS_SO_MUCH = 1 << 60


def watched(warn: int, refuse: int) -> tuple[DiskWatch, list[int]]:
    config = StorageConfig(
        data_dir=PurePath("/data"),
        data_log_dir=PurePath("/logs"),
        disk_warn_free_bytes=warn,
        disk_refuse_free_bytes=refuse,
    )
    fs = MemoryFileSystem(Random(1))
    for directory in ("/data/version-2", "/logs/version-2"):
        fs.mkdir(PurePath(directory))
    got: list[int] = []
    watch = DiskWatch(fs, config, got_little=lambda: got.append(watch.free_bytes))
    fs.room_bytes = 5
    assert watch.measure() == 5
    return watch, got


def test_states_follow_the_free_space_and_do_not_flutter(caplog: pytest.LogCaptureFixture) -> None:
    watch, purged = watched(warn=1000, refuse=100)
    steps = [
        (5000, Room.ENOUGH), (1000, Room.ENOUGH), (999, Room.LITTLE), (1100, Room.LITTLE),
        (99, Room.NONE), (110, Room.NONE), (125, Room.LITTLE), (80, Room.NONE),
        (1250, Room.ENOUGH), (50, Room.NONE), (2000, Room.ENOUGH),
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        for free, room in steps:
            watch.judge(free)
            assert (free, watch.room) == (free, room)
            assert watch.refuses_writes == (room is Room.NONE)
    assert purged == [999, 99, 80, 50]
    own = [record for record in caplog.records if record.name == "kraal.server.disk"]
    worse, better = logging.CRITICAL, logging.WARNING
    assert [record.levelno for record in own] == [logging.ERROR, *(worse, better) * 3]


def test_zero_turns_it_off() -> None:
    watch, purged = watched(warn=0, refuse=0)
    watch.judge(0)
    assert watch.room is Room.ENOUGH
    assert purged == []


def test_a_snapshot_must_leave_room_for_the_log() -> None:
    watch, _ = watched(warn=1000, refuse=100)
    assert watch.has_room_for(1 << 40), "nothing is known before the first measurement"
    watch.judge(500)
    assert watch.has_room_for(400)
    assert not watch.has_room_for(401)


def test_a_server_without_room_reads_deletes_and_keeps_sessions(tmp_path: Path) -> None:
    with running(tmp_path) as server, connected(server.port) as client:
        assert figure(server, "kraal_disk_free_bytes") > 0
        assert figure(server, "kraal_disk_writes_refused") == 0
        for path in ("/kept", "/deleted", "/deleted-too"):
            assert create(client, path, b"data") == OK
    with running(tmp_path, disk__refuseFreeBytes=NO_DISK_HAS_SO_MUCH) as server:
        with connected(server.port) as client:
            assert figure(server, "kraal_disk_writes_refused") == 1
            zxid = client.call("exists", raw.path_and_watch("/kept", False)).zxid
            assert data_of(client, "/kept") == b"data"
            assert create(client, "/new") == THROTTLED
            assert create(client, "/new", flags=1) == THROTTLED
            assert client.call("setData", raw.set_data_body("/kept", b"x", -1)).err == THROTTLED
            set_data = (raw.OPCODES["setData"], raw.set_data_body("/kept", b"x", -1))
            delete = (raw.OPCODES["delete"], raw.path_and_int("/deleted", -1))
            assert client.call("multi", raw.multi_body([delete, set_data])).err == THROTTLED
            # A refused write costs no transaction.
            reply = client.call("exists", raw.path_and_watch("/new", False))
            assert (reply.err, reply.zxid) == (NO_NODE, zxid)
            assert client.call("multi", raw.multi_body([delete])).err == OK
            assert client.call("delete", raw.path_and_int("/deleted-too", -1)).err == OK
            assert client.call("ping").err == OK
            assert client.call("closeSession").err == OK
        assert "writes are refused with THROTTLED_OP" in server.log_path.read_text()
    with running(tmp_path) as server, connected(server.port) as client:
        assert create(client, "/new") == OK


def test_service_comes_back_with_the_room() -> None:
    """No restart, and the same connection."""
    fs = MemoryFileSystem(Random(1))
    config = ServerConfig(
        storage=StorageConfig(data_dir=PurePath("/data"), data_log_dir=PurePath("/data")),
        client_port=0,
        client_host=HOST,
    )

    def codes(port: int) -> list[int]:
        found: list[int] = []
        with connected(port) as client:
            for turn, room in enumerate((1 << 40, 1 << 10, 1 << 40)):
                fs.room_bytes = room
                while create(client, f"/{turn}-tried-{len(found)}") != (
                    THROTTLED if room == 1 << 10 else OK
                ):
                    found.append(turn)
                    assert len(found) < 100_000
            assert client.call("closeSession").err == OK
        return found

    async def run() -> None:
        server = Server(config, fs=fs, owns_process=False)
        ready = asyncio.Event()
        running_ = asyncio.create_task(server.run(ready))
        await ready.wait()
        await asyncio.to_thread(codes, server.listener.bound_port)
        assert not server.disk.refuses_writes
        server.stop()
        assert await running_ == 0

    asyncio.run(run())


def test_a_full_disk_is_a_pause_and_loses_nothing() -> None:
    """A write fails in the middle: nobody is served until there is room, and then as before."""
    fs = MemoryFileSystem(Random(1))
    directory = PurePath("/data")
    config = ServerConfig(
        storage=StorageConfig(
            data_dir=directory, data_log_dir=directory, pre_alloc_bytes=0, disk_warn_free_bytes=0,
            disk_refuse_free_bytes=0,
        ),
        client_port=0,
        client_host=HOST,
    )  # fmt: skip

    def fill(port: int) -> tuple[list[str], int]:
        """What was acknowledged, and the session that did it."""
        acknowledged: list[str] = []
        with raw.RawClient(port) as client:
            session = client.connect(raw.connect_request(timeout=40_000)).session
            fs.room_bytes = 20_000
            try:
                while True:
                    path = f"/{len(acknowledged)}"
                    assert create(client, path, b"x" * 100) == OK
                    acknowledged.append(path)
            except (raw.ClosedError, OSError):
                return acknowledged, session

    def check(port: int, acknowledged: list[str], session: int) -> None:
        fs.room_bytes = 1 << 40
        while True:
            try:
                with raw.RawClient(port) as client:
                    request = raw.connect_request(
                        timeout=40_000, session=session, password=raw.session_password(session)
                    )
                    if client.connect(request).session != session:
                        continue
                    for path in acknowledged:
                        assert data_of(client, path) == b"x" * 100
                    assert create(client, "/after") == OK
                    assert client.call("closeSession").err == OK
                    return
            except (raw.ClosedError, OSError):
                continue

    async def run() -> list[str]:
        server = Server(config, fs=fs, owns_process=False)
        ready = asyncio.Event()
        running_ = asyncio.create_task(server.run(ready))
        await ready.wait()
        port = server.listener.bound_port
        acknowledged, session = await asyncio.to_thread(fill, port)
        # What a power failure leaves now has all that was acknowledged.
        left = recover(fs.crash(), config.storage, extended_types=False).tree
        assert {path.encode() for path in acknowledged} <= set(left.nodes)
        await asyncio.to_thread(check, port, acknowledged, session)
        server.stop()
        assert await running_ == 0
        return acknowledged

    acknowledged = asyncio.run(run())
    assert 10 < len(acknowledged) < 200
    tree = recover(fs, config.storage, extended_types=False).tree
    assert {path.encode() for path in [*acknowledged, "/after"]} <= set(tree.nodes)


def test_while_nobody_is_served_no_line_says_that_reads_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fs, directory = MemoryFileSystem(Random(1)), PurePath("/data")
    storage = StorageConfig(data_dir=directory, data_log_dir=directory, pre_alloc_bytes=0)
    config = ServerConfig(storage=storage, client_port=0, client_host=HOST)

    async def said(text: str) -> None:
        async with asyncio.timeout(20):
            while text not in caplog.text:
                await asyncio.sleep(0.01)

    async def run() -> None:
        server = Server(config, fs=fs, owns_process=False)
        ready = asyncio.Event()
        running_ = asyncio.create_task(server.run(ready))
        await ready.wait()
        fs.room_bytes = 0
        server.lack_room(StorageError("writing: No space left on device"))
        await said("0 MiB are free at /data/version-2, less than disk.refuseFreeBytes")
        fs.room_bytes = 1 << 40
        await said("MiB are free at /data/version-2: the server tries again")
        server.stop()
        assert await running_ == 0

    asyncio.run(run())
    assert "nobody is served until there is room" in caplog.text
    assert "go on" not in caplog.text
    assert "writes are taken again" not in caplog.text


def test_a_member_leaves_before_its_disk_is_full(caplog: pytest.LogCaptureFixture) -> None:
    watch, _ = watched(warn=1000, refuse=100)
    for free, exhausted in ((99, False), (25, False), (24, True), (99, False), (0, True)):
        watch.judge(free)
        assert watch.is_exhausted(free) == exhausted
        assert not watch.has_room_again
    watch.judge(1 << 30)
    assert watch.has_room_again
