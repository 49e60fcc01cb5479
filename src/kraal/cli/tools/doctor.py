"""`kraal doctor`: a data directory, a zoo.cfg with its directory, or a running ensemble."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from kraal.cli.tools import logs
from kraal.cli.tools.certificates import examine_certificates
from kraal.cli.tools.ensemble_doctor import diagnosed
from kraal.cli.tools.places import FS, configured, directory_of, size_of_directory
from kraal.cli.tools.terminal import (
    EXIT_USAGE,
    failing,
    finding_json,
    reading,
    write_findings,
    write_json,
)
from kraal.errors import ConfigError
from kraal.model.config import ServerConfig
from kraal.model.zxid import show
from kraal.storage.inspection import doctor as doctors
from kraal.storage.inspection.findings import Report, Severity
from kraal.storage.inspection.target import located


@failing
def examine(
    target: str, log_directory: Path | None, *, mend: bool, is_sure: bool, is_json: bool
) -> int:
    """Say what is wrong, how bad it is and how to mend it; the exit code is that of the worst."""
    path = Path(target)
    if not path.exists():
        if ":" in target:
            return _ensemble(target, is_json)
        hint = "" if "/" in target else f"; a running server is named host:port, as {target}:2181"
        raise click.UsageError(f"{target} does not exist{hint}")
    server: ServerConfig | None = None
    extra = Report()
    if path.is_file():
        try:
            loaded = configured(target)
        except ConfigError as error:
            extra.add("configuration", Severity.ERROR, str(error), remedy="correct it")
            return _tell(extra, [], is_json)
        server = loaded.config
        for warning in loaded.warnings:
            extra.add("configuration", Severity.NOTE, warning)
        examine_certificates(server, extra)
        config = server.storage
        located(FS, config.data_dir, config.data_log_dir)
    else:
        config = directory_of(path, log_directory)
    with reading("examining", 2 * size_of_directory(config)) as progress:
        found = doctors.examine(FS, config, server, progress=progress)
    found.report.findings[:0] = extra.findings
    lines = [str(found.outcome)]
    if found.mended is not None and str(found.mended) != str(found.outcome):
        lines.append(f"after mending, {found.mended}")
    lines += [f"note: {text}" for text in found.outcome.warnings]
    code = _tell(found.report, lines, is_json, mendable=bool(found.report.mends) and not mend)
    if mend and found.report.mends:

        def recheck() -> Report:
            return doctors.examine(FS, config, server).report

        return logs.make(
            config, found.report.mends, found.report, recheck, dry_run=False, is_sure=is_sure,
            to_look="leave out --mend to look only",
        )  # fmt: skip
    return code


def _tell(report: Report, lines: list[str], is_json: bool, *, mendable: bool = False) -> int:
    if is_json:
        write_json(
            {
                "severity": report.severity.name.lower(),
                "start": lines,
                "findings": [finding_json(finding) for finding in report.findings],
            }
        )
        return int(report.severity)
    write_findings(report.findings)
    said = {finding.kind for finding in report.findings}
    for text in lines:
        if not ("start-refused" in said and text.startswith("a start is refused")):
            click.echo(text)
    if mendable:
        click.echo("Mend what can be mended: the same command with --mend")
    if report.severity is Severity.NOTE:
        click.secho("All is well.", fg="green")
    return int(report.severity)


def _ensemble(target: str, is_json: bool) -> int:
    report, members = asyncio.run(diagnosed(target))
    lines = [
        f"{member.name}: {member.mode or 'does not serve'}"
        + (f", zxid {show(member.zxid)}" if member.zxid is not None else "")
        for member in members
    ]
    code = _tell(report, lines, is_json)
    return EXIT_USAGE if all(member.error for member in members) else code
