"""Fuzzing guided by coverage, for as long as one likes.

    python -m tests.fuzz [TARGET ...] [--seconds 10]

Without names every target of `targets.py` and `replica` take their turn, `replica` for ten turns.
atheris lives in `build/venv-fuzz`, which is made when it is missing. What was learnt about each
target stays in `build/fuzz/<target>/corpus`; an input that is a finding is printed with the
command that repeats it, and makes the exit status non-zero.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "venv-fuzz"
PYTHON = VENV / "bin" / "python"
WORK = ROOT / "build" / "fuzz"
REQUIREMENTS = ("atheris==3.0.0", "cramjam>=2.9")
REPLICA = "replica"
REPLICA_TURNS = 10
REPLICA_SEEDS = 40
REPLICA_SEED_BYTES = 3000
MAX_BYTES = {REPLICA: 6000, "snapshot": 3000, "log": 3000}
DEFAULT_MAX_BYTES = 1000
# An input that takes so many seconds is a finding too.
TIMEOUT_SECONDS = 20
_DONE = re.compile(r"Done (\d+) runs? in (\d+) second")
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")


class Outcome(NamedTuple):
    """What one run of a fuzzer came to."""

    target: str
    executions: int
    seconds: int
    coverage: int
    inputs: int
    findings: list[Path]
    last_words: str


def prepare() -> None:
    """Make the virtual environment of the fuzzers, once."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    wanted = [str(PYTHON), "-c", "import atheris, cramjam"]
    found = subprocess.run(wanted, capture_output=True, check=False)
    if found.returncode:
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)


def _command(target: str) -> list[str]:
    if target == REPLICA:
        return [str(PYTHON), "-m", "tests.fuzz.fuzz_replica"]
    return [str(PYTHON), "-m", "tests.fuzz.fuzz_decoders", target]


def _environment() -> dict[str, str]:
    source = os.environ.get("PYTHONPATH") or str(ROOT / "src")
    return {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"}


def _seed(target: str, corpus: Path) -> None:
    """Give the fuzzer something sound to start from."""
    if target == REPLICA:
        seeds = [Random(n).randbytes(REPLICA_SEED_BYTES) for n in range(REPLICA_SEEDS)]
    else:
        seeds = list(TARGETS[target].seeds())
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)


def fuzz(target: str, seconds: int) -> Outcome:
    """One run; findings are files in `build/fuzz/<target>`."""
    directory = WORK / target
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    _seed(target, corpus)
    before = set(directory.glob("*-*"))
    done = subprocess.run(
        [
            *_command(target), str(corpus), f"-max_total_time={seconds}",
            f"-max_len={MAX_BYTES.get(target, DEFAULT_MAX_BYTES)}", f"-timeout={TIMEOUT_SECONDS}",
            f"-artifact_prefix={directory}/", "-rss_limit_mb=4096", "-print_final_stats=1",
        ],
        cwd=ROOT, env=_environment(), capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    log = done.stdout + done.stderr
    (directory / "last.log").write_text(log)
    runs = _DONE.search(log)
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    covered = _COVERAGE.findall(log)
    findings = sorted(set(directory.glob("*-*")) - before)
    if done.returncode and not findings:
        findings = [directory / "last.log"]
    return Outcome(
        target,
        int(executed[1] if executed else runs[1] if runs else 0),
        int(runs[2]) if runs else 0,
        int(covered[-1][0]) if covered else 0,
        int(covered[-1][2]) if covered else 0,
        findings,
        _last_words(log),
    )


def _last_words(log: str) -> str:
    """The Python exception in a fuzzer's output, if there is one."""
    _, _, words = log.partition("=== Uncaught Python exception: ===\n")
    return words.partition("\n\n")[0] if words else log[-1500:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz kraal.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join([REPLICA, *TARGETS]))
    parser.add_argument("--seconds", type=int, default=10, help="for each target (10)")
    arguments = parser.parse_args()
    names = arguments.targets or [*TARGETS, REPLICA]
    for name in names:
        if name != REPLICA and name not in TARGETS:
            parser.error(f"there is no target {name}")
    prepare()
    failed = False
    for name in names:
        turns = REPLICA_TURNS if name == REPLICA else 1
        outcome = fuzz(name, arguments.seconds * turns)
        failed = failed or bool(outcome.findings)
        _report(outcome)
    return int(failed)


def _report(outcome: Outcome) -> None:
    print(
        f"{outcome.target:28} {outcome.executions:9} executions in {outcome.seconds:4} s,"
        f" coverage {outcome.coverage:5}, {outcome.inputs:4} inputs kept,"
        f" {len(outcome.findings)} findings",
        flush=True,
    )
    for finding in outcome.findings:
        command = " ".join(_command(outcome.target)[1:])
        print(f"\n{outcome.last_words}\nrepeat: build/venv-fuzz/bin/python {command} {finding}\n")


if __name__ == "__main__":
    sys.exit(main())
