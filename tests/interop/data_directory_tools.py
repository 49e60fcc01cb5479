"""The tools of Apache ZooKeeper that read a data directory."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.interop.data_directory_files import file_records
from tests.support.servers import reference_classpath

_LOG_TOOL = "org.apache.zookeeper.server.persistence.TxnLogToolkit"
_SNAPSHOT_TOOL = "org.apache.zookeeper.server.SnapshotFormatter"
_TIMEOUT_S = 120


class ToolError(Exception):
    """A tool does not print a file as it should; the text says how it ended."""


def _print(tool: str, path: Path) -> str:
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", reference_classpath(),
         tool, str(path)],
        capture_output=True, check=False, timeout=_TIMEOUT_S,
    )  # fmt: skip
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        ending = done.stderr.decode(errors="replace")
        raise ToolError(
            f"{path.name}: exit code {done.returncode}\n{output[-1000:]}{ending[-1000:]}"
        )
    return output


def print_log(path: Path) -> int:
    """Print a log; returns how many transactions the tool found, which must be all."""
    output = _print(_LOG_TOOL, path)
    count = sum(1 for _ in file_records(path))
    if "CRC ERROR" in output or f"EOF reached after {count} txns." not in output:
        raise ToolError(f"{path.name} has {count} transactions, printed was:\n{output[-1000:]}")
    return count


def print_snapshot(path: Path, zxid: int) -> int:
    """Print a snapshot with this zxid in its name; returns how many znodes it has."""
    output = _print(_SNAPSHOT_TOOL, path)
    count = re.search(r"^ZNode Details \(count=(\d+)\):$", output, re.MULTILINE)
    last = re.search(r"^Last zxid: 0x([0-9a-f]+)$", output, re.MULTILINE)
    if count is None or last is None or int(last[1], 16) < zxid:
        raise ToolError(f"{path.name} was printed as:\n{output[:500]}\n...\n{output[-500:]}")
    return int(count[1])
