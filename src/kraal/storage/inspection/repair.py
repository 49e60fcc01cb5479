"""Mending files, and trying a mend before it is made.

What was changed or put aside stays beside it as `before-repair-…`, a name that no server reads.
A file that is changed is written anew under another name and renamed, so a crash leaves the old
file or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.zxid import show
from kraal.storage import data_dir
from kraal.storage.inspection.findings import Mend
from kraal.storage.inspection.overlay import Overlay
from kraal.storage.interface import File, FileSystem, failing
from kraal.storage.names import BEFORE_REPAIR, UNFINISHED
from kraal.storage.recovery import Recovered, recover

PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Outcome:
    """What a start on the directory would come to, as the server's own recovery says."""

    recovered: Recovered | None = None
    error: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def zxid(self) -> int | None:
        return self.recovered.tree.last_zxid if self.recovered is not None else None

    def __str__(self) -> str:
        if self.recovered is None:
            return f"a start is refused: {self.error}"
        tree, loaded = self.recovered.tree, self.recovered.snapshot
        return (
            f"a start comes to zxid {show(tree.last_zxid)}: {len(tree.nodes) - 1} znodes, "
            f"{len(tree.sessions)} sessions, from {loaded.name if loaded else 'no snapshot'} "
            f"and {self.recovered.replayed} transactions behind it"
        )


def tried(fs: FileSystem, config: StorageConfig, mends: Iterable[Mend] = ()) -> Outcome:
    """What a start would come to after these mends; nothing on the disk changes."""
    overlay = Overlay(fs)
    try:
        for mend in mends:
            _change(overlay, mend, keep=False)
        recovered = recover(overlay, config, extended_types=True, recent_max=1)
    except StorageError as error:
        return Outcome(error=str(error))
    return Outcome(recovered, warnings=recovered.warnings)


def carry_out(
    fs: FileSystem,
    config: StorageConfig | None,
    mends: Iterable[Mend],
    *,
    done: Callable[[Mend], None] = lambda _mend: None,
) -> None:
    """Make the mends, durably, one after the other; no server may run on the directory.

    `config` is None for a file that lies in no data directory.

    Raises DataDirError when a kraal server does (of Apache ZooKeeper nobody can tell), and
    StorageError.
    """
    held = data_dir.lock(fs, config) if config is not None else None
    try:
        for mend in mends:
            _change(fs, mend, keep=True)
            done(mend)
    finally:
        if held is not None:
            held.release()


def _change(fs: FileSystem, mend: Mend, *, keep: bool) -> None:
    path = mend.path
    with failing("mending", path):
        if mend.set_aside:
            fs.rename(path, _free(fs, path.with_name(BEFORE_REPAIR + path.name)))
        elif mend.new_name is not None:
            fs.rename(path, path.with_name(mend.new_name))
        else:
            if keep:
                kept = _free(fs, path.with_name(BEFORE_REPAIR + path.name))
                _copy(fs, path, kept, fs.size(path), ())
            _copy(fs, path, path, fs.size(path) if mend.cut is None else mend.cut, mend.edits)
        fs.sync_directory(path.parent)


def _free(fs: FileSystem, path: PurePath) -> PurePath:
    """The path, or the first of its numbered siblings that is free."""
    free, number = path, 1
    while fs.exists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _copy(
    fs: FileSystem,
    source: PurePath,
    target: PurePath,
    size: int,
    edits: Iterable[tuple[int, bytes]],
) -> None:
    """The first `size` bytes under another name, or anew under the same, with edits; durable."""
    unfinished = target.with_name(UNFINISHED + target.name)
    file = fs.create(unfinished, like=source)
    try:
        copy_bytes(fs, source, file, size)
        for offset, content in edits:
            file.write(content, offset)
        file.sync_data()
    finally:
        file.close()
    fs.rename(unfinished, target)


def copy_bytes(fs: FileSystem, source: PurePath, file: File, size: int) -> None:
    """Holes stay holes: padding takes no space in the copy either. Raises OSError."""
    offset, written = 0, 0
    while offset < size:
        piece = fs.read(source, offset, min(PIECE_BYTES, size - offset))
        if not piece:
            break
        if piece.strip(b"\0"):
            file.write(piece, offset)
            written = offset + len(piece)
        offset += len(piece)
    if written < size:
        file.write(b"\0", size - 1)
