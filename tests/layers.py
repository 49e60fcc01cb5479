"""The rooms of kraal, from the inside out, and what each may import.

This table is the one place of the rule; tests/test_layers.py enforces it. A room may import
itself, the modules listed here and everything below them; `errors`, `model` and `version` are
open to every room. `admin` stands before `server` because the server's listeners ask it for
the answers to four-letter words, while it knows a server only through `admin.source`.
"""

from __future__ import annotations

from collections.abc import Mapping

OPEN_TO_ALL = ("errors", "model", "version")

MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "errors": (),
    "version": (),
    "turns": (),
    "model": (),
    "wire": (),
    "tree": ("wire",),
    "zab": ("wire.records.quorum", "wire.records.election"),
    "pipeline": ("tree", "wire"),
    "replica": ("zab", "pipeline", "tree", "wire"),
    "storage": ("tree", "wire"),
    "admin": ("turns", "replica.status"),
    "tls": (),
    "server": ("turns", "tls", "admin", "storage", "replica", "pipeline", "zab", "tree", "wire"),
    "client": ("tls", "wire"),
    "recipes": ("client",),
    "sync": ("recipes", "client"),
    "shell": ("client", "tree.quota"),
    "local": ("server",),
    "cli": ("client", "shell", "tls", "local", "server", "storage.inspection"),
    "testing": (
        "sync",
        "client",
        "local",
        "replica.leading",
        "server",
        "storage.filesystem",
        "storage.interface",
        "storage.memory",
        "storage.names",
        "storage.retention",
        "wire.opcodes",
        "wire.records.proto",
    ),
    "sim": ("recipes", "client", "replica", "pipeline", "zab", "storage", "tree", "wire"),
}

PURE_ROOMS = ("model", "wire", "tree", "zab", "pipeline", "replica")
"""Rooms without clock, socket, file, thread, environment and global random generator."""

IMPURE_MODULES = frozenset(
    {
        "asyncio", "datetime", "multiprocessing", "os", "pathlib", "random", "secrets",
        "select", "selectors", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile",
        "threading", "time", "uuid", "uvloop",
    }
)  # fmt: skip

HARMLESS_NAMES = frozenset({"pathlib.PurePath", "pathlib.PurePosixPath", "random.Random"})
"""Types from those modules that do no I/O; a `Random` is only pure when it is passed in."""

IMPURE_CALLS = frozenset({"open", "input", "print"})
