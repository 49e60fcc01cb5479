"""`kraal purge`, `kraal backup`, `kraal restore`, `kraal ensemble force-new`."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path, PurePath

import click

from kraal.cli.tools.places import FS, configured, directory_of, size_of, size_of_directory
from kraal.cli.tools.snapshots import now_text
from kraal.cli.tools.terminal import (
    confirmed,
    counted,
    failing,
    finding_json,
    reading,
    write_findings,
    write_json,
)
from kraal.model.config import StorageConfig
from kraal.model.ensemble import EnsembleConfig
from kraal.model.zxid import epoch, show
from kraal.storage.inspection import backup as backups
from kraal.storage.inspection import force_new as forced
from kraal.storage.inspection.backup import Manifest
from kraal.storage.inspection.target import carry_out_purge, plan_purge

MS = 1000


@failing
def purge(
    path: Path,
    log_directory: Path | None,
    *,
    keep: int | None,
    hours: int | None,
    size_bytes: int | None,
    dry_run: bool,
    is_sure: bool,
    is_json: bool,
) -> int:
    """Delete what is older than what has to be kept."""
    config = directory_of(path, log_directory)
    config = replace(
        config,
        snap_retain_count=config.snap_retain_count if keep is None else keep,
        retain_hours=config.retain_hours if hours is None else hours,
        retain_bytes=config.retain_bytes if size_bytes is None else size_bytes,
    )
    chosen = plan_purge(FS, config, time.time())
    freed = size_of(*chosen.deletable)
    if is_json and (dry_run or not chosen.deletable):
        write_json({"dry_run": dry_run, "files": list(map(str, chosen.deletable)), "bytes": freed})
        return 0
    if not chosen.deletable:
        missing = f": {chosen.missing} sound snapshots too few" if chosen.missing > 0 else ""
        click.echo(f"There is nothing to delete{missing}.")
        return 0
    if not is_json:
        for one in chosen.deletable:
            click.echo(f"{'Would remove' if dry_run else 'To remove'}: {one}")
        oldest = "the beginning" if chosen.oldest_zxid is None else show(chosen.oldest_zxid)
        count = counted(len(chosen.deletable), "file")
        click.echo(f"{count}, {freed} bytes; {oldest} can still be reached")
    if dry_run:
        return 0
    confirmed("Delete them?", is_sure=is_sure)
    purged = carry_out_purge(FS, config, chosen)
    if is_json:
        files = list(map(str, purged.deleted))
        write_json({"dry_run": False, "files": files, "bytes": freed})
    else:
        click.echo(f"Removed {counted(len(purged.deleted), 'file')}.")
    return 0


@failing
def backup(path: Path, log_directory: Path | None, target: Path, is_json: bool) -> int:
    """A consistent copy, also while a server runs on the directory."""
    config = directory_of(path, log_directory)
    with reading("backing up", size_of_directory(config)) as progress:
        manifest = backups.create(
            FS, config, PurePath(target), created=now_text(), progress=progress
        )
    behind = f"{manifest.snapshot} and the transactions behind it, up to {manifest.last_zxid}"
    return made(manifest, target, "", behind, is_json=is_json)


def made(manifest: Manifest, target: Path, source: str, holds: str, *, is_json: bool) -> int:
    """Tell of a backup, and what to do with it; `source` is " from HOST:PORT" or nothing."""
    if is_json:
        write_json({"backup": str(target), **asdict(manifest)})
        return 0
    size = sum(one.size for one in manifest.files)
    click.echo(f"{counted(len(manifest.files), 'file')}, {size} bytes{source} in {target}: {holds}")
    click.echo(f"Restore it with: kraal restore {target} --data-dir DIR")
    return 0


@failing
def verify_backup(path: Path, is_json: bool) -> int:
    """Compare a backup with its manifest, and try where it leads."""
    with reading("verifying", size_of(path / "version-2")) as progress:
        backup = backups.verify(FS, PurePath(path), progress)
    report = backups.strangers(backup)
    manifest = backup.manifest
    if is_json:
        findings = [finding_json(finding) for finding in report.findings]
        write_json({"backup": str(path), **asdict(manifest), "findings": findings})
    else:
        click.echo(f"{path} is whole: made {manifest.created}, up to {manifest.last_zxid}")
        write_findings(report.findings)
    return int(report.severity)


@failing
def restore(
    path: Path,
    data_dirs: tuple[Path, ...],
    log_directory: Path | None,
    *,
    until: int | None,
    above_epoch: int | None,
    dry_run: bool,
) -> int:
    """Fill empty data directories, and say what comes next."""
    wall_ms = int(time.time() * MS)
    configs = [
        StorageConfig(data_dir=PurePath(one), data_log_dir=PurePath(log_directory or one))
        for one in data_dirs
    ]
    if len({one.resolve() for one in data_dirs}) < len(data_dirs):
        raise click.UsageError("a directory is given twice")
    for config in configs:  # all before the first is filled
        backups.require_empty(FS, config)
    with reading("verifying", size_of(path / "version-2")) as progress:
        backup = backups.opened(FS, PurePath(path))
        backups.compare(backup, progress)
        reached = backups.state(backup, until).last_zxid
    if above_epoch is not None:
        forced.next_epoch(epoch(reached), above_epoch)
    if dry_run:
        click.echo(f"Would restore {', '.join(map(str, data_dirs))} to {show(reached)}.")
        return 0
    for config in configs:
        with reading("restoring", size_of(path / "version-2")) as progress:
            zxid = backups.fill(FS, backup, config, until=until, progress=progress)
        click.echo(f"Restored {config.data_dir} to {show(zxid)}.")
        if above_epoch is not None:
            begun = forced.begin_epoch(FS, config, None, wall_ms=wall_ms, above=above_epoch)
            click.echo(f"The history goes on in epoch {epoch(begun.new_zxid)}.")
    click.echo(_AFTER_RESTORE)
    if above_epoch is None:
        click.echo(_ABOVE_EPOCH)
    return 0


_AFTER_RESTORE = """\
What comes next:
  One server: start it on this directory.
  An ensemble: every server of the old one must be stopped. Either restore the same backup into
  the empty data directory of EVERY member and start them all, or restore it into one, start
  that one together with as many EMPTY members as make a majority with it, wait until it leads
  and they are in step, then start the others, empty as well. Never leave an old data directory
  to a member: it would be newer, and win."""
_ABOVE_EPOCH = """\
  Clients that saw later transactions are refused until they start anew; with --above-epoch N,
  N being the highest epoch that the lost ensemble had, they are not."""


@failing
def force_new(
    zoo_cfg: Path | None,
    data_dir: Path | None,
    server_id: int | None,
    *,
    dry_run: bool,
    is_sure: bool,
) -> int:
    """Make a survivor the only member of a new ensemble."""
    if zoo_cfg is not None and data_dir is not None:
        raise click.UsageError("give --config zoo.cfg or --data-dir DIR, not both")
    server = configured(zoo_cfg, server_id=server_id).config if zoo_cfg is not None else None
    if server is not None:
        config = server.storage
    elif data_dir is not None:
        config = directory_of(data_dir)
    else:
        raise click.UsageError("give --config zoo.cfg, or --data-dir DIR")
    known = server.server_id if server is not None else None
    if server_id is not None and known is not None and server_id != known:
        raise click.UsageError(
            f"--server-id {server_id}: {Path(config.data_dir) / 'myid'} says that this is {known}"
        )
    settings = server.ensemble if server is not None else None
    member: EnsembleConfig | None = None
    if server is not None and settings is not None:
        own = server.server_id if server_id is None else server_id
        member = forced.alone(settings.config, own)
    click.secho(_WARNING.format(directory=config.data_dir), fg="red", err=True)
    if member is not None:
        click.echo(f"The new membership: {member.text().splitlines()[0]}")
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")
        return 0
    confirmed("The other members are lost for good, and will not come back?", is_sure=is_sure)
    begun = forced.begin_epoch(FS, config, member, wall_ms=int(time.time() * MS))
    click.echo(
        f"The history ended at {show(begun.last_zxid)} with {begun.znodes} znodes and "
        f"{begun.sessions} sessions; it goes on at {show(begun.new_zxid)}."
    )
    if zoo_cfg is not None and settings is not None and begun.config is not None:
        forced.rewrite_configuration(FS, zoo_cfg, begun.config)
        click.echo(f"{zoo_cfg} has one member now; {zoo_cfg}.before-force-new is what it was.")
    else:
        click.echo("Leave only this server's own server.N line in its zoo.cfg.")
    myid = Path(config.data_dir) / "myid"
    if server_id is not None and not myid.exists():
        click.echo(f"{myid} is missing: write {server_id} into it.")
    click.echo(_AFTER_FORCE_NEW)
    return 0


_WARNING = """\
This makes a NEW ensemble of one member from {directory}.
Writes that the lost majority acknowledged and this server never got are LOST.
If a member of the old ensemble is still alive, or comes back with its data and its old
configuration, there will be TWO ensembles. Stop all of them, and wipe their data directories,
before you go on. If the majority can be brought back with its data, do that instead."""

_AFTER_FORCE_NEW = """\
What comes next:
  1. Start this server. It serves alone.
  2. Add others with EMPTY data directories, as docs/ensembles.md says under "From one server
     to three": give all of them the server.N lines of the new ensemble."""
