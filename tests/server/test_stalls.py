"""A server that stood still blames nobody else for it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.server.conftest import connected, running
from tests.support import raw_client as raw


def test_sessions_that_were_heard_of_meanwhile_live_on(tmp_path: Path) -> None:
    """Their pings wait in the sockets; only one that says nothing is over."""
    with running(tmp_path, tickTime=200) as server:
        assert server.process is not None
        clients = [connected(server.port, timeout_ms=1000) for _ in range(20)]
        silent = connected(server.port, timeout_ms=1000)
        server.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            for client in clients:
                client.send("ping")
            time.sleep(0.2)
        server.process.send_signal(signal.SIGCONT)
        for client in clients:
            client.send("exists", raw.path_and_watch("/", False))
            answers = [client.receive() for _ in range(client.outstanding)]
            assert [answer.err for answer in answers if isinstance(answer, raw.Reply)] == [0] * len(
                answers
            )
            client.close()
        silent.receive_until_closed()
        log = server.log_path.read_text()
        assert "The server stood still for" in log
        assert log.count("Expiring session") == 1
