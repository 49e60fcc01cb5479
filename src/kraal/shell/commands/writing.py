"""Commands that change znodes: `create`, `set`, `delete`, `deleteall`."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice

from kraal.client import (
    NULL,
    Client,
    CreateMode,
    EphemeralOnLocalSessionError,
    InvalidAclError,
    NoNodeError,
    ZooKeeperError,
)
from kraal.model.limits import MAX_TTL_MS
from kraal.shell import acl_text, files, paths
from kraal.shell.command import command
from kraal.shell.context import Context, Step
from kraal.shell.documents import STDIN
from kraal.shell.errors import CommandError, keeper_message
from kraal.shell.options import PATH, Given, flag, optional, text, value
from kraal.shell.results import Done, JsonObject, Result, Results, StatBlock, stat_json
from kraal.shell.walk import walk

GROUP = "Writing"
BATCH = 1000
"""How many znodes `deleteall` deletes in one transaction."""
BATCHES_MAX = 10
"""How many of those are under way at once."""
TOGETHER = 500
"""Znodes of standard input whose subtrees are read at once."""


def to_bytes(written: str) -> bytes:
    """What was written, in UTF-8; bytes that are none are taken as they came in."""
    return written.encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class CreatedAt(Result):
    """The path of a new znode; zkCli tells it on standard error."""

    path: str

    def text(self) -> Iterable[str]:
        return ()

    def notes(self) -> Iterable[str]:
        yield f"Created {self.path}"

    def json(self) -> JsonObject:
        return {"created": self.path}


_MODES = {
    # (-e, -s, -c, -t)
    (False, False, False, False): CreateMode.PERSISTENT,
    (False, True, False, False): CreateMode.PERSISTENT_SEQUENTIAL,
    (True, False, False, False): CreateMode.EPHEMERAL,
    (True, True, False, False): CreateMode.EPHEMERAL_SEQUENTIAL,
    (False, False, True, False): CreateMode.CONTAINER,
    (False, False, False, True): CreateMode.PERSISTENT_WITH_TTL,
    (False, True, False, True): CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL,
}


def _mode(given: Given) -> tuple[CreateMode, float | None]:
    """The kind of znode, and its TTL in seconds. Raises CommandError."""
    ephemeral, sequential, container, has_ttl = (given.has(name) for name in "esct")
    if container and (ephemeral or sequential):
        raise CommandError(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential."
        )
    ttl = given.integer("t", 0, bits=64)
    if has_ttl and ephemeral:
        raise CommandError("TTLs cannot be used with Ephemeral znodes")
    if has_ttl and container:
        raise CommandError("TTLs cannot be used with Container znodes")
    if has_ttl and not 0 < ttl <= MAX_TTL_MS:
        raise CommandError(f"ttl must be positive and cannot be larger than: {MAX_TTL_MS}")
    mode = _MODES[ephemeral, sequential, container, has_ttl]
    return mode, ttl / 1000 if has_ttl else None


@command(
    "create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
    replace(PATH, is_checked=False), optional(text("data")), optional(text("acl")),
    flag("e", "ephemeral"), flag("s", "sequential"), flag("c", "container"), value("t", "ttl"),
    group=GROUP,
)  # fmt: skip
async def create(shell: Context, given: Given) -> Results:
    """Create a znode: persistent, or -e ephemeral, -c a container, with -s and a number.

    Without data the znode's data is null. -t gives it a time to live, in milliseconds, which the
    server must allow. Without an ACL everybody may do everything.
    """
    mode, ttl = _mode(given)
    path, written, acl = given[0], given.get(1), given.get(2)
    paths.check(path, is_sequential=given.has("s"))
    data = NULL if written is None else to_bytes(written)
    try:
        entries = None if acl is None else acl_text.parse(acl, shell.note)
        yield CreatedAt(await shell.zk.create(path, data, mode=mode, acl=entries, ttl=ttl))
    except EphemeralOnLocalSessionError:
        shell.note("Unable to create ephemeral node on a local session")
        raise
    except InvalidAclError as error:
        shell.note(keeper_message(error))
        raise


@dataclass(frozen=True)
class Changed(StatBlock):
    """A znode with its new stat, which people see if they have asked for it."""

    what: str = "set"

    def json(self) -> JsonObject:
        return {self.what: self.path, "stat": stat_json(self.stat)}


@command(
    "set", "path data [-s] [-v version] [-b]",
    PATH, text("data"),
    flag("s", "Print znode stats additionally"),
    value("v", "Set with an expected version", of=text("arg")),
    flag("b", "Supply data in base64 format"),
    group=GROUP, lists_options=True,
)  # fmt: skip
async def set_(shell: Context, given: Given) -> Results:
    """Replace the data of a znode; with -v only if it has this version."""
    data = to_bytes(given[1])
    if given.has("b"):
        try:
            data = base64.b64decode(given[1], validate=True)
        except (binascii.Error, ValueError) as error:
            raise CommandError(f"-b data is not in base64: {error}") from None
    version = given.integer("v", -1)
    stat = await shell.zk.set(given[0], data, version=version)
    yield Changed(given[0], stat, given.has("s"))


@command(
    "delete", "[-v version] path",
    PATH, optional(text("version")), value("v", "version"),
    group=GROUP,
)  # fmt: skip
async def delete(shell: Context, given: Given) -> Results:
    """Delete a znode without children; with -v only if it has this version."""
    if len(given) > 1:
        shell.note(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path'"
            " instead."
        )
    await shell.zk.delete(given[0], version=given.integer("v", -1))
    yield Done(deleted=given[0])


@command(
    "deleteall", "path [-b batch size]",
    replace(PATH, is_checked=False), value("b", "batch size"),
    group=GROUP,
)  # fmt: skip
async def deleteall(shell: Context, given: Given) -> Results:
    """Delete a znode and all below it, the leaves first, in transactions of 1000 or of -b.

    A transaction that fails ends it; what earlier ones deleted stays deleted. With `-` as the path
    the paths are the lines of standard input, as `kraal children --paths` prints them.
    """
    size = given.integer("b", BATCH)
    if given[0] == STDIN:
        count = first = 0
        async with files.opened(STDIN, has_input=shell.has_input) as stream:
            stream.seek(0)
            with shell.progress("deleting") as step:
                while some := [
                    line.decode("utf-8", "replace").rstrip("\r\n")
                    for line in islice(stream, TOGETHER)
                ]:
                    count += await _delete_some(shell, some, first, size, step)
                    first += len(some)
        yield Done(deleted=given[0], znodes=count)
        return
    paths.check(given[0])
    found = await _listed(shell, given[0])
    with shell.progress("deleting", len(found)) as step:
        await _delete_listed(shell.zk, found, size, step)
    yield Done(deleted=given[0], znodes=len(found))


async def _delete_some(
    shell: Context, some: Sequence[str], before: int, size: int, step: Step
) -> int:
    """Delete these znodes and all below them; those that are gone count as deleted.

    `before` so many lines came earlier. Raises CommandError for a line that is no path, before
    any of these is deleted.
    """
    for number, each in enumerate(some, before + 1):
        try:
            paths.check(each)
        except CommandError as error:
            raise CommandError(f"line {number}: {error}") from error

    async def listed(path: str) -> list[str]:
        try:
            return await _listed(shell, path)
        except NoNodeError:
            return []

    found = [path for below in await asyncio.gather(*map(listed, some)) for path in below]
    await _delete_listed(shell.zk, found, size, step)
    return len(found)


async def _delete_listed(zk: Client, found: Sequence[str], size: int, step: Step) -> None:
    """Delete znodes that are given parents first."""
    last_first = found[::-1]
    if size <= 0:
        for each in last_first:
            await zk.delete(each)
            step(1)
        return
    batches = [last_first[at : at + size] for at in range(0, len(found), size)]
    await _delete_batches(zk, batches, step)


async def _listed(shell: Context, path: str) -> list[str]:
    """A znode and all below it, parents first. Raises NoNodeError if it is not there."""
    found: list[str] = []
    async with aclosing(walk(shell.zk, path)) as visits:
        async for visit in visits:
            found.append(visit.path)
    if not found:
        raise NoNodeError(path=path)
    return found


async def _delete_batches(zk: Client, batches: Sequence[Sequence[str]], step: Step) -> None:
    """One transaction for each batch, some under way at once, until one fails."""
    free = asyncio.Semaphore(BATCHES_MAX)
    failure: ZooKeeperError | None = None

    async def delete_all(batch: Sequence[str]) -> None:
        nonlocal failure
        try:
            async with zk.transaction() as t:
                for each in batch:
                    t.delete(each)
            step(len(batch))
        except ZooKeeperError as error:
            failure = failure or error
        finally:
            free.release()

    async with asyncio.TaskGroup() as tasks:
        for batch in batches:
            await free.acquire()
            if failure is not None:
                break
            tasks.create_task(delete_all(batch))
    if failure is not None:
        raise CommandError("Failed to delete some node(s) in the subtree!") from failure
