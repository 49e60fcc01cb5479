"""`kraal snapshot`: dump, summary, diff, verify."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

import click

from kraal.cli.tools.places import FS, directory_of, kind_of, size_of, size_of_directory
from kraal.cli.tools.terminal import (
    FailedError,
    failing,
    finding_json,
    reading,
    write_findings,
    write_json,
    write_table,
)
from kraal.errors import CorruptError
from kraal.model.zxid import show
from kraal.storage.inspection import snapshots
from kraal.storage.inspection.file_kind import FileKind
from kraal.storage.inspection.findings import Report, Severity
from kraal.storage.inspection.snapshots import LoadedSnapshot

EXIT_DIFFERENT = 1


def loaded(path: Path) -> LoadedSnapshot:
    """The file, or the newest sound one of a data directory."""
    where = PurePath(path)
    if path.is_dir():
        config = directory_of(path)
        newest = snapshots.newest_sound(FS, config)
        if newest is None:
            raise CorruptError(f"{path} holds no sound snapshot")
        where = config.data_dir / "version-2" / newest.name
    elif kind_of(path) is FileKind.LOG:
        raise click.UsageError(f"{path} is a log, not a snapshot: kraal log dump {path}")
    with reading("reading", size_of(where)) as progress:
        return snapshots.load(FS, where, progress)


def _below(found: LoadedSnapshot, path: str) -> bytes:
    znode = path.rstrip("/").encode()
    if znode not in found.tree.nodes:
        raise FailedError(f"{found.path} has no znode {path}")
    return znode


@failing
def dump(path: Path, below: str, depth: int | None, with_data: bool, is_json: bool) -> int:
    """The znodes as SnapshotFormatter prints them, or as JSON."""
    found = loaded(path)
    tree = found.tree
    start = _below(found, below)
    paths = list(snapshots.listed(tree, start, depth))
    if is_json:
        write_json(
            {
                "file": str(found.path),
                "zxid": snapshots.shown_zxid(found),
                "znodes": [
                    snapshots.node_json(one, tree.nodes[one], with_data=with_data) for one in paths
                ],
                "sessions": [
                    {
                        "session": f"0x{session & (1 << 64) - 1:x}",
                        "timeout_ms": timeout_ms,
                        "ephemerals": len(tree.ephemerals.get(session, ())),
                    }
                    for session, timeout_ms in tree.sessions.items()
                ],
            }
        )
        return 0
    click.echo(f"ZNode Details (count={len(tree.nodes)}):")
    for one in paths:
        click.echo("----")
        for text in _znode_lines(snapshots.node_json(one, tree.nodes[one], with_data=with_data)):
            click.echo(text)
    click.echo("----\nSession Details (sid, timeout, ephemeralCount):")
    for session, timeout_ms in tree.sessions.items():
        owned = len(tree.ephemerals.get(session, ()))
        click.echo(f"0x{session & (1 << 64) - 1:x}, {timeout_ms}, {owned}")
    click.echo(f"----\nLast zxid: {snapshots.summary(found)['last_zxid']}")
    return 0


def _znode_lines(node: dict[str, Any]) -> list[str]:
    """Names and order are SnapshotFormatter's; times are ISO 8601."""
    lines = [node["path"]]
    for name, key in (("cZxid", "czxid"), ("ctime", "ctime"), ("mZxid", "mzxid"),
                      ("mtime", "mtime"), ("pZxid", "pzxid")):  # fmt: skip
        value = node[key]
        lines.append(f"  {name} = {_padded(value) if key.endswith('zxid') else value}")
    lines += [
        f"  cversion = {node['cversion']}",
        f"  dataVersion = {node['version']}",
        f"  aclVersion = {node['aversion']}",
        f"  ephemeralOwner = {_padded(node['owner'])}",
        f"  dataLength = {node['size']}",
    ]
    if "data" in node or "data_base64" in node:
        lines.append(f"  data = {node.get('data', node.get('data_base64'))}")
    return lines


