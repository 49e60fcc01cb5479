"""`kraal backup HOST:PORT` and `kraal restore --into HOST:PORT`: running servers."""

from __future__ import annotations

import tempfile
import time
from http.client import HTTPResponse
from pathlib import Path, PurePath

import click

from kraal.cli.tools import care
from kraal.cli.tools.admin_client import (
    UNKNOWN_COMMAND,
    Access,
    AdminClient,
    UnknownCommandError,
)
from kraal.cli.tools.places import FS, size_of
from kraal.cli.tools.snapshots import now_text
from kraal.cli.tools.terminal import FailedError, confirmed, failing, reading
from kraal.errors import KraalError
from kraal.model.zxid import show
from kraal.storage.inspection import backup as backups
from kraal.storage.inspection import received
from kraal.storage.inspection.backup import Manifest

ATTEMPTS = 10
SPOOL_BYTES = 64 << 20
ATTEMPT_SECONDS = 0.5
_TOO_MANY_REQUESTS = 429
_IN_MEMORY = """\
Apache ZooKeeper has this in memory only. Before it is started again, move the logs and snapshots
that it had away and have it take a snapshot, or the old state comes back."""


@failing
def backup(server: str, access: Access, target: Path, is_json: bool) -> int:
    """A backup from a running server, exact at a zxid that it says."""
    client = AdminClient(server, access)
    try:
        manifest = _archive(client, target)
    except UnknownCommandError:
        manifest = _snapshot(client, target)
    holds = f"every transaction up to {manifest.last_zxid}, and none behind it"
    return care.made(manifest, target, f" from {client.name}", holds, is_json=is_json)


def _archive(client: AdminClient, target: Path) -> Manifest:
    """From a kraal. Raises UnknownCommandError where the server is none."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(ATTEMPT_SECONDS)
        with client.asked("backup") as response:
            if response.getheader("content-type") == "application/x-tar":
                with reading("receiving", _size_of(response)) as progress:
                    return received.receive_archive(FS, response, PurePath(target), progress)
            if response.status == _TOO_MANY_REQUESTS:
                continue
            raise client.refusal(response, "backup")
    raise FailedError(f"{client.name} is asked for snapshots all the time")


def _size_of(response: HTTPResponse) -> int | None:
    length = response.getheader("content-length")
    return int(length) if length is not None and length.isdigit() else None


def _snapshot(client: AdminClient, target: Path) -> Manifest:
    """Apache ZooKeeper has its snapshots, and not the log; one that is a state is taken."""
    reason: KraalError | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(ATTEMPT_SECONDS)
        with client.asked("snapshot") as response:
            if response.status == _TOO_MANY_REQUESTS:
                continue
            if response.getheader("content-type") != "application/octet-stream":
                raise client.refusal(response, "snapshot")
            try:
                with reading("receiving", _size_of(response)) as progress:
                    return received.receive_snapshot(
                        FS, response, _size_of(response), PurePath(target),
                        created=now_text(), source=f"http://{client.name}", progress=progress,
                    )  # fmt: skip
            except received.MixtureError as error:
                reason = error
    raise FailedError(
        f"none of {ATTEMPTS} snapshots of {client.name} is a state of its tree: {reason}. Apache "
        "ZooKeeper does not send the log that a snapshot needs while much is written: back up "
        "its data directory, which may be done while it runs: kraal backup DIR --to BACKUP"
    )


@failing
def restore(
    path: Path, servers: str, access: Access, *, until: int | None, dry_run: bool, is_sure: bool
) -> int:
    """Give a running server, or the members of an ensemble, what a backup holds."""
    clients = [AdminClient(server.strip(), access) for server in servers.split(",")]
    client = _restoring(clients)
    with reading("verifying", size_of(path / "version-2")) as progress:
        held = backups.opened(FS, PurePath(path))
        backups.compare(held, progress)
        tree = backups.state(held, until)
    click.secho(
        f"Everything that {servers} holds gives way to {path} at {show(tree.last_zxid)}, with "
        f"{len(tree.nodes) - 1} znodes; every client is disconnected.",
        fg="red", err=True,
    )  # fmt: skip
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")
        return 0
    confirmed("Restore it?", is_sure=is_sure)
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        try:
            for piece in backups.as_snapshot(tree):
                spool.write(piece)
        except OSError as error:
            raise FailedError(f"{tempfile.gettempdir()}: {error.strerror or error}") from error
        size = spool.tell()
        spool.seek(0)
        with client.asked("restore", body=spool, size=size) as response:
            said = client.members(response) if response.status == 200 else {}
            zxid = said.get("last_zxid")
            if not isinstance(zxid, int):
                raise client.refusal(response, "restore")
    click.echo(f"Restored; {client.name} and who belongs to it go on behind {show(zxid)}.")
    if _is_apache(client):
        click.secho(_IN_MEMORY, fg="yellow", err=True)
    return 0


def _restoring(clients: list[AdminClient]) -> AdminClient:
    """The one that is alone, or that leads. Raises FailedError when none does."""
    states: list[str] = []
    for client in clients:
        try:
            stats = client.json("server_stats").get("server_stats")
        except FailedError as error:
            states.append(error.message)
            continue
        state = stats.get("server_state") if isinstance(stats, dict) else None
        states.append(f"{client.name} is {state or 'not serving'}")
        if state == "standalone":
            return client
        if state == "leader":
            if _is_apache(client):
                raise FailedError(
                    f"{client.name} is a member of an ensemble of Apache ZooKeeper, which restores "
                    "one member alone, and not on its disk. Stop all members and restore their "
                    "data directories: kraal restore BACKUP --data-dir DIR"
                )
            return client
    raise FailedError(
        f"none of them leads ({'; '.join(states)}): name the admin ports of all members"
    )


def _is_apache(client: AdminClient) -> bool:
    """Whether it lacks a command that every kraal has."""
    with client.asked("log_levels") as response:
        return str(client.members(response).get("error") or "").startswith(UNKNOWN_COMMAND)
