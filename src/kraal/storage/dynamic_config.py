"""The files in which an ensemble with reconfiguration keeps its membership.

Beside the static `zoo.cfg`: `zoo.cfg.dynamic.<hex version>` holds a committed membership and
`zoo.cfg.dynamic.next` one that was proposed. The static file points to the committed one and is
rewritten when it changes; `zoo.cfg.bak` is what the operator wrote. Unlike the original, which
writes all other keys in arbitrary order, the rewritten file keeps its order and comments.
Source: reference/quorum-protocol.md section 6.2, reference/operations.md section 1.5.
"""

from __future__ import annotations

from pathlib import PurePath

from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.ensemble import EnsembleConfig, is_membership_key
from kraal.model.setting import hexadecimal
from kraal.storage import atomic_file
from kraal.storage.interface import FileSystem, failing

BACKUP = ".bak"
DYNAMIC = ".dynamic."
NEXT = ".dynamic.next"
POINTER = "dynamicConfigFile"
_OF_THE_CLIENT_PORT = ("clientPort", "clientPortAddress")
_OF_THE_SECURE_PORT = ("secureClientPort", "secureClientPortAddress")
_MOVED = (POINTER, "peerType")
"""Keys, beside those of the membership, that are not written back to the static file."""


def committed_path(static: PurePath, version: int) -> PurePath:
    return static.with_name(f"{static.name}{DYNAMIC}{version:x}")


def next_path(static: PurePath) -> PurePath:
    return static.with_name(static.name + NEXT)


def version_in_name(name: str) -> int:
    """The version that a dynamic file's name ends in, or 0."""
    return hexadecimal(name.rpartition(".")[2]) or 0 if "." in name else 0


def settings(name: str, content: bytes) -> dict[str, str]:
    """Keys and values of a dynamic file, and the version that its name tells.

    Raises ConfigError for whatever does not belong there.
    """
    read = properties.parse(content)
    if "version" in read:
        raise ConfigError("dynamic file shouldn't have version inside")
    for key in sorted(read):
        if not is_membership_key(key):
            raise ConfigError(f"Unrecognised parameter: {key}")
    return read | {"version": f"{version_in_name(name):x}"}


def load_next(
    fs: FileSystem, static: PurePath, *, multi_address: bool = False
) -> EnsembleConfig | None:
    """The membership that was proposed last and not seen committed, if there is one.

    Raises ConfigError when the file is damaged and StorageError when it cannot be read.
    """
    path = next_path(static)
    with failing("reading", path):
        if not fs.exists(path):
            return None
        content = fs.read(path)
    try:
        return EnsembleConfig.parse(content.decode("latin-1"), multi_address=multi_address)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def save_next(fs: FileSystem, static: PurePath, config: EnsembleConfig) -> None:
    """Record a proposed membership, durably. Raises StorageError."""
    lines = sorted(config.text().split("\n"))
    atomic_file.replace(fs, next_path(static), "\n".join(lines).encode("ascii"))


def save_committed(
    fs: FileSystem,
    static: PurePath,
    config: EnsembleConfig,
    *,
    client_port_moved: bool,
    secure_port_moved: bool = False,
) -> None:
    """Record a committed membership, durably: its own file, the static file's pointer to it.

    `static` is absolute. `client_port_moved` says that the server line names where this server
    serves clients, so that `clientPort` leaves the static file, and so for `secureClientPort`.
    A proposed membership that is no newer is forgotten. A crash between the steps leaves the
    membership before, with this one still proposed. Raises StorageError, and ConfigError when the
    static file is damaged.
    """
    assert static.is_absolute(), "the pointer must not depend on the working directory"
    with failing("reading", static):
        content = fs.read(static)
    entries = list(properties.entries(content.decode("latin-1")))
    if all(entry.key != POINTER for entry in entries):
        atomic_file.replace(fs, static.with_name(static.name + BACKUP), content, like=static)
    path = committed_path(static, config.version)
    lines = [line for line in config.text().split("\n") if not line.startswith("version=")]
    atomic_file.replace(fs, path, "\n".join(sorted(lines)).encode("ascii"))
    dropped = (
        *_MOVED,
        *(_OF_THE_CLIENT_PORT if client_port_moved else ()),
        *(_OF_THE_SECURE_PORT if secure_port_moved else ()),
    )
    kept = "".join(
        entry.lines
        for entry in entries
        if entry.key is None or not (is_membership_key(entry.key) or entry.key in dropped)
    )
    if kept and kept[-1] not in "\r\n":
        kept += "\n"
    if kept.rstrip("\r\n").endswith("\\"):
        kept += "\n"  # ends a line that nothing continues
    text = f"{kept}{properties.written(POINTER, str(path))}\n"
    atomic_file.replace(fs, static, text.encode("latin-1"), like=static)
    _forget_next(fs, static, config.version)


def _forget_next(fs: FileSystem, static: PurePath, committed: int) -> None:
    try:
        # With several addresses or not: only the version matters here.
        proposed = load_next(fs, static, multi_address=True)
    except ConfigError:
        proposed = None
    if proposed is None or proposed.version <= committed:
        atomic_file.remove(fs, next_path(static))
