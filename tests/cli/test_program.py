"""Streams that are closed, full or of another encoding, and words that no command can mean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.written import OK, USAGE, WARNINGS, Written, kraal

FULL = Path("/dev/full")
BAD = b"/\xff"


def run(redirected: str, *words: str | bytes, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "kraal", *words],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_closed_streams_are_no_trouble(written: Written) -> None:
    whole = run("", "doctor", str(written.path))
    for closed in ("2>&-", "<&-", "<&- 2>&-"):
        done = run(closed, "doctor", str(written.path))
        assert (done.returncode, done.stdout) == (whole.returncode, whole.stdout)
    assert run(">&-", "doctor", str(written.path)).returncode == OK


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("words", "code"),
    [("--help", 3), ("--version", 3), ("log dump DIR", 3), ("shell -q help", 1)],
)
def test_a_full_disk_under_standard_output_is_named(
    words: str, code: int, written: Written
) -> None:
    given = [str(written.path) if word == "DIR" else word for word in words.split()]
    done = run(f">{FULL}", *given)
    assert done.returncode == code
    said = done.stderr.removeprefix("Error: ")
    assert said == "standard output: No space left on device\n"


@pytest.mark.parametrize(
    "words",
    [
        ("history", BAD, "--data-dir", "DIR"),
        ("snapshot", "dump", "DIR", "--path", BAD),
        ("snapshot", "summary", "DIR", "--path", BAD),
        ("snapshot", "diff", "DIR", "DIR", "--path", BAD),
        ("children", "127.0.0.1:1", BAD),
        ("children", "127.0.0.1:1", "/", "--after", BAD),
        ("children", "127.0.0.1:1", "/", "--prefix", BAD),
        ("children", "127.0.0.1:1", "/", "--auth", b"digest \xff"),
        ("children", "127.0.0.1:1", "/", "--auth", "a\nb: c"),
        ("children", b"\xff:1", "/"),
        ("children", "a..b:1", "/"),
        ("children", "http://[::1", "/"),
        ("children", "http:///", "/"),
        ("children", "ftp://127.0.0.1:1", "/"),
        ("children", "127.0.0.1:1", "/", "--limit", "1_0"),
        ("backup", b"\xff:1", "--to", "new"),
        ("backup", "DIR", "--to", ""),
        ("backup", "", "--to", "new"),
        ("doctor", ""),
        ("doctor", b"\xff:1"),
        ("doctor", "a..b:1"),
        ("doctor", "127.0.0.1:99999"),
        ("log", "dump", "DIR", "--from", "٣"),
        ("log", "dump", "DIR", "--from", "0x1_0"),
        ("log", "dump", "DIR", "--from", "9" * 5000),
        ("restore", "DIR", "--data-dir", ""),
    ],
    ids=str,
)
def test_what_no_command_can_mean_is_wrong_usage(
    words: tuple[str | bytes, ...], written: Written, tmp_path: Path
) -> None:
    given = [os.fsdecode(word) if word != "DIR" else str(written.path) for word in words]
    result = kraal(*given)
    assert result.exit_code == USAGE, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not (tmp_path / "new").exists()


def test_numbers_that_are_digits_are_taken(written: Written) -> None:
    for text in ("0x1", "0X1", "1", "001"):
        assert kraal("log", "dump", written.path, "--from", text).exit_code in (OK, WARNINGS)
