"""When the next snapshot is due: by transactions or by bytes of log, each with a random part.

The random part keeps the servers of an ensemble from writing snapshots at the same time.
Rules: reference/storage-formats.md section 4.6.
"""

from __future__ import annotations

from random import Random

from kraal.model.config import StorageConfig


class SnapshotPolicy:
    def __init__(self, config: StorageConfig, rng: Random) -> None:
        self._half_count = config.snap_count // 2
        self._half_size = config.snap_size_limit_bytes // 2
        self._rng = rng
        self._restart()

    def logged(self, count: int, log_bytes: int) -> bool:
        """Count a flush: transactions, and by how much the padded log files grew.

        True when a snapshot is due; the log is then rolled, and counting restarts.
        """
        self._count += count
        self._bytes += log_bytes
        if self._count <= self._max_count and not 0 < self._max_bytes < self._bytes:
            return False
        self._restart()
        return True

    def _restart(self) -> None:
        self._count = 0
        self._bytes = 0
        self._max_count = self._half_count + self._rng.randrange(max(1, self._half_count))
        self._max_bytes = 0
        if self._half_size > 0:
            self._max_bytes = self._half_size + self._rng.randrange(self._half_size)
