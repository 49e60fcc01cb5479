"""Liveness and readiness, as orchestrators ask: the status code is the answer, the text says why.

The reference has no such thing: its `ruok` is fine without a quorum, and refusals are HTTP 200
(reference/operations.md sections 3.3 and 9, complaint 8).
"""

from __future__ import annotations

from starlette.responses import Response

from kraal.admin.http.responses import json_response
from kraal.admin.json_text import Json
from kraal.admin.source import AdminSource
from kraal.model.config import ServerConfig
from kraal.replica.status import EnsembleStatus, Mode

OK, UNAVAILABLE = 200, 503
BEHIND_MAX = 10_000
"""Transactions that a learner may be behind and still count as ready."""


def live() -> Response:
    """That this is answered is what is asked for: the loop turns."""
    return json_response({"status": "ok"})


def ready(source: AdminSource, *, accepts_read_only: bool, behind_max: int) -> Response:
    """Whether clients should be sent here; `checked` says when not."""
    checks = checked(source, accepts_read_only=accepts_read_only, behind_max=behind_max)
    status = source.server_status()
    reasons: list[Json] = [f"{name}: {reason}" for name, reason in checks.items() if reason]
    return json_response(
        {
            "status": "unavailable" if reasons else "ok",
            "mode": str(status.mode) if status.serving else None,
            "checks": {name: reason or "ok" for name, reason in checks.items()},
            "reasons": reasons,
        },
        UNAVAILABLE if reasons else OK,
    )


def checked(
    source: AdminSource, *, accepts_read_only: bool, behind_max: int
) -> dict[str, str | None]:
    """What speaks against this server, by check; None: nothing.

    A learner lags that knows of more than `behind_max` transactions which it has not applied, or
    that has not heard of its leader for half the time after which it would give up.
    """
    status = source.server_status()
    ensemble = status.ensemble
    checks: dict[str, str | None] = dict.fromkeys(("role", "quorum", "lag", "tree", "disk"))
    if ensemble is not None and ensemble.peer_state is None:
        checks["quorum"] = f"no leader: {ensemble.phase}"
    if not status.serving:
        checks["role"] = "clients are not served"
    elif status.mode is Mode.READ_ONLY and not accepts_read_only:
        checks["role"] = "only reads are served"
    if ensemble is not None:
        checks["lag"] = _lag(ensemble, source.config, behind_max)
        if ensemble.is_different:
            checks["tree"] = "it differs from the leader's"
    if status.disk_trouble is not None:
        checks["disk"] = f"{status.disk_trouble}: writes are refused"
    if status.mode is Mode.READ_ONLY and accepts_read_only:
        checks["quorum"] = None
    return checks


def _lag(ensemble: EnsembleStatus, config: ServerConfig, behind_max: int) -> str | None:
    if ensemble.behind > behind_max:
        return f"{ensemble.behind} transactions are not applied yet"
    ticks = config.ensemble.sync_limit_ticks if config.ensemble is not None else 0
    if ticks and ensemble.silent_ms > ticks * config.tick_time_ms / 2:
        return f"nothing was heard of the leader for {ensemble.silent_ms} ms"
    return None
