"""The admin port and the metrics port of a running server.

Both need packages that `pip install kraal[admin]` brings: who only uses the client, or embeds a
server, shall not have to install a web framework. A port that cannot be opened is complained of
and does not keep the server from serving its clients, unlike with the reference, which ends
(reference/operations.md section 9, complaint 10).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kraal.errors import ConfigError
from kraal.model.ensemble import readable
from kraal.server.admin_source import ServerAdminSource
from kraal.tls.contexts import accepting, reloading
from kraal.tls.reloading import ReloadingContext

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from kraal.server.http_server import HttpServer

logger = logging.getLogger("kraal.server.admin")
HEALTH = ("/livez", "/readyz")
"""Answered however much else is asked for."""
MISSING = (
    "%s is not served: %s is not installed. `pip install 'kraal[admin]'` brings what it needs; "
    "%s turns it off"
)


class AdminServer:
    """Starts what the configuration asks for; `stop` ends it."""

    def __init__(self, source: ServerAdminSource) -> None:
        self._source = source
        self._servers: list[HttpServer] = []
        self._tls: ReloadingContext | None = None
        self.port = self.metrics_port = -1
        """Ports in use; -1: none."""

    async def start(self) -> None:
        """Open the ports; never raises."""
        admin = self._source.config.admin
        if admin.enabled:
            self.port = await self._start_admin()
        if admin.metrics_port is not None:
            self.metrics_port = await self._start_metrics(admin.metrics_port)

    async def _start_admin(self) -> int:
        admin = self._source.config.admin
        try:
            from kraal.admin.http.app import build  # noqa: PLC0415 - optional
        except ImportError as error:
            logger.warning(MISSING, "The admin server", error.name, "admin.enableServer=false")
            return -1
        try:
            tls = self._tls = reloading(accepting, admin.tls) if admin.tls else None
        except ConfigError as error:
            logger.warning("The admin server is not served: its TLS files: %s", error)
            return -1
        app = build(self._source)
        port = await self._open(app, "admin server", admin.host, admin.port, tls)
        if port >= 0:
            where = f"{readable(admin.host, port)}, command URL {admin.command_url}"
            logger.info("Started AdminServer on address %s", where)
        return port

    async def _start_metrics(self, port: int) -> int:
        admin = self._source.config.admin
        try:
            from kraal.admin.http.metrics_app import build_metrics  # noqa: PLC0415 - optional
        except ImportError as error:
            logger.warning(MISSING, "The metrics provider", error.name, "another provider")
            return -1
        app = build_metrics(self._source)
        port = await self._open(app, "metrics provider", admin.metrics_host, port)
        if port >= 0:
            logger.info("Serving metrics on %s/metrics", readable(admin.metrics_host, port))
        return port

    async def _open(
        self, app: ASGIApp, what: str, host: str, port: int, tls: ReloadingContext | None = None
    ) -> int:
        from kraal.server.http_server import HttpServer  # noqa: PLC0415 - optional

        admin = self._source.config.admin
        server = HttpServer(app, idle_timeout_ms=admin.idle_timeout_ms, tls=tls, always=HEALTH)
        if tls is not None and admin.port_unification and not admin.force_https:
            server.plain_too = self._source.counted_insecure
        try:
            await server.start(host, port)
        except OSError as error:
            logger.warning("The %s is not served, %s: %s", what, readable(host, port), error)
            return -1
        self._servers.append(server)
        return server.port

    def look_at_files(self) -> None:
        """Take up TLS files that have changed, also when nobody connects."""
        if self._tls is not None:
            self._tls()

    @property
    def certificate_expiry_s(self) -> int | None:
        """When the first certificate in use expires, in seconds since 1970."""
        return None if self._tls is None else self._tls.expiry_s

    async def stop(self) -> None:
        """Close the ports."""
        for server in self._servers:
            await server.stop()
