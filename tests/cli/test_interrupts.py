"""What Ctrl-C does to the commands: processes that get SIGINT."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.shell.process import start
from tests.support.servers import HOST, KRAAL_PATH, kraal

# What runs in the background of a shell inherits that SIGINT is ignored.
RUN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from kraal.cli.main import main
main()
"""


def test_a_command_that_is_interrupted_says_so_and_ends_with_130() -> None:
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(60)
        target = f"{HOST}:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-c", RUN, "children", target, "/"],
            env={**os.environ, **KRAAL_PATH}, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            asked, _ = silent.accept()
            with asked:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Interrupted\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [((), 0, b""), (("-c", "2"), 130, b"Interrupted\n"), (("-t", "60s"), 130, b"Interrupted\n")],
)
def test_servers_and_endless_watches_end_well(
    words: tuple[str, ...], code: int, said: bytes
) -> None:
    server = kraal()
    with server:
        with start(f"{HOST}:{server.port}", "watch", *words, "/") as watching:
            assert watching.stderr is not None
            assert watching.stderr.readline() == b"Watching /\n"
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == code
            assert watching.stderr.read() == said
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
