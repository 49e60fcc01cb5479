"""The examples that use recipes run, and do what they say."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kraal.testing import Server

ROOT = Path(__file__).resolve().parents[2]


async def output(example: str, server: Server) -> list[str]:
    """What an example prints, run as a program of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / example), server.hosts,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    out, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")
    return out.decode().splitlines()


async def test_lock(server: Server) -> None:
    lines = await output("lock.py", server)
    assert [line.rpartition(" ")[2] for line in lines[:-1]] == [
        str(balance) for balance in range(90, 0, -10)
    ]
    assert lines[-1] == "balance 10"


async def test_master_election(server: Server) -> None:
    lines = await output("master_election.py", server)
    began, ended = lines[::2], lines[1::2]
    assert sorted(ended) == ["host-1 ends", "host-2 ends", "host-3 ends"]
    assert [line.split()[0] for line in began] == [line.split()[0] for line in ended]
    epochs = [int(line.rpartition(" ")[2]) for line in began]
    assert epochs == sorted(set(epochs))


async def test_work_queue(server: Server) -> None:
    lines = await output("work_queue.py", server)
    assert lines[0] == "the careless one begins order 6, urgent"
    assert lines[-1] == "0 left"
    assert lines[1] == "the careless one fails: no paper"
    done = [line.partition(" does ")[2] for line in lines[2:-1]]
    assert "order 6, urgent" in done[:2]
    assert len(done) == len(set(done)) == 6


async def test_barrier(server: Server) -> None:
    lines = await output("barrier.py", server)
    assert lines[0] == "everything is prepared"
    assert [line.partition(":")[0] for line in lines[1:-1]] == [
        f"step {number}" for number in (1, 1, 1, 2, 2, 2, 3, 3, 3)
    ]
    assert lines[-1] == "done"


async def test_group_membership(server: Server) -> None:
    lines = await output("group_membership.py", server)
    groups = [line for line in lines if line.startswith("there are")]
    assert groups == [
        "there are host-a, observer",
        "there are host-a, host-b, observer",
        "there are host-b, observer",
        "there are observer",
    ]
    everything = "serves shard-1, shard-2, shard-3, shard-4"
    assert f"host-b {everything}" in lines


async def test_naming(server: Server) -> None:
    lines = await output("naming.py", server)
    assert lines == [
        f"orders {list(range(15))}",
        "750 events, 750 different numbers",
    ]


async def test_configuration(server: Server) -> None:
    lines = await output("configuration.py", server)
    assert lines[0] == "server: version 0, Settings(workers=4, mode='safe')"
    assert "refused: workers must be from 1 to 64" in lines
    assert "server: version 3, Settings(workers=8, mode='safe')" in lines
    assert lines[-3:] == [
        "version 3: back to version 1",
        "version 2: try it",
        "version 1: more traffic",
    ]


async def test_load_balancing(server: Server) -> None:
    lines = await output("load_balancing.py", server)
    assert lines[:2] == ["failed: 10.0.0.1:2502 does not answer"] * 2
    assert lines[2:] == [
        "available: server-1, server-3", "server-1 served 19", "server-3 served 19",
    ]  # fmt: skip
