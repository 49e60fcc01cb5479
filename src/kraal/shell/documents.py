"""Export files: a header and then znode after znode, as JSON or YAML; the same fields in both.

    {"format": "kraal-export", "version": 1, "root": "/app",
     "znodes": [{"path": "/", "data": null}, {"path": "/a", "data": "text"}],
     "count": 2}

Paths are seen from the root. Files are written and read in pieces: what is held is one znode.
docs/shell.md describes the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import IO, NamedTuple, Protocol

from kraal.shell import json_document
from kraal.shell.errors import CommandError
from kraal.shell.results import JsonValue
from kraal.shell.znodes import Entry, EntryError, entry_json, entry_of

FORMAT = "kraal-export"
VERSION = 1
STDIN = "-"
_KEYS = frozenset(("format", "version", "root", "znodes", "count"))
_SUFFIXES = {".json": "json", ".yaml": "yaml", ".yml": "yaml"}


class Form(Protocol):
    """One of the two notations."""

    between: str
    """What separates znodes."""

    def beginning(self, header: dict[str, JsonValue]) -> str:
        """What is in front of the first znode."""

    def znode(self, fields: dict[str, JsonValue]) -> str:
        """One znode."""

    def end(self, count: int) -> str:
        """What is behind the last one."""

    def parts(self, stream: IO[bytes]) -> Iterator[tuple[str, JsonValue, int]]:
        """Key, value and line, in the order of the file; each znode for itself.

        Raises FormError.
        """


FORMS = ("json", "yaml")


def form(name: str | None, file: str | None) -> Form:
    """The notation that was asked for, or that the file's name tells. Raises CommandError."""
    chosen = name or ("json" if file in (None, STDIN) else None)
    if chosen is None:
        assert file is not None
        chosen = _SUFFIXES.get(PurePath(file).suffix.lower())
        if chosen is None:
            raise CommandError(f"{file}: neither .json nor .yaml; say --format json or yaml")
    if chosen == "json":
        return json_document.JsonForm()
    if chosen == "yaml":
        try:
            from kraal.shell.yaml_document import YamlForm  # noqa: PLC0415 - needs an extra
        except ImportError:
            raise CommandError("YAML needs PyYAML: pip install 'kraal[yaml]'") from None
        return YamlForm()
    raise CommandError(f"--format {chosen!r} is neither json nor yaml")


class FileError(CommandError):
    """An export file cannot be read as one; says where."""

    def __init__(self, name: str, line: int, message: str) -> None:
        super().__init__(f"{name}, line {line}: {message}" if line else f"{name}: {message}")


class Writer:
    """The text of an export file, piece by piece."""

    def __init__(self, notation: Form, root: str) -> None:
        self._form = notation
        self._root = root
        self.count = 0

    def beginning(self) -> str:
        return self._form.beginning({"format": FORMAT, "version": VERSION, "root": self._root})

    def znode(self, entry: Entry) -> str:
        between = self._form.between if self.count else ""
        self.count += 1
        return between + self._form.znode(entry_json(entry))

    def end(self) -> str:
        return self._form.end(self.count)


class Placed(NamedTuple):
    """An entry, and the line where it stands."""

    entry: Entry
    line: int


class Reader:
    """The entries of an export file; the header is known when all were read."""

    def __init__(self, notation: Form, stream: IO[bytes], name: str) -> None:
        self._form = notation
        self._stream = stream
        self.name = name
        self._header: dict[str, JsonValue] = {}
        self.root = "/"
        self._has_list = False

    def entries(self) -> Iterator[Placed]:
        """Every znode of the file in its order. Raises FileError."""
        count = 0
        line = 0
        try:
            for key, value, line in self._form.parts(self._stream):
                if key == json_document.LIST:
                    self._has_list = True
                elif key == json_document.ITEM:
                    count += 1
                    yield Placed(self._entry(value, count, line), line)
                else:
                    self._take(key, value, line)
        except json_document.FormError as error:
            raise FileError(self.name, error.line, str(error)) from None
        self._check_end(count, line)

    def _entry(self, value: JsonValue, number: int, line: int) -> Entry:
        try:
            return entry_of(value)
        except EntryError as error:
            about = str(error)
            if not about.startswith("znode "):
                about = f"znode number {number}: {about}"
            raise FileError(self.name, line, about) from None

    def _take(self, key: str, value: JsonValue, line: int) -> None:
        """A field of the header."""
        if key not in _KEYS:
            raise FileError(self.name, line, f"{key!r} is no field of an export file")
        if key == "znodes":
            raise FileError(self.name, line, "znodes must be a list")
        if key in self._header:
            raise FileError(self.name, line, f"{key!r} is there twice")
        self._header[key] = value
        if key == "format" and value != FORMAT:
            raise FileError(self.name, line, f"format is {value!r:.60}, not {FORMAT}")
        if key == "version" and (type(value) is not int or value != VERSION):
            raise FileError(
                self.name, line, f"version {value!r:.60} is unknown to this kraal, which reads 1"
            )
        if key == "root":
            if not isinstance(value, str):
                raise FileError(self.name, line, f"root must be a path, not {value!r:.60}")
            if self._has_list:
                raise FileError(self.name, line, "root must stand before znodes")
            self.root = value

    def _check_end(self, count: int, line: int) -> None:
        for key in ("format", "version"):
            if key not in self._header:
                raise FileError(self.name, 0, f"it has no {key!r}, so it is no export of kraal")
        if not self._has_list:
            raise FileError(self.name, 0, "it has no list of znodes")
        told = self._header.get("count", count)
        if told != count:
            raise FileError(
                self.name, line,
                f"count says {told!r:.20} znodes and there are {count}: the file was cut off, or"
                " edited; delete count if that is meant",
            )  # fmt: skip