def _padded(hexadecimal: str) -> str:
    return f"0x{int(hexadecimal, 16):014x}"


@failing
def summary(path: Path, below: str, depth: int | None, is_json: bool) -> int:
    """Figures of the whole, and sums of subtrees as SnapshotRecursiveSummary gives them."""
    found = loaded(path)
    figures = snapshots.summary(found)
    sums = snapshots.subtree_sums(found.tree)
    start = _below(found, below)
    rows = [
        {"path": snapshots.shown(one), "descendants": sums[one][0], "bytes": sums[one][1]}
        for one in snapshots.listed(found.tree, start, depth)
        if found.tree.nodes[one].children or one == start
    ]
    if is_json:
        write_json({**figures, "subtrees": rows})
        return 0
    for name, value in figures.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        click.echo(f"{name.replace('_', ' ')}: {text if text is not None else '-'}")
    click.echo()
    write_table(("PATH", "DESCENDANTS", "BYTES"), [list(row.values()) for row in rows])
    return 0


def _titled(found: LoadedSnapshot) -> str:
    return f"{found.path} ({'no zxid' if found.zxid is None else f'zxid {show(found.zxid)}'})"


@failing
def diff(old: Path, new: Path, below: str, is_json: bool) -> int:
    """What two snapshots do not share; exit code 1 when there is anything."""
    before, after = loaded(old), loaded(new)
    prefix = below.rstrip("/").encode()
    found = [
        one
        for one in snapshots.differences(before.tree, after.tree)
        if not prefix or one.path == prefix or one.path.startswith(prefix + b"/")
    ]
    if is_json:
        write_json(
            {
                "old": {"file": str(before.path), "zxid": snapshots.shown_zxid(before)},
                "new": {"file": str(after.path), "zxid": snapshots.shown_zxid(after)},
                "differences": [
                    {"path": snapshots.shown(one.path), "what": one.what, "details": one.details}
                    for one in found
                ],
            }
        )
        return EXIT_DIFFERENT if found else 0
    click.echo(f"{_titled(before)} -> {_titled(after)}")
    signs = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
    for one in found:
        sign, colour = signs[one.what]
        text = f"{sign} {snapshots.shown(one.path)}"
        if one.details:
            text += f"  ({', '.join(one.details)})"
        click.secho(text, fg=colour)
    counts = {what: sum(one.what == what for one in found) for what in signs}
    click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    return EXIT_DIFFERENT if found else 0


@failing
def verify(path: Path, is_json: bool) -> int:
    """Structure, seals and name of one snapshot, or seals and names of all in a directory."""
    report = Report()
    sound: list[str] = []
    if path.is_dir():
        config = directory_of(path)
        with reading("verifying", size_of_directory(config)) as progress:
            checked = snapshots.check(FS, config, progress)
        report, sound = checked.report, [one.name for one in checked.sound]
    else:
        try:
            found = loaded(path)
            if not snapshots.is_misnamed(report, found):
                sound = [found.path.name]
        except CorruptError as error:
            report.add("damaged-snapshot", Severity.ERROR, str(error))
        if sound and snapshots.is_named_otherwise(FS, PurePath(path)):
            report.add(
                "damaged-snapshot",
                Severity.ERROR,
                "it is not compressed as its name says: no server can load it",
                PurePath(path),
                remedy="name it snapshot.<zxid>, with .gz or .snappy if it is so compressed",
            )
    severity = report.severity
    if not sound:
        severity = Severity.ERROR
    if is_json:
        findings = [finding_json(one) for one in report.findings]
        write_json({"sound": sound, "findings": findings})
    else:
        for name in sound:
            click.echo(f"{name}: sound")
        write_findings(report.findings)
        if not sound and not report.findings:
            click.echo("There is no snapshot.")
    return int(severity)


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
