"""Export files: what is written is read again, and what is wrong is said with its line."""

from __future__ import annotations

import io
from typing import IO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraal.client import NULL, Acl
from kraal.shell import documents
from kraal.shell.documents import FORMS, FileError, Reader, Writer, form
from kraal.shell.errors import CommandError
from kraal.shell.znodes import Entry, NodeKind

LETTERS = st.one_of(  # all that names may have
    st.characters(min_codepoint=0x20, max_codepoint=0xD7FF, exclude_categories=["Cc"]),
    st.characters(min_codepoint=0xF900, max_codepoint=0xFFEF),
).filter(lambda letter: letter != "/")
NAMES = st.text(LETTERS, min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
DATA = st.one_of(
    st.just(NULL), st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode()),
    st.sampled_from([b"", b"yes", b"123", b"null", b"a: b", b"two\nlines\n", b" x\n\n", b"\r\n",
                     b"\t\n\t", "\u0085\u2028\ufeff".encode(), b"---\n...\n", b"# no\n"]),
)  # fmt: skip
ACLS = st.lists(
    st.builds(
        Acl,
        st.integers(0, 40),
        st.sampled_from(["world", "ip", "digest", "x509"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    min_size=1, max_size=3,
).map(tuple)  # fmt: skip


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    """Entries as an export has them: parents first."""
    entries: list[Entry] = [Entry("/", draw(DATA))]
    known = ["/"]
    for _ in range(draw(st.integers(0, 8))):
        path = f"{draw(st.sampled_from(known)).rstrip('/')}/{draw(NAMES)}"
        if path in known:
            continue
        kind = draw(st.sampled_from([*NodeKind]))
        ttl = draw(st.integers(1, 2**40 - 1)) if kind is NodeKind.TTL else None
        entries.append(Entry(path, draw(DATA), kind, ttl, draw(st.none() | ACLS)))
        known.append(path)
    return entries


class _Drops(io.RawIOBase):
    """A file of which each read gives a few bytes."""

    def __init__(self, content: bytes, step: int) -> None:
        self._content = io.BytesIO(content)
        self._step = step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        got = self._content.read(min(self._step, len(buffer)))
        buffer[: len(got)] = got
        return len(got)


def _written(name: str, entries: list[Entry]) -> bytes:
    writer = Writer(form(name, None), "/röot")
    middle = "".join(writer.znode(entry) for entry in entries)
    return (writer.beginning() + middle + writer.end()).encode()


def _read(name: str, stream: IO[bytes]) -> tuple[str, list[Entry]]:
    reader = Reader(form(name, None), stream, "the file")
    entries = [entry for entry, _ in reader.entries()]
    return reader.root, entries


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=150, deadline=None)
@given(entries=entry_lists(), step=st.sampled_from([1, 7, 1000]))
def test_what_is_written_is_read(name: str, entries: list[Entry], step: int) -> None:
    content = _written(name, entries)
    stream: IO[bytes] = io.BufferedReader(_Drops(content, step), 16)  # type: ignore[type-var]
    assert _read(name, stream) == ("/röot", entries)
    assert [entry.data is NULL for entry in _read(name, io.BytesIO(content))[1]] == [
        entry.data is NULL for entry in entries
    ]


def _file(znodes: str) -> bytes:
    return f'{{"format": "kraal-export", "version": 1,\n"znodes": [\n{znodes}\n]}}'.encode()


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "the file ends too early"),
        (b"[]", 1, "begins with {, not '['"),
        (b"{}", 0, "it has no 'format'"),
        (b'{"format": "x"}', 1, "format is 'x', not kraal-export"),
        (b'{"format": "kraal-export",\n"version": 2}', 2, "version 2 is unknown"),
        (b'{"format": "kraal-export", "version": 1}', 0, "it has no list of znodes"),
        (b'{"znodes": {}}', 1, "znodes must be a list"),
        (b'{"more": 1}', 1, "'more' is no field of an export file"),
        (b'{"root": 1}', 1, "root must be a path"),
        (b'{"version": 1, "version": 1}', 1, "'version' is there twice"),
        (_file('{"path": "/"},\n{"path": "/a", }'), 4, "Illegal trailing comma|in double quotes"),
        (_file('{"path": "/"}\n{"path": "/a"}'), 4, "a comma or ] must follow the znode, not '{'"),
        (_file('{"path": "/", "path": "/a"}'), 3, "'path' is there twice"),
        (_file('{"path": "/", "data": NaN}'), 3, "NaN is no JSON"),
        (_file("[" * 5000), 3, "no znode looks like this"),
        (_file('{"path": "/x", "data": "unfinished}'), 3, "Invalid control character"),
        (_file('{"path": "/x", "data": "unfinished')[:-4], 3, "a text in quotes has no end"),
        (_file('{"path": "/"}')[:-1], 4, "the file ends too early"),
        (_file('{"path": "/"}') + b"{", 4, "something follows behind the end"),
        (_file('{"path": "/"}')[:-1] + b',\n"count": 2}', 5, "count says 2 znodes and there are 1"),
        (_file('{"path": "/x",\n"data": 1}'), 3, "znode /x: data must be text in quotes or null"),
        (_file('{"path": "x"}'), 3, "znode number 1: Path must start with / character"),
        (_file('{"data": ""}'), 3, "znode number 1: it has no path"),
        (_file("7"), 3, "znode number 1: a znode must be a mapping with a path, not 7"),
        (_file('{"path": "/x", "dat": ""}'), 3, "'dat' is no field of a znode; there are acl"),
        (_file('{"path": "/x", "kind": "short"}'), 3, "kind 'short' is none of persistent"),
        (_file('{"path": "/x", "kind": "ttl"}'), 3, "ttl must be a number of milliseconds"),
        (_file('{"path": "/x", "ttl": 5}'), 3, "only kind ttl has a ttl"),
        (_file('{"path": "/x", "data": "?", "encoding": "base64"}'), 3, "data is not in base64"),
        (_file('{"path": "/x", "encoding": "hex"}'), 3, "neither utf-8 nor base64"),
        (_file('{"path": "/x", "data": "\\ud800"}'), 3, "data has what is no UTF-8"),
        (_file('{"path": "/x", "data": "?"}').replace(b"?", b"\xff"), 3, "what is no UTF-8"),
        (_file('{"path": "/x", "acl": []}'), 3, "acl must be a list of scheme:id:perms"),
        (_file('{"path": "/x", "acl": ["world:anyone:z"]}'), 3, "'z' is no permission"),
        (_file('{"path": "/x", "acl": ["anyone"]}'), 3, "does not have the form scheme:id:perms"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_json_is_said(content: bytes, line: int, message: str) -> None:
    with pytest.raises(FileError) as caught:
        _read("json", io.BytesIO(content))
    said = str(caught.value)
    assert said.startswith(f"the file, line {line}: " if line else "the file: "), said
    assert any(each in said for each in message.split("|")), said


YAML = "format: kraal-export\nversion: 1\nznodes:\n"


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("- a\n", 1, "an export file is a mapping"),
        ("", 0, "it has no 'format'"),
        (YAML + "- path: /x\n  data: yes\n", 4, "znode /x: data must be text in quotes"),
        (YAML + "- path: /x\n- path: /y\n  data: 5\n", 5, "znode /y: data must be text"),
        (YAML + "- path: /x\n  data: 2020-01-01\n", 4, "data must be text in quotes"),
        (YAML + "- path: &a /x\n- path: *a\n", 5, "aliases are not read"),
        (YAML + "- path: /x\n  path: /y\n", 5, "'path' is there twice"),
        (YAML + "- path: /x\n  data: 'a\n", 6, "found unexpected end of stream"),
        (YAML + "- path: /x\n bad\n", 5, ""),
        (YAML + "- path: /x\n  data: !!python/object:os.x {}\n", 5, "could not determine"),
        (YAML + "- " + "[" * 20 + "]" * 20 + "\n", 4, "nested so deeply"),
        (YAML + "- path: /x\n---\na: b\n", 5, "a second document follows"),
        (YAML + "- path: /x\ncount: 3\n", 5, "count says 3 znodes and there are 1"),
        (YAML + "- path: /x\n  data: \x01\n", 0, "unacceptable character|control characters"),
    ],
)
def test_what_is_wrong_in_yaml_is_said(content: str, line: int, message: str) -> None:
    with pytest.raises(FileError) as caught:
        _read("yaml", io.BytesIO(content.encode()))
    said = str(caught.value)
    assert said.startswith(f"the file, line {line}: " if line else "the file: "), said
    assert any(each in said for each in message.split("|")), said


