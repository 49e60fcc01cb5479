"""What every server of the kit is: a context manager, with `with` and with `async with`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Context(ABC):
    """Starts when the block begins and is closed when it ends."""

    @abstractmethod
    def start(self) -> None:
        """Start it, unless it runs. Raises StartError with the reason."""

    @abstractmethod
    def close(self) -> None:
        """Stop it for good: nothing of it is left, no process, thread, port or file."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)
