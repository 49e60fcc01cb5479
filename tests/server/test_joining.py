"""Servers that no line of their configuration names join, and vote once they are named."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath

import pytest

from kraal.model.config import EnsembleSettings, ServerConfig, StorageConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.server.joining import own_line
from tests.server.conftest import connected, create, data_of
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.ensembles import quiet_ports
from tests.support.servers import HOST, KRAAL_PATH, Server, apache_command

PATIENCE_S = 60
_COMMAND = re.compile(r'somebody does so: (reconfig -add "server\.\d+=[^"]+")')


class Joiner:
    """A server with a zoo.cfg of its own; its process is started and ended by the test."""

    def __init__(self, directory: Path, server_id: int, lines: str, **settings: object) -> None:
        self.id = server_id
        self.home = directory / f"server-{server_id}"
        (self.home / "data").mkdir(parents=True)
        (self.home / "data" / "myid").write_text(f"{server_id}\n")
        self.port, self.quorum, self.election = quiet_ports(3)
        self.config = self.home / "zoo.cfg"
        given = {
            "tickTime": 500, "initLimit": 20, "syncLimit": 6, "dataDir": self.home / "data",
            "clientPort": self.port, "reconfigEnabled": "true", "skipACL": "yes",
            "admin.enableServer": "false", "4lw.commands.whitelist": "*", "clientPortAddress": HOST,
            **settings,
        }  # fmt: skip
        text = "".join(f"{key}={value}\n" for key, value in given.items())
        self.config.write_text(f"{text}{lines}")
        self.server: Server | None = None
        self.starts = 0

    @property
    def line(self) -> str:
        return f"server.{self.id}={HOST}:{self.quorum}:{self.election};{HOST}:{self.port}"

    def launch(self, command: Sequence[str] | None = None) -> None:
        ours = [sys.executable, "-m", "kraal", "serve", str(self.config)]
        self.server = Server(list(command or ours), self.port, self.home, KRAAL_PATH)
        self.starts += 1
        self.server.launch(self.home / f"{self.starts}.log")

    def stop(self) -> None:
        assert self.server is not None
        self.server.stop()

    def log(self) -> str:
        return (self.home / f"{self.starts}.log").read_text()

    def mode(self) -> str:
        try:
            answer = servers.four_letter_word(self.port, "srvr", 2.0)
        except OSError:
            return ""
        found = re.search(r"^Mode: (\S+)$", answer, re.MULTILINE)
        return found[1] if found else ""

    def membership(self) -> set[int]:
        """Who belongs to it, by its own /zookeeper/config."""
        with connected(self.port) as client:
            text = (data_of(client, "/zookeeper/config") or b"").decode()
        return {int(number) for number in re.findall(r"^server\.(\d+)=", text, re.MULTILINE)}

    def is_in(self, *members: int) -> bool:
        """Whether it follows or leads, in a membership of these."""
        try:
            return self.mode() in ("leader", "follower") and self.membership() == set(members)
        except (OSError, raw.ClosedError):
            return False  # between two terms

    def command(self) -> str | None:
        """What it says has it vote, if it says so."""
        found = _COMMAND.findall(self.log())
        return found[-1] if found else None


def until(condition: Callable[[], object], *servers: Joiner) -> None:
    """Poll; a failure has the logs."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "\n".join(
            f"--- {server.id} {server.mode()}\n{server.log()[-3000:]}" for server in servers
        )
        time.sleep(0.05)


