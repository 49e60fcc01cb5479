"""Reading the transaction log back: which files, which records, where they end.

Rules: reference/storage-formats.md sections 2.5 and 2.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePath
from typing import NamedTuple

from kraal.errors import CorruptError
from kraal.model.config import StorageConfig
from kraal.storage.data_dir import Layout
from kraal.storage.interface import FileSystem, failing, sync_file
from kraal.storage.log_format import FILE_HEADER, FILE_HEADER_BYTES, LogScanner
from kraal.storage.names import LOG, Named, needed_logs, pick
from kraal.wire.records.txn import HEADER

_ZXID_OFFSET = 12
_ZXID_END = 20
assert HEADER.size > _ZXID_END


class LogRecord(NamedTuple):
    """One record and where it stands."""

    zxid: int
    payload: bytes
    file: str
    offset: int


def list_logs(fs: FileSystem, directory: PurePath) -> list[Named]:
    with failing("listing", directory):
        return pick(fs.listdir(directory), LOG)


def drop_empty_newest(fs: FileSystem, directory: PurePath, logs: list[Named]) -> str | None:
    """Delete the newest log if it was created and never got its header.

    Returns the note for the operator. The reference does so for 0 bytes and refuses to start
    with 1 to 15; neither can hold a record.
    """
    if not logs:
        return None
    path = directory / logs[-1].name
    with failing("reading", path):
        begin = fs.read(path, 0, FILE_HEADER_BYTES)
        if len(begin) == FILE_HEADER_BYTES or not FILE_HEADER.startswith(begin):
            return None
        fs.unlink(path)
        fs.sync_directory(directory)
    logs.pop()
    return f"removed {path}: {len(begin)} bytes, no record"


def scanner(fs: FileSystem, path: PurePath, config: StorageConfig) -> LogScanner:
    return LogScanner(str(path), partial(fs.read, path), config.max_record_bytes)


def records(
    fs: FileSystem, config: StorageConfig, from_zxid: int, logs: list[Named] | None = None
) -> Iterator[LogRecord]:
    """Every record with a zxid of at least `from_zxid`, in the order of the files.

    Raises CorruptError for damage that nothing may skip, StorageError when reading fails.
    """
    directory = Layout.of(config).logs
    if logs is None:
        logs = list_logs(fs, directory)
    for log in needed_logs(logs, from_zxid):
        path = directory / log.name
        with failing("reading", path):
            for offset, payload in scanner(fs, path, config):
                if len(payload) < HEADER.size:
                    raise CorruptError(
                        f"{path} is damaged at offset {offset}: "
                        f"{len(payload)} bytes are no transaction"
                    )
                zxid = int.from_bytes(payload[_ZXID_OFFSET:_ZXID_END], "big", signed=True)
                if zxid >= from_zxid:
                    yield LogRecord(zxid, payload, log.name, offset)


def cut_file(fs: FileSystem, config: StorageConfig, path: PurePath, zxid: int) -> None:
    """Cut a log before its first record above `zxid`, durably; padding without one stays.

    Raises StorageError.
    """
    with failing("cutting", path):
        for offset, payload in scanner(fs, path, config):
            if int.from_bytes(payload[_ZXID_OFFSET:_ZXID_END], "big", signed=True) > zxid:
                fs.truncate(path, offset)
                break
        sync_file(fs, path)
