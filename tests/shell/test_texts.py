"""Small texts: words of a line, paths, dates, tables of bytes, client configurations."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kraal.client import TlsOptions
from kraal.errors import ConfigError
from kraal.shell import client_config, lines
from kraal.shell.hexdump import hex_dump
from kraal.shell.results import java_date


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ls  /a\t-s ", ["ls", "/a", "-s"]),
        ("create '/a b' \"it's\"", ["create", "/a b", "it's"]),
        ('set /a ""', ["set", "/a", ""]),
        ("set /a b'c d'", ["set", "/a", "b'c", "d'"]),
        ('get "/a', ["get", "/a"]),
        ("  ", []),
        ('"', []),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert lines.split(line) == words


@pytest.mark.parametrize("word", ["a", "a b", "", "it's", 'say "x"', "'"])
def test_quoted_words_read_back(word: str) -> None:
    assert lines.split(lines.quoted(word)) == [word]


def test_dates_are_java_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert java_date(0) == "Thu Jan 01 00:00:00 UTC 1970"
        assert java_date(1795862953722) == "Sat Nov 28 10:49:13 UTC 2026"
        assert java_date(1 << 62) == f"{1 << 62} ms"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_table_of_bytes_has_a_row_for_each_sixteen() -> None:
    rows = list(hex_dump(b"0123456789abcdef\x00\xff"))
    assert rows[3] == (
        "|00000000| 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 |0123456789abcdef|"
    )
    assert rows[4] == (
        "|00000010| 00 ff                                           |..              |"
    )
    assert list(hex_dump(b"")) == []


def test_a_client_configuration(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n")
    file = tmp_path / "client.properties"
    file.write_text(
        "zookeeper.client.secure=true\njute.maxbuffer=2000000\nother=1\n"
        "zookeeper.ssl.trustStore.location=/ca.pem\n"
        "zookeeper.ssl.keyStore.location=/key.txt\nzookeeper.ssl.keyStore.type=PEM\n"
        f"zookeeper.ssl.keyStore.passwordPath={password}\n"
        "zookeeper.ssl.hostnameVerification=false\n"
    )
    assert client_config.read(file) == (
        TlsOptions(
            ca_file=Path("/ca.pem"), cert_file=Path("/key.txt"), key_password="secret",
            check_hostname=False,
        ),
        2_000_000,
        (f"{file}: other has no effect in kraal shell",),
    )  # fmt: skip
    file.write_text("jute.maxbuffer=x\n")
    with pytest.raises(ConfigError, match="must be a number of bytes"):
        client_config.read(file)
