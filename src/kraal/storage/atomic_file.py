"""Small files that are replaced as a whole: a reader finds the old content or the new one.

The way of the original, names included (reference/quorum-protocol.md section 1.2): written as
`<name>.tmp`, flushed, renamed, and the directory flushed.
"""

from __future__ import annotations

from pathlib import PurePath

from kraal.storage.interface import FileSystem, failing

TMP = ".tmp"


def tmp_path(path: PurePath) -> PurePath:
    """Where the new content of `path` is while it is being written."""
    return path.with_name(path.name + TMP)


def replace(
    fs: FileSystem, path: PurePath, content: bytes, *, like: PurePath | None = None
) -> None:
    """Give `path` this content, and the permissions of the file `like`; durable on return.

    Raises StorageError.
    """
    unfinished = tmp_path(path)
    with failing("writing", path):
        file = fs.create(unfinished, like=like)
        try:
            if content:
                file.write(content, 0)
            file.sync_data()
        finally:
            file.close()
        fs.rename(unfinished, path)
        fs.sync_directory(path.parent)


def remove(fs: FileSystem, path: PurePath) -> None:
    """Delete `path` durably, if it is there. Raises StorageError."""
    with failing("deleting", path):
        if fs.exists(path):
            fs.unlink(path)
            fs.sync_directory(path.parent)
