"""Commands that the reference has not: load, slow requests, sessions, large znodes and the like."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from kraal.admin import java_text
from kraal.admin.http.reply import CommandError, Parameters, Reply
from kraal.admin.json_text import PAUSE, Json, Pause, Rows
from kraal.admin.source import AdminSource
from kraal.replica.status import HeavyRow

T = TypeVar("T")
logger = logging.getLogger("kraal.admin")

ROWS_MAX = 20
LIMIT_MAX = 1000
SLICE = 500
"""Znodes that are looked at before others have a turn."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _limit(parameters: Parameters) -> int:
    limit = parameters.number("limit", ROWS_MAX)
    return min(ROWS_MAX if limit is None else limit, LIMIT_MAX)


def load(source: AdminSource, parameters: Parameters) -> Reply:
    """Who and what causes the load."""
    status, limit = source.load(), _limit(parameters)
    return {
        "counted_ms": status.counted_ms,
        "clients": [
            {"host": row.name, "session_id": f"0x{row.session_id:x}", **_weight(row)}
            for row in status.clients[:limit]
        ],
        "paths": _named("path", status.paths[:limit]),
        "operations": _named("operation", status.operations[:limit]),
    }


def _named(what: str, rows: Sequence[HeavyRow]) -> list[Json]:
    return [{what: row.name, **_weight(row)} for row in rows]


def _weight(row: HeavyRow) -> dict[str, Json]:
    return {"requests": row.requests, "error": row.error}


def slow_requests(source: AdminSource, _parameters: Parameters) -> Reply:
    """The newest first."""
    return {
        "threshold_ms": source.config.admin.slow_request_threshold_ms,
        "requests": [
            {
                "time": row.wall_ms,
                "latency_ms": row.latency_ms,
                "operation": row.operation,
                "path": row.path,
                "session_id": f"0x{row.session_id:x}",
                "host": row.host,
            }
            for row in reversed(source.slow_requests())
        ],
    }


def sessions(source: AdminSource, parameters: Parameters) -> Reply:
    """The events of one session, or which sessions have any."""
    session_id = parameters.number("session")
    if session_id is None:
        remembered = (f"0x{remembered:x}" for remembered in source.remembered_sessions())
        return {"sessions": Rows(parameters.page(remembered))}
    events = source.session_events(session_id)
    if not events:
        raise CommandError(f"nothing is remembered of session 0x{session_id:x}")
    return {
        "session_id": f"0x{session_id:x}",
        "events": [
            {"time": event.wall_ms, "event": event.what, "detail": event.detail} for event in events
        ],
    }


def largest_znodes(source: AdminSource, parameters: Parameters) -> Reply:
    """Found by looking at every znode, in slices: for large trees it takes its time."""
    return {
        "max_buffer_bytes": source.config.max_buffer_bytes,
        "znodes": Rows(_largest(source, _limit(parameters))),
    }


def _largest(source: AdminSource, limit: int) -> Iterator[Json | Pause]:
    weighted = (
        (max(znode.data_bytes, znode.children_bytes), znode) for znode in source.znode_sizes()
    )
    for size, znode in _heaviest(weighted, limit):
        yield (
            PAUSE
            if znode is None
            else {
                "path": znode.path,
                "data_bytes": znode.data_bytes,
                "children": znode.children,
                "children_bytes": znode.children_bytes,
                "share": round(size / source.config.max_buffer_bytes, 4),
            }
        )


def _heaviest(weighted: Iterable[tuple[int, T]], limit: int) -> Iterator[tuple[int, T | None]]:
    """The heaviest first, earlier ones before later ones; None wherever others may have a turn."""
    found: list[tuple[int, int, T]] = []
    for number, (weight, item) in enumerate(weighted):
        if number % SLICE == 0:
            yield 0, None
        row = (weight, -number, item)
        if len(found) < limit:
            heapq.heappush(found, row)
        elif found and row > found[0]:
            heapq.heapreplace(found, row)
    for weight, _, item in sorted(found, reverse=True):
        yield weight, item


def most_watched(source: AdminSource, parameters: Parameters) -> Reply:
    """Found by looking at every watch, in slices: for many watches it takes its time."""
    limit = _limit(parameters)
    return {
        "watches": source.server_status().watch_count,
        "max_watches_per_session": source.config.throttle.watches_of_session,
        "paths": Rows(_watched_paths(source, limit)),
        "sessions": Rows(_watching_sessions(source, limit)),
    }


def _watched_paths(source: AdminSource, limit: int) -> Iterator[Json | Pause]:
    weighted = ((path.data + path.children, path) for path in source.watched_paths())
    for _, path in _heaviest(weighted, limit):
        yield (
            PAUSE
            if path is None
            else {
                "path": java_text.path(path.path),
                "data_watches": path.data,
                "child_watches": path.children,
            }
        )


def _watching_sessions(source: AdminSource, limit: int) -> Iterator[Json | Pause]:
    weighted = ((session.watches, session) for session in source.watching_sessions())
    for _, session in _heaviest(weighted, limit):
        yield (
            PAUSE
            if session is None
            else {
                "session_id": f"0x{session.session_id:x}",
                "host": session.host,
                "watches": session.watches,
            }
        )


def log_levels(_source: AdminSource, _parameters: Parameters) -> Reply:
    """Loggers of kraal that exist, with the level that counts for them."""
    names = sorted(name for name in logging.root.manager.loggerDict if name.startswith("kraal"))
    return {
        "root": logging.getLevelName(logging.root.level),
        "loggers": {
            name: logging.getLevelName(logging.getLogger(name).getEffectiveLevel())
            for name in names
        },
    }


def set_log_level(_source: AdminSource, parameters: Parameters) -> Reply:
    """Until the next start."""
    name, level = parameters.text("logger"), (parameters.text("level") or "").upper()
    if not name or not level:
        raise CommandError("give both: logger, which is kraal or one of log_levels, and level")
    level = {"WARN": "WARNING"}.get(level, level)
    if level not in LEVELS:
        raise CommandError(f"level is none of {', '.join(LEVELS)}: {level}")
    if name != "kraal" and not name.startswith("kraal."):
        raise CommandError(f"logger is none of kraal's: {name}")
    if name not in logging.root.manager.loggerDict:
        raise CommandError(f"there is no logger {name}: log_levels names them")
    was_heard = logger.isEnabledFor(logging.INFO)
    if was_heard:
        _tell_level(name, level)
    logging.getLogger(name).setLevel(level)
    if not was_heard:
        _tell_level(name, level)
    return {"logger": name, "level": level}


def _tell_level(name: str, level: str) -> None:
    logger.info(
        "Asked over HTTP: the level of the logger %s is %s until the next start", name, level
    )
