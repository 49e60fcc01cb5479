"""The shell at a terminal: completion, history, events, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import kraal
from tests.shell.process import Terminal
from tests.support import servers
from tests.support.servers import HOST

STOP = "\x03"
END = "\x04"


def test_commands_colours_and_the_end(hosts: str, tmp_path: Path) -> None:
    with Terminal(hosts, tmp_path) as terminal:
        terminal.wait("Welcome to ZooKeeper!")
        terminal.enter("create /a 'two words'")
        terminal.wait("Created /a")
        terminal.enter("get -s /a")
        terminal.wait("two words\n")
        terminal.wait("\x1b[36mcZxid\x1b[0m = 0x")
        terminal.wait_prompt()
        terminal.press("nonsense" + STOP + "gett /a\r")
        terminal.wait("did you mean get")
        terminal.enter("get /none")
        terminal.wait("\x1b[31mNode does not exist: /none")
        terminal.wait_prompt()
        terminal.press(END)
        assert terminal.wait_end() == 1


def test_data_cannot_drive_the_terminal(hosts: str, tmp_path: Path) -> None:
    with Terminal(hosts, tmp_path) as terminal:
        terminal.enter("create /a")
        terminal.wait("Created /a")
        terminal.enter("set -b /a G1syShtdMDt4Bw==")  # ESC [2J ESC ]0;x BEL
        terminal.enter("get /a")
        terminal.wait("\\x1b[2J\\x1b]0;x\\x07")
        terminal.enter("quit")
        assert terminal.wait_end() == 0


async def test_completion_of_commands_options_and_paths(hosts: str, tmp_path: Path) -> None:
    async with kraal.connect(hosts) as zk:
        await zk.create("/application")
        await zk.create("/application/with blank", b"found")
        await zk.create("/application/other")
    with Terminal(hosts, tmp_path) as terminal:
        terminal.wait_prompt()
        terminal.press("getEph\t")
        terminal.wait("emerals")
        terminal.press("\r")
        terminal.wait("[]\n")
        terminal.wait_prompt()
        terminal.press("reconfig -mem\t")
        terminal.wait("bers")
        terminal.press(STOP)
        terminal.wait_prompt()
        terminal.press("get /app\t")
        terminal.wait("lication")
        terminal.press("/w\t")
        terminal.wait("blank")
        terminal.press("\r")
        terminal.wait("found\n")


async def test_events_come_while_a_line_is_written(hosts: str, tmp_path: Path) -> None:
    async with kraal.connect(hosts) as zk:
        await zk.create("/a", b"old")
        with Terminal(hosts, tmp_path) as terminal:
            terminal.enter("get -w /a")
            terminal.wait("old\n")
            terminal.wait_prompt()
            terminal.press("get ")
            terminal.wait("get ")
            await zk.set("/a", b"new")
            terminal.wait("WatchedEvent state:SyncConnected type:NodeDataChanged path:/a")
            terminal.wait("get ")  # what was written is still there
            terminal.press("/a\r")
            terminal.wait("new\n")


def test_lines_are_remembered_but_credentials_are_not(hosts: str, tmp_path: Path) -> None:
    with Terminal(hosts, tmp_path) as terminal:
        terminal.enter("addauth digest bob:secret")
        terminal.enter("whoami")
        terminal.wait("digest: bob")
        terminal.wait_prompt()
        terminal.press(END)
        assert terminal.wait_end() == 0
    history = tmp_path / "kraal" / "shell-history"
    assert "+whoami" in history.read_text()
    assert "secret" not in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
    with Terminal(hosts, tmp_path) as terminal:
        terminal.enter("\x1b[A")  # the line before
        terminal.wait("Auth scheme: User")


def test_ctrl_c_ends_the_command_and_not_the_shell(tmp_path: Path) -> None:
    with (
        servers.kraal(tmp_path / "server") as server,
        Terminal(f"{HOST}:{server.port}", tmp_path) as terminal,
    ):
        terminal.wait_prompt()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            terminal.press("ls /\r")
            terminal.press_until(STOP, "Interrupted")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        terminal.enter("ls /")
        terminal.wait("[zookeeper]")


@pytest.mark.parametrize("state", ["file", "none"])
def test_a_place_for_the_history_that_cannot_be_used(
    hosts: str, tmp_path: Path, state: str
) -> None:
    (tmp_path / "file").write_text("")
    with Terminal(hosts, tmp_path / state) as terminal:
        terminal.enter("whoami")
        terminal.wait("ip: 127.0.0.1")


def paste(*lines: str) -> str:
    return f"\x1b[200~{chr(10).join(lines)}\x1b[201~\r"


def test_pasted_lines_are_commands_of_their_own(hosts: str, tmp_path: Path) -> None:
    with Terminal(hosts, tmp_path) as terminal:
        terminal.wait_prompt()
        terminal.press(paste("create /a 1", "", "create /b 2", ""))
        terminal.wait("Created /a")
        terminal.wait("Created /b")
        terminal.wait_prompt()
        terminal.press(paste("get /b", "get /none", "deleteall /a", "deleteall /b"))
        terminal.wait("2004l2\n")
        terminal.wait("Node does not exist: /none")
        terminal.wait("2 more pasted lines were not run")
        terminal.enter("ls /")
        terminal.wait("[a, b]")
        terminal.enter("quit")
        assert terminal.wait_end() == 0
