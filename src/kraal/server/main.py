"""The process around a server: event loop, signals, readiness, exit code."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Callable
from io import StringIO

from kraal.errors import StorageError
from kraal.model.config import ServerConfig
from kraal.model.ensemble import readable
from kraal.server.server import Server
from kraal.storage.interface import FileSystem, is_out_of_space
from kraal.version import REFERENCE_VERSION, __version__

logger = logging.getLogger("kraal.server")

SWITCH_INTERVAL_SECONDS = 50e-6
"""The disk thread asks for the interpreter once per flush and should not wait 5 ms for it."""
PROFILE_VARIABLE = "KRAAL_PROFILE"
"""Names a file: the loop runs under cProfile and its figures are written there at the end."""
_STANDARD_ERROR = 2

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory() -> LoopFactory:
    """uvloop where it is installed, else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def run(
    config: ServerConfig,
    *,
    fs: FileSystem | None = None,
    new_loop: LoopFactory | None = None,
    hung_up: Callable[[], None] | None = None,
) -> int:
    """Run one server until SIGTERM or SIGINT; returns the exit code.

    It stores in the operating system's file system and runs in `loop_factory`'s loop, unless
    others are given. `hung_up` is called at each SIGHUP, which ends the process without it. SIGQUIT
    shows the stacks of threads and tasks, as a JVM does, and ends nothing.
    """
    if sys.flags.optimize:
        logger.error("Python's -O removes assertions, which are part of the server; run without")
        return 1
    _fill_standard_streams()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    profile = os.environ.get(PROFILE_VARIABLE)
    with asyncio.Runner(loop_factory=new_loop or loop_factory()) as runner:
        try:
            if profile is None:
                return runner.run(_serve(config, fs, hung_up))
            import cProfile  # noqa: PLC0415

            profiler = cProfile.Profile()
            try:
                return profiler.runcall(runner.run, _serve(config, fs, hung_up))
            finally:
                profiler.dump_stats(profile)
        finally:
            _drop_unwritten()


def _fill_standard_streams() -> None:
    """Open what the starter closed: a socket must not become descriptor 0, 1 or 2."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


async def _serve(
    config: ServerConfig, fs: FileSystem | None, hung_up: Callable[[], None] | None
) -> int:
    server = Server(config, fs=fs)
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        logger.info("%s: stopping", name)
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)

    if hung_up is not None:
        loop.add_signal_handler(signal.SIGHUP, hung_up)
    # The threads at once, whatever they do; the tasks when the loop turns again.
    loop.add_signal_handler(signal.SIGQUIT, _show_tasks)
    faulthandler.register(signal.SIGQUIT, file=_STANDARD_ERROR, all_threads=True, chain=True)

    end_on_errors(loop, server)
    ready = asyncio.Event()
    running = asyncio.create_task(server.run(ready))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ready.is_set():
        _announce(config, server)
    return await running


def _show_tasks() -> None:
    """What each task of the loop waits for."""
    text = StringIO()
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        task.print_stack(file=text)
    try:
        print(text.getvalue(), file=sys.stderr, flush=True)
    except (OSError, ValueError) as error:
        logger.debug("Standard error: %s", error)


def end_on_errors(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    """Have the server end when the loop meets an error that nobody handles."""

    def on_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        # An impossible state: going on could acknowledge what is not so.
        error = context.get("exception")
        if isinstance(error, StorageError) and is_out_of_space(error):
            server.lack_room(error)
            return
        if isinstance(error, StorageError):
            logger.critical("%s; ending", error)
            server.crash()
            return
        kinds = type(context.get("protocol")).__mro__
        if any(kind.__module__.startswith("uvicorn.") for kind in kinds):
            # Of the admin port: nothing that it knows is needed to serve clients.
            logger.error("%s", context.get("message"), exc_info=error)  # type: ignore[arg-type]
            return
        logger.critical("%s", context.get("message"), exc_info=error)  # type: ignore[arg-type]
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            server.crash()

    loop.set_exception_handler(on_exception)


def _announce(config: ServerConfig, server: Server) -> None:
    doing = "serving" if config.ensemble is None else "looking for a leader, then serving"
    listener = server.listener
    addresses = [
        f"{readable(host or '0.0.0.0', port)}{how}"
        for host, port, how in (
            (config.client_host, listener.bound_port, ""),
            (config.secure_client_host, listener.secure_port, " (TLS)"),
        )
        if port >= 0
    ]
    where = f"{doing} clients on {' and '.join(addresses)}"
    if not addresses:
        where = "no client port is configured"
    _say(
        f"kraal {__version__} (ZooKeeper {REFERENCE_VERSION}) {where}, "
        f"data in {config.storage.data_dir}"
    )


def _say(line: str) -> None:
    """Tell whoever started the server; with nobody to take it, or no room for it, it is dropped."""
    try:
        print(line, flush=True)
    except (OSError, ValueError) as error:
        logger.debug("Standard output: %s", error)


def _drop_unwritten() -> None:
    """What the standard streams still hold and nobody takes must not change the exit code."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)
