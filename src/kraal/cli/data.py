"""Commands that look at data directories: `kraal log`, `snapshot`, `history`, `doctor`.

Exit codes of all of them: 0 nothing is wrong, 1 a warning (or nothing was found, or a
difference), 2 wrong usage, what does not exist or nobody there to ask, 3 damage.
"""

from __future__ import annotations

from pathlib import Path

import click

from kraal.cli import options


@click.group(short_help="Print, check and repair transaction logs.")
def log() -> None:
    """Print, check and repair transaction logs, of Apache ZooKeeper or of kraal.

    TARGET is a log file, a data directory, or a zoo.cfg. Reading is safe while a server runs.
    """


@log.command("dump", short_help="Print every transaction.")
@click.argument("target", type=options.FILE_OR_DIRECTORY)
@click.option("--from", "first", type=options.ZXID, default=0, help="The first one to print.")
@click.option("--to", "last", type=options.ZXID, help="The last one to print.")
@options.log_directory
@options.is_json
def log_dump(
    target: Path, first: int, last: int | None, log_directory: Path | None, is_json: bool
) -> None:
    """Print every transaction: a line as ZooKeeper's TxnLogToolkit writes it, in UTC.

    With `--output json` each is one JSON object on a line of its own. A damaged record is
    printed with what is wrong with it, and those behind it are printed, too.

    \b
    Examples:
      kraal log dump /var/lib/zookeeper
      kraal log dump version-2/log.100000001 --from 0x100000020 --output json
    """
    from kraal.cli.tools import logs  # noqa: PLC0415 - `kraal --help` does not pay for it

    options.end(logs.dump(target, log_directory, first, last, is_json))


@log.command("verify", short_help="Check checksums, order and completeness.")
@click.argument("target", type=options.FILE_OR_DIRECTORY)
@options.log_directory
@options.is_json
def log_verify(target: Path, log_directory: Path | None, is_json: bool) -> None:
    """Check every record: framing, checksum, content, and that it follows the one before it.

    In a data directory also between files: missing logs, holes in epochs, files with a wrong
    name, copies that servers would read.

    Exit code: 0 sound, 1 warnings, 3 damage.
    """
    from kraal.cli.tools import logs  # noqa: PLC0415

    options.end(logs.verify(target, log_directory, is_json))


@log.command("repair", short_help="Mend what loses nothing.")
@click.argument("target", type=options.FILE_OR_DIRECTORY)
@click.option(
    "--accept-damaged",
    "accept",
    is_flag=True,
    help="Also take records with a wrong checksum as they stand and rewrite the checksum, as"
    " TxnLogToolkit -r does. Their content may be wrong.",
)
@options.log_directory
@options.dry_run
@options.is_sure
def log_repair(
    target: Path, accept: bool, log_directory: Path | None, dry_run: bool, is_sure: bool
) -> None:
    """Mend logs without touching what was acknowledged. The server must be stopped.

    Cuts off a record that was being written when the server died, puts back a single flipped
    bit, moves files without records and copies away, renames a log that is not named after its
    first record. Each file stays as it was, beside it, as before-repair-<name>. Before anything
    is changed the repair is tried in memory, and what a start comes to is printed.

    Exit code: 0 all is mended, 1 or 3 something is left.
    """
    from kraal.cli.tools import logs  # noqa: PLC0415

    options.end(logs.repair(target, log_directory, accept=accept, dry_run=dry_run, is_sure=is_sure))


@click.group(short_help="Print, compare and check snapshots.")
def snapshot() -> None:
    """Print, compare and check snapshots, plain, gz or snappy, of either server.

    Where a FILE is asked for, a data directory means its newest sound snapshot. A snapshot is
    taken while the tree changes: it may hold parts of later transactions than its name says.
    """


_BELOW = click.option(
    "--path",
    "below",
    type=options.UTF8,
    default="/",
    show_default=True,
    help="Begin at this znode.",
)
_DEPTH = click.option(
    "--depth", type=options.Number(0), metavar="N", help="Go so many levels down; default: all."
)


@snapshot.command("dump", short_help="Print znodes and sessions.")
@click.argument("file", type=options.FILE_OR_DIRECTORY)
@_BELOW
@_DEPTH
@click.option("--data", "with_data", is_flag=True, help="With the data of the znodes.")
@options.is_json
def snapshot_dump(
    file: Path, below: str, depth: int | None, with_data: bool, is_json: bool
) -> None:
    """Print the znodes with their stats, and the sessions, as SnapshotFormatter does."""
    from kraal.cli.tools import snapshots  # noqa: PLC0415

    options.end(snapshots.dump(file, below, depth, with_data, is_json))


