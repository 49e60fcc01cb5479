"""What the admin room asks of a server: values out, and the few things that operators may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from kraal.model.config import ServerConfig
from kraal.replica.status import (
    Access,
    BackupStream,
    ChildStatus,
    ConnectionStatus,
    Figures,
    LargeZnode,
    LearnerStatus,
    LoadStatus,
    ServerStatus,
    SessionEventStatus,
    SessionStatus,
    SlowRequestStatus,
    SnapshotFile,
    WatchedPath,
    WatchingSession,
    WatchStatus,
)


class StatusSource(Protocol):
    """Implemented by the server shell; every method that is no coroutine returns at once."""

    @property
    def config(self) -> ServerConfig: ...

    @property
    def bound_port(self) -> int:
        """The port in use, also when the configuration said 0; -1: none."""
        ...

    @property
    def secure_port(self) -> int:
        """The same of the port that speaks TLS alone."""
        ...

    def server_status(self) -> ServerStatus: ...

    def figures(self, *, lifetime: bool = False) -> Figures:
        """Metrics since the last reset, or those of the whole life of the process."""
        ...

    def connection_statuses(self, *, secure: bool) -> Iterable[ConnectionStatus]:
        """Of one of both ports, made one by one while they are looked at."""
        ...

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


class AdminSource(StatusSource, Protocol):
    """What the HTTP commands ask beyond the four-letter words."""

    def last_snapshot(self) -> tuple[int, int] | None:
        """Zxid and time in seconds of the newest one; None: there is none."""
        ...

    def learner_statuses(self) -> Sequence[LearnerStatus]: ...

    def reset_learner_stats(self) -> None: ...

    def load(self) -> LoadStatus: ...

    def slow_requests(self) -> Sequence[SlowRequestStatus]:
        """Oldest first."""
        ...

    def remembered_sessions(self) -> Sequence[int]:
        """Ids of those whose events are remembered, the last one changed first."""
        ...

    def session_events(self, session_id: int) -> Sequence[SessionEventStatus]:
        """Oldest first."""
        ...

    def znode_sizes(self) -> Iterator[LargeZnode]:
        """All znodes, one by one, while the tree changes."""
        ...

    def watched_paths(self) -> Iterator[WatchedPath]:
        """All that are watched, one by one, while watches come and go."""
        ...

    def watching_sessions(self) -> Iterator[WatchingSession]:
        """All that are connected and watch, one by one."""
        ...

    def child_paths(self, path: bytes) -> Sequence[bytes] | None:
        """Of all children at this moment, in no order; None: there is no such znode."""
        ...

    def child_status(self, path: bytes) -> ChildStatus | None:
        """None: it is gone."""
        ...

    def counted_insecure(self) -> None:
        """A plain request came to a port that speaks TLS, too."""
        ...

    def access(self, scheme: str, credential: bytes, host: str) -> Access:
        """Whether these credentials give all permissions on the root."""
        ...

    async def take_snapshot(self) -> SnapshotFile:
        """Write a snapshot now. Raises StorageError."""
        ...

    def snapshot_pieces(self, file: SnapshotFile) -> AsyncIterator[bytes]:
        """What is in the file, read off the loop."""
        ...

    async def backup(self) -> BackupStream:
        """Take a snapshot, and hold it with the log behind it. Raises StorageError."""
        ...

    async def restore(self, pieces: AsyncIterator[bytes], begin: Callable[[], None]) -> int:
        """Replace everything by a snapshot; returns its zxid. Raises KraalError.

        `begin` is called once the snapshot is known to be sound, and may raise to refuse it.
        """
        ...

    def count_refused(self, command: str) -> None:
        """The rate limit refused a snapshot or a restore."""
        ...
