"""The HTTP face of a server: commands as the reference has them, health, and metrics.

Rules of requests and answers: reference/operations.md section 3.2.
"""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kraal.admin.four_letter_words import NOT_SERVING
from kraal.admin.http import health
from kraal.admin.http.commands import BY_NAME, COMMANDS, Command
from kraal.admin.http.reply import CommandError, Parameters
from kraal.admin.http.responses import command_response, error_response, json_response
from kraal.admin.http.streams import Streams, refusal
from kraal.admin.source import AdminSource
from kraal.errors import StorageError

logger = logging.getLogger("kraal.admin")
STREAMS = {
    "snapshot": "snapshot", "snap": "snapshot", "restore": "restore", "rest": "restore",
    "backup": "backup",
}  # fmt: skip
"""The commands that are no plain functions, by all their names."""
_READING = ["GET", "HEAD"]


class AdminApp:
    """Answers requests from one server's values."""

    def __init__(self, source: AdminSource) -> None:
        self._source = source
        self._streams = Streams(source)

    async def index(self, _request: Request) -> Response:
        """A link to each command."""
        url = self._source.config.admin.command_url
        names = sorted({command.names[0] for command in COMMANDS} | set(STREAMS.values()))
        links = (f'<a href="{url}/{name}">{name}</a>\n<br/>\n' for name in names)
        return HTMLResponse("".join(links))

    async def live(self, _request: Request) -> Response:
        """Liveness."""
        return health.live()

    async def ready(self, request: Request) -> Response:
        """Readiness; with `readonly=true` a server that serves only reads is ready.

        `behind=N` is how many transactions it may be behind.
        """
        accepts = request.query_params.get("readonly", "false").lower() == "true"
        try:
            given = Parameters(dict(request.query_params)).number("behind")
        except CommandError as error:
            return json_response({"error": str(error)}, 400)
        behind_max = health.BEHIND_MAX if given is None else given
        return health.ready(self._source, accepts_read_only=accepts, behind_max=behind_max)

    async def command(self, request: Request) -> Response:
        """Any command."""
        typed = request.path_params["name"]
        if typed in STREAMS:
            return await self._stream(STREAMS[typed], request)
        command = BY_NAME.get(typed)
        if command is None:
            return command_response(typed, {}, f"Unknown command: {typed}")
        name = command.names[0]
        if command.is_post != (request.method == "POST"):
            return _wrong_method(name, is_post=command.is_post)
        if command.needs_server and not self._is_serving():
            return command_response(typed, {}, NOT_SERVING)
        if command.needs_access and (refused := refusal(self._source, request, name)):
            return refused
        return self._run(command, request)

    def _run(self, command: Command, request: Request) -> Response:
        name = command.names[0]
        try:
            reply = command.run(self._source, Parameters(dict(request.query_params)))
        except CommandError as error:
            return error_response(name, str(error))
        except StorageError as error:
            return command_response(name, {}, str(error), 500)
        return command_response(name, reply)

    async def _stream(self, name: str, request: Request) -> Response:
        is_post = name == "restore"
        if not self._is_serving():
            return command_response(name, {}, NOT_SERVING)
        if (refused := refusal(self._source, request, name)) is not None:
            return refused
        if is_post != (request.method == "POST"):
            return _wrong_method(name, is_post=is_post)
        if name == "backup":
            return await self._streams.backup()
        return await (self._streams.restore if is_post else self._streams.snapshot)(request)

    def _is_serving(self) -> bool:
        return self._source.server_status().serving


def _wrong_method(name: str, *, is_post: bool) -> Response:
    allowed = "POST" if is_post else "GET, HEAD"
    return command_response(name, {}, f"only {allowed} is served", 405, {"allow": allowed})


class StrictTransport:
    """Answers over TLS tell browsers to come back over TLS, as the reference's do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same, with a header."""

        async def with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                value = b"max-age=86400; includeSubDomains"
                message["headers"] = [*message["headers"], (b"strict-transport-security", value)]
            await send(message)

        await self._app(scope, receive, with_header if scope.get("scheme") == "https" else send)


def build(source: AdminSource) -> Starlette:
    """The application of the admin port."""
    app = AdminApp(source)
    url = "/" + source.config.admin.command_url.strip("/")
    return Starlette(
        routes=[
            Route("/", app.index, methods=_READING),
            Route(url, app.index, methods=_READING),
            Route(f"{url}/", app.index, methods=_READING),
            Route(f"{url}/{{name}}", app.command, methods=[*_READING, "POST"]),
            Route("/livez", app.live, methods=_READING),
            Route("/readyz", app.ready, methods=_READING),
        ],
        middleware=[Middleware(StrictTransport)],
    )
