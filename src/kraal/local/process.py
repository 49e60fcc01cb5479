"""One server of a local ensemble as a process: start, pause, kill, restart, its log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final

from kraal.local.layout import Place, environment

LOG_TAIL_BYTES: Final = 1 << 20
"""So much of a log is looked through at most."""
LOG_PIECE_BYTES: Final = 64 << 10
_OF_POLLS = re.compile(r" Processing srvr command from /127\.0\.0\.1:")


class State(StrEnum):
    """What the process is, as the table shows it."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"
    FAILED = "failed"
    """It ended by itself."""


class ServerProcess:
    """`kraal serve` in a process of its own, which is only ever signalled by its pid.

    Another module may take the place of `kraal serve`: it is given the same options, and can be
    told something through its standard input.
    """

    def __init__(self, place: Place, command: Sequence[str] = ("kraal", "serve")) -> None:
        """`command` is a module to run and its first arguments."""
        self.place = place
        self._command = command
        self.state = State.STOPPED
        self.exit_code: int | None = None
        """Of the last process; negative: the signal that ended it."""
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = False

    @property
    def id(self) -> int:
        return self.place.id

    @property
    def pid(self) -> int | None:
        """None: there is no process."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, unless it runs. Raises OSError."""
        if self._process is not None:
            return
        command = [
            sys.executable, "-m", *self._command, "--parent-pid", str(os.getpid()),
            str(self.place.zoo_cfg),
        ]  # fmt: skip
        with self.place.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(os.environ),
                # Ctrl-C is for the one who started the ensemble; it stops the servers in order.
                start_new_session=True,
            )
        self.state = State.RUNNING
        self._restarts = False

    def poll(self) -> bool:
        """Whether the process has ended since the last call; it is waited for."""
        process = self._process
        if process is None or process.poll() is None:
            return False
        self._process = None
        assert process.stdin is not None
        process.stdin.close()
        self.exit_code = process.returncode
        if self.state in (State.RUNNING, State.PAUSED):
            self.state = State.FAILED
        elif self.state is State.STOPPING:
            self.state = State.STOPPED
        if self._restarts:
            try:
                self.start()
            except OSError:
                self.state = State.FAILED
        return True

    def pause(self) -> None:
        """SIGSTOP: it stands still, and its connections stay open."""
        if self.state is State.RUNNING:
            self._signal(signal.SIGSTOP)
            self.state = State.PAUSED

    def resume(self) -> None:
        """SIGCONT."""
        if self.state is State.PAUSED:
            self._signal(signal.SIGCONT)
            self.state = State.RUNNING

    def kill(self) -> None:
        """SIGKILL, which ends a paused process as well."""
        self._restarts = False
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self.state = State.KILLED

    def stop(self) -> None:
        """SIGTERM: it ends in order, also when somebody else has stopped it."""
        self._restarts = False
        if self.state in (State.RUNNING, State.PAUSED):
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            self.state = State.STOPPING

    def restart(self) -> None:
        """Stop it in order and start it again; start it when it does not run."""
        self.stop()
        if self._process is None:
            self.start()
        else:
            self._restarts = True

    def tell(self, line: str) -> None:
        """Write a line to its standard input, unless it has ended."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def log_tail(self, count: int) -> list[str]:
        """The last lines of its log, without those that only tell of the polls for the table."""
        if count <= 0:
            return []
        lines: list[str] = []
        tail = b""
        try:
            with self.place.log.open("rb") as log:
                begin = log.seek(0, os.SEEK_END)
                limit = max(0, begin - LOG_TAIL_BYTES)
                while begin > limit and len(lines) <= count:
                    end, begin = begin, max(limit, begin - LOG_PIECE_BYTES)
                    log.seek(begin)
                    tail = log.read(end - begin) + tail
                    text = tail.decode(errors="replace")
                    lines = [line for line in text.splitlines() if not _OF_POLLS.search(line)]
        except OSError as error:
            return [f"{self.place.log}: {error.strerror}"]
        return lines[-count:]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "only a process is signalled"
        # Its pid is its own until `poll` has waited for it.
        self._process.send_signal(number)
