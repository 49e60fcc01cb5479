"""How much room the data directories have, and what follows: alarms, purges, refused writes.

A transaction that cannot be logged cannot be acknowledged, so a server whose disk is full serves
nobody. So with little room it complains and purges at once, and with less it refuses the writes
that make data grow. Reads, deletions and sessions go on: what is refused before it costs a
transaction costs no room, and whoever holds a lock can still give it back.

A follower cannot refuse what its leader proposes. With a quarter of the room at which it refuses
its own clients' writes it leaves the ensemble, whose others go on, and comes back when there is
room; so does a leader, and others elect another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto

from kraal.model.config import StorageConfig
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing

logger = logging.getLogger("kraal.server.disk")
LOOK_SECONDS = 1.0
_EXHAUSTED_AT = 0.25
"""Of `disk.refuseFreeBytes`: a member leaves. What is left is for coming back."""
_WORKING_BYTES = 1 << 20
"""Without this much nothing is tried again, whatever the settings are."""
_RESUMES_AT = 1.25
"""Of a threshold: what flutters around it does not change the state."""


class Room(Enum):
    ENOUGH = auto()
    LITTLE = auto()
    """Below `disk.warnFreeBytes`."""
    NONE = auto()
    """Below `disk.refuseFreeBytes`."""


class DiskWatch:
    """Measures when asked; `got_little()` is called whenever there is less room than before."""

    def __init__(
        self, fs: FileSystem, config: StorageConfig, *, got_little: Callable[[], None]
    ) -> None:
        self._fs = fs
        self._warn = config.disk_warn_free_bytes
        self._refuse = config.disk_refuse_free_bytes
        self._directories = list(
            dict.fromkeys((Layout.of(config).snapshots, Layout.of(config).logs))
        )
        self._got_little = got_little
        self.room = Room.ENOUGH
        self.free_bytes = 0
        """Of the fuller of the two disks."""

    @property
    def refuses_writes(self) -> bool:
        return self.room is Room.NONE

    def is_exhausted(self, free_bytes: int) -> bool:
        """Whether with so much it is time to leave an ensemble."""
        return free_bytes < self._refuse * _EXHAUSTED_AT

    @property
    def has_room_again(self) -> bool:
        """Whether a server that ran out of room may try again."""
        return not self.refuses_writes and self.free_bytes >= _WORKING_BYTES

    @property
    def where(self) -> str:
        """The directories."""
        return " and ".join(map(str, self._directories))

    def measure(self) -> int:
        """Ask the system, which may take its time. Raises StorageError."""
        free = []
        for directory in self._directories:
            with failing("measuring", directory):
                free.append(self._fs.free_bytes(directory))
        return min(free)

    def judge(self, free_bytes: int, *, is_serving: bool = True) -> None:
        """Take a measurement, and say what it changes for a server that serves, or does not."""
        self.free_bytes = free_bytes
        before, self.room = self.room, self._judged(free_bytes)
        if self.room is before:
            return
        where = self.where
        mib = free_bytes >> 20
        if self.room is Room.NONE:
            logger.critical(
                "%d MiB are free at %s, less than disk.refuseFreeBytes=%d: %s",
                mib, where, self._refuse,
                "writes are refused with THROTTLED_OP until there is more; "
                "reads, deletions and sessions go on" if is_serving
                else "nobody is served until there is more",
            )  # fmt: skip
        elif before is Room.NONE:
            follows = "writes are taken again" if is_serving else "the server tries again"
            logger.warning("%d MiB are free at %s: %s", mib, where, follows)
        elif self.room is Room.LITTLE:
            logger.error(
                "%d MiB are free at %s, less than disk.warnFreeBytes=%d; below %d bytes writes "
                "are refused", mib, where, self._warn, self._refuse,
            )  # fmt: skip
        else:
            logger.warning("%d MiB are free at %s, which is enough again", mib, where)
        if self.room.value > before.value:
            self._got_little()

    def _judged(self, free_bytes: int) -> Room:
        refuse, warn = self._refuse, max(self._warn, self._refuse)
        if self.room is Room.NONE:
            refuse = int(refuse * _RESUMES_AT)
        if self.room is not Room.ENOUGH:
            warn = int(warn * _RESUMES_AT)
        if free_bytes < refuse:
            return Room.NONE
        return Room.LITTLE if free_bytes < warn else Room.ENOUGH

    def has_room_for(self, bytes_: int) -> bool:
        """Whether a file of that size leaves enough for the log; unknown before a measurement."""
        return not self.free_bytes or self.free_bytes - bytes_ >= self._refuse
