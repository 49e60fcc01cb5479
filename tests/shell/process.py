"""`kraal shell` as a process: with pipes, or at a pseudo-terminal whose output is read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Self

from tests.cli.terminal import TAKE_TERMINAL
from tests.support.servers import KRAAL_PATH

WAIT_SECONDS = 60.0


def command(hosts: str, *words: str) -> list[str]:
    return ["-m", "kraal", "shell", "-server", hosts, *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, **KRAAL_PATH, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **more}


def run(
    hosts: str, *words: str, lines: str | bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with lines on standard input."""
    data = lines.encode() if isinstance(lines, str) else lines
    done = subprocess.run(
        [sys.executable, *command(hosts, *words)], input=data or b"", capture_output=True,
        env=environment(), check=False, timeout=WAIT_SECONDS,
    )  # fmt: skip
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def start(hosts: str, *words: str) -> subprocess.Popen[bytes]:
    """Start it with pipes, and wait until it is connected."""
    process = subprocess.Popen(
        [sys.executable, *command(hosts, *words)], env=environment(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    while b"SyncConnected" not in (line := process.stdout.readline()):
        assert line, "ended before it was connected"
    return process


class Terminal:
    """The shell at a terminal; leaving the context ends it by its pid."""

    def __init__(self, hosts: str, state: Path, *words: str) -> None:
        self._fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command(hosts, *words)],
            stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
            env=environment(XDG_STATE_HOME=str(state)),
        )  # fmt: skip
        os.close(inner)
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._fd)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def enter(self, line: str) -> None:
        """Write a line at the next prompt."""
        self.wait_prompt()
        self.press(f"{line}\r")

    def wait_prompt(self) -> None:
        self.wait("CONNECTED")
        self.wait("\x1b[?25h")  # the cursor is back

    def press_until(self, keys: str, text: str) -> None:
        """Press keys, again where they came too early, until this is written.

        Not too often: Ctrl-C makes a terminal forget what was written and not yet shown.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r}:\n{self.output[-3000:]}"
            self.press(keys)
            again = time.monotonic() + 1.0
            while text not in self.output and time.monotonic() < again:
                self._read(0.1)
        self.output = self.output.partition(text)[2]

    def wait(self, text: str) -> None:
        """Read until it has written this since the last wait."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.output:
            assert time.monotonic() < deadline, f"no {text!r}:\n{self.output[-3000:]}"
            assert self._read(), f"ended before there was {text!r}:\n{self.output[-3000:]}"
        self.output = self.output.partition(text)[2]

    def wait_end(self) -> int:
        deadline = time.monotonic() + WAIT_SECONDS
        while self._read():
            assert time.monotonic() < deadline, f"no end:\n{self.output[-3000:]}"
        return self.process.wait(WAIT_SECONDS)

    def _read(self, seconds: float = 1.0) -> bool:
        """Take what there is, or comes in so many seconds; False at the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            return False
        self.output += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
