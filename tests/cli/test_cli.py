"""The `kraal` command, with the server itself replaced by a recorder."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from kraal.cli.main import main
from kraal.model.config import ServerConfig
from kraal.version import __version__
from tests.support import servers
from tests.support.servers import HOST


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Put the logging back that `serve` sets up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The configurations with which servers were run; each run ends with code 5."""
    configs: list[ServerConfig] = []

    def run(config: ServerConfig, *, hung_up: Callable[[], None]) -> int:
        configs.append(config)
        return 5

    module = ModuleType("kraal.server.main")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kraal.server.main", module)
    return configs


def kraal(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environment, prog_name="kraal")


def test_version_names_kraal_and_the_reference() -> None:
    result = kraal("--version")
    assert result.output == f"kraal {__version__} (speaks as Apache ZooKeeper 3.9.5)\n"


def test_help_shows_examples_and_options() -> None:
    assert "serve" in kraal("--help").output
    text = kraal("serve", "--help").output
    for expected in ("kraal serve /etc/zookeeper/zoo.cfg", "--client-port", "--define"):
        assert expected in text


def test_help_does_not_load_a_server() -> None:
    code = (
        "import sys, kraal.cli.main;"
        "sys.exit(any(name in sys.modules for name in ('asyncio', 'kraal.server', 'logging')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_serve_without_anything(started: list[ServerConfig]) -> None:
    assert kraal("serve").exit_code == 5
    (config,) = started
    assert (config.client_host, config.client_port) == ("127.0.0.1", 2181)


def test_options_win_over_environment_file_and_defines(
    tmp_path: Path, started: list[ServerConfig]
) -> None:
    zoo_cfg = tmp_path / "zoo.cfg"
    zoo_cfg.write_text(f"dataDir={tmp_path}\nclientPort=1\ntickTime=1000\nsnapCount=20")
    result = kraal(
        "serve", str(zoo_cfg), "--client-port", "2", "--client-host", "127.0.0.1",
        "--data-dir", f"{tmp_path}/d", "--data-log-dir", f"{tmp_path}/l", "--tick-time", "3000",
        "-D", "zookeeper.snapCount=10", "--define", "maxCnxns=4",
        KRAAL_CLIENT_PORT="3", KRAAL_MAX_CLIENT_CNXNS="6",
    )  # fmt: skip
    assert result.exit_code == 5, result.output
    (config,) = started
    assert (config.client_host, config.client_port) == ("127.0.0.1", 2)
    assert str(config.storage.data_dir) == f"{tmp_path}/d"
    assert str(config.storage.data_log_dir) == f"{tmp_path}/l"
    assert (config.tick_time_ms, config.storage.snap_count) == (3000, 20)
    assert (config.throttle.max_connections, config.throttle.max_client_connections) == (4, 6)


def test_warnings_are_logged_on_one_readable_line(started: list[ServerConfig]) -> None:
    result = kraal("serve", "-D", "snapCuont=3")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARN  kraal\.server\.config"
        r" -D: snapCuont is no known setting and changes nothing; did you mean snapCount\?\n",
        result.stderr,
    )


def test_log_level_comes_from_option_or_environment(started: list[ServerConfig]) -> None:
    assert kraal("serve", "-D", "x=1", "--log-level", "error").stderr == ""
    assert kraal("serve", "-D", "x=1", KRAAL_LOG_LEVEL="ERROR").stderr == ""
    assert kraal("serve", "--log-level", "loud").exit_code == 2


def test_invalid_configuration_ends_with_2(started: list[ServerConfig]) -> None:
    result = kraal("serve", "--client-port", "abc")
    assert result.exit_code == 2
    log, message = result.stderr.splitlines()
    assert log.endswith("ERROR kraal.server.config Invalid config, exiting abnormally")
    assert message == 'clientPort=abc: For input string: "abc"'
    assert started == []


@pytest.mark.parametrize(
    "arguments", [("serve", "-D", "name"), ("serve", "-D", "=1"), ("serve", "a", "b"), ("nosuch",)]
)
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...]) -> None:
    assert kraal(*arguments).exit_code == 2


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_data_directory_that_cannot_be_used_ends_with_3(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    version_2 = tmp_path / "data" / "version-2"
    version_2.mkdir(parents=True)
    make(version_2 / "log.7")
    server = servers.kraal(tmp_path)
    assert server.launch().wait(30) == 3
    assert f"{version_2 / 'log.7'} failed: it is a directory, a pipe" in server.log_path.read_text()
    (version_2 / "log.7").rename(tmp_path / "away")
    (version_2 / "acceptedEpoch").write_text("1")
    (version_2 / "currentEpoch").write_text("2")
    members = {f"server.{n}": f"{HOST}:{servers.free_port()}:{servers.free_port()}" for n in (1, 2)}
    (tmp_path / "data" / "myid").write_text("1")
    server = servers.kraal(tmp_path, settings={"initLimit": 5, "syncLimit": 5, **members})
    assert server.launch().wait(30) == 3
    assert "is less than the current epoch" in server.log_path.read_text()


def test_a_taken_client_port_is_named(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        server = servers.kraal(tmp_path, port=port, settings={"clientPortAddress": HOST})
        assert server.launch().wait(30) == 1
    expected = f"clientPort={port}: {HOST}:{port} cannot be listened on: Address already in use"
    assert expected in server.log_path.read_text()


@contextmanager
def sent_to(tmp_path: Path, redirection: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server process behind a redirection of the shell, and its port."""
    server = servers.kraal(tmp_path)
    command = f"exec {shlex.join(server.command)} {redirection}"
    environment = {**os.environ, **server.environment}
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    )
    try:
        while process.poll() is None:
            try:
                if "Mode:" in servers.four_letter_word(server.port, "srvr"):
                    break
            except OSError:
                continue
        yield process, server.port
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    "redirection",
    [">/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", "<&- >&- 2>&-", "> >(head -1) 2>&1"],
)
def test_a_server_serves_where_nothing_can_be_written(tmp_path: Path, redirection: str) -> None:
    with sent_to(tmp_path, redirection) as (process, port):
        for _ in range(3):
            assert "Mode: standalone" in servers.four_letter_word(port, "srvr")
        process.terminate()
        assert process.wait(20) == 0
