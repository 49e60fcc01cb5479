"""`kraal ensemble` as a process: at a pseudo-terminal, whose screen is read, or without one."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kraal.local.layout import Wanted, prepare, taken_ports
from tests.support.servers import KRAAL_PATH

T = TypeVar("T")

WAIT_SECONDS = 60.0
SIZE = (30, 120)
TICK = ("-D", "tickTime=500")
# The process takes the terminal for its own, so that Ctrl-C reaches it.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def free_base_port(directory: Path, servers: int) -> int:
    """A base port from which everything that so many servers listen on is free."""
    for base_port in random.sample(range(17_000, 31_000), 200):
        layout = prepare(directory / f"probe-{base_port}", Wanted(servers, 0, base_port))
        if not taken_ports(layout.places):
            return base_port
    raise AssertionError("no free ports")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be waited for does not."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(what: str, probe: Callable[[], T | None]) -> T:
    """Poll until the probe gives something true."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := probe()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.02)
    return found


class Run:
    """`kraal ensemble` with these arguments; leaving the context ends it by its pid."""

    def __init__(self, *arguments: str, has_terminal: bool = False) -> None:
        command = ["-m", "kraal", "ensemble", *arguments]
        environment = {**os.environ, **KRAAL_PATH, "TERM": "xterm", "PYTHONUNBUFFERED": "1"}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        if has_terminal:
            self._fd, inner = pty.openpty()
            fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
            self.mode_before = termios.tcgetattr(inner)
            self.process = subprocess.Popen(
                [sys.executable, "-c", TAKE_TERMINAL, *command],
                stdin=inner, stdout=inner, stderr=inner, env=environment, start_new_session=True,
            )  # fmt: skip
            os.close(inner)
        else:
            self._fd, inner = os.pipe()
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.DEVNULL, stdout=inner, stderr=subprocess.STDOUT, env=environment,
            )  # fmt: skip
            os.close(inner)
        self.output = ""
        self.pids: set[int] = set()
        """Of every server that was shown."""

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    # What it shows

    def _read(self) -> bool:
        """Take what there is; False at the end."""
        if not select.select([self._fd], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            data = b""
        self.output += data.decode(errors="replace").replace("\r\n", "\n")
        for row in self.rows():
            if row[-2]:
                self.pids.add(int(row[-2]))
        self.pids.update(int(pid) for pid in re.findall(r"process (\d+)\n", self.output))
        return bool(data)

    def screen(self) -> str:
        """The last screen that was drawn."""
        return _ESCAPES.sub("", self.output.rpartition("\x1b[H")[2])

    def rows(self) -> list[list[str]]:
        """id, port, role, epoch, zxid, clients, latency, requests, pid, state of each server."""
        lines = [line for line in self.screen().splitlines() if line.startswith("│")]
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
        return [row for row in rows if len(row) == 10]

    def wait(self, what: str, probe: Callable[[], T | None]) -> T:
        """Read until the probe gives something true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not (found := probe()):
            assert time.monotonic() < deadline, f"no {what}:\n{self._last()}"
            assert self._read(), f"ended before there was {what}:\n{self._last()}"
        return found

    def wait_text(self, text: str) -> None:
        self.wait(repr(text), lambda: text in self.output)

    def wait_roles(self, *roles: str) -> dict[str, list[str]]:
        """Wait until the servers have these roles, in any order; returns their rows by id."""

        def probe() -> dict[str, list[str]] | None:
            rows = self.rows()
            fits = sorted(row[2] for row in rows) == sorted(roles)
            return {row[0]: row for row in rows} if fits else None

        return self.wait(f"roles {roles}", probe)

    def wait_cell(self, server: str, column: int, text: str) -> None:
        def probe() -> bool:
            return any(row[0] == server and row[column] == text for row in self.rows())

        self.wait(f"{text} at {server}", probe)

    def client_port(self, server: str) -> int:
        return next(int(row[1]) for row in self.rows() if row[0] == server)

    def terminal_mode(self) -> list[object]:
        """The mode that the terminal is in."""
        return termios.tcgetattr(self._fd)

    def _last(self) -> str:
        return self.screen() if "\x1b[H" in self.output else self.output[-3000:]

    # What is done to it

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def hang_up(self) -> None:
        """Close the terminal, or the end of the pipe that is read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def wait_end(self) -> int:
        """Read to the end; returns the exit code. No server is left."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._read():
            assert time.monotonic() < deadline, f"no end:\n{self._last()}"
        code = self.process.wait(WAIT_SECONDS)
        assert not [pid for pid in self.pids if is_alive(pid)]
        return code

    def kill(self) -> None:
        """SIGKILL to it alone."""
        self.process.kill()
        self.process.wait()
