"""What tests against a real kraal process share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support import servers
from tests.support.servers import Server


@contextmanager
def running(directory: Path, **settings: object) -> Iterator[Server]:
    """A kraal process with these settings of zoo.cfg; dots are written as two underscores."""
    given = {key.replace("__", "."): value for key, value in settings.items()}
    with servers.kraal(directory, settings=given) as server:
        yield server
        assert_alive(server)


def assert_alive(server: Server) -> None:
    """The process runs, serves a new client, and never met an impossible state."""
    assert server.process is not None
    assert server.process.poll() is None, server.log_path.read_text()[-3000:]
    with connected(server.port) as client:
        assert client.call("sync", raw.ustring("/")).err == 0
        assert client.call("closeSession").err == 0
    log = server.log_path.read_text(errors="replace")
    assert "Traceback" not in log, log[-3000:]


def connected(port: int, *, timeout_ms: int = 40_000, timeout: float = 30.0) -> raw.RawClient:
    """A client with a new session."""
    client = raw.RawClient(port, timeout=timeout)
    client.connect(raw.connect_request(timeout=timeout_ms))
    return client


def create(client: raw.RawClient, path: raw.Text, data: bytes | None = b"", flags: int = 0) -> int:
    """Create a znode that is open to all; returns the error code."""
    return client.call("create", raw.create_body(path, data, raw.OPEN_ACL, flags)).err


def data_of(client: raw.RawClient, path: raw.Text) -> bytes | None:
    """The data of a znode that exists."""
    reply = client.call("getData", raw.path_and_watch(path, False))
    assert reply.err == 0, reply
    assert isinstance(reply.value, tuple)
    data: bytes | None = reply.value[0]
    return data


class Memory:
    """Resident memory of a server process from now on."""

    def __init__(self, server: Server) -> None:
        self._directory = Path(f"/proc/{server.pid}")
        if not self._directory.exists():
            pytest.skip("the memory of a process is read from /proc")
        (self._directory / "clear_refs").write_text("5")  # the peak begins anew
        self._before = self._bytes("VmRSS")

    def peak_growth(self) -> int:
        """By how many bytes it grew at most."""
        return self._bytes("VmHWM") - self._before

    def growth(self) -> int:
        """By how many bytes it is larger now."""
        return self._bytes("VmRSS") - self._before

    def _bytes(self, field: str) -> int:
        for line in (self._directory / "status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
        raise AssertionError(f"no {field}")


def figure(server: Server, name: str) -> int:
    """A number of `mntr`."""
    for line in servers.four_letter_word(server.port, "mntr", 30.0).splitlines():
        key, _, value = line.partition("\t")
        if key == f"zk_{name}":
            return int(float(value))
    raise AssertionError(f"mntr has no {name}")
