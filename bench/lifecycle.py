"""Measures on a server with many znodes: resident memory, and restart after SIGKILL."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from bench import loader
from bench.loader import Load, LoaderError
from tests.support.servers import Server, four_letter_word

FILL_PARENTS = 100
QUIET_SECONDS = 2.0
PATIENCE = 300.0


def fill(server: Server, znodes: int) -> dict[str, float]:
    """Create `znodes` znodes of 100 bytes under 100 parents, pipelined."""
    load = Load("fill", 10, 100, area="fill", keys=znodes, parents=FILL_PARENTS)
    return loader.run(load, server.port, server.pid)


def wait_for_snapshot(server: Server) -> None:
    """Write until a snapshot behind the start exists, then wait until the disk is quiet."""
    settle(server)
    for _ in range(20):
        if snapshot_zxid(server) > 0:
            return
        load = Load("write", 10, 100, warm_up=0, seconds=2, area="fill", keys=10_000,
                    parents=FILL_PARENTS)  # fmt: skip
        loader.run(load, server.port)
        settle(server)
    raise LoaderError("the server wrote no snapshot")


def settle(server: Server) -> None:
    """Wait until no file of the data directory has changed for a while."""
    limit = time.monotonic() + PATIENCE
    seen: object = None
    since = time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        now = sorted(
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for path in data_directory(server).glob("*")
        )
        if now != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() > limit:
            raise LoaderError(f"the data directory still changes after {PATIENCE:.0f} s")
        time.sleep(0.1)


def data_directory(server: Server) -> Path:
    return server.directory / "data" / "version-2"


def snapshot_zxid(server: Server) -> int:
    """The zxid in the name of the newest snapshot, 0 without one."""
    names = (path.name.split(".") for path in data_directory(server).glob("snapshot.*"))
    return max((int(name[1], 16) for name in names), default=0)


def status(server: Server) -> tuple[int, int]:
    """The last zxid and the number of znodes, from `srvr`."""
    answer = four_letter_word(server.port, "srvr")
    zxid = re.search(r"^Zxid: 0x([0-9a-f]+)$", answer, re.MULTILINE)
    count = re.search(r"^Node count: (\d+)$", answer, re.MULTILINE)
    if zxid is None or count is None:
        raise LoaderError(f"srvr answered {answer!r}")
    return int(zxid[1], 16), int(count[1])


def memory(server: Server, *, jvm: bool) -> dict[str, float]:
    """Resident memory now, at its peak and, where the server is a JVM, after a full collection."""
    figures = {
        "resident_mib": proc_mib(server.pid, "VmRSS"),
        "peak_mib": proc_mib(server.pid, "VmHWM"),
    }
    jcmd = shutil.which("jcmd") if jvm else None
    if jcmd is not None:
        command = [jcmd, str(server.pid), "GC.run"]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
    time.sleep(1.0)
    figures["collected_mib"] = proc_mib(server.pid, "VmRSS")
    return figures


def proc_mib(pid: int, name: str) -> float:
    """One size from /proc/PID/status, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) / 1024
    raise LoaderError(f"no {name} in /proc/{pid}/status")


def recovery(server: Server) -> dict[str, float]:
    """Kill the server, start it on the same data, and see that nothing is missing."""
    zxid, count = status(server)
    snapshot = snapshot_zxid(server)
    server.kill()
    seconds = server.start(PATIENCE)
    found = status(server)[1]
    if found != count:
        raise LoaderError(f"{count} znodes before SIGKILL, {found} after the restart")
    return {"seconds": seconds, "replayed": zxid - snapshot}
