"""A new ensemble of one member, from the data of a survivor, when the majority is lost for good.

The history goes on in a new epoch, in a snapshot of its own: whatever members of the old
ensemble still have is older than anything that is written from now on, and gives way to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from kraal.errors import ConfigError, CorruptError
from kraal.model import properties
from kraal.model.config import StorageConfig
from kraal.model.ensemble import EnsembleConfig, is_membership_key
from kraal.model.limits import LAST_EPOCH
from kraal.model.path import CONFIG
from kraal.model.zxid import epoch, make
from kraal.storage import atomic_file, data_dir, dynamic_config, epochs
from kraal.storage.interface import FileSystem, failing
from kraal.storage.recovery import recover
from kraal.storage.resync import adopt_snapshot


@dataclass(frozen=True, slots=True)
class NewHistory:
    """Where the old history ended and the new one begins."""

    last_zxid: int
    new_zxid: int
    znodes: int
    sessions: int
    config: EnsembleConfig | None


def begin_epoch(
    fs: FileSystem,
    config: StorageConfig,
    member: EnsembleConfig | None,
    *,
    wall_ms: int,
    above: int = 0,
) -> NewHistory:
    """Let the history of an offline directory go on in an epoch of its own.

    The epoch is above all that the directory knows, and above `above`. `member` is the new
    membership, for the znode `/zookeeper/config`. The old logs stay as `replaced-…`. A crash on
    the way leaves the old history or the new one. Raises DataDirError while a kraal server runs
    there, StorageError.
    """
    held = data_dir.lock(fs, config)
    try:
        recovered = recover(fs, config, extended_types=True)
        tree = recovered.tree
        last = tree.last_zxid
        if last < 0 or recovered.snapshot is None:
            raise CorruptError(f"{config.data_dir} holds no history")
        known = epochs.load(fs, config, last)
        new = next_epoch(known.accepted, known.current, epoch(last), above)
        # The promise first: no history of an epoch may be there that was not accepted.
        epochs.save_accepted(fs, config, new)
        tree.last_zxid = make(new, 0)
        if member is not None and CONFIG in tree.nodes:
            member = member.with_version(tree.last_zxid)
            tree.set_config(member.text().encode(), member.version, wall_ms)
        adopt_snapshot(fs, config, tree)
        epochs.save_current(fs, config, new)
    finally:
        held.release()
    return NewHistory(last, tree.last_zxid, len(tree.nodes) - 1, len(tree.sessions), member)


def next_epoch(*known: int) -> int:
    """The one above all of them. Raises CorruptError behind the last that there is."""
    if max(known) >= LAST_EPOCH:
        raise CorruptError(f"there is no epoch behind {max(known)}: {LAST_EPOCH} is the last")
    return max(known) + 1


def alone(config: EnsembleConfig, server_id: int) -> EnsembleConfig:
    """The membership in which this server is the only one. ConfigError if it is no member."""
    member = config.members.get(server_id)
    if member is None:
        known = ", ".join(map(str, config.members))
        raise ConfigError(f"server {server_id} is not among the members {known}")
    if member.id not in config.voters:
        raise ConfigError(f"server {server_id} is an observer: make it a participant first")
    return EnsembleConfig(members={server_id: member})


def rewrite_configuration(fs: FileSystem, static: Path, config: EnsembleConfig) -> None:
    """Leave one member in `zoo.cfg`; what it was stays as `zoo.cfg.before-force-new`.

    A membership in a dynamic file gets a new one. Raises StorageError.
    """
    path = PurePath(static.absolute())
    with failing("reading", path):
        content = fs.read(path)
    atomic_file.replace(fs, path.with_name(path.name + ".before-force-new"), content, like=path)
    entries = list(properties.entries(content.decode("latin-1")))
    if any(entry.key == dynamic_config.POINTER for entry in entries):
        dynamic_config.save_committed(fs, path, config, client_port_moved=False)
        return
    own = f"server.{next(iter(config.members))}"
    kept = "".join(
        entry.lines
        for entry in entries
        if entry.key is None or entry.key == own or not is_membership_key(entry.key)
    )
    atomic_file.replace(fs, path, kept.encode("latin-1"), like=path)
