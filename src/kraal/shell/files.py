"""Files that commands read and write: whole or not at all, and standard input as a file."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from kraal.shell.documents import STDIN
from kraal.shell.errors import CommandError

Stream = IO[bytes]

MEMORY_MAX = 1 << 20
"""Bytes of standard input that are kept in memory; more goes to a temporary file."""


@contextmanager
def written(name: str, *, replaces: bool) -> Iterator[IO[str]]:
    """A text file that is there when all was written to it, and as it was before otherwise.

    Raises CommandError if it exists and is not to be replaced, or cannot be written.
    """
    with _faults("write", name), _whole(name, replaces=replaces) as out:
        yield out


@contextmanager
def _faults(doing: str, name: str) -> Iterator[None]:
    """Errors of the system, with the name that the user has given."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"cannot {doing} {name}: {error.strerror or error}") from error


@contextmanager
def _whole(name: str, *, replaces: bool) -> Iterator[IO[str]]:
    path = Path(name)
    if path.exists() and not path.is_file():  # a device, a pipe
        with path.open("w", encoding="utf-8") as out:
            yield out
        return
    if path.exists() and not replaces:
        raise CommandError(f"{name} exists; --force replaces it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("x", encoding="utf-8") as out:
            yield out
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@asynccontextmanager
async def opened(name: str, *, has_input: bool) -> AsyncIterator[IO[bytes]]:
    """A file that can be read several times; `-` is standard input. Raises CommandError.

    `has_input` says whether standard input is free.
    """
    if name != STDIN:
        with _faults("read", name):
            stream = Path(name).open("rb")  # noqa: SIM115 - what follows is no fault of opening
        with stream:
            if stream.seekable():
                yield stream
                return
            with tempfile.SpooledTemporaryFile(MEMORY_MAX) as copy:
                with _faults("read", name):
                    await _copied(stream, copy)
                yield copy
        return
    if not has_input:
        raise CommandError("commands come from standard input; a file cannot come from there, too")
    with tempfile.SpooledTemporaryFile(MEMORY_MAX) as copy:
        await _copied(sys.stdin.buffer, copy)
        yield copy


async def _copied(stream: IO[bytes], copy: IO[bytes]) -> None:
    """Copy it in a thread that nobody waits for at the end: its reading may never end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def read() -> None:
        error: Exception | None = None
        try:
            shutil.copyfileobj(stream, copy)
        except Exception as raised:  # whatever it is, it is the reader's
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=read, name="kraal-shell-file", daemon=True).start()
    await done
