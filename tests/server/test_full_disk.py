"""Members whose disks say now and then that they are full: they come back, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.errors import StorageError
from kraal.model.config import ServerConfig, StorageConfig
from kraal.server import server as shell
from kraal.server.config.file import load
from kraal.server.server import Server
from kraal.storage.interface import is_out_of_space
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from tests.server.conftest import create
from tests.support import raw_client as raw
from tests.support.ensembles import quiet_ports
from tests.support.servers import HOST

DATA = PurePath("/data")
STORAGE = StorageConfig(
    data_dir=DATA, data_log_dir=DATA, pre_alloc_bytes=0, disk_warn_free_bytes=0,
    disk_refuse_free_bytes=0, snap_count=200,
)  # fmt: skip
KINDS = ("write", "write", "sync", "create", "sync_directory")
FAULTS = 8
MEMBERS = (1, 2, 3)


def configurations(directory: Path) -> dict[int, ServerConfig]:
    """Three members whose data are in memory."""
    ports = quiet_ports(9)
    lines = {f"server.{n}": f"{HOST}:{ports[n - 1]}:{ports[n + 2]}" for n in MEMBERS}
    found = {}
    for member in MEMBERS:
        (directory / f"{member}").mkdir()
        (directory / f"{member}/myid").write_text(f"{member}\n")
        values = {
            **lines, "dataDir": str(directory / f"{member}"), "clientPortAddress": HOST,
            "clientPort": str(ports[member + 5]), "initLimit": "20", "syncLimit": "10",
            "tickTime": "200", "admin.enableServer": "false",
        }  # fmt: skip
        config = load(None, defines={}, environment={}, overrides=values).config
        found[member] = replace(config, storage=STORAGE)
    return found


class Client:
    """Creates znodes at whoever serves, and knows what was acknowledged."""

    def __init__(self, ports: list[int]) -> None:
        self.acknowledged: list[bytes] = []
        self.is_over = False
        self._ports = ports

    def work(self) -> None:
        turn = 0
        while not self.is_over:
            turn += 1
            with (
                suppress(raw.ClosedError, OSError),
                raw.RawClient(self._ports[turn % len(self._ports)], timeout=3) as client,
            ):
                if not client.connect(raw.connect_request(timeout=4000)).session:
                    continue
                for number in range(100):
                    path = f"/{turn}-{number}"
                    if self.is_over or create(client, path, b"x" * 100) != 0:
                        break
                    self.acknowledged.append(path.encode())


@pytest.mark.parametrize("seed", [1, 2])
def test_members_on_full_disks_keep_every_promise(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "REST_SECONDS", 0.05)
    random, errors = Random(seed), list[dict[str, object]]()
    configs = configurations(tmp_path)
    disks = {member: MemoryFileSystem(Random(member)) for member in MEMBERS}
    client = Client([config.client_port or 0 for config in configs.values()])

    def on_error(_: object, context: dict[str, object]) -> None:
        error = context.get("exception")
        if not (isinstance(error, StorageError) and is_out_of_space(error)):
            errors.append(context)

    async def more(count: int) -> None:
        wanted = len(client.acknowledged) + count
        async with asyncio.timeout(40):
            while len(client.acknowledged) < wanted:
                await asyncio.sleep(0.01)

    async def run() -> None:
        servers = {n: Server(configs[n], fs=disks[n], owns_process=False) for n in MEMBERS}
        lives = [asyncio.create_task(server.run()) for server in servers.values()]
        asyncio.get_running_loop().set_exception_handler(on_error)
        working = asyncio.create_task(asyncio.to_thread(client.work))
        await more(50)
        for _ in range(FAULTS):
            member, kind = random.choice(MEMBERS), random.choice(KINDS)
            disks[member].fail(kind, errno.ENOSPC, after=random.randrange(3))
            await more(60)
        async with asyncio.timeout(40):
            while any(server.replica is None for server in servers.values()):
                await asyncio.sleep(0.02)
        await more(20)
        client.is_over = True
        await working
        for server in servers.values():
            server.stop()
        assert await asyncio.gather(*lives) == [0, 0, 0]

    asyncio.run(run())
    assert not errors
    # On a majority of the disks: the last fault may have struck one member at the very end.
    trees = [recover(disk, STORAGE, extended_types=False).tree.nodes for disk in disks.values()]
    assert all(sum(path in nodes for nodes in trees) >= 2 for path in client.acknowledged)
