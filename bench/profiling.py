"""Shows where kraal spends its time under load.

Three ways to look: `py-spy` samples the Python stack from outside, `perf` samples the interpreter
and the kernel, and `cprofile` asks the server itself: with ``KRAAL_PROFILE=FILE`` in its
environment, kraal runs its loop under cProfile and dumps the statistics into FILE at its end.
"""

from __future__ import annotations

import io
import pstats
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench import loader
from bench.cases import LoadCase
from bench.loader import Load, LoaderError
from bench.runner import fill_keys, fresh_server
from tests.support.servers import Server

TOOLS = ("auto", "cprofile", "py-spy", "perf")
TOP = 40
RATE = 997  # samples a second: a prime, so that it does not beat with the server's own ticks
VARIABLE = "KRAAL_PROFILE"


def profile(tool: str, loads: Sequence[LoadCase], seconds: float) -> str:
    """Profile a fresh kraal under each load in turn; returns the tables."""
    if tool == "auto":
        tool = "py-spy" if shutil.which("py-spy") else "cprofile"
    elif tool != "cprofile" and shutil.which(tool) is None:
        raise LoaderError(f"{tool} is not installed")
    return "\n\n".join(f"== {case.name}, {tool}\n{_one(tool, case, seconds)}" for case in loads)


def _one(tool: str, case: LoadCase, seconds: float) -> str:
    output = loader.BINARY.parent / f"profile-{case.name}.{tool}"
    output.unlink(missing_ok=True)
    environment = {VARIABLE: str(output)} if tool == "cprofile" else None
    with fresh_server("kraal", environment) as server:
        server.start()
        fill_keys(server)
        area = case.name if case.mode == "create" else "keys"
        load = Load(case.mode, case.connections, case.outstanding, 1.0, seconds, area)
        sampler = None if tool == "cprofile" else _start_sampler(tool, server, output, seconds)
        figures = loader.run(load, server.port, server.pid)
        if sampler is not None and sampler.wait(60) != 0:
            raise LoaderError(f"{tool} failed with status {sampler.returncode}")
    if not output.exists():
        raise LoaderError(f"the server left no {output.name}: does it honour {VARIABLE}?")
    head = f"{figures['per_second']:,.0f}/s while profiled; raw data: build/{output.name}"
    return f"{head}\n{_REPORTS[tool](output)}"


def _start_sampler(
    tool: str, server: Server, output: Path, seconds: float
) -> subprocess.Popen[bytes]:
    """Sample the server for the second of warm-up and the time of measurement."""
    if tool == "py-spy":
        command = [
            "py-spy", "record", f"--pid={server.pid}", f"--duration={round(seconds + 1)}",
            f"--rate={RATE}", "--format=raw", f"--output={output}", "--function", "--nonblocking",
        ]  # fmt: skip
    else:
        command = [
            "perf", "record", f"--freq={RATE}", f"--pid={server.pid}", f"--output={output}",
            "--", "sleep", str(seconds + 1),
        ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cprofile_report(path: Path) -> str:
    text = io.StringIO()
    stats = pstats.Stats(str(path), stream=text)
    stats.sort_stats("tottime").print_stats(TOP)
    return text.getvalue().strip()


def py_spy_report(path: Path) -> str:
    """Self and total share of every function, from collapsed stacks (`a;b;c 12`)."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        for frame in set(frames):
            total[frame] += int(count)
    everything = sum(own.values()) or 1
    rows = (
        f"{100 * count / everything:6.1f} % {100 * total[name] / everything:6.1f} %  {name}"
        for name, count in own.most_common(TOP)
    )
    return "\n".join(["  self     total    function", *rows])


def _perf_report(path: Path) -> str:
    done = subprocess.run(
        ["perf", "report", f"--input={path}", "--stdio", "--sort=dso,symbol"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = (line.rstrip(" -") for line in done.stdout.splitlines())
    return "\n".join([line for line in lines if line and not line.startswith("#")][:TOP])


_REPORTS = {"cprofile": _cprofile_report, "py-spy": py_spy_report, "perf": _perf_report}
