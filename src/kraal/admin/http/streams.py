"""`snapshot`, `backup`, `restore`: who may, how often, the streams (reference section 3.4)."""

from __future__ import annotations

import logging
from math import ceil
from time import monotonic

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from kraal.admin.http.responses import command_response
from kraal.admin.source import AdminSource
from kraal.errors import KraalError
from kraal.replica.status import Access

logger = logging.getLogger("kraal.admin.streams")
_NO_LAST_ZXID = "serializeLastProcessedZxid.enabled is false"
MS_PER_SECOND, US_PER_SECOND = 1e3, 1e6


class RateLimit:
    """One in an interval; the first goes through."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._next = 0.0

    def wait_seconds(self) -> int:
        """How long until one is admitted, rounded up; 0: now."""
        return max(0, ceil(self._next - monotonic()))

    def admits(self) -> bool:
        """Whether one may begin now; then the interval begins."""
        if self.wait_seconds():
            return False
        self._next = monotonic() + self._interval
        return True


class _TooSoonError(Exception):
    """Another one began while this one was being received."""


def refusal(source: AdminSource, request: Request, name: str) -> Response | None:
    """Why this request may not be carried out; None: it may."""
    header = request.headers.get("authorization")
    if header is None:
        return command_response(name, {}, "Auth info is missing for the command", 401)
    words = header.split()
    if not 1 <= len(words) <= 2:
        return command_response(name, {}, "Not authenticated", 401)
    credential = words[1].encode("utf-8", "surrogateescape") if len(words) == 2 else b""
    access = source.access(words[0], credential, client_host(source, request))
    if access is Access.UNKNOWN:
        return command_response(name, {}, "Not authenticated", 401)
    if access is Access.DENIED:
        return command_response(name, {}, "Not authorized", 403)
    return None


def client_host(source: AdminSource, request: Request) -> str:
    """Where the request comes from, for the scheme `ip`."""
    forwarded = request.headers.get("x-forwarded-for")
    if source.config.admin.use_forwarded_for and forwarded:
        return forwarded.split(",")[0].strip()
    return request.client.host if request.client is not None else ""


class Streams:
    """The commands with their rate limits; `backup`, which is kraal's own, counts as a snapshot.

    The reference takes the interval of snapshots for microseconds, so its default of 300000 lets
    one through every 300 ms; so does kraal.
    """

    def __init__(self, source: AdminSource) -> None:
        self._source = source
        admin = source.config.admin
        self._snapshots = RateLimit(admin.rate_limiter_interval_ms / US_PER_SECOND)
        self._restores = RateLimit(admin.rate_limiter_interval_ms / MS_PER_SECOND)

    def _too_soon(self, name: str, what: str, limit: RateLimit) -> Response:
        self._source.count_refused(what)
        seconds = max(1, limit.wait_seconds())
        error = f"there was another {what} a moment ago: ask again in {seconds} s"
        return command_response(name, {}, error, 429, {"retry-after": str(seconds)})

    async def snapshot(self, request: Request) -> Response:
        """Take a snapshot and send it, unless `streaming=false`."""
        source, name = self._source, "snapshot"
        if not source.config.admin.snapshot_enabled:
            return command_response(name, {}, "admin.snapshot.enabled is false", 503)
        if not source.config.storage.serialize_last_processed_zxid:
            return command_response(name, {}, _NO_LAST_ZXID, 500)
        if not self._snapshots.admits():
            return self._too_soon(name, name, self._snapshots)
        try:
            file = await source.take_snapshot()
        except KraalError as error:
            logger.error("A snapshot was asked for and failed: %s", error)
            return command_response(name, {}, str(error), 500)
        headers = {"last_zxid": f"0x{file.zxid:x}", "snapshot_size": str(file.size)}
        if request.query_params.get("streaming", "true").lower() != "true":
            return command_response(name, {}, None, 200, headers)
        headers["content-length"] = str(file.size)
        content = source.snapshot_pieces(file)
        return StreamingResponse(content, 200, headers, "application/octet-stream")

    async def backup(self) -> Response:
        """Take a snapshot and send it with the log behind it, as a tar archive."""
        source, name = self._source, "backup"
        if not source.config.admin.snapshot_enabled:
            return command_response(name, {}, "admin.snapshot.enabled is false", 503)
        if not self._snapshots.admits():
            return self._too_soon(name, "snapshot", self._snapshots)
        try:
            stream = await source.backup()
        except KraalError as error:
            logger.error("A backup was asked for and failed: %s", error)
            return command_response(name, {}, str(error), 500)
        headers = {"last_zxid": f"0x{stream.zxid:x}", "content-length": str(stream.size)}
        return StreamingResponse(stream.pieces, 200, headers, "application/x-tar")

    async def restore(self, request: Request) -> Response:
        """Replace everything by the snapshot in the body."""
        source, name = self._source, "restore"
        if not source.config.admin.restore_enabled:
            return command_response(name, {}, "admin.restore.enabled is false", 503)
        if not source.config.storage.serialize_last_processed_zxid:
            return command_response(name, {}, _NO_LAST_ZXID, 500)
        if self._restores.wait_seconds():
            return self._too_soon(name, name, self._restores)

        def begin() -> None:  # what is no snapshot does not keep the next one waiting
            if not self._restores.admits():
                raise _TooSoonError

        try:
            zxid = await source.restore(request.stream(), begin)
        except _TooSoonError:
            return self._too_soon(name, name, self._restores)
        except ClientDisconnect:
            logger.warning("A restore was not sent to its end")
            return command_response(name, {}, "the request was not sent to its end", 400)
        except KraalError as error:
            logger.error("A restore failed: %s", error)
            return command_response(name, {}, str(error), 500)
        return command_response(name, {"last_zxid": zxid})
