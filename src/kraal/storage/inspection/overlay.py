"""A file system over another one: reads go through, changes stay in memory.

With it the tools run the server's own recovery on a directory that they may not touch, and try
a repair before they make it.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import PurePath

from kraal.storage.interface import FileSystem


@dataclass(slots=True)
class _Node:
    """A file: what lies at `base` up to `size`, or bytes of its own."""

    base: PurePath | None
    size: int
    own: bytearray | None = None


class _OverlayFile:
    def __init__(self, overlay: Overlay, node: _Node) -> None:
        self._overlay = overlay
        self._node = node

    def write(self, data: bytes, offset: int) -> None:
        content = self._overlay.materialised(self._node)
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data

    def write_durably(self, data: bytes, offset: int) -> None:
        self.write(data, offset)

    def sync_data(self) -> None:
        """Nothing is durable here."""

    def close(self) -> None:
        """Nothing is open."""


class _NoLock:
    def release(self) -> None:
        """Nothing was locked."""


class Overlay:
    """Implements `FileSystem`; `base` is never changed."""

    def __init__(self, base: FileSystem) -> None:
        self._base = base
        self._nodes: dict[PurePath, _Node | None] = {}
        """Files that were changed; None: deleted."""
        self._directories: set[PurePath] = set()

    def materialised(self, node: _Node) -> bytearray:
        """The node's own bytes, copied from below when it has none yet."""
        if node.own is None:
            content = self._base.read(node.base, 0, node.size) if node.base is not None else b""
            node.own = bytearray(content)
        return node.own

    def _node(self, path: PurePath) -> _Node:
        if path in self._nodes:
            node = self._nodes[path]
            if node is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return node
        return _Node(path, self._base.size(path))

    def create(self, path: PurePath, *, like: PurePath | None = None) -> _OverlayFile:
        del like
        node = _Node(None, 0, bytearray())
        self._nodes[path] = node
        return _OverlayFile(self, node)

    def open(self, path: PurePath) -> _OverlayFile:
        node = self._nodes.get(path)
        if node is None:
            node = self._node(path)
            self._nodes[path] = node
        return _OverlayFile(self, node)

    def read(self, path: PurePath, offset: int = 0, size: int | None = None) -> bytes:
        if path not in self._nodes:
            return self._base.read(path, offset, size)
        node = self._node(path)
        if node.own is not None:
            return bytes(node.own[offset : None if size is None else offset + size])
        if node.base is None:
            return b""
        left = max(0, node.size - offset)
        return self._base.read(node.base, offset, left if size is None else min(size, left))

    def size(self, path: PurePath) -> int:
        node = self._node(path)
        return node.size if node.own is None else len(node.own)

    def used_bytes(self, path: PurePath) -> int:
        return self.size(path) if path in self._nodes else self._base.used_bytes(path)

    def modified_s(self, path: PurePath) -> float:
        return 0.0 if path in self._nodes else self._base.modified_s(path)

    def free_bytes(self, path: PurePath) -> int:
        return self._base.free_bytes(path)

    def identity(self, path: PurePath) -> object:
        return self._node(path) if path in self._nodes else self._base.identity(path)

    def is_file(self, path: PurePath) -> bool:
        node = self._nodes.get(path)
        if node is not None and node.own is not None:
            return True
        return self._base.is_file(self._node(path).base or path)

    def exists(self, path: PurePath) -> bool:
        if path in self._nodes:
            return self._nodes[path] is not None
        return path in self._directories or self._base.exists(path)

    def listdir(self, path: PurePath) -> list[str]:
        names: dict[str, None] = {}
        if path not in self._directories or self._base.exists(path):
            names.update(dict.fromkeys(self._base.listdir(path)))
        for other, node in self._nodes.items():
            if other.parent == path:
                if node is None:
                    names.pop(other.name, None)
                else:
                    names[other.name] = None
        return list(names)

    def mkdir(self, path: PurePath) -> None:
        self._directories.update((path, *path.parents))

    def rename(self, old: PurePath, new: PurePath) -> None:
        node = self._node(old)
        self._nodes[old] = None
        self._nodes[new] = node

    def unlink(self, path: PurePath) -> None:
        self._node(path)
        self._nodes[path] = None

    def truncate(self, path: PurePath, size: int) -> None:
        node = self._node(path)
        self._nodes[path] = node
        if node.own is not None:
            del node.own[size:]
        else:
            node.size = min(node.size, size)

    def sync_directory(self, path: PurePath) -> None:
        """Nothing is durable here."""

    def lock(self, path: PurePath) -> _NoLock:
        del path
        return _NoLock()
