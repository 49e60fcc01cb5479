"""Writing on the condition of a version, with as little doubt as a lost reply allows."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from kraal.client import (
    BadVersionError,
    Client,
    ConnectionLossError,
    Node,
    NodeExistsError,
    SessionExpiredError,
    Stat,
)
from kraal.recipes._background import executed, patiently
from kraal.recipes.following import read


async def set_if(zk: Client, path: str, data: bytes, version: int) -> Stat:
    """Replace the data of a znode that has this version, at most once; returns the new stat.

    Waits for a connection if need be. When the reply is lost, a look at the znode tells in most
    cases whether the write has happened: it has not if the version is the old one still (then it
    is tried again), or if the next version has other data (BadVersionError).

    Raises BadVersionError and NoNodeError (nothing was written), and ConnectionLossError if it
    stays in doubt because others have written since, or the same data.
    """
    write = partial(zk.set, path, data, version=version)
    while True:
        try:
            return await executed(zk, write)
        except SessionExpiredError:
            await zk.wait_connected()  # not executed: what was sent would be in doubt
        except ConnectionLossError as error:
            await zk.wait_connected()
            if error.sent and not await _has_version(zk, path, data, version):
                raise


async def _has_version(zk: Client, path: str, data: bytes, version: int) -> bool:
    """True: still the old version. False: in doubt. Raises BadVersionError if it was others."""
    found = await read_latest(zk, path)
    if found is not None and found.stat.version == version + 1 and found.data != data:
        raise BadVersionError(path=path)
    return found is not None and found.stat.version == version


async def read_latest(zk: Client, path: str) -> Node | None:
    """The znode once everything that this client has sent has happened, or None.

    The sync makes the server that we are connected to catch up. What a former server may still
    have passed on comes too late: the session has moved away from there.
    """

    async def look() -> Node | None:
        await zk.sync(path)
        return await read(zk, path)

    return await patiently(zk, look)


async def create_if_missing(zk: Client, path: str, data: bytes) -> bool:
    """Create a persistent znode, and its parents; False if somebody else has created it.

    At most once, as `set_if`. Raises ConnectionLossError if it stays in doubt.
    """
    create = partial(zk.create, path, data, make_parents=True)
    while True:
        try:
            await executed(zk, create)
        except NodeExistsError:
            return False
        except SessionExpiredError:
            await zk.wait_connected()
        except ConnectionLossError as error:
            await zk.wait_connected()
            if error.sent and await read_latest(zk, path) is not None:
                raise
        else:
            return True


async def ensure(zk: Client, path: str, data: bytes = b"") -> None:
    """Create a persistent znode with this data, and its parents, unless it is there."""

    async def create() -> None:
        with suppress(NodeExistsError):
            await zk.create(path, data, make_parents=True)

    await patiently(zk, create)
