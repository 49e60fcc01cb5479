"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from kraal import recipes as aio
from kraal.client import Acl
from kraal.sync.client import Client
from kraal.sync.portal import Facade


class PersistentNode(Facade[aio.PersistentNode]):
    """Keeps an ephemeral of this client at `path` for as long as it runs.

    See `kraal.recipes.PersistentNode`.
    """

    def __init__(
        self, zk: Client, path: str, data: bytes = b"", *, acl: Sequence[Acl] | None = None
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.PersistentNode(zk._async, path, data, acl=acl))

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def data(self) -> bytes:
        """What the znode is to hold."""
        return self._async.data

    @property
    def is_present(self) -> bool:
        """Whether the znode is there and this session's, as far as this client knows."""
        return self._async.is_present

    def start(self) -> None:
        """Begin to keep the znode; `ready` waits for it."""
        self._portal.run(self._async.start())

    def ready(self) -> None:
        """Wait until the znode is there with its data."""
        self._portal.run(self._async.ready())

    def set_data(self, data: bytes) -> None:
        """Let the znode hold something else from now on, and wait until it does."""
        self._portal.run(self._async.set_data(data))

    def close(self) -> None:
        """End the work; nothing remains of it on the servers. Closing twice is no error."""
        self._portal.end(self._async.close())

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))

    @property
    def is_running(self) -> bool:
        return self._async.is_running