def test_files_that_people_write() -> None:
    text = """\
# what an application needs
version: 1
format: kraal-export
znodes:
  - path: /config
    data: |
      a = 1
      b = 2
  - {path: /config/empty, data: ""}
  - path: /config/queue
    kind: container
    acl: ["world:anyone:r", "digest:me:abc=:cdrwa"]
  - path: /config/lease
    kind: ttl
    ttl: 60000
"""
    root, entries = _read("yaml", io.BytesIO(text.encode()))
    assert root == "/"
    assert entries[0] == Entry("/config", b"a = 1\nb = 2\n")
    assert entries[1].data is not NULL
    assert entries[2].data is NULL
    assert entries[2].acl == (Acl(1, "world", "anyone"), Acl(31, "digest", "me:abc="))
    assert entries[3] == Entry("/config/lease", NULL, NodeKind.TTL, 60000)


def test_a_bom_and_a_value_longer_than_a_chunk() -> None:
    long = "ä" * 300_000
    content = "\ufeff" + _file(f'{{"path": "/x", "data": "{long}"}}').decode()
    assert _read("json", io.BytesIO(content.encode()))[1][0].data == long.encode()


def test_the_notation_is_that_of_the_name() -> None:
    assert form(None, "a.json").between == ","
    assert form(None, "a.YML").between == ""
    assert form("yaml", "a.json").between == ""
    assert form(None, documents.STDIN).between == ","
    for name, file, message in ((None, "a.txt", "neither .json nor .yaml"), ("xml", "a", "'xml'")):
        with pytest.raises(CommandError, match=message):
            form(name, file)
