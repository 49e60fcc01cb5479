"""A view of a client that repeats what is safe to repeat.

| operations | repeated after |
|---|---|
| reads, `exists`, `sync`, `multi_read`, `ensure_path`, `delete_recursive` | any connection loss |
| all others | a loss before they were sent, and THROTTLED, which means "not executed" |

A write in doubt is not repeated: it may have had its effect. `create_protected` resolves the
doubt by itself.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kraal.client.codec import Decoder
from kraal.client.errors import ConnectionLossError, ThrottledError
from kraal.client.operations import Operations
from kraal.client.protected import Protected
from kraal.client.values import Created
from kraal.client.watches import Registration
from kraal.model.acl import Acl
from kraal.model.create_mode import CreateMode
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.client.client import Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how fast to repeat.

    `attempts` counts the first one; the pause before the next is `base` seconds, doubled each
    time up to `max`, less a random part of at most `jitter` (0 to 1).
    """

    attempts: int = 8
    base: float = 0.05
    max: float = 2.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        numbers: tuple[object, ...] = (self.base, self.max, self.jitter)
        if type(self.attempts) is not int or not all(isinstance(n, int | float) for n in numbers):
            raise TypeError(f"attempts must be an int, the others numbers: {self}")
        is_pause = 0 <= self.base < math.inf and self.max >= 0 and 0 <= self.jitter <= 1
        if self.attempts < 1 or not is_pause:
            raise ValueError(f"impossible: {self}")

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after this attempt failed; the first is 1."""
        longest: float = min(self.max, self.base * 2.0 ** min(attempt - 1, 60))
        return longest * (1 - self.jitter * rng.random())


class RetryingClient(Operations):
    """The same operations as the client's; made by `Client.retrying`."""

    def __init__(self, client: Client, retry: Retry, rng: random.Random) -> None:
        self._client = client
        self._retry = retry
        self._rng = rng
        self._chroot = client._chroot
        self._default_acl = client._default_acl

    async def ensure_path(self, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        await self._repeat(lambda: self._client.ensure_path(path, acl=acl), True)

    async def delete_recursive(self, path: str) -> None:
        await self._repeat(lambda: self._client.delete_recursive(path), True)

    async def create_protected(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.EPHEMERAL_SEQUENTIAL,
        acl: Sequence[Acl] | None = None,
        id: str | None = None,
        name: Protected = Protected.CURATOR,
    ) -> Created:
        """As `Client.create_protected`, which leaves no doubt; repeated if it was not sent."""
        return await self._repeat(
            lambda: self._client.create_protected(path, data, mode=mode, acl=acl, id=id, name=name),
            False,
        )

    def _submit(
        self,
        op: OpCode,
        body: bytes,
        decode: Decoder[T],
        path: str | None,
        watch: Registration | None = None,
    ) -> Awaitable[T]:
        return self._repeat(lambda: self._client._submit(op, body, decode, path, watch), True)

    def _write(self, op: OpCode, body: bytes, decode: Decoder[T], path: str | None) -> Awaitable[T]:
        return self._repeat(lambda: self._client._write(op, body, decode, path), False)

    def _withdraw(self, watch: Registration) -> None:
        self._client._withdraw(watch)

    async def _repeat(self, operation: Callable[[], Awaitable[T]], repeatable: bool) -> T:
        attempt = 1
        while True:
            try:
                return await operation()
            except ConnectionLossError as error:
                if attempt >= self._retry.attempts or (error.sent and not repeatable):
                    raise
            except ThrottledError:
                if attempt >= self._retry.attempts:
                    raise
            await asyncio.sleep(self._retry.pause(attempt, self._rng))
            attempt += 1
