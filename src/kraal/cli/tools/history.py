"""`kraal history`: what happened to a znode, and what it was at a zxid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from kraal.cli.tools.places import FS, directory_of, size_of_directory
from kraal.cli.tools.terminal import failing, reading, write_json, write_table
from kraal.model.zxid import show
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.history import GAP, Event, History, tree_at
from kraal.storage.inspection.txn_text import data_text, iso_time, printable

EXIT_NOTHING = 1


@failing
def changes(
    path: str, data_dir: Path, log_directory: Path | None, recursive: bool, with_data: bool,
    is_json: bool,
) -> int:  # fmt: skip
    """Every change that the disk still tells; exit code 1 when there is none."""
    config = directory_of(data_dir, log_directory)
    with reading("reading", size_of_directory(config)) as progress:
        history = History(
            FS, config, path, recursive=recursive, with_data=with_data, progress=progress
        )
        events = list(history.events())
    for warning in history.warnings:
        click.echo(f"Warning: {warning}", err=True)
    is_told = any(event.kind != GAP for event in events)
    if is_json:
        for event in events:
            write_json(event.as_json(with_data=with_data))
    elif events:
        _write_events(events, recursive, with_data)
    if not is_told and not is_json:
        click.echo(f"Nothing on the disk tells of {path}.")
    return 0 if is_told else EXIT_NOTHING


def _write_events(events: Sequence[Event], recursive: bool, with_data: bool) -> None:
    columns: list[tuple[str, Callable[[Event], object]]] = [
        ("ZXID", lambda event: show(event.zxid)),
        ("TIME", lambda event: "-" if event.time_ms is None else iso_time(event.time_ms)),
        ("SESSION", lambda event: _session(event.session)),
        ("CHANGE", lambda event: event.kind),
        ("VERSION", lambda event: "-" if event.version is None else event.version),
        ("BYTES", lambda event: "-" if event.size is None else event.size),
    ]
    if recursive:
        columns.append(("PATH", lambda event: snapshots.shown(event.path)))
    if with_data:
        columns.append(("DATA", lambda event: "-" if event.size is None else data_text(event.data)))
    columns.append(("NOTE", lambda event: event.note))  # the longest, and that of a gap most of all
    rows: list[Sequence[object]] = [[value(event) for _, value in columns] for event in events]
    write_table([name for name, _ in columns], rows)


def _session(session: int | None) -> str:
    return "-" if session is None else f"0x{session & (1 << 64) - 1:x}"


@failing
def state(
    path: str, data_dir: Path, log_directory: Path | None, zxid: int, recursive: bool,
    with_data: bool, is_json: bool,
) -> int:  # fmt: skip
    """The znode as it was right behind a transaction; exit code 1 when it was not there."""
    config = directory_of(data_dir, log_directory)
    tree, warnings = tree_at(FS, config, zxid)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    znode = path.rstrip("/").encode()
    if znode not in tree.nodes:
        if is_json:
            write_json({"path": path, "zxid": show(zxid), "exists": False})
        else:
            click.echo(f"{path} did not exist at {show(zxid)}.")
        return EXIT_NOTHING
    for one in snapshots.listed(tree, znode, None if recursive else 0):
        found = snapshots.node_json(one, tree.nodes[one], with_data=with_data)
        if is_json:
            write_json({"at": show(zxid), "exists": True, **found})
            continue
        click.echo(found["path"])
        for name, value in found.items():
            if name != "path":
                shown = ", ".join(value) if isinstance(value, list) else str(value)
                click.echo(f"  {name} = {printable(shown)}")
    return 0
