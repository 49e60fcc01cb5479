"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from kraal import recipes as aio
from kraal.recipes import Versioned
from kraal.recipes.counter import CounterLayout
from kraal.sync.client import Client
from kraal.sync.portal import Facade

N = TypeVar("N", int, float)


class SharedValue(Facade[aio.SharedValue]):
    """Bytes that many clients read and replace, each knowing what it replaces.

    See `kraal.recipes.SharedValue`.
    """

    def __init__(self, zk: Client, path: str, default: bytes = b"") -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.SharedValue(zk._async, path, default))

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def default(self) -> bytes:
        return self._async.default

    def get(self) -> Versioned:
        """The value now."""
        return self._portal.run(self._async.get())

    def set(self, data: bytes) -> int:
        """Replace the value, whatever it was, and return its version."""
        return self._portal.run(self._async.set(data))

    def compare_and_set(self, version: int, data: bytes) -> int | None:
        """Replace the value of this version; the new version, or None if it is another one."""
        return self._portal.run(self._async.compare_and_set(version, data))

    def update(self, change: Callable[[bytes], bytes]) -> Versioned:
        """Replace the value by what `change` makes of it, again if another client was faster."""
        return self._portal.run(self._async.update(change))

    def follow(self) -> Iterator[Versioned]:
        """The value now, and again whenever it has changed; see `kraal.recipes.follow`."""
        return self._portal.iterate(self._async.follow())


class Counter(Facade[aio.Counter[N]], Generic[N]):
    """A number that any number of clients add to.

    See `kraal.recipes.Counter`.
    """

    def __init__(
        self, zk: Client, path: str, default: N = 0, *, layout: CounterLayout = "kazoo"
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.Counter(zk._async, path, default, layout=layout)
        )

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def default(self) -> N:
        return self._async.default

    def get(self) -> N:
        """The number now. Raises RecipeError if the znode holds something else."""
        return self._portal.run(self._async.get())

    def add(self, amount: N) -> N:
        """Add, and return what that makes; a negative amount subtracts."""
        return self._portal.run(self._async.add(amount))

    def set(self, value: N) -> None:
        """Replace the number, or whatever the znode holds instead of one."""
        self._portal.run(self._async.set(value))

    def compare_and_set(self, expected: N, value: N) -> bool:
        """Replace the number if it is `expected`; returns whether it was."""
        return self._portal.run(self._async.compare_and_set(expected, value))

    def update(self, change: Callable[[N], N]) -> N:
        """Replace the number by what `change` makes of it, and return that."""
        return self._portal.run(self._async.update(change))
