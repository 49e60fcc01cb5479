"""Pages of admin commands and metrics: `python -m kraal.admin.reference admin`, or `metrics`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from kraal.admin.catalogue import CATALOGUE, KRAAL_PREFIX, Kind, Metric, Where
from kraal.admin.http.commands import COMMANDS, Command
from kraal.admin.http.exposition import HISTOGRAMS

_HEAD = "Written by `python -m kraal.admin.reference {page}`; do not edit it by hand.\n"
STREAMS = (
    ("snapshot", "snap", "GET", "Takes a snapshot and sends it; `streaming=false`: only takes it."),
    (
        "backup",
        "",
        "GET",
        "kraal's own: takes a snapshot and sends it with the log behind it, as a"
        " tar archive that is exact at its `last_zxid`.",
    ),
    ("restore", "rest", "POST", "Replaces everything by the snapshot in the body."),
)
_KINDS = {
    Kind.GAUGE: "gauge",
    Kind.COUNTER: "counter",
    Kind.BASIC: "summary",
    Kind.ADVANCED: "summary with percentiles",
}
_WHERE = {
    Where.ALL: "",
    Where.MEMBERS: "members with a leader",
    Where.LEADER: "leader",
    Where.OBSERVED: "leader, and who serves observers",
    Where.TLS: "servers that speak TLS",
}


def admin_page() -> str:
    """All commands of the admin server."""
    theirs = [command for command in COMMANDS if not command.is_own]
    own = [command for command in COMMANDS if command.is_own]
    lines = [
        "# Commands of the admin server",
        "",
        _HEAD.format(page="admin"),
        "## ZooKeeper's",
        "",
        "| command | aliases | without a leader | says |",
        "|---|---|---|---|",
        *map(_command, theirs),
        "",
        "Streams, which need credentials that have all permissions on the root:",
        "",
        "| command | alias | method | does |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {f'`{alias}`' if alias else ''} | {method} | {does} |"
            for name, alias, method, does in STREAMS
        ),
        "",
        "## kraal's own",
        "",
        "| command | method | says |",
        "|---|---|---|",
        *(
            f"| `{command.names[0]}` | {'POST' if command.is_post else 'GET'}"
            f"{', with credentials' if command.needs_access else ''} | {command.help} |"
            for command in own
        ),
        "",
    ]
    return "\n".join(lines)


def _command(command: Command) -> str:
    primary, *aliases = command.names
    shown = ", ".join(f"`{alias}`" for alias in aliases)
    answers = "" if command.needs_server else "answered"
    return f"| `{primary}` | {shown} | {answers} | {command.help} |"


def metrics_page() -> str:
    """All metrics."""
    active = [m for m in CATALOGUE if not m.is_idle and not m.name.startswith(KRAAL_PREFIX)]
    lines = [
        "# Metrics",
        "",
        _HEAD.format(page="metrics"),
        "## ZooKeeper's",
        "",
        *_table(active),
        "",
        "## kraal's own",
        "",
        *_table([metric for metric in CATALOGUE if metric.name.startswith(KRAAL_PREFIX)]),
        "",
        "At the Prometheus endpoint only, as histograms:",
        "",
        "| name | meaning |",
        "|---|---|",
        *(f"| `{name}` | {meaning} |" for name, (_, meaning) in HISTOGRAMS.items()),
        "",
        "## Always 0",
        "",
        "ZooKeeper counts these in stages, queues, caches and libraries that kraal has not.",
        "",
        *_table([metric for metric in CATALOGUE if metric.is_idle]),
        "",
    ]
    return "\n".join(lines)


def _table(metrics: Iterable[Metric]) -> list[str]:
    rows = [
        f"| `{metric.name}` | {_KINDS[metric.kind]}{', by `key`' if metric.is_set else ''} |"
        f" {_WHERE[metric.where]} | {metric.meaning} |"
        for metric in sorted(metrics, key=lambda metric: metric.name)
    ]
    return ["| name | kind | of | meaning |", "|---|---|---|---|", *rows]


PAGES = {"admin": admin_page, "metrics": metrics_page}

if __name__ == "__main__":
    print(PAGES[sys.argv[1]](), end="")
