"""Builds and runs the compiled load generator, ``loader.c``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
BINARY = SOURCES.parent / "build" / "bench-loader"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


class LoaderError(Exception):
    """The load generator could not be built, or gave up; the text says why."""


@dataclass(frozen=True)
class Load:
    """What to send: `mode` is an operation, or `fill` and `delete`, which run over `keys` once,
    or `update`, which writes them again and again until it has written `requests` times.

    `create` and `fill` need an area that does not exist yet, the others one that was filled
    with the same keys and parents.

    With a `rate`, in requests per second of all connections together, requests are due at random
    times that do not depend on the replies, `outstanding` of a connection at once, and latency
    counts from then on; without one the next are sent when replies come.
    """

    mode: str
    connections: int = 1
    outstanding: int = 1
    warm_up: float = 1.0
    seconds: float = 5.0
    area: str = "keys"
    keys: int = 10_000
    parents: int = 1_000
    value_size: int = 100
    requests: int = 10_000
    rate: float = 0.0
    seed: int = 1


def build() -> Path:
    """Compile the load generator if its sources are newer; returns the program."""
    sources = [SOURCES / name for name in ("loader.c", "measure.h", "options.h")]
    newest = max(path.stat().st_mtime for path in sources)
    if BINARY.exists() and BINARY.stat().st_mtime > newest:
        return BINARY
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise LoaderError(f"no C compiler: {compiler} is not installed (set CC)")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    # A run that is still using the old program keeps it: the new one gets a name of its own first.
    fresh = BINARY.with_name(f"{BINARY.name}.{os.getpid()}")
    done = subprocess.run(
        [compiler, *FLAGS, "-o", str(fresh), str(sources[0]), "-lm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise LoaderError(f"{compiler} failed:\n{done.stderr}")
    fresh.replace(BINARY)
    return BINARY


def run(
    load: Load,
    port: int | Sequence[int],
    server_pid: int | Sequence[int] | None = None,
    timeout: float = 900.0,
) -> dict[str, float]:
    """Run one load to its end and return the figures that the load generator printed.

    With several ports the connections are spread over them, one after another.
    """
    ports = [port] if isinstance(port, int) else port
    pids = [server_pid] if isinstance(server_pid, int) else server_pid or []
    command = [
        str(build()), f"--port={','.join(map(str, ports))}", f"--area={load.area}",
        f"--connections={load.connections}", f"--outstanding={load.outstanding}",
        f"--warm-up={load.warm_up}", f"--seconds={load.seconds}", f"--keys={load.keys}",
        f"--parents={load.parents}", f"--value-size={load.value_size}", f"--seed={load.seed}",
        f"--requests={load.requests}", f"--rate={load.rate}",
        *([f"--server-pid={','.join(map(str, pids))}"] if pids else []), load.mode,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise LoaderError(f"{load.mode}: not finished after {timeout:.0f} s") from None
    if done.returncode:
        raise LoaderError(f"{load.mode}: {done.stderr.strip() or f'status {done.returncode}'}")
    printed: dict[str, float | str] = json.loads(done.stdout)
    figures = {name: float(value) for name, value in printed.items() if name != "mode"}
    if figures["operations"] == 0:
        raise LoaderError(f"{load.mode}: not one reply within {load.seconds} s of measurement")
    return figures
