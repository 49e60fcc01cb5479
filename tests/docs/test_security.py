"""The quick start of docs/security.md for SASL runs, and prints what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.servers import HOST, KRAAL_PATH, ROOT, Server, free_port, kraal_command

PAGE = (ROOT / "docs" / "security.md").read_text()
FOREVER = ("kraal serve", "chmod")
"""Commands that the test does not run as they are written."""


def blocks(section: str) -> list[str]:
    """The fenced blocks of a section, before its first subsection."""
    text = re.split(r"^##+ ", PAGE.partition(f"\n## {section}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_sasl(tmp_path: Path) -> None:
    jaas, config, console = blocks("SASL")
    port = free_port()
    (tmp_path / "jaas.conf").write_text(jaas)
    (tmp_path / "zoo.cfg").write_text(
        config.replace("clientPort=2181", f"clientPort={port}\nadmin.enableServer=false")
    )
    environment = {**os.environ, **KRAAL_PATH}
    server = Server(kraal_command(tmp_path / "zoo.cfg"), port, tmp_path, KRAAL_PATH)
    with server:
        for entry in filter(None, re.split(r"^\$ ", console, flags=re.MULTILINE)):
            command, _, output = entry.partition("\n")
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = shlex.split(value)[0]
            elif not command.startswith(FOREVER):
                _, shell, *words = shlex.split(command)
                done = subprocess.run(
                    [sys.executable, "-m", "kraal", shell, "-server", f"{HOST}:{port}", *words],
                    env=environment, capture_output=True, text=True, check=False, timeout=60,
                )  # fmt: skip
                assert done.stdout + done.stderr == output
