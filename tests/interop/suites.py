"""Run the test suites of ZooKeeper clients, unmodified, against kraal or Apache ZooKeeper.

    python -m tests.interop.suites kazoo|aiozk [--server kraal|apache] [--cluster-size 1|3]
        [--observers N] [ARGS]

ARGS go to pytest; one that begins with the suite's package (``kazoo.tests.test_client``,
``kazoo.tests.test_client::TestClient``) replaces the whole suite. Each suite has a virtual
environment of its own, ``build/venv-<suite>``, with the versions pinned in
``suites/<suite>-constraints.txt``. The outcome is compared with ``suites/<suite>.toml``, the tests
expected not to pass; any other test that does not pass makes the exit status non-zero.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from tests.support import servers

HERE = Path(__file__).resolve().parent
LISTS = HERE / "suites"
BUILD = servers.ROOT / "build"
PORT_BLOCKS = range(20000, 32000, 100)  # below the ports the kernel hands out by itself
PORTS_PER_SERVER = 10
TEST_TIMEOUT_S = 120
SUITE_TIMEOUT_S = 3600.0
INSTALL_TIMEOUT_S = 900.0

ServerName = Literal["kraal", "apache"]
Outcome = Literal["passed", "failed", "skipped"]


class VenvError(Exception):
    """The virtual environment of a suite cannot be built."""


class SuiteError(Exception):
    """The suite did not run to its end, so there is nothing to compare."""


@dataclass(frozen=True)
class Suite:
    """A client's own tests, as its package on PyPI ships them."""

    name: str
    package: str
    requirements: tuple[str, ...]
    options: tuple[str, ...] = ()
    starts_servers: bool = False

    @property
    def venv(self) -> Path:
        return BUILD / f"venv-{self.name}"

    @property
    def constraints(self) -> Path:
        return LISTS / f"{self.name}-constraints.txt"


