"""Reading an export file for its import: first to find what is wrong, then entry by entry.

A file is read twice, so that nothing is written of one that has a fault. Of all its znodes only
the paths are held meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from kraal.shell import paths
from kraal.shell.documents import FileError, Form, Placed, Reader
from kraal.shell.errors import CommandError
from kraal.shell.walk import RESERVED
from kraal.shell.znodes import Entry, NodeKind

REQUEST_OVERHEAD = 200
"""Bytes of a request besides path, data and ACL."""


@dataclass
class Survey:
    """What an export file holds."""

    root: str = "/"
    paths: set[str] = field(default_factory=set)
    """Of the znodes to import, as the file has them."""
    inner: set[str] = field(default_factory=set)
    """Those of them that have children here."""
    ephemerals: int = 0
    reserved: int = 0
    """Znodes that are the server's own."""


@dataclass(frozen=True)
class Source:
    """An export file that can be read again, and where its znodes are to be."""

    form: Form
    stream: IO[bytes]
    name: str
    target: str | None
    """None: where the file says."""
    has_chroot: bool
    makes_parents: bool
    """Whether znodes whose parent the file leaves out get one."""
    limit: int
    """Bytes of a request that the server takes."""

    def survey(self) -> Survey:
        """Read the whole file. Raises FileError for the first fault."""
        found = Survey()
        for _ in self._entries(found):
            pass
        return found

    def entries(self) -> Iterator[Entry]:
        """What is to be imported, parents first. Raises FileError."""
        return self._entries(Survey())

    def _entries(self, found: Survey) -> Iterator[Entry]:
        self.stream.seek(0)
        reader = Reader(self.form, self.stream, self.name)
        short_lived: set[str] = set()
        for placed in reader.entries():
            entry, line = placed
            if entry.path in found.paths or entry.path in short_lived:
                raise FileError(self.name, line, f"znode {entry.path} is there twice")
            parent = paths.parent(entry.path)
            if parent in short_lived:
                raise FileError(self.name, line, f"the parent of {entry.path} is ephemeral")
            if self._is_reserved(entry.path, self.target or reader.root):
                found.reserved += 1
            elif entry.kind is NodeKind.EPHEMERAL:
                found.ephemerals += 1
                short_lived.add(entry.path)
            else:
                yield from self._placed(placed, parent, found)
        found.root = self._root(reader)

    def _placed(self, placed: Placed, parent: str, found: Survey) -> Iterator[Entry]:
        """An entry, behind the parents that the file leaves out."""
        entry, line = placed
        size = len(entry.path) + len(entry.data) + REQUEST_OVERHEAD
        if size > self.limit:
            message = f"znode {entry.path} has {len(entry.data)} bytes, more than servers take"
            raise FileError(self.name, line, f"{message} ({self.limit}, jute.maxbuffer)")
        if parent != "/" and parent not in found.paths:
            if not self.makes_parents:
                raise FileError(
                    self.name, line, f"znode {entry.path} stands before its parent {parent},"
                    " or without; --parents makes what the file leaves out",
                )  # fmt: skip
            for missing in paths.lineage(parent):
                if missing not in found.paths:
                    yield _taken(Entry(missing, is_implied=True), found)
        yield _taken(entry, found)

    def _root(self, reader: Reader) -> str:
        try:
            paths.check(reader.root)
        except CommandError as error:
            raise FileError(self.name, 0, f"root: {error}") from None
        return reader.root

    def _is_reserved(self, path: str, target: str) -> bool:
        if self.has_chroot or target != "/":
            return False
        return path == RESERVED or path.startswith(f"{RESERVED}/")


def _taken(entry: Entry, found: Survey) -> Entry:
    found.paths.add(entry.path)
    if entry.path != "/":
        found.inner.add(paths.parent(entry.path))
    return entry