def reconfigure(at: Joiner, command: str) -> None:
    """What somebody copies from the log, in the shell."""
    done = subprocess.run(
        [sys.executable, "-m", "kraal", "shell", "-q", "-server", f"{HOST}:{at.port}",
         *shlex.split(command)],
        env={**os.environ, **KRAAL_PATH}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def ending(*servers: Joiner) -> Iterator[None]:
    try:
        yield
    finally:
        for server in servers:
            if server.server is not None:
                server.server.kill()


def founder(directory: Path) -> Joiner:
    """Server 1, an ensemble by itself."""
    first = Joiner(directory, 1, "", standaloneEnabled="false")
    with first.config.open("a") as config:
        config.write(f"{first.line}\n")
    return first


def grow(joiner: Joiner, *members: Joiner) -> None:
    """Start it, and have it vote by what it says itself."""
    ids = [member.id for member in members]
    joiner.launch()
    until(joiner.command, joiner, *members)
    assert joiner.is_in(*ids)
    with connected(joiner.port) as client:
        assert data_of(client, "/znode") == b"data"
    command = joiner.command()
    assert command is not None
    assert f"{HOST}:{joiner.port}" in command, "it proposes the port that it has"
    reconfigure(members[0], command)
    everybody = (joiner, *members)
    until(lambda: all(one.is_in(joiner.id, *ids) for one in everybody), *everybody)


@pytest.mark.timeout(180)
def test_from_one_to_three_and_back(tmp_path: Path) -> None:
    first = founder(tmp_path)
    # Both know of the first alone, and nothing of themselves.
    second, third = (Joiner(tmp_path, number, f"{first.line}\n") for number in (2, 3))
    everybody = (first, second, third)
    with ending(*everybody):
        first.launch()
        until(lambda: first.is_in(1), first)
        with connected(first.port) as client:
            assert create(client, "/znode", b"data") == 0
        grow(second, first)
        grow(third, first, second)
        # Three vote: the first one may go.
        first.stop()
        until(lambda: {second.mode(), third.mode()} == {"leader", "follower"}, second, third)
        reconfigure(second, "reconfig -remove 1")
        until(lambda: second.is_in(2, 3) and third.is_in(2, 3), second, third)

        # Its dynamic file is stale: it names three, of which it is one.
        assert "server.1=" in newest_dynamic_file(first).read_text()
        first.launch()
        until(first.command, *everybody)
        assert first.is_in(2, 3)
        until(lambda: "server.1=" not in newest_dynamic_file(first).read_text(), first)

        # Now no line of its file names it, and it starts all the same, with the port it had.
        first.stop()
        first.launch()
        until(first.command, *everybody)
        assert "No line of the configuration" in first.log()
        until(lambda: first.is_in(2, 3), *everybody)
        command = first.command()
        assert command is not None
        reconfigure(second, command)
        until(lambda: all(one.is_in(1, 2, 3) for one in everybody), *everybody)


@pytest.mark.apache
def test_joining_apache_zookeeper(tmp_path: Path) -> None:
    first = founder(tmp_path)
    second = Joiner(tmp_path, 2, f"{first.line}\n")
    with ending(first, second):
        first.launch(apache_command(first.config))
        until(lambda: first.is_in(1), first)
        with connected(first.port) as client:
            assert create(client, "/znode", b"data") == 0
        grow(second, first)


def newest_dynamic_file(server: Joiner) -> Path:
    """The one that its zoo.cfg points to."""
    found = re.search(r"^dynamicConfigFile=(.+)$", server.config.read_text(), re.MULTILINE)
    assert found is not None
    return Path(found[1])


@pytest.mark.parametrize("number", [1, 2], ids=["its own", "those of others"])
def test_who_waits_for_names_is_stopped(tmp_path: Path, number: int) -> None:
    lines = (
        f"server.1=no-such-host.invalid:2888:3888\nserver.{number + 2}=no-such-host.invalid:1:2\n"
    )
    server = Joiner(tmp_path, number, lines)
    with ending(server):
        server.launch()
        until(lambda: "No way to" in server.log() or "cannot be resolved" in server.log(), server)
        assert server.server is not None
        assert server.server.stop() == 0


def test_without_reconfigurations_it_is_refused(tmp_path: Path) -> None:
    line = f"server.1={HOST}:1:2;3\nserver.2={HOST}:4:5;6\n"
    stranger = Joiner(tmp_path, 7, line, reconfigEnabled="false")
    stranger.launch()
    assert stranger.server is not None
    assert stranger.server.process is not None
    assert stranger.server.process.wait(30) == 2
    assert "My id 7 not in the peer list, which names 1, 2" in stranger.log()


async def test_ports_that_are_not_free_give_way_to_the_usual_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    known = EnsembleConfig.parse(f"server.1={HOST}:{quiet_ports(1)[0]}:{quiet_ports(1)[0]}")
    settings = EnsembleSettings(config=known, init_limit_ticks=10, sync_limit_ticks=5)
    storage = StorageConfig(data_dir=PurePath("d"), data_log_dir=PurePath("d"))
    joiner = ServerConfig(storage=storage, server_id=2, ensemble=settings)
    steps = []
    with ExitStack() as held:
        for _ in range(2):
            own = await own_line(joiner)
            quorum, election = own.quorum[0].port, own.election[0].port
            assert f"{quorum} and {election} are proposed" in caplog.text
            steps.append(quorum - 2888)
            assert steps[-1] == election - 3888
            # As a joiner holds it; its quorum port is bound when it leads only.
            held.enter_context(socket.create_server((HOST, election)))
    assert 0 <= steps[0] < steps[1]
