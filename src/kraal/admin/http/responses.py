"""Answers of the admin server: JSON that never holds up the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import chain

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from kraal.admin.json_text import Json, pieces
from kraal.admin.turns import FIRST_SECONDS, REST_SECONDS, one_turn

JSON = "application/json"


def json_response(
    reply: Mapping[str, Json], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A short answer at once; of a long one the rest in slices, while others are served."""
    return sliced_response(pieces(reply), status, {"content-type": JSON, **(headers or {})})


def sliced_response(slices: Iterator[str], status: int, headers: Mapping[str, str]) -> Response:
    """The same for any text."""
    first, is_whole = one_turn(slices, FIRST_SECONDS)
    if is_whole:
        return Response(first.encode("utf-8", "replace"), status, headers)
    return StreamingResponse(_in_turns(chain([first], slices)), status, headers)


async def _in_turns(slices: Iterator[str]) -> AsyncIterator[bytes]:
    is_whole = False
    while not is_whole:
        text, is_whole = one_turn(slices)
        if text:
            yield text.encode("utf-8", "replace")
        await asyncio.sleep(REST_SECONDS)


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
