"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from kraal import recipes as aio
from kraal.recipes import Edition, PastEdition
from kraal.sync.client import Client
from kraal.sync.portal import Facade

T = TypeVar("T")


class Config(Facade[aio.Config[T]], Generic[T]):
    """A dataclass whose value all clients share.

    See `kraal.recipes.Config`.
    """

    def __init__(
        self, zk: Client, path: str, kind: type[T], *, default: T | None = None, keep: int = 20
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.Config(zk._async, path, kind, default=default, keep=keep)
        )

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def kind(self) -> type[T]:
        return self._async.kind

    @property
    def default(self) -> T | None:
        return self._async.default

    @property
    def keep(self) -> int:
        return self._async.keep

    @property
    def problem(self) -> str | None:
        """Why the configuration that is published now is not valid, if it is not."""
        return self._async.problem

    @property
    def current(self) -> Edition[T]:
        """The last valid configuration that has arrived, or the default."""
        return self._async.current

    def ready(self) -> Edition[T]:
        """Wait until it is known what is published, and return `current`."""
        return self._portal.run(self._async.ready())

    def changes(self) -> Iterator[Edition[T]]:
        """The configuration now, if there is a valid one, and each that follows."""
        return self._portal.iterate(self._async.changes())

    def history(self) -> list[PastEdition]:
        """The versions that are kept, latest first."""
        return self._portal.run(self._async.history())

    def publish(self, value: T, comment: str = "", *, expected: int | None = None) -> int:
        """Publish a configuration, and return its version."""
        return self._portal.run(self._async.publish(value, comment, expected=expected))

    def update(self, change: Callable[[T], T], comment: str = "") -> Edition[T]:
        """Publish what `change` makes of the configuration, or of the default if there is none."""
        return self._portal.run(self._async.update(change, comment))

    def roll_back(self, version: int, comment: str = "") -> int:
        """Publish an earlier version again, under a new number, which is returned."""
        return self._portal.run(self._async.roll_back(version, comment))

    def start(self) -> None:
        """Begin to work; does not wait for anything. Raises NotRunningError the second time."""
        self._portal.run(self._async.start())

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
