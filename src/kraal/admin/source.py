"""What the admin room asks of a server: values out, two resets in, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from kraal.model.config import ServerConfig
from kraal.replica.status import (
    ConnectionStatus,
    Figures,
    ServerStatus,
    SessionStatus,
    WatchStatus,
)


class StatusSource(Protocol):
    """Implemented by the server shell; every method returns at once."""

    @property
    def config(self) -> ServerConfig: ...

    @property
    def bound_port(self) -> int:
        """The port in use, also when the configuration said 0."""
        ...

    def server_status(self) -> ServerStatus: ...

    def figures(self, *, lifetime: bool = False) -> Figures:
        """Metrics since the last reset, or those of the whole life of the process."""
        ...

    def connection_statuses(self) -> Sequence[ConnectionStatus]: ...

    def session_statuses(self) -> Sequence[SessionStatus]:
        """Global sessions."""
        ...

    def local_session_statuses(self) -> Sequence[SessionStatus] | None:
        """Sessions that this server keeps for itself; None: it keeps none."""
        ...

    def ephemerals(self) -> Mapping[int, Sequence[bytes]]:
        """Paths of ephemerals by owning session id."""
        ...

    def watch_status(self) -> WatchStatus: ...

    def digests(self) -> Sequence[tuple[int, int]]:
        """Retained (zxid, tree digest) pairs, oldest first; unsigned digests."""
        ...

    def data_dir_bytes(self) -> int: ...

    def log_dir_bytes(self) -> int: ...

    def monotonic_ms(self) -> int: ...

    def wall_ms(self) -> int: ...

    def reset_server_stats(self) -> None:
        """`srst`."""
        ...

    def reset_connection_stats(self) -> None:
        """`crst`."""
        ...
