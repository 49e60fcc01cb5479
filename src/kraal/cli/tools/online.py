"""`kraal backup HOST:PORT` and `kraal restore --into HOST:PORT`: running servers."""

from __future__ import annotations

import time
from dataclasses import asdict
from http.client import HTTPResponse
from pathlib import Path, PurePath

import click

from kraal.cli.tools.admin_client import Access, AdminClient, UnknownCommandError
from kraal.cli.tools.places import FS
from kraal.cli.tools.snapshots import now_text
from kraal.cli.tools.terminal import FailedError, failing, reading, write_json
from kraal.errors import KraalError
from kraal.storage.inspection import received
from kraal.storage.inspection.backup import Manifest

ATTEMPTS = 10
ATTEMPT_SECONDS = 0.5
_TOO_MANY_REQUESTS = 429


@failing
def backup(server: str, access: Access, target: Path, is_json: bool) -> int:
    """A backup from a running server, exact at a zxid that it says."""
    client = AdminClient(server, access)
    try:
        manifest = _archive(client, target)
    except UnknownCommandError:
        manifest = _snapshot(client, target)
    if is_json:
        write_json({"backup": str(target), **asdict(manifest)})
        return 0
    size = sum(one.size for one in manifest.files)
    click.echo(
        f"{len(manifest.files)} files, {size} bytes from {client.name} in {target}: every "
        f"transaction up to {manifest.last_zxid}, and none behind it"
    )
    click.echo(f"Restore it with: kraal restore {target} --data-dir DIR")
    return 0


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
