"""The directory of a running server, or its log, is moved away or deleted."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.model.config import StorageConfig
from kraal.server.disk_watch import DiskWatch
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.txn_log import TxnLog
from tests.server.conftest import assert_alive, connected, create, data_of, figure, running
from tests.server.test_admin_server import AUTH, Kraal, serving
from tests.support import raw_client as raw
from tests.support.ensembles import KRAAL, Ensemble, Shape
from tests.support.servers import four_letter_word

OK, THROTTLED = 0, -127
SNAPSHOT = "/commands/snapshot?streaming=false"


def wait_for(found: Callable[[], bool]) -> None:
    """Poll; the test's time limit ends it."""
    while not found():
        time.sleep(0.02)


def is_ready(kraal: Kraal) -> bool:
    return kraal.http("/readyz")[0] == 200


def reason(kraal: Kraal) -> str:
    return str(json.loads(kraal.http("/readyz")[1])["checks"]["disk"])


def admitted(kraal: Kraal, path: str) -> tuple[int, bytes]:
    """The answer, once the rate limit of snapshots lets one through."""
    while (found := kraal.http(path, AUTH))[0] == 429:
        pass
    return found


def test_a_log_is_lost_until_the_same_file_is_back(caplog: pytest.LogCaptureFixture) -> None:
    directory = PurePath("/data")
    storage = StorageConfig(data_dir=directory, data_log_dir=directory, pre_alloc_bytes=0)
    fs = MemoryFileSystem(Random(1))
    fs.mkdir(directory / "version-2")
    watch, log = DiskWatch(fs, storage, got_little=lambda: None), TxnLog(fs, storage)

    def looked() -> str | None:
        found = watch.look(log.place)
        watch.judge_log(found.lost, is_serving=True)
        assert watch.refuses_writes == (found.lost is not None)
        return found.lost

    assert looked() is None
    log.append(1, b"record")
    flush = log.take()
    assert flush is not None
    flush.run()
    assert looked() is None
    here = directory / "version-2" / "log.1"
    away = here.with_name("elsewhere")
    lost = "the log that is being written is not in /data/version-2 any more (log.1)"
    fs.rename(here, away)
    assert looked() == looked() == lost
    fs.create(here)
    assert looked() == lost, "another file of this name"
    log.close()
    assert looked() == lost, "also when it is closed"
    fs.rename(away, here)
    assert looked() is None
    moved = fs.directories.pop(here.parent)
    assert looked() == "/data/version-2 is not there any more"
    fs.mkdir(here.parent)
    assert looked() == "/data/version-2 is not the directory any more that the server began with"
    fs.directories[here.parent] = moved
    assert looked() is None
    levels = [record.levelno for record in caplog.records if record.name == "kraal.server.disk"]
    assert levels == [logging.ERROR, logging.WARNING, *[logging.ERROR] * 2, logging.WARNING]


def test_a_server_whose_directory_was_moved_takes_no_write_until_it_is_back(tmp_path: Path) -> None:
    version_2, away = tmp_path / "data" / "version-2", tmp_path / "elsewhere"
    with serving(tmp_path) as kraal, connected(kraal.server.port) as client:
        assert create(client, "/kept", b"data") == OK
        assert is_ready(kraal)
        version_2.rename(away)
        wait_for(lambda: not is_ready(kraal))
        assert reason(kraal).startswith(
            f"the log that is being written is not in {version_2} any more (log."
        )
        assert figure(kraal.server, "kraal_disk_writes_refused") == 1
        for name in ("dirs", "lsnp", "srvr"):
            code, text = kraal.http(f"/commands/{name}")
            assert code == 500
            assert "No such file or directory" in json.loads(text)["error"]
        for word in ("dirs", "conf"):
            assert "No such file or directory" in four_letter_word(kraal.server.port, word)
        for path in (SNAPSHOT, "/commands/backup"):
            code, text = admitted(kraal, path)
            assert code == 500
            assert "the snapshot could not be written: creating " in json.loads(text)["error"]
        assert kraal.http("/commands/restore", AUTH, b"no snapshot")[0] == 500
        assert create(client, "/new") == THROTTLED
        assert client.call("delete", raw.path_and_int("/kept", -1)).err == THROTTLED
        assert data_of(client, "/kept") == b"data"
        assert_alive(kraal.server)
        away.rename(version_2)
        wait_for(lambda: is_ready(kraal))
        assert create(client, "/new") == OK
        said = kraal.server.log_path.read_text()
    assert said.count("the next start would not find what is written now") == 1
    assert said.count("again: writes are taken again") == 1
    with running(tmp_path) as server, connected(server.port) as client:
        assert data_of(client, "/kept") == b"data"
        assert data_of(client, "/new") == b""


def test_a_snapshot_saves_what_is_in_a_deleted_log(tmp_path: Path) -> None:
    with serving(tmp_path) as kraal, connected(kraal.server.port) as client:
        assert create(client, "/kept", b"data") == OK
        for log in (tmp_path / "data" / "version-2").glob("log.*"):
            log.unlink()
        wait_for(lambda: not is_ready(kraal))
        assert create(client, "/new") == THROTTLED
        code, text = kraal.http(SNAPSHOT, AUTH)
        assert code == 200, text
    with running(tmp_path) as server, connected(server.port) as client:
        assert data_of(client, "/kept") == b"data"
        assert create(client, "/new") == OK


def test_a_member_leaves_until_its_directory_is_back(tmp_path: Path) -> None:
    with Ensemble(tmp_path, Shape(participants=(KRAAL,) * 3)) as ensemble:
        ensemble.start()
        leader = ensemble.wait_leader()
        with connected(leader.client_port) as client:
            assert create(client, "/before") == OK
        ensemble.wait_in_step()
        away = leader.data.with_name("elsewhere")
        leader.data.rename(away)
        ensemble.wait("its end", lambda: "Leaving the ensemble: the log" in leader.log_text())
        other = ensemble.wait(
            "another leader",
            lambda: next(
                (m for m in ensemble.living if m is not leader and m.mode() == "leader"), None
            ),
        )
        with connected(other.client_port) as client:
            assert create(client, "/meanwhile") == OK
        away.rename(leader.data)
        ensemble.wait_mode(leader, "follower")
        ensemble.wait_in_step()
        with connected(leader.client_port) as client:
            assert data_of(client, "/before") == data_of(client, "/meanwhile") == b""
