"""Paths: what a write may name (client-protocol.md section 5.4), parents and ancestors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kraal.model import path

LEGAL = (
    "/", "/a", "/a/b", "/a/...", "/a/..x", "/a/.x", "/.x", "/...", "/ ", "/a b", "/%", "/*",
    "/\u00a0", "/\ud7ff", "/\uf900", "/\uffef", "/\u65e5/\u00e9", "/zookeeper", "/a/" + "x" * 5000,
    "/x" * 1000, "/~", "/\\",
)  # fmt: skip
ILLEGAL = (
    "", "a", "a/b", "/a/", "//", "/a//b", "//a", "/.", "/..", "/a/.", "/a/..", "/./a", "/../a",
    "/a/../b", "/a/./b", "/\0", "/a\0b", "/\x01", "/\x1f", "/a\n", "/a\tb", "/\x7f", "/\x80",
    "/\x9f", "/\ue000", "/\uf8ff", "/\ufff0", "/\ufffd", "/\uffff", "/\U00010000", "/\U0001f600",
    "/\U0010ffff", "/a/\ufffd",
)  # fmt: skip


@pytest.mark.parametrize("text", LEGAL)
def test_legal(text: str) -> None:
    assert path.is_valid(text.encode())


@pytest.mark.parametrize("text", ILLEGAL)
def test_illegal(text: str) -> None:
    assert not path.is_valid(text.encode())


@pytest.mark.parametrize(
    "data",
    [None, b"/\xff", b"/\xed\xa0\x80", b"/a\x80", b"/\xe2\x82", b"/\xc0\xaf", b"/\xf4\x90\x80\x80"],
)
def test_null_and_malformed_bytes_are_illegal(data: bytes | None) -> None:
    assert not path.is_valid(data)


@pytest.mark.parametrize(
    ("of", "parent", "ancestors"),
    [
        (b"/", b"", []),
        (b"/a", b"", [b"/"]),
        (b"/a/b", b"/a", [b"/a", b"/"]),
        (b"/a/b/c", b"/a/b", [b"/a/b", b"/a", b"/"]),
        (b"/a/", b"/a", [b"/a", b"/"]),
    ],
)
def test_parents_and_ancestors(of: bytes, parent: bytes, ancestors: list[bytes]) -> None:
    assert path.parent(of) == parent
    assert list(path.ancestors(of)) == ancestors


def test_without_a_slash_there_is_no_parent() -> None:
    with pytest.raises(ValueError, match="not found"):
        path.parent(b"a")


def test_text_for_people() -> None:
    assert path.text(None) == ""
    assert path.text(b"/\xff") == "/\ufffd"


@given(st.lists(st.sampled_from(["a", ".", "..", "\u00e9", "\ufffd", "", " ", "\0"]), max_size=5))
@settings(derandomize=True, database=None)
def test_a_path_is_legal_when_each_name_is(names: list[str]) -> None:
    legal = {"a", "\u00e9", " "}
    joined = ("/" + "/".join(names)).encode()
    assert path.is_valid(joined) == (joined == b"/" or all(name in legal for name in names))
