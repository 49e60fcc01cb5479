"""Answers of the admin server: JSON that never holds up the loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial

from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kraal.admin.json_text import Json, pieces
from kraal.turns import portion, turns

JSON = "application/json"
PIECE_CHARS = 64 << 10
"""So much of an answer is sent at once; most are shorter."""


def json_response(
    reply: Mapping[str, Json], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A short answer as one, a long one in pieces; made while others are served."""
    return sliced_response(pieces(reply), status, {"content-type": JSON, **(headers or {})})


def sliced_response(slices: Iterator[str], status: int, headers: Mapping[str, str]) -> Response:
    """The same for any text."""
    return _SlicedResponse(slices, status, headers)


class _SlicedResponse(Response):
    """Text that is made in turns of the loop, and sent as one if it is not long."""

    def __init__(self, slices: Iterator[str], status: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status, headers)
        self._slices, self._sent_headers = slices, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first, is_whole = await _piece(self._slices)
        response: Response
        if is_whole:
            response = Response(first, self.status_code, self._sent_headers)
        else:
            content = _pieces(first, self._slices)
            response = StreamingResponse(content, self.status_code, self._sent_headers)
        await response(scope, receive, send)


async def _piece(slices: Iterator[str]) -> tuple[bytes, bool]:
    """The next piece, and whether it is the last."""
    made: list[str] = []
    size, is_whole = 0, False
    while not is_whole and size < PIECE_CHARS:
        more, is_whole = await turns().call(partial(portion, slices))
        made.append("".join(more))
        size += len(made[-1])
    return "".join(made).encode("utf-8", "replace"), is_whole


async def _pieces(first: bytes, slices: Iterator[str]) -> AsyncIterator[bytes]:
    yield first
    is_whole = False
    while not is_whole:
        piece, is_whole = await _piece(slices)
        if piece:
            yield piece


def command_response(
    name: str,
    reply: Mapping[str, Json],
    error: str | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The members of a reply, then `command` and `error`."""
    return json_response({**reply, "command": name, "error": error}, status, headers)


def error_response(name: str, error: str) -> Response:
    """A refusal by the command itself, which the reference prints in this order, with 200."""
    return json_response({"error": error, "command": name})


def not_found() -> Response:
    """Nothing is at this path."""
    return PlainTextResponse("Not Found\n", 404)
