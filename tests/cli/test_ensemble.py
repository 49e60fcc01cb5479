"""`kraal ensemble` with real servers: keys at a terminal, lines without one, and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kraal.cli.main import main
from kraal.local.layout import HOST
from tests.cli.terminal import TICK, Run, free_base_port, is_alive, until
from tests.support import raw_client as raw
from tests.support.servers import KRAAL_PATH

ROLE, EPOCH, CLIENTS, PID, STATE = 2, 3, 5, 8, 9
QUORUM = ("leader", "follower", "follower")
INTERRUPT = "\x03"


@pytest.fixture
def base_port(tmp_path: Path) -> int:
    return free_base_port(tmp_path, 5)


@pytest.fixture
def arguments(tmp_path: Path, base_port: int) -> tuple[str, ...]:
    data = ("--data-dir", str(tmp_path / "ensemble"))
    return ("3", *data, "--base-port", str(base_port), *TICK)


def leader_of(rows: dict[str, list[str]]) -> str:
    (leader,) = (server for server, row in rows.items() if row[ROLE] == "leader")
    return leader


class TestTerminal:
    def test_keys(self, arguments: tuple[str, ...], base_port: int) -> None:
        with Run(*arguments, has_terminal=True) as run:
            rows = run.wait_roles(*QUORUM)
            assert f"Connect to {HOST}:{base_port},{HOST}:{base_port + 1},{HOST}" in run.output
            first = leader_of(rows)
            run.press(f"{first}k")
            rows = run.wait_roles("leader", "follower", "-")
            assert rows[first][STATE] == "killed"
            assert int(rows[leader_of(rows)][EPOCH]) > 1
            run.press("r")
            rows = run.wait_roles(*QUORUM)
            assert rows[first][ROLE] == "follower"
            run.press("p")
            run.wait_cell(first, STATE, "paused")
            run.press("l")
            run.wait("the log", lambda: f"server-{first}/server.log" in run.screen())
            run.wait("what it says", lambda: "Looking for a leader" in run.screen())
            run.press("p")
            run.wait_cell(first, ROLE, "follower")
            run.press("q")
            assert run.wait_end() == 0
            assert len(run.pids) == 4, "three, and the one that was started again"
            assert "Stopped; the data stays in" in run.screen()
            assert run.terminal_mode() == run.mode_before

    def test_a_hung_server_is_shown_and_does_not_outlive_ctrl_c(
        self, arguments: tuple[str, ...]
    ) -> None:
        with Run(*arguments, has_terminal=True) as run:
            rows = run.wait_roles(*QUORUM)
            hung, other = [server for server, row in rows.items() if row[ROLE] == "follower"]
            os.kill(int(rows[hung][PID]), signal.SIGSTOP)
            run.wait_cell(hung, STATE, "does not answer")
            with raw.RawClient(run.client_port(other)) as client:
                client.connect(raw.connect_request(timeout=10_000))
                run.wait_cell(other, CLIENTS, "1")
            run.press(INTERRUPT)
            assert run.wait_end() == 0
            assert len(run.pids) == 3

    def test_without_its_terminal_it_ends(self, arguments: tuple[str, ...]) -> None:
        with Run(*arguments, has_terminal=True) as run:
            run.wait_roles(*QUORUM)
            run.hang_up()
            run.process.wait(60)
            until("end of all servers", lambda: not any(map(is_alive, run.pids)))


class TestPlain:
    def test_a_later_start_goes_on_with_the_data(
        self, arguments: tuple[str, ...], base_port: int
    ) -> None:
        role = re.compile(
            r"^\d\d:\d\d:\d\d server (\d) is (?:leader|follower|observer)"
            r" in epoch \d+, process \d+$"
        )
        with Run(*arguments, "--observers", "1") as run:
            run.wait_text(" is leader in epoch 1, process ")
            run.wait_text(" server 4 is observer in epoch ")
            with raw.RawClient(base_port + 3) as client:
                client.connect(raw.connect_request(timeout=10_000))
                assert (
                    client.call("create", raw.create_body("/kept", b"", raw.OPEN_ACL, 0)).err == 0
                )
            run.wait("every server's line", lambda: len(run.pids) == 4)
            lines = run.output.splitlines()
            assert lines[0].startswith("Ensemble of 3 servers and 1 observer, data in ")
            assert {found[1] for line in lines if (found := role.match(line))} == {*"1234"}
            assert "\x1b" not in run.output
            # What nobody can foresee: no server may go on alone.
            run.kill()
            until("end of all servers", lambda: not any(map(is_alive, run.pids)))
        with Run("--data-dir", arguments[2]) as run:
            run.wait_text(" server 4 is observer in epoch ")
            with raw.RawClient(base_port + 3) as client:
                client.connect(raw.connect_request(timeout=10_000))
                assert client.call("exists", raw.path_and_watch("/kept", False)).err == 0
            run.process.send_signal(signal.SIGTERM)
            assert run.wait_end() == 0
            assert run.output.endswith(f"Stopping ...\nStopped; the data stays in {arguments[2]}\n")

    def test_a_server_that_ends_by_itself_is_told_with_its_log(
        self, arguments: tuple[str, ...], tmp_path: Path
    ) -> None:
        with Run("1", *arguments[1:], "--plain") as run:
            run.wait_text(" is standalone")
            (pid,) = run.pids
            os.kill(pid, signal.SIGKILL)
            assert run.wait_end() == 1
            log = tmp_path / "ensemble" / "server-1" / "server.log"
            assert f"server 1 ended by signal 9; its log is {log}\n" in run.output
            assert "No server is left.\n" in run.output
            assert "Recovered to zxid 0x0" in log.read_text()

    def test_when_nobody_reads_its_lines_it_ends(self, arguments: tuple[str, ...]) -> None:
        with Run(*arguments) as run:
            run.wait("a leader", lambda: len(run.pids) == 3)
            run.hang_up()
            os.kill(min(run.pids), signal.SIGKILL)
            run.process.wait(60)
            assert not any(map(is_alive, run.pids))


class TestRefusals:
    def test_taken_ports_are_named(self, arguments: tuple[str, ...], base_port: int) -> None:
        with socket.create_server((HOST, base_port + 101)):
            result = CliRunner().invoke(main, ["ensemble", *arguments])
        assert result.exit_code == 2
        text = f"Error: somebody listens on {base_port + 101} (quorum port of server 2); "
        assert result.stderr.startswith(text)

    def test_another_number_of_servers(self, arguments: tuple[str, ...], base_port: int) -> None:
        with socket.create_server((HOST, base_port)):
            CliRunner().invoke(main, ["ensemble", *arguments])
        result = CliRunner().invoke(main, ["ensemble", "5", *arguments[1:3]])
        assert result.exit_code == 2
        assert "holds an ensemble of 3 servers; with another number" in result.stderr

    def test_a_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        result = CliRunner().invoke(main, ["ensemble", "--data-dir", f"{tmp_path}/file/x"])
        assert result.exit_code == 2
        assert "Not a directory" in result.stderr

    @pytest.mark.parametrize("wrong", ["0", "x", "100"])
    def test_wrong_numbers(self, wrong: str) -> None:
        assert CliRunner().invoke(main, ["ensemble", wrong]).exit_code == 2


def test_help_names_the_keys() -> None:
    text = " ".join(CliRunner().invoke(main, ["ensemble", "--help"]).output.split())
    for expected in ("k kills", "--observers", "--base-port", "--plain", "kraal ensemble 3"):
        assert expected in text


def test_a_server_does_not_start_without_the_parent_that_it_is_to_end_with(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kraal", "serve", "--parent-pid", str(os.getppid())]
    done = subprocess.run(
        [*command, "--client-port", "0", "--data-dir", str(tmp_path)],
        env={**os.environ, **KRAAL_PATH}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"this process did not start the server" in done.stderr
    assert not [*tmp_path.iterdir()]
