"""Single commands, commands from a pipe, and how a shell ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import kraal
from kraal.shell.registry import COMMANDS
from kraal.shell.settings import Settings
from kraal.shell.shell import Shell
from tests.shell.process import command, environment, run, start
from tests.support import servers
from tests.support.proxy import Proxy
from tests.support.servers import HOST, four_letter_word, free_port


def test_one_command_and_its_exit_code(hosts: str) -> None:
    done = run(hosts, "-q", "create", "/a", "two words")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "Created /a\n")
    assert run(hosts, "-q", "get", "/a").stdout == "two words\n"
    assert run(hosts, "-q", "get", "/none").returncode == 1
    assert run(hosts, "-q", "nosuch").returncode == 127
    assert run(hosts, "--nosuch").returncode == 2
    shown = run(hosts, "-timeout", "20000", "get", "/a").stdout.splitlines()
    assert shown[0] == f"Connecting to {hosts}"
    assert shown[-2:] == [
        "WatchedEvent state:SyncConnected type:None path:null zxid: -1",
        "two words",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(
    hosts: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(hosts, "-q", "create", "/a€").returncode == 0
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    shown = "a€" if encoding == "utf-8" else "a\\u20ac"
    done = run(hosts, "-q", "ls", "/")
    assert (done.returncode, done.stdout) == (0, f"[{shown}]\n")
    done = run(hosts, "-q", "-o", "json", "ls", "/")
    assert json.loads(done.stdout)["children"] == ["a€"]
    assert run(hosts, "-q", "get", "/€").returncode == 1


def test_lines_from_a_pipe(hosts: str) -> None:
    done = run(hosts, "-q", lines="create /a\n\nget /none\r\nls /\nset /a 'no line end'")
    assert (done.returncode, done.stdout) == (0, "[a]\n")
    assert done.stderr == "Created /a\nNode does not exist: /none\n"
    done = run(hosts, "-q", "-e", lines="get /a\nget /none\nls /\n")
    assert (done.returncode, done.stdout) == (1, "no line end\n")
    assert run(hosts, "-q", lines="get /none\nquit\nls /\n").returncode == 1
    assert run(hosts, "-q", lines="").returncode == 0


def test_bytes_that_are_no_text_go_through(hosts: str) -> None:
    run(hosts, "-q", "create", "/a")
    assert run(hosts, "-q", lines=b"set /a \xff\xfe\nget -x /a\n").stdout.count("ff fe") == 1
    assert run(hosts, "-q", "get", "/a").stdout == "��\n"
    long = "x" * 300_000
    done = run(hosts, "-q", lines=f"set /a {long}\nget /a\nset /a {long * 4}\n")
    assert done.stdout == f"{long}\n"
    assert "longer than the servers take" in done.stderr


def test_what_is_no_text_is_readable_where_it_is_complained_of(hosts: str) -> None:
    said = run(hosts, "-q", lines=b"\xff\xfe\n")
    assert (said.returncode, "Command not found \\xff\\xfe" in said.stderr) == (127, True)
    said = run(hosts, "-o", "json", lines=b"\xff\xfe\n")
    assert json.loads(said.stderr)["error"].endswith(" \\xff\\xfe")
    assert "1 - ls /\\xff" in run(hosts, "-q", lines=b"help ls\nls /\xff\nhistory\n").stdout


def test_programs_get_objects_on_standard_error(hosts: str) -> None:
    limits = run(hosts.partition("/")[0], "-o", "json", "listquota", "/zookeeper")
    assert limits.returncode == 0, limits
    notes = [json.loads(line) for line in limits.stderr.splitlines()]
    assert [note["note"] for note in notes] == [
        "absolute path is /zookeeper/quota/zookeeper/zookeeper_limits"
    ]
    nobody = run(hosts, "-o", "json", "diff", f"{HOST}:{servers.free_port()}/a", "/a")
    told = [json.loads(line) for line in nobody.stderr.splitlines()]
    assert nobody.returncode == 2
    assert "no server could be reached" in told[-1]["error"]


def test_nobody_there() -> None:
    hosts = f"{HOST}:{free_port()}"
    done = run(hosts, "-q", "-timeout", "300", "-waitforconnection", "ls", "/")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("KeeperErrorCode = ConnectionLoss\n")


def test_an_interrupt_ends_a_shell_that_waits_for_lines(hosts: str) -> None:
    with start(hosts) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr is not None and process.stderr.read() == b""


async def test_the_session_ends_with_the_process(hosts: str) -> None:
    with start(hosts) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"create -e /mine\n")
        process.stdin.flush()
        assert process.stderr.readline() == b"Created /mine\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    async with kraal.connect(hosts) as zk:
        assert await zk.exists("/mine") is None


def test_a_reader_that_has_seen_enough(hosts: str) -> None:
    run(hosts, lines=f"create /a\nset /a {'x' * 200_000}")
    with start(hosts) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.close()
        process.stdin.write(b"get /a\n" * 50)  # more than a pipe holds
        process.stdin.close()
        assert process.wait(60) == 141
        assert process.stderr is not None and process.stderr.read() == b""


def test_a_process_without_streams(hosts: str) -> None:
    code = (
        "import os, sys; os.close(0); os.close(1);"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command(hosts)], env=environment(),
        stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_client_configurations(hosts: str, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("jute.maxbuffer=200\n")
    done = run(hosts, "-q", "-client-configuration", str(file), "create", "/a", "x" * 300)
    assert done.returncode == 1 and "jute.maxbuffer" in done.stderr
    file.write_text(
        "zookeeper.client.secure=true\nzookeeper.ssl.trustStore.location=/etc/trust.jks\n"
    )
    done = run(hosts, "-client-configuration", str(file), "ls", "/")
    assert done.returncode == 2 and "only PEM can be read" in done.stderr
    done = run(hosts, "-client-configuration", f"{tmp_path}/none", "ls", "/")
    assert done.returncode == 2 and os.strerror(2) in done.stderr
    file.write_text(
        "zookeeper.ssl.truststore.location=/ca.pem\nother=1\n"
        "zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty\n"
    )
    done = run(hosts, "-q", "-client-configuration", str(file), "version")
    assert (done.returncode, done.stderr) == (
        0,
        f"{file}: zookeeper.ssl.truststore.location has no effect in kraal shell;"
        " did you mean zookeeper.ssl.trustStore.location?\n"
        f"{file}: other has no effect in kraal shell\n",
    )


@pytest.mark.parametrize("hosts", [f"{HOST}:notaport", ""])
def test_servers_that_are_none(hosts: str) -> None:
    done = run(hosts, "-q", "ls", "/")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    done = run(hosts, "-q", "-o", "json", lines="ls /\n")
    assert done.returncode == 2 and json.loads(done.stderr)["exit_code"] == 2


@pytest.mark.parametrize(
    "line", ["help", "version", "nosuch", "ls -Z /", "get", "get relative", "help nosuch"]
)
def test_what_needs_no_server_asks_none(line: str) -> None:
    with socket.create_server((HOST, 0)) as nobody:
        nobody.setblocking(False)
        done = run(f"{HOST}:{nobody.getsockname()[1]}", "-q", *line.split())
        with pytest.raises(BlockingIOError):
            nobody.accept()
    assert "could be reached" not in done.stderr


async def test_a_session_that_begins_while_the_shell_closes_is_closed(tmp_path: Path) -> None:
    settings = {"4lw.commands.whitelist": "dump"}
    with servers.kraal(tmp_path, settings=settings) as server:

        async def count() -> int:
            text = await asyncio.to_thread(four_letter_word, server.port, "dump")
            found = re.search(r"Session Sets \(\d+\)/\((\d+)\)", text)
            assert found is not None, text
            return int(found[1])

        async with Proxy(server.port) as proxy:
            proxy.hold_answers()
            shell = Shell(Settings(hosts=f"{HOST}:{proxy.port}", is_quiet=True), COMMANDS)
            await shell.connect()
            while not await count():
                await asyncio.sleep(0)
            closing = asyncio.create_task(shell.close())
            assert await count() == 1
            proxy.release()
            await closing
            assert await count() == 0


def test_unknown_commands(hosts: str) -> None:
    assert run(hosts, "gte", "/").stderr.startswith("ZooKeeper -server host:port")  # as zkCli
    assert run(hosts, "-q", "gte", "/").stderr == (
        "Command not found: Command not found gte\n"
        "did you mean get or tree? help lists the commands\n"
    )
    done = run(hosts, "-q", "-o", "json", lines="gte /\nget\n")
    unknown, usage = map(json.loads, done.stderr.splitlines())
    assert (unknown["exit_code"], unknown["hint"][:16]) == (127, "did you mean get")
    assert (usage["command"], usage["error"][:4]) == ("get", "get ")


def test_comments(hosts: str) -> None:
    done = run(hosts, "-q", "-e", lines="# first\n  #second\ncreate /a '# data'\nget /a\n")
    assert (done.returncode, done.stdout) == (0, "# data\n")


def test_tls_on_a_port_without(server: servers.Server, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("zookeeper.client.secure=true\n")
    options = ("-timeout", "500", "-waitforconnection", "-client-configuration", str(file))
    done = run(f"{HOST}:{server.port}", "-q", *options, "ls", "/")
    assert done.returncode == 1
    assert "perhaps it does not speak TLS at this port" in done.stderr.splitlines()[-2]


@pytest.mark.parametrize("words", [("find", "n*"), ("tree",), ("export", "/")])
def test_what_is_written_to_a_file_is_in_it(hosts: str, words: tuple[str, ...]) -> None:
    """Although the terminal has the progress."""
    run(hosts, "-q", lines="".join(f"create /n{n}\n" for n in range(15)))
    outer, inner = pty.openpty()
    done = subprocess.run(
        [sys.executable, *command(hosts, "-q", *words)], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=inner, env=environment(), check=False, timeout=60,
    )  # fmt: skip
    assert all(b"n%d" % n in done.stdout for n in range(15))
    os.close(inner)
    os.close(outer)


def test_sasl_needs_a_password_and_one_mechanism(hosts: str) -> None:
    done = run(hosts, "--sasl-digest", "bob", "ls", "/")
    assert done.returncode == 2 and "KRAAL_SASL_PASSWORD is not set" in done.stderr
    done = run(hosts, "--sasl-digest", "bob", "--sasl-gssapi", "ls", "/")
    assert done.returncode == 2 and "exclude each other" in done.stderr


@pytest.mark.parametrize("kind", ["kraal", pytest.param("apache", marks=pytest.mark.apache)])
def test_sasl_with_digest(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.with_sasl(kind, tmp_path, {"bob": "secret"}) as server:
        hosts = f"{HOST}:{server.port}"
        monkeypatch.setenv("KRAAL_SASL_PASSWORD", "secret")
        done = run(hosts, "-q", "--sasl-digest", "bob", "whoami")
        assert (done.returncode, "sasl: bob" in done.stdout) == (0, True), done
        monkeypatch.setenv("KRAAL_SASL_PASSWORD", "wrong")
        done = run(hosts, "-q", "--sasl-digest", "bob", "whoami")
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.endswith("KeeperErrorCode = AuthFailed\n"), done
