"""Values that many clients change: counters and shared values."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar

from kraal.client import BadVersionError, Client, NoNodeError, Stat
from kraal.recipes._arguments import check_place
from kraal.recipes._background import patiently
from kraal.recipes._conditional import create_if_missing, ensure, set_if
from kraal.recipes.errors import RecipeError
from kraal.recipes.following import follow

N = TypeVar("N", int, float)
CounterLayout = Literal["kazoo", "curator"]
_CURATOR = struct.Struct(">i")


class Counter(Generic[N]):
    """A number that any number of clients add to::

        counter = Counter(zk, "/counters/jobs")
        print(await counter.add(2))

    Its type is that of `default`, which a counter has that nobody has changed. No addition of
    another client is ever overwritten, and each is made at most once. When a reply is lost the
    counter finds out by itself whether the addition has happened, unless others have written
    since: then ConnectionLossError says that it is in doubt.

    With `layout` "kazoo" the znode is that of kazoo's `Counter` (the number as text), with
    "curator" that of Curator's `SharedCount` and of kazoo's `support_curator` (int of 32 bits).

    Nothing is written that the others could not read: TypeError for what is not a number of the
    counter's type (a counter of floats takes ints as well), ValueError for NaN, infinity and what
    is too large for a float. An int may have any size, with layout "curator" 32 bits.
    """

    def __init__(
        self, zk: Client, path: str, default: N = 0, *, layout: CounterLayout = "kazoo"
    ) -> None:
        if layout not in ("kazoo", "curator"):
            raise ValueError(f"layout must be kazoo or curator, not {layout!r}")
        if layout == "curator" and type(default) is not int:
            raise ValueError("a counter of layout curator is an int")
        check_place(zk, path)
        if type(default) not in (int, float):
            raise TypeError(f"default must be an int or a float, not {default!r:.100}")
        self._zk = zk
        self.path = path
        self.default: N = default
        self._kind: type[N] = type(default)
        self._number(default)
        self._layout = layout

    def __repr__(self) -> str:
        return f"Counter({self.path!r}, {self.default!r})"

    async def get(self) -> N:
        """The number now. Raises RecipeError if the znode holds something else."""
        try:
            node = await patiently(self._zk, partial(self._zk.get, self.path))
        except NoNodeError:
            return self.default
        return self._decode(node.data)

    async def add(self, amount: N) -> N:
        """Add, and return what that makes; a negative amount subtracts.

        Raises ConnectionLossError if it is in doubt, OverflowError if the layout has no room.
        """
        number = self._number(amount)
        return await self.update(lambda value: value + number)

    async def set(self, value: N) -> None:
        """Replace the number, or whatever the znode holds instead of one."""
        number = self._number(value)
        await self._replace(lambda data: None if data == self._encode(number) else number)

    async def compare_and_set(self, expected: N, value: N) -> bool:
        """Replace the number if it is `expected`; returns whether it was."""
        number = self._number(value)
        done = False

        def change(now: N) -> N:
            nonlocal done
            done = now == expected
            return number if done else now

        await self.update(change)
        return done

    async def update(self, change: Callable[[N], N]) -> N:
        """Replace the number by what `change` makes of it, and return that.

        `change` is called again when another client was faster.
        """
        new = self.default

        def make(data: bytes) -> N | None:
            nonlocal new
            value = self._decode(data)
            new = self._number(change(value))
            return None if new == value else new

        await self._replace(make)
        return new

    async def _replace(self, make: Callable[[bytes], N | None]) -> None:
        """Write the number that `make` makes of the data; None: leave it as it is."""
        while True:
            try:
                node = await patiently(self._zk, partial(self._zk.get, self.path))
            except NoNodeError:
                await ensure(self._zk, self.path)
                continue
            new = make(node.data)
            if new is None:
                return
            try:
                await set_if(self._zk, self.path, self._encode(new), node.stat.version)
            except (BadVersionError, NoNodeError):
                continue
            return

    def _number(self, value: object) -> N:
        """A number of the counter's own type. Raises TypeError, ValueError."""
        if type(value) is not self._kind and not (self._kind is float and type(value) is int):
            raise TypeError(f"{self} counts in {self._kind.__name__}, not {value!r:.100}")
        try:
            number = self._kind(value)
        except OverflowError:
            raise ValueError(f"{self} cannot hold a number as large as that") from None
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"{self} cannot hold {number}")
        return number

    def _encode(self, value: N) -> bytes:
        if self._layout == "kazoo":
            return repr(value).encode("ascii")
        try:
            return _CURATOR.pack(value)
        except struct.error:
            raise OverflowError(f"{value} does not fit into 32 bits") from None

    def _decode(self, data: bytes) -> N:
        if not data:
            return self.default
        try:
            if self._layout == "curator":
                (number,) = _CURATOR.unpack(data)
                return self._kind(number)
            return self._kind(data.decode("ascii"))
        except (ValueError, struct.error) as error:
            raise RecipeError(f"{self.path} holds no number: {error}") from error


class Versioned(NamedTuple):
    """A value and the version that it has; a version is meant for `compare_and_set`."""

    data: bytes
    version: int
    """-1: nobody has set it yet."""


class SharedValue:
    """Bytes that many clients read and replace, each knowing what it replaces::

        value = SharedValue(zk, "/values/master", default=b"nobody")
        now = await value.get()
        if await value.compare_and_set(now.version, b"host-1") is None:
            ...     # somebody else was faster

    Curator's `SharedValue` has the same znode.
    """

    def __init__(self, zk: Client, path: str, default: bytes = b"") -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self.default = default

    def __repr__(self) -> str:
        return f"SharedValue({self.path!r})"

    async def get(self) -> Versioned:
        """The value now."""
        try:
            node = await patiently(self._zk, partial(self._zk.get, self.path))
        except NoNodeError:
            return Versioned(self.default, -1)
        return Versioned(node.data, node.stat.version)

    async def set(self, data: bytes) -> int:
        """Replace the value, whatever it was, and return its version.

        A lost reply does no harm: the same is written again.
        """
        await ensure(self._zk, self.path, self.default)
        stat: Stat = await patiently(self._zk, partial(self._zk.set, self.path, data))
        return stat.version

    async def compare_and_set(self, version: int, data: bytes) -> int | None:
        """Replace the value of this version; the new version, or None if it is another one.

        Raises ConnectionLossError if it is in doubt (see `Counter`).
        """
        if version < 0:
            return 0 if await create_if_missing(self._zk, self.path, data) else None
        try:
            stat = await set_if(self._zk, self.path, data, version)
        except (BadVersionError, NoNodeError):
            return None
        return stat.version

    async def update(self, change: Callable[[bytes], bytes]) -> Versioned:
        """Replace the value by what `change` makes of it, again if another client was faster."""
        while True:
            now = await self.get()
            new = change(now.data)
            version = await self.compare_and_set(now.version, new)
            if version is not None:
                return Versioned(new, version)

    async def follow(self) -> AsyncGenerator[Versioned, None]:
        """The value now, and again whenever it has changed; see `kraal.recipes.follow`."""
        async for node in follow(self._zk, self.path):
            if node is None:
                yield Versioned(self.default, -1)
            else:
                yield Versioned(node.data, node.stat.version)
