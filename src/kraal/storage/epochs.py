"""The two epochs that a member of an ensemble must not forget.

`acceptedEpoch` is the promise not to accept a lower one, `currentEpoch` the epoch whose history
was adopted. Files of ASCII decimals beside the snapshots; rules:
reference/quorum-protocol.md section 1.2.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import NamedTuple

from kraal.errors import CorruptError, DataDirError
from kraal.model.config import StorageConfig
from kraal.model.setting import decimal
from kraal.model.zxid import epoch
from kraal.storage import atomic_file
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing

ACCEPTED_NAME = "acceptedEpoch"
CURRENT_NAME = "currentEpoch"
_READ_MAX_BYTES = 64
_NEXT_STEP = (
    "Deleting or writing it by hand could break a promise to other members. Put the file back from"
    " a copy, or, while the other members have a leader, move version-2 away, keep myid and start:"
    " the member copies the state from its leader."
)


class Epochs(NamedTuple):
    """What the files say; -1 for both in a database that must not vote (section 7.3)."""

    accepted: int
    current: int


def load(fs: FileSystem, config: StorageConfig, last_zxid: int) -> Epochs:
    """Read both epochs at start, after recovery found `last_zxid` at the end of the database.

    A missing file is written with the epoch of `last_zxid`. A current epoch older than that of
    `last_zxid` is what a crash leaves between the transactions of a synchronisation and its
    epoch. It becomes what the crash kept in `currentEpoch.tmp`, as in the original, or else
    the epoch of `last_zxid`, where the original refuses to start: the history up to a
    transaction is the one that the leader of its epoch had, so a vote with that epoch claims
    nothing that is not there.

    Raises CorruptError for a file that is no number and DataDirError when the accepted epoch is
    less than the current one: a promise was lost.
    """
    directory = Layout.of(config).snapshots
    of_last = epoch(last_zxid)
    on_disk = _read(fs, directory / ACCEPTED_NAME), _read(fs, directory / CURRENT_NAME)
    accepted, current = (of_last if saved is None else saved for saved in on_disk)
    if accepted < 0:
        accepted = of_last  # a start without trust made no promise
    if current < of_last:
        saved = _interrupted(fs, directory)
        current = saved if saved is not None and of_last <= saved <= accepted else of_last
    if accepted < current:
        raise DataDirError(
            f"The accepted epoch, {accepted:x} is less than the current epoch, {current:x}"
            f" ({directory / ACCEPTED_NAME})"
        )
    if current != on_disk[1]:
        save_current(fs, config, current)
    if accepted != on_disk[0]:
        save_accepted(fs, config, accepted)
    # A later crash must not take an old leftover for its own.
    atomic_file.remove(fs, atomic_file.tmp_path(directory / CURRENT_NAME))
    with failing("flushing", directory):
        # A rename that a killed process left unflushed was read, so it may not be taken back.
        fs.sync_directory(directory)
    return Epochs(accepted, current)


def save_accepted(fs: FileSystem, config: StorageConfig, epoch: int) -> None:
    """Make the promise not to accept an epoch below `epoch` durable. Raises StorageError."""
    _save(fs, Layout.of(config).snapshots / ACCEPTED_NAME, epoch)


def save_current(fs: FileSystem, config: StorageConfig, epoch: int) -> None:
    """Make durable that the history of `epoch` was adopted. Raises StorageError.

    The history itself must be durable already.
    """
    _save(fs, Layout.of(config).snapshots / CURRENT_NAME, epoch)


def _save(fs: FileSystem, path: PurePath, epoch: int) -> None:
    atomic_file.replace(fs, path, b"%d" % epoch)


def _interrupted(fs: FileSystem, directory: PurePath) -> int | None:
    """The current epoch that was being saved at the crash, unless its file is torn."""
    try:
        return _read(fs, atomic_file.tmp_path(directory / CURRENT_NAME))
    except CorruptError:
        return None


def _read(fs: FileSystem, path: PurePath) -> int | None:
    with failing("reading", path):
        if not fs.exists(path):
            return None
        content = fs.read(path, 0, _READ_MAX_BYTES)
    lines = content.decode("latin-1").splitlines()
    number = decimal(lines[0], bits=64) if lines else None
    if number is None:
        found = repr(lines[0]) if lines else "nothing"
        raise CorruptError(f"Found {found} in {path}, where an epoch is due. {_NEXT_STEP}")
    return number
