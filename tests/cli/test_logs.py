"""The log of a server process: formats, levels that change, the audit log's own file."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import kraal
from kraal.cli import logs
from tests.server.conftest import assert_alive, connected, create, running
from tests.support import servers
from tests.support.servers import Server


def wait_for(found: Callable[[], bool]) -> None:
    """Poll; the test's time limit ends it."""
    while not found():
        time.sleep(0.02)


def test_records_are_objects_on_request(tmp_path: Path) -> None:
    server = servers.kraal(tmp_path, environment={"KRAAL_LOG_FORMAT": "json"})
    with server:
        pass
    records = [json.loads(line) for line in server.log_path.read_text().splitlines() if "{" in line]
    assert records
    assert all({"timestamp", "level", "logger", "message"} <= record.keys() for record in records)
    (recovered,) = (r for r in records if r["message"].startswith("Recovered to zxid"))
    assert (recovered["level"], recovered["logger"]) == ("info", "kraal.server")


def test_levels_come_from_a_file_and_follow_it(tmp_path: Path) -> None:
    levels = tmp_path / "levels"
    levels.write_text("# quiet\nkraal.server = ERROR\nroot=NOISE\n")
    server = servers.kraal(tmp_path, environment={"KRAAL_LOG_LEVELS": str(levels)})
    with server:
        assert "line 3: 'NOISE' is none of DEBUG, " in server.log_path.read_text()
        assert "Recovered" not in server.log_path.read_text()
        levels.write_text("kraal.server.client=DEBUG\n")
        hang_up(server)
        wait_for(lambda: "the levels of the log are set anew" in server.log_path.read_text())
        servers.four_letter_word(server.port, "ruok")
        wait_for(lambda: "Processing ruok command" in server.log_path.read_text())
        levels.write_bytes(b"\xff")
        hang_up(server)
        wait_for(lambda: "the levels of the log stay as they are" in server.log_path.read_text())
        levels.write_text("junk\nkraal.server=WARN\nkraal.nosuch=DEBUG\nkraal.zab=INFO\n")
        hang_up(server)
        wait_for(lambda: "of single loggers: kraal.server=WARN" in server.log_path.read_text())
        assert f"{levels}, line 3: there is no logger kraal.nosuch" in server.log_path.read_text()
        assert "no logger kraal.zab" not in server.log_path.read_text()
        assert "line 1: 'junk' is not of the form LOGGER=LEVEL" in server.log_path.read_text()


def hang_up(server: Server) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def test_all_loggers_are_known() -> None:
    """Otherwise a level for one would be complained of."""
    package = Path(kraal.__file__).parent
    sources = "".join(path.read_text() for path in package.rglob("*.py"))
    assert set(re.findall(r'getLogger\("(kraal[.a-z_]*)"\)', sources)) == set(logs.LOGGERS)


def test_probes_leave_no_line_at_the_usual_level(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        before = server.log_path.read_text()
        for word in ("ruok", "srvr", "mntr"):
            servers.four_letter_word(server.port, word)
        with connected(server.port) as client:
            assert create(client, "/a") == 0
        assert server.log_path.read_text() == before


def test_the_audit_log_has_a_file_of_its_own(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    with running(tmp_path, audit__enable="true", audit__file=audit) as server:
        with connected(server.port) as client:
            assert create(client, "/a") == 0
            assert create(client, "/a") == -110
        assert "operation=" not in server.log_path.read_text()
    lines = audit.read_text().splitlines()
    assert [re.sub(r"^\S+ \S+ |0x\w+", "", line) for line in lines[1:3]] == [
        f"{level} audit.Slf4jAuditLogger: session=\tuser=127.0.0.1\tip=127.0.0.1"
        f"\toperation=create\tznode=/a\tznode_type=persistent\tresult={result}"
        for level, result in (("INFO", "success"), ("ERROR", "failure"))
    ]
    assert "operation=serverStart\tresult=success" in lines[0]
    assert "operation=serverStop\tresult=invoked" in lines[-1]


def test_the_audit_log_begins_a_new_file_where_its_own_was_renamed(tmp_path: Path) -> None:
    directory = tmp_path / "audit"
    directory.mkdir()
    audit, renamed = directory / "audit.log", directory / "audit.log.old"
    settings = {"audit.enable": "true", "audit.file": audit}
    with (
        servers.kraal(tmp_path, settings=settings) as server,
        connected(server.port) as client,
    ):
        assert create(client, "/a") == 0
        audit.rename(renamed)
        assert create(client, "/b") == 0
        assert [file.read_text().count("operation=create") for file in (renamed, audit)] == [1, 1]
        directory.rename(tmp_path / "away")
        for path in ("/lost", "/lost-too"):
            assert create(client, path) == 0
        (tmp_path / "away").rename(directory)
        assert create(client, "/c") == 0
        assert audit.read_text().count("operation=create") == 2
        assert_alive(server)
    log = server.log_path.read_text()
    assert f"Lines of the audit log are lost: [Errno 2] No such file or directory: '{audit}'" in log
    assert f"The audit log is written to {audit} again" in log


def test_an_audit_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    server = servers.kraal(
        tmp_path, settings={"audit.enable": "true", "audit.file": "/nowhere/audit.log"}
    )
    process = server.launch()
    assert process.wait(30) == 2
    assert "audit.file=/nowhere/audit.log: No such file" in server.log_path.read_text()


def test_sigquit_shows_what_the_server_does_and_ends_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert server.process is not None

        def shown(text: str) -> int:
            return server.log_path.read_text().count(text)

        server.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: shown("in _watch_disk") == 1)
        server.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: shown("in _watch_disk") == 2)
        assert shown("Current thread ") == 2
        assert shown("disk_thread.py") >= 2, "the thread that waits, too"
        assert_alive(server)
