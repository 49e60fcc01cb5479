"""A `Random` whose decisions are read from bytes, so that a fuzzer can steer a generator."""

from __future__ import annotations

from random import Random


class ByteRandom(Random):
    """Draws from `data`; once it is used up, every draw is the lowest."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self._data = data
        self._at = 0

    @property
    def is_used_up(self) -> bool:
        return self._at >= len(self._data)

    def _take(self, size: int) -> int:
        chunk = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(chunk, "big") << 8 * (size - len(chunk))

    def random(self) -> float:
        return self._take(2) / 0x10000

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        return self._take(size) >> (8 * size - k)
