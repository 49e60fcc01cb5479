"""How much room the data directories have, and what follows: alarms, purges, refused writes.

A transaction that cannot be logged cannot be acknowledged, so a server whose disk is full serves
nobody. So with little room it complains and purges at once, and with less it refuses the writes
that make data grow. Reads, deletions and sessions go on: what is refused before it costs a
transaction costs no room, and whoever holds a lock can still give it back.

A follower cannot refuse what its leader proposes. With a quarter of the room at which it refuses
its own clients' writes it leaves the ensemble, whose others go on, and comes back when there is
room; so does a leader, and others elect another one.

A log that was moved or deleted under the server takes what is written and no start finds it there.
So no write is taken until it is back, and a member leaves at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto
from pathlib import PurePath
from typing import NamedTuple

from kraal.model.config import StorageConfig
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing
from kraal.storage.txn_log import LogPlace

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


class Look(NamedTuple):
    """What was found on the disk."""

    free_bytes: int
    lost: str | None
    """Why a start would not find what is logged now; None: it would."""


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
        self.lost: str | None = None
        """Why a start would not find what is logged; None: it would."""
        self._log: LogPlace | None = None
        self._begun_with: dict[PurePath, object] = {}
        """The directories, as they were at the first look."""

    @property
    def refuses_writes(self) -> bool:
        return self.room is Room.NONE or self.lost is not None

    @property
    def trouble(self) -> str | None:
        """Why writes are refused; None: they are not."""
        if self.lost is not None or self.room is not Room.NONE:
            return self.lost
        return f"{self.free_bytes} bytes are free"

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

    def look(self, log: LogPlace | None) -> Look:
        """Ask for the log that is being written, too. Raises StorageError.

        A log that is lost stays the one that is asked for until it is back.
        """
        if self.lost is None:
            self._log = log
        lost = self._lost()
        return Look(self.free_bytes if lost is not None else self.measure(), lost)

    def _lost(self) -> str | None:
        if (log := self._log) is not None and self._identity(log.path) != log.identity:
            where = f"{log.path.parent} any more ({log.path.name})"
            return f"the log that is being written is not in {where}"
        for directory in self._directories:
            identity = self._identity(directory)
            if identity is None:
                return f"{directory} is not there any more"
            if self._begun_with.setdefault(directory, identity) != identity:
                return f"{directory} is not the directory any more that the server began with"
        return None

    def _identity(self, path: PurePath) -> object:
        """None: there is no such file."""
        with failing("looking for", path):
            try:
                return self._fs.identity(path)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def judge_log(self, lost: str | None, *, is_serving: bool) -> None:
        """Take what a look said of the log; once each time it changes there is a line."""
        before, self.lost = self.lost, lost
        if lost == before:
            return
        if lost is None:
            follows = "writes are taken again" if is_serving else "the server tries again"
            logger.warning("What is logged is in %s again: %s", self.where, follows)
            return
        follows = (
            "writes are refused with THROTTLED_OP until it is back; reads and sessions go on"
            if is_serving
            else "nobody is served until it is back"
        )
        what = lost[:1].upper() + lost[1:]
        logger.error("%s: the next start would not find what is written now; %s", what, follows)

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
