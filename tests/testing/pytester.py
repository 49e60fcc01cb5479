"""pytest as a user runs it: in a process of its own, on files of a project of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def command(*arguments: str) -> list[str]:
    """How pytest is called; a source tree that is not installed has to name its plugin."""
    is_installed = any(point.name == "kraal" for point in entry_points(group="pytest11"))
    plugin = () if is_installed else ("-p", "kraal.testing.plugin")
    own = ("-p", "no:cacheprovider", "-rA", "-W", "error")
    # Where pytest-asyncio is installed it wants to be told, or warns.
    quiet = ("-W", "ignore:The configuration option")
    return [sys.executable, "-m", "pytest", *plugin, *own, *quiet, *arguments]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a directory."""
    return subprocess.run(
        command(*arguments), cwd=directory, env=ENVIRONMENT, capture_output=True, text=True,
        check=False, timeout=110,
    )  # fmt: skip


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """`passed`, `failed`, `skipped`, … with their numbers, from the last line."""
    last = done.stdout.strip().splitlines()[-1].partition(" in ")[0]
    return {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+?)s?\b", last)}
