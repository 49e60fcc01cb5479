"""Several locks as one: all of them, or none."""

from __future__ import annotations

from collections.abc import Iterable

from kraal.recipes._acquirable import Acquirable
from kraal.recipes._background import in_background
from kraal.recipes.held import Held, ManyHeld
from kraal.recipes.lock import QueueLock


class MultiLock(Acquirable[ManyHeld]):
    """Locks that are acquired together; `locks` may mix exclusive, read and write locks.

    They are acquired one after the other in the order of their paths, so that clients which use
    them in different combinations do not wait for each other in a circle. (A client that holds
    one of them on its own and asks for others can.) If one cannot be had, because of a timeout, a
    cancellation or an error, those that were acquired are released. The whole is lost when one
    of them is. Raises ValueError if two have the same path.
    """

    def __init__(self, locks: Iterable[QueueLock]) -> None:
        super().__init__()
        self._locks = sorted(locks, key=lambda lock: lock.path)
        if len({lock.path for lock in self._locks}) < len(self._locks):
            raise ValueError("a lock cannot be acquired twice")

    def __repr__(self) -> str:
        return f"MultiLock({self._locks!r})"

    async def _take(self, *, blocking: bool) -> ManyHeld | None:
        parts: list[Held] = []
        try:
            for lock in self._locks:
                part = await lock._take(blocking=blocking)
                if part is None:
                    await ManyHeld(parts).release()
                    return None
                parts.append(part)
        except BaseException:
            in_background(ManyHeld(parts).release())
            raise
        return ManyHeld(parts)