@snapshot.command("summary", short_help="Count znodes and bytes.")
@click.argument("file", type=options.FILE_OR_DIRECTORY)
@_BELOW
@click.option(
    "--depth", type=options.Number(0), metavar="N", default=1, show_default=True,
    help="Sums of subtrees so many levels down.",
)  # fmt: skip
@options.is_json
def snapshot_summary(file: Path, below: str, depth: int, is_json: bool) -> None:
    """Figures of the whole tree, and sums of subtrees, largest znode and most children."""
    from kraal.cli.tools import snapshots  # noqa: PLC0415

    options.end(snapshots.summary(file, below, depth, is_json))


@snapshot.command("diff", short_help="Compare two snapshots.")
@click.argument("old", type=options.FILE_OR_DIRECTORY)
@click.argument("new", type=options.FILE_OR_DIRECTORY)
@_BELOW
@options.is_json
def snapshot_diff(old: Path, new: Path, below: str, is_json: bool) -> None:
    """Which znodes were added, removed or changed, and in what.

    Data and ACLs are compared, not only their sizes. Exit code: 0 the same, 1 different.
    """
    from kraal.cli.tools import snapshots  # noqa: PLC0415

    options.end(snapshots.diff(old, new, below, is_json))


@snapshot.command("verify", short_help="Check structure and checksums.")
@click.argument("target", type=options.FILE_OR_DIRECTORY)
@options.is_json
def snapshot_verify(target: Path, is_json: bool) -> None:
    """Check one snapshot to its last byte, or the checksums of all in a data directory.

    Exit code: 0 sound, 1 some are damaged, 3 none is sound.
    """
    from kraal.cli.tools import snapshots  # noqa: PLC0415

    options.end(snapshots.verify(target, is_json))


@click.command(short_help="What happened to a znode.")
@click.argument("path", type=options.UTF8)
@click.option(
    "--data-dir", type=options.FILE_OR_DIRECTORY, required=True, metavar="DIR",
    help="The data directory, or a zoo.cfg.",
)  # fmt: skip
@options.log_directory
@click.option("-r", "--recursive", is_flag=True, help="Of all znodes below it, too.")
@click.option(
    "--at", "zxid", type=options.ZXID, help="Show the znode as it was right behind this zxid."
)
@click.option("--data", "with_data", is_flag=True, help="With the data that was written.")
@options.is_json
def history(
    path: str,
    data_dir: Path,
    log_directory: Path | None,
    recursive: bool,
    zxid: int | None,
    with_data: bool,
    is_json: bool,
) -> None:
    """What happened to a znode, when, and by which session, from the logs on the disk.

    Creates, changes, deletions, also as a part of a multi, and ephemerals that ended with their
    session. What was there before the logs, the oldest snapshot says; and where the logs have a gap
    (files are missing, or a SNAP, a restore or force-new replaced them), each snapshot in it says
    what the znode was then. What was purged nobody knows.

    \b
    Examples:
      kraal history /config/app --data-dir /var/lib/zookeeper
      kraal history /locks -r --data-dir zoo.cfg --output json
      kraal history /config/app --data-dir zoo.cfg --at 0x20000001f --data

    Exit code: 1 when nothing is told of it, or it did not exist.
    """
    from kraal.cli.tools import history as tool  # noqa: PLC0415

    if not path.startswith("/"):
        raise click.UsageError(f"{path!r} is no path of a znode: it begins with /")
    if zxid is not None:
        code = tool.state(path, data_dir, log_directory, zxid, recursive, with_data, is_json)
    else:
        code = tool.changes(path, data_dir, log_directory, recursive, with_data, is_json)
    options.end(code)


@click.command(short_help="Say what is wrong, and how to mend it.")
@click.argument("target")
@options.log_directory
@click.option("--mend", is_flag=True, help="Mend what can be mended without losing anything.")
@options.is_sure
@options.is_json
def doctor(
    target: str, log_directory: Path | None, mend: bool, is_sure: bool, is_json: bool
) -> None:
    """Say what is wrong, how bad it is, and how to mend it.

    TARGET is a data directory, a zoo.cfg (then its settings are looked at, too), or the members
    of a running ensemble as host:port,host:port, which are asked by four-letter word.

    A data directory is read as a whole, and a start is tried in memory, which takes as much of
    it as the server does. Nothing is changed without --mend, and looking is safe while a server
    runs.

    \b
    Examples:
      kraal doctor /var/lib/zookeeper
      kraal doctor /etc/zookeeper/zoo.cfg --output json
      kraal doctor zk1:2181,zk2:2181,zk3:2181

    Exit code: 0 all is well, 1 warnings, 2 TARGET does not exist or nobody answers, 3 errors.
    """
    from kraal.cli.tools import doctor as tool  # noqa: PLC0415

    if not target:
        raise click.UsageError("an empty TARGET names nothing")

    options.end(tool.examine(target, log_directory, mend=mend, is_sure=is_sure, is_json=is_json))
