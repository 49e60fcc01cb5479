"""The life of a client for threads: its portal starts and ends with it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kraal import client
from kraal.sync.portal import Facade


class Lifecycle(Facade[client.Client]):
    """What `kraal.sync.client.Client` does not share with the generated classes."""

    def start(self) -> None:
        """Connect; waits until a server has accepted the session, see `timeout`.

        Raises AuthFailedError, and ClosedError for a client that was started or closed before.
        """
        try:
            self._portal.run(self._async.start())
        except BaseException:
            if self._async.is_closed:  # by the failure; a client that was started goes on
                self._portal.stop()
            raise

    def close(self) -> None:
        """End the session and its ephemerals, and the client's threads; twice is no error.

        In a forked child it only lets go of the parent's client.
        """
        if self._portal.is_foreign:
            self._portal.stop()
        elif not self._portal.is_stopped:
            try:
                self._portal.end(self._async.close())
            finally:
                self._portal.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
