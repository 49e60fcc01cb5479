"""A local ensemble from its start to its end: processes, polls, keys, signals."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

import click
from rich.console import Console
from rich.live import Live

from kraal.cli import ensemble_screen as screen
from kraal.cli.ensemble_screen import Row, View
from kraal.local.layout import Layout
from kraal.local.process import ServerProcess, State
from kraal.local.status import Poller, Seen

EXIT_OK, EXIT_UNEXPECTED = 0, 1
TICK_SECONDS = 0.1
REFRESH_TICKS = 3
STOP_PATIENCE_SECONDS = 10.0
EVENTS_MAX = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EnsembleRun:
    """Owns the processes: none of them outlives `run`."""

    def __init__(self, layout: Layout, *, is_plain: bool) -> None:
        self._layout = layout
        self._is_plain = is_plain
        self._processes = [ServerProcess(place) for place in layout.places]
        self._pollers = [
            Poller(place.client_port, place.data, self._look) for place in layout.places
        ]
        self._shown = [""] * len(self._processes)
        """What was said of each server last."""
        self._events: deque[str] = deque(maxlen=EVENTS_MAX)
        self._selected = 0
        self._shows_log = False
        self._stopping = asyncio.Event()
        self._stops_at_once = False
        self._live: Live | None = None
        self._exit_code = EXIT_OK

    async def run(self) -> int:
        """Start every server, show them until told to stop, stop them; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        polls: list[asyncio.Task[None]] = []
        try:
            with ExitStack() as terminal:
                if not self._is_plain:
                    self._open(terminal)
                for process in self._processes:
                    process.start()
                polls = [asyncio.create_task(poller.run()) for poller in self._pollers]
                await self._until_stopped()
        finally:
            for poll in polls:
                poll.cancel()
            self._print("Stopping ...")
            await self._stop_all()
        return self._exit_code

    # The screen

    def _open(self, terminal: ExitStack) -> None:
        descriptor = sys.stdin.fileno()
        terminal.enter_context(screen.keyboard(descriptor))
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, self._read_keys, descriptor)
        terminal.callback(loop.remove_reader, descriptor)
        live = Live(
            console=Console(),
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live = terminal.enter_context(live)
        terminal.callback(self._forget_live)

    def _forget_live(self) -> None:
        self._live = None

    def _refresh(self) -> None:
        live = self._live
        if live is None:
            return
        view = View(
            connect_string=self._layout.connect_string,
            rows=[Row(*pair) for pair in zip(self._processes, self._all_seen(), strict=True)],
            selected=self._selected,
            events=list(self._events),
            shows_log=self._shows_log,
        )
        try:
            live.update(screen.render(view, live.console.size.height), refresh=True)
        except OSError:
            self._stop()  # the terminal is gone

    def _all_seen(self) -> list[Seen]:
        return [poller.seen for poller in self._pollers]

    # Keys

    def _read_keys(self, descriptor: int) -> None:
        keys = screen.read_keys(descriptor)
        if keys is None:
            asyncio.get_running_loop().remove_reader(descriptor)
            self._stop()
            return
        for key in keys:
            self.press(key)
        self._look()
        self._refresh()

    def press(self, key: str) -> None:
        """What a key does; keys without a meaning do nothing."""
        process = self._processes[self._selected]
        last = len(self._processes) - 1
        if key.isdecimal() and key.isascii():
            ids = [other.id for other in self._processes]
            if int(key) in ids:
                self._selected = ids.index(int(key))
            return
        actions: dict[str, Callable[[], None]] = {
            "k": process.kill,
            "p": process.resume if process.state is State.PAUSED else process.pause,
            "r": process.restart,
            "l": self._toggle_log,
            "q": self._stop,
            "up": lambda: self._select(max(0, self._selected - 1)),
            "down": lambda: self._select(min(last, self._selected + 1)),
        }
        if key in actions:
            try:
                actions[key]()
            except OSError as error:
                self._say(f"server {process.id}: {error}")

    def _select(self, index: int) -> None:
        self._selected = index

    def _toggle_log(self) -> None:
        self._shows_log = not self._shows_log

    # Time

    async def _until_stopped(self) -> None:
        ticks = 0
        while not self._stopping.is_set():
            for process in self._processes:
                process.poll()
            self._look()
            if ticks % REFRESH_TICKS == 0:
                self._refresh()
            ticks += 1
            if self._is_plain and not any(process.pid for process in self._processes):
                self._print("No server is left.")
                self._exit_code = EXIT_UNEXPECTED
                return
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def _look(self) -> None:
        """Say what has changed."""
        for index, (process, poller) in enumerate(zip(self._processes, self._pollers, strict=True)):
            poller.watch(process.pid if process.state is State.RUNNING else None)
            text = _sentence(process, poller.seen)
            if text and text != self._shown[index]:
                self._shown[index] = text
                self._say(f"server {process.id} {text}")

    def _say(self, event: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {event}"
        self._events.append(line)
        if self._is_plain:
            self._print(line)

    def _print(self, line: str) -> None:
        try:
            click.echo(line)
        except OSError:
            self._stop()  # nobody reads it

    # The end

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._stops_at_once = True
        self._stopping.set()

    async def _stop_all(self) -> None:
        """End every process and wait for it; asked again, do not wait for an orderly end."""
        for process in self._processes:
            process.stop()
        deadline = time.monotonic() + STOP_PATIENCE_SECONDS
        while any(process.pid for process in self._processes):
            if self._stops_at_once or time.monotonic() > deadline:
                for process in self._processes:
                    process.kill()
            for process in self._processes:
                process.poll()
            await asyncio.sleep(0.02)


def _sentence(process: ServerProcess, seen: Seen) -> str:
    """What is worth saying of a server; empty: nothing new can be said now."""
    if process.state is not State.RUNNING:
        text = {
            State.PAUSED: "is paused",
            State.KILLED: "was killed",
            State.STOPPING: "is stopping",
            State.STOPPED: "has stopped",
        }.get(process.state)
        return text or f"{screen.describe(process, seen)}; its log is {process.place.log}"
    if seen.figures is not None:
        epoch = "" if seen.epoch is None else f" in epoch {seen.epoch}"
        return f"is {seen.figures.mode}{epoch}, process {process.pid}"
    return seen.reason
