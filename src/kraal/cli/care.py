"""Commands that copy and clean data directories: `kraal purge`, `backup`, `restore`."""

from __future__ import annotations

from pathlib import Path

import click

from kraal.cli import options


@click.command(short_help="Delete old snapshots and logs.")
@click.argument("directory", type=options.FILE_OR_DIRECTORY)
@options.log_directory
@click.option(
    "--keep", type=click.IntRange(3), metavar="N",
    help="Sound snapshots to keep, at least 3.  [default: autopurge.snapRetainCount, or 3]",
)  # fmt: skip
@click.option(
    "--hours", type=click.IntRange(0), metavar="H",
    help="Keep what leads back so many hours, too.  [default: autopurge.retainHours, or 0]",
)  # fmt: skip
@click.option(
    "--bytes", "size_bytes", type=click.IntRange(0), metavar="B",
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


@click.command(short_help="Copy a data directory consistently.")
@click.argument("directory", type=options.FILE_OR_DIRECTORY)
@options.log_directory
@click.option(
    "--to", "target", type=options.DIRECTORY, metavar="BACKUP",
    help="A directory that is empty or not there yet.",
)  # fmt: skip
@click.option(
    "--verify", is_flag=True, help="Instead: compare the backup DIRECTORY with its manifest."
)
@options.is_json
def backup(
    directory: Path, log_directory: Path | None, target: Path | None, verify: bool, is_json: bool
) -> None:
    """Copy the newest sound snapshot and the logs behind it, with a manifest of checksums.

    DIRECTORY is a data directory or a zoo.cfg. Safe while a server runs, kraal or Apache
    ZooKeeper: each log is copied up to its last whole record. The backup is tried before it
    counts, and can be read by all other commands.

    \b
    Examples:
      kraal backup /var/lib/zookeeper --to /backup/zk-monday
      kraal backup /backup/zk-monday --verify
    """
    from kraal.cli.tools import care as tool  # noqa: PLC0415

    if verify:
        options.end(tool.verify_backup(directory, is_json))
        return
    if target is None:
        raise click.UsageError("say where the backup goes: --to BACKUP")
    options.end(tool.backup(directory, log_directory, target, is_json))


@click.command(short_help="Fill an empty data directory from a backup.")
@click.argument("backup", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--data-dir", type=options.DIRECTORY, required=True, metavar="DIR",
    help="The data directory of a server that is stopped; its version-2 must be empty.",
)  # fmt: skip
@options.log_directory
@click.option(
    "--to-zxid", "until", type=options.ZXID, help="The last transaction to keep; default: all."
)
@click.option(
    "--above-epoch", type=click.IntRange(0), metavar="N",
    help="Let the history go on in an epoch above N, so that clients that saw later transactions"
    " of the lost servers are not refused.",
)  # fmt: skip
def restore(
    backup: Path,
    data_dir: Path,
    log_directory: Path | None,
    until: int | None,
    above_epoch: int | None,
) -> None:
    """Fill an empty data directory from a backup, and say what to do then.

    Every file is compared with the manifest first. A directory that is not empty is refused: two
    histories are never mixed. If the restore is interrupted, no server starts on what it left.
    """
    from kraal.cli.tools import care as tool  # noqa: PLC0415

    options.end(tool.restore(backup, data_dir, log_directory, until=until, above_epoch=above_epoch))
