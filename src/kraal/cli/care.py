"""Commands that copy and clean data directories: `kraal purge`, `backup`, `restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kraal.cli import options

if TYPE_CHECKING:
    from kraal.cli.tools.admin_client import Access


@click.command(short_help="Delete old snapshots and logs.")
@click.argument("directory", type=options.FILE_OR_DIRECTORY)
@options.log_directory
@click.option(
    "--keep", type=options.Number(3), metavar="N",
    help="Sound snapshots to keep, at least 3.  [default: autopurge.snapRetainCount, or 3]",
)  # fmt: skip
@click.option(
    "--hours", type=options.Number(0), metavar="H",
    help="Keep what leads back so many hours, too.  [default: autopurge.retainHours, or 0]",
)  # fmt: skip
@click.option(
    "--bytes", "size_bytes", type=options.Number(0), metavar="B",
    help="Keep no more than this in all, down to two snapshots; 0 is no bound."
    "  [default: autopurge.retainBytes, or 0]",
)  # fmt: skip
@options.dry_run
@options.is_sure
@options.is_json
def purge(
    directory: Path,
    log_directory: Path | None,
    keep: int | None,
    hours: int | None,
    size_bytes: int | None,
    dry_run: bool,
    is_sure: bool,
    is_json: bool,
) -> None:
    """Delete the snapshots and logs that nothing needs any more, as zkCleanup.sh does.

    DIRECTORY is a data directory or a zoo.cfg, whose autopurge settings count then. Lists the
    files and asks; --yes does not ask, --dry-run only lists. Only snapshots whose checksum holds
    count as kept. May be run while a server runs; kraal's servers purge by themselves.
    """
    from kraal.cli.tools import care as tool  # noqa: PLC0415 - `kraal --help` does not pay for it

    options.end(
        tool.purge(
            directory, log_directory, keep=keep, hours=hours, size_bytes=size_bytes,
            dry_run=dry_run, is_sure=is_sure, is_json=is_json,
        )
    )  # fmt: skip


@click.command(short_help="Copy a data directory, or a running server, consistently.")
@click.argument("source", metavar="SOURCE")
@options.log_directory
@click.option(
    "--to", "target", type=options.DIRECTORY, metavar="BACKUP",
    help="A directory that is empty or not there yet.",
)  # fmt: skip
@click.option(
    "--verify", is_flag=True, help="Instead: compare the backup SOURCE with its manifest."
)
@options.server_access
@options.is_json
def backup(
    source: str,
    log_directory: Path | None,
    target: Path | None,
    verify: bool,
    access: Access,
    is_json: bool,
) -> None:
    """Copy a snapshot and the logs behind it, with a manifest of checksums.

    SOURCE is a data directory, a zoo.cfg, or a running server: HOST:PORT or the URL of its admin
    port. All are safe while the server works, kraal or Apache ZooKeeper. A backup from a kraal
    server is exact: it holds what is committed up to the zxid that is printed, and nothing
    behind it. From a directory each log is copied up to its last whole record. Of Apache
    ZooKeeper over HTTP there are snapshots only; one is taken that is exact, or none.

    The backup is tried before it counts, and can be read by all other commands.

    \b
    Examples:
      kraal backup zk1:8080 --to /backup/zk-monday --auth 'digest root:secret'
      kraal backup /var/lib/zookeeper --to /backup/zk-monday
      kraal backup /backup/zk-monday --verify
    """
    from kraal.cli.tools import care as tool  # noqa: PLC0415
    from kraal.cli.tools.admin_client import is_server  # noqa: PLC0415

    if not source:
        raise click.UsageError("an empty SOURCE names nothing")
    directory = Path(source)
    if not directory.exists():
        if not is_server(source) or verify:
            raise click.UsageError(f"{source} does not exist; a running server is HOST:PORT")
        if target is None:
            raise click.UsageError("say where the backup goes: --to BACKUP")
        from kraal.cli.tools import online  # noqa: PLC0415

        options.end(online.backup(source, access, target, is_json))
        return
    if verify:
        options.end(tool.verify_backup(directory, is_json))
        return
    if target is None:
        raise click.UsageError("say where the backup goes: --to BACKUP")
    options.end(tool.backup(directory, log_directory, target, is_json))


@click.command(short_help="Fill empty data directories, or running servers, from a backup.")
@click.argument("backup", type=options.Place(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--data-dir", "data_dirs", type=options.DIRECTORY, multiple=True, metavar="DIR",
    help="The data directory of a server that is stopped; its version-2 must be empty. Give it"
    " once for each member.",
)  # fmt: skip
@click.option(
    "--into", "servers", type=options.UTF8, metavar="HOST:PORT,…",
    help="Instead: admin ports of a running server or of the members of a running ensemble,"
    " which is given the backup in the place of all that it has.",
)  # fmt: skip
@options.server_access
@options.dry_run
@options.is_sure
@options.log_directory
@click.option(
    "--to-zxid", "until", type=options.ZXID, help="The last transaction to keep; default: all."
)
@click.option(
    "--above-epoch", type=options.Number(0), metavar="N",
    help="Let the history go on in an epoch above N, so that clients that saw later transactions"
    " of the lost servers are not refused.",
)  # fmt: skip
def restore(
    backup: Path,
    data_dirs: tuple[Path, ...],
    servers: str | None,
    access: Access,
    dry_run: bool,
    is_sure: bool,
    log_directory: Path | None,
    until: int | None,
    above_epoch: int | None,
) -> None:
    """Bring a backup back.

    Into empty data directories of servers that are stopped: every file is compared with the
    manifest first, and a directory that is not empty is refused, because two histories are never
    mixed. If that is interrupted, no server takes what it left for a history.

    Or, with --into, into a server or an ensemble that runs: all that it has gives way to the
    backup, on every member, and is on a quorum's disks when the command ends. Clients are
    disconnected; sessions that the backup has go on.

    \b
    Examples:
      kraal restore /backup/monday --data-dir /var/lib/zookeeper
      kraal restore /backup/monday --data-dir one/data --data-dir two/data --data-dir three/data
      kraal restore /backup/monday --into zk1:8080,zk2:8080,zk3:8080 --auth 'digest root:secret'
    """
    if servers is not None:
        if data_dirs or log_directory is not None or above_epoch is not None:
            raise click.UsageError("--into takes no data directory and no --above-epoch")
        from kraal.cli.tools import online  # noqa: PLC0415

        options.end(
            online.restore(backup, servers, access, until=until, dry_run=dry_run, is_sure=is_sure)
        )
        return
    from kraal.cli.tools import care as tool  # noqa: PLC0415

    if not data_dirs:
        raise click.UsageError("say where it goes: --data-dir DIR, or --into HOST:PORT")
    if log_directory is not None and len(data_dirs) > 1:
        raise click.UsageError("--data-log-dir belongs to one --data-dir")
    options.end(
        tool.restore(
            backup, data_dirs, log_directory, until=until, above_epoch=above_epoch, dry_run=dry_run
        )
    )
