"""Start real servers on loopback for tests and benchmarks: Apache ZooKeeper and kraal.

The reference release comes from Maven once and is kept in ``build/reference-<version>``.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_VERSION = "3.9.5"
HOST = "127.0.0.1"
KRAAL_PATH = {"PYTHONPATH": str(ROOT / "src")}


class ReferenceMissingError(Exception):
    """Java or Maven is not there, so Apache ZooKeeper cannot be run."""


def reference_classpath(version: str = REFERENCE_VERSION) -> str:
    """Fetch Apache ZooKeeper with Maven (once) and return its class path.

    Raises ReferenceMissingError when `java` or `mvn` is missing or the fetch fails.
    """
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise ReferenceMissingError(f"{tool} is not installed")
    target = ROOT / "build" / f"reference-{version}"
    if not (target / f"zookeeper-{version}.jar").exists():
        pom = ROOT / "tests" / "support" / "reference-pom.xml"
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
             f"-DoutputDirectory={target}", f"-Dzookeeper.version={version}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise ReferenceMissingError(f"Maven failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return f"{target}/*:{Path(__file__).parent}"


def require_reference(version: str = REFERENCE_VERSION) -> str:
    """The class path, or skip the test with the reason; in CI a missing peer is a failure."""
    try:
        return reference_classpath(version)
    except ReferenceMissingError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the reference server is required in CI: {error}")
        pytest.skip(f"no reference server: {error}")


_given_ports: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on and that this process was not given before."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def four_letter_word(port: int, word: str, timeout: float = 5.0) -> str:
    """Ask one four-letter word and return the whole answer."""
    with socket.create_connection((HOST, port), timeout=timeout) as sock:
        sock.sendall(word.encode())
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
    return answer.decode()


@dataclass
class Server:
    """One server process on loopback; `stop` and `kill` end it by its own pid."""

    command: list[str]
    port: int
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / "server.log"

    def launch(self, log_path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the process and do not wait for anything."""
        with (log_path or self.log_path).open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        return self.process

    def start(self, timeout: float = 60.0) -> float:
        """Start and wait until it serves; returns the seconds to the first `srvr` answer."""
        began = time.monotonic()
        process = self.launch()
        while time.monotonic() - began < timeout:
            if process.poll() is not None:
                raise RuntimeError(f"server ended at start: {self.log_path.read_text()[-2000:]}")
            try:
                if "Mode:" in four_letter_word(self.port, "srvr", 1.0):
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError(f"server not ready in {timeout} s: {self.log_path.read_text()[-2000:]}")

    def stop(self, timeout: float = 20.0) -> int:
        """SIGTERM, wait, and return the exit code (SIGKILL when it does not end in time)."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()


def write_config(directory: Path, port: int, settings: Mapping[str, object]) -> Path:
    """Write a standalone zoo.cfg into `directory` and return its path."""
    values: dict[str, object] = {
        "tickTime": 2000,
        "dataDir": directory / "data",
        "clientPort": port,
        "clientPortAddress": HOST,
        "maxClientCnxns": 0,
        "4lw.commands.whitelist": "*",
        "admin.enableServer": "false",
        "extendedTypesEnabled": "true",
        **settings,
    }
    path = directory / "zoo.cfg"
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
    return path


def apache_command(
    config: Path, java_options: Sequence[str] = (), version: str = REFERENCE_VERSION
) -> list[str]:
    """How Apache ZooKeeper is started with a zoo.cfg, alone or as a member of an ensemble."""
    return [
        "java", "-cp", reference_classpath(version), "-Dfile.encoding=UTF-8", *java_options,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config),
    ]  # fmt: skip


def kraal_command(config: Path) -> list[str]:
    """How kraal is started with a zoo.cfg; needs `KRAAL_PATH` in its environment."""
    return [sys.executable, "-m", "kraal", "serve", str(config)]


def apache(
    directory: Path | None = None,
    *,
    port: int | None = None,
    settings: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    java_options: tuple[str, ...] = (),
    version: str = REFERENCE_VERSION,
) -> Server:
    """A standalone Apache ZooKeeper; `properties` become -D options (bare names)."""
    directory = directory or Path(tempfile.mkdtemp(prefix="apache-"))
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    config = write_config(directory, port, settings or {})
    defines = [f"-D{key}={value}" for key, value in (properties or {}).items()]
    command = apache_command(config, (*java_options, *defines), version)
    return Server(command, port, directory)


def digest_md5(directory: Path, users: Mapping[str, str]) -> dict[str, object]:
    """Properties of an Apache ZooKeeper with SASL by DIGEST-MD5 for these users and passwords."""
    entries = "".join(f'\n  "user_{name}"="{password}"' for name, password in users.items())
    jaas = directory / "jaas.conf"
    jaas.write_text(
        f"Server {{\n  org.apache.zookeeper.server.auth.DigestLoginModule required{entries};\n}};\n"
    )
    return {
        "java.security.auth.login.config": jaas,
        "zookeeper.authProvider.sasl": (
            "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
        ),
    }


def kraal(
    directory: Path | None = None,
    *,
    port: int | None = None,
    settings: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """A standalone kraal server process, run from this checkout."""
    directory = directory or Path(tempfile.mkdtemp(prefix="kraal-"))
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    config = write_config(directory, port, settings or {})
    return Server(kraal_command(config), port, directory, {**KRAAL_PATH, **(environment or {})})


def with_sasl(kind: str, directory: Path, users: Mapping[str, str], **properties: object) -> Server:
    """A standalone server of either kind with SASL by DIGEST-MD5, not started yet.

    `properties` are keys of zoo.cfg, or the JVM's own; None takes one away.
    """
    given = {
        key.removeprefix("zookeeper."): value for key, value in digest_md5(directory, users).items()
    }
    given = {key: value for key, value in {**given, **properties}.items() if value is not None}
    if kind == "kraal":
        return kraal(directory, settings=given)
    require_reference()
    defines = {
        key if key.startswith("java.") else f"zookeeper.{key}": value
        for key, value in given.items()
    }
    return apache(directory, properties=defines)