SUITES = {
    "kazoo": Suite(
        "kazoo",
        "kazoo.tests",
        (
            "kazoo", "pyOpenSSL", "pyjks", "objgraph", "gevent", "eventlet", "pure-sasl",
            "pytest", "pytest-timeout",
        ),
        starts_servers=True,
    ),
    "aiozk": Suite(
        "aiozk",
        "aiozk.test",
        ("aiozk", "pytest", "pytest-asyncio", "pytest-timeout"),
        options=(
            "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """What a suite is run against."""

    server: ServerName = "kraal"
    size: int = 1
    observers: int = 0
    """Servers beyond `size` that do not vote; what is expected to pass does not change."""

    def __str__(self) -> str:
        return f"{self.server}-{self.size}"


@dataclass(frozen=True)
class Expectation:
    """What a test that need not pass does instead, and why.

    `any` is for an unsteady test; `left out` for one that would never end, it is not run.
    """

    outcome: Literal["failed", "skipped", "any", "left out"]
    reason: str


@dataclass(frozen=True)
class Report:
    """The outcome of every test beside what is expected of it."""

    outcomes: Mapping[str, Outcome]
    expected: Mapping[str, Expectation]
    problems: Sequence[str] = ()

    def names(self, outcome: Outcome) -> list[str]:
        return [name for name, found in self.outcomes.items() if found == outcome]

    def unexpected(self) -> list[str]:
        """Tests that failed or were skipped, and the list does not say so."""
        return [
            name
            for name, outcome in self.outcomes.items()
            if outcome != "passed"
            and (name not in self.expected or self.expected[name].outcome not in (outcome, "any"))
        ]

    def outgrown(self) -> list[str]:
        """Tests that passed although the list expects them not to."""
        return [
            name
            for name in self.names("passed")
            if name in self.expected and self.expected[name].outcome != "any"
        ]

    @property
    def good(self) -> bool:
        return not self.unexpected() and not self.problems

    def __str__(self) -> str:
        lines = [
            ", ".join(f"{len(self.names(each))} {each}" for each in ("passed", "failed", "skipped"))
        ]
        bad = self.unexpected()
        for name, outcome in self.outcomes.items():
            if outcome != "passed" and name not in bad:
                lines.append(f"  {outcome} as expected: {name} ({self.expected[name].reason})")
        for name in left_out(self.expected):
            lines.append(f"  left out: {name} ({self.expected[name].reason})")
        lines += [f"  passed although listed: {name}" for name in self.outgrown()]
        lines += [f"  UNEXPECTEDLY {self.outcomes[name]}: {name}" for name in bad]
        lines += [f"  PROBLEM: {problem}" for problem in self.problems]
        return "\n".join(lines)


def read_expected(path: Path, target: Target) -> tuple[int, dict[str, Expectation]]:
    """The number of tests in the suite, and those that need not pass against `target`."""
    listed = tomllib.loads(path.read_text())
    expected: dict[str, Expectation] = {}
    for group in listed["expected"]:
        if str(target) in group["where"]:
            expectation = Expectation(group["outcome"], group["reason"])
            expected |= dict.fromkeys(group["tests"], expectation)
    return listed["collected"], expected


def read_outcomes(junit: Path) -> dict[str, Outcome]:
    """Outcome by test from pytest's JUnit file; an error in set-up or tear-down is a failure."""
    outcomes: dict[str, Outcome] = {}
    for case in ET.parse(junit).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or outcomes.get(name) == "failed":
            outcomes[name] = "failed"
        else:
            outcomes[name] = "skipped" if "skipped" in kinds else "passed"
    return outcomes


def left_out(expected: Mapping[str, Expectation]) -> list[str]:
    return [name for name, each in expected.items() if each.outcome == "left out"]


def node_id(name: str) -> str:
    """pytest's way to write `package.test_module.Class::test`: package/test_module.py::..."""
    prefix, _, test = name.rpartition("::")
    parts = prefix.split(".")
    module = next(number for number, part in enumerate(parts) if part.startswith("test_"))
    return "::".join(["/".join(parts[: module + 1]) + ".py", *parts[module + 1 :], test])


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes for the time of the block."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_venv(suite: Suite) -> Path:
    """The suite's interpreter; builds its environment when there is none or its pins changed.

    Raises VenvError with the end of the installer's output.
    """
    BUILD.mkdir(exist_ok=True)
    python = suite.venv / "bin" / "python"
    stamp = suite.venv / "complete"
    wanted = f"{sys.version}\n{suite.requirements}\n{suite.constraints.read_text()}"
    with locked(BUILD / f"venv-{suite.name}.lock"):
        if stamp.exists() and stamp.read_text() == wanted:
            return python
        shutil.rmtree(suite.venv, ignore_errors=True)
        install = [
            str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--constraint", str(suite.constraints), *suite.requirements,
        ]  # fmt: skip
        for command in ([sys.executable, "-m", "venv", str(suite.venv)], install):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise VenvError(str(error)) from error
            if done.returncode:
                raise VenvError(f"{command[1:4]}: {done.stdout[-400:]}{done.stderr[-800:]}")
        stamp.write_text(wanted)
    return python


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((servers.HOST, port))
        except OSError:
            return False
    return True


def free_port_block(size: int) -> int:
    """The first of `size` consecutive ports that are all free now.

    Servers come and go during a run, so a block that looks free may belong to another run; where
    the search begins depends on the process to keep two runs apart.
    """
    for number in range(len(PORT_BLOCKS)):
        start = PORT_BLOCKS[(os.getpid() + number) % len(PORT_BLOCKS)]
        if all(is_free(port) for port in range(start, start + size)):
            return start
    raise SuiteError("no block of free ports")


def clean_environment() -> dict[str, str]:
    """The environment without what would steer a test run or a client's test harness."""
    steering = ("CI", "PYTHONPATH", "PYTHONWARNINGS", "VIRTUAL_ENV")
    prefixes = ("PYTEST_", "ZOOKEEPER_", "ZK_", "KRAAL_")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in steering and not name.startswith(prefixes)
    }


def harness_environment(target: Target, directory: Path) -> dict[str, str]:
    """Settings for a suite that starts `java` by itself."""
    servers_count = target.size + target.observers
    settings = {
        "ZOOKEEPER_CLUSTER_SIZE": str(servers_count),
        "ZOOKEEPER_OBSERVER_START_ID": str(target.size + 1 if target.observers else -1),
        "ZOOKEEPER_VERSION": servers.REFERENCE_VERSION,
        "ZOOKEEPER_PORT_OFFSET": str(free_port_block(servers_count * PORTS_PER_SERVER)),
    }
    if target.server == "apache":
        return {**settings, "ZOOKEEPER_CLASSPATH": servers.reference_classpath()}
    return {
        **settings,
        "ZOOKEEPER_CLASSPATH": "unused",
        "PATH": f"{HERE}{os.pathsep}{os.environ['PATH']}",
        "KRAAL_PYTHON": sys.executable,
        "KRAAL_SRC": str(servers.ROOT / "src"),
        "KRAAL_LOG": str(directory / "server.log"),
    }


@contextmanager
def serving(suite: Suite, target: Target, directory: Path) -> Iterator[dict[str, str]]:
    """The environment a suite needs to find its servers, which run for the time of the block."""
    if suite.starts_servers:
        yield harness_environment(target, directory)
        return
    if target.size != 1:
        raise SuiteError(f"{suite.name} is run against one server only")
    start = servers.apache if target.server == "apache" else servers.kraal
    with start(directory / "server") as server:
        yield {"ZK_HOST": servers.HOST, "ZK_PORT": str(server.port)}


def run_pytest(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> int:
    """Run to the end; what is left when it has to be broken off goes with its process group."""
    process = subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(SUITE_TIMEOUT_S)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SuiteError(f"not finished after {SUITE_TIMEOUT_S:.0f} s") from error
        raise


def run_suite(
    suite: Suite, target: Target, directory: Path, arguments: Sequence[str] = ()
) -> Report:
    """Run the suite, or what `arguments` select of it, with its files in `directory`."""
    python = ensure_venv(suite)
    packages = next((suite.venv / "lib").glob("python3*/site-packages"))
    count, expected = read_expected(LISTS / f"{suite.name}.toml", target)
    junit = directory / "junit.xml"
    scratch = directory / "tmp"
    scratch.mkdir(parents=True)
    selected = [each for each in arguments if each.startswith(suite.package)]
    others = [each for each in arguments if each not in selected]
    command = [
        str(python), "-m", "pytest", "-c", str(LISTS / "pytest.ini"), "--rootdir", str(packages),
        "--timeout", str(TEST_TIMEOUT_S), "--junitxml", str(junit), *suite.options, *others,
        *(f"--deselect={node_id(name)}" for name in left_out(expected)),
        "--pyargs", *(selected or [suite.package]),
    ]  # fmt: skip
    with serving(suite, target, directory) as where:
        status = run_pytest(
            command, directory, {**clean_environment(), "TMPDIR": str(scratch), **where}
        )
    if status not in (0, 1) or not junit.exists():
        raise SuiteError(f"pytest ended with status {status}")
    outcomes = read_outcomes(junit)
    problems = [] if arguments else list(mismatches(outcomes, count, expected))
    return Report(outcomes, expected, problems)


def mismatches(
    outcomes: Mapping[str, Outcome], count: int, expected: Mapping[str, Expectation]
) -> Iterator[str]:
    """Where a list does not fit the suite that was run as a whole."""
    ignored = left_out(expected)
    if len(outcomes) + len(ignored) != count:
        yield f"{len(outcomes)} tests ran, the list was made for {count - len(ignored)}"
    for name in expected:
        if (name in outcomes) == (name in ignored):
            yield f"the suite has no such test: {name}"


def parse(arguments: Sequence[str]) -> tuple[Suite, Target, list[str]]:
    parser = argparse.ArgumentParser(prog="tests.interop.suites", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("suite", choices=sorted(SUITES))
    parser.add_argument("--server", choices=["kraal", "apache"], default="kraal")
    parser.add_argument("--cluster-size", type=int, choices=[1, 3], default=1)
    parser.add_argument("--observers", type=int, default=0, help="how many more that do not vote")
    known, rest = parser.parse_known_args(arguments)
    return SUITES[known.suite], Target(known.server, known.cluster_size, known.observers), rest


def end(signum: int, frame: object) -> NoReturn:
    """A SIGTERM unwinds the stack, so that the suite and its servers are ended too."""
    sys.exit(128 + signum)


def main(arguments: Sequence[str]) -> int:
    suite, target, rest = parse(arguments)
    signal.signal(signal.SIGTERM, end)
    directory = BUILD / "suites" / f"{suite.name}-{target}"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        report = run_suite(suite, target, directory, rest)
    except (VenvError, SuiteError, servers.ReferenceMissingError) as error:
        print(f"{suite.name} against {target}: {error}", file=sys.stderr)
        return 2
    print(f"\n{suite.name} against {target}: {report}")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
