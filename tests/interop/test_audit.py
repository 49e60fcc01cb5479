"""The audit log beside Apache ZooKeeper: the same requests give the same lines."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.ensembles import KRAAL, Ensemble, Shape
from tests.support.servers import Server, apache, kraal, require_reference

pytestmark = [pytest.mark.apache, pytest.mark.timeout(120)]

CREATE, DELETE, SET_DATA, CHECK = 1, 2, 5, 13
AUDIT = {"audit.enable": "true"}
LAST = "operation=ephemeralZNodeDeletionOnSessionCloseOrExpire\tznode=/e\t"


def made(path: str, flags: int = 0) -> bytes:
    return raw.create_body(path, b"x", raw.OPEN_ACL, flags)


def use(port: int) -> None:
    """Every kind of write, done and refused, by a session with an ephemeral."""
    with raw.RawClient(port) as client:
        client.connect(raw.connect_request(timeout=10_000))
        for path, flags in (("/a", 0), ("/a", 0), ("/a/s-", 2), ("/a/e-", 3), ("/e", 1)):
            client.call("create", made(path, flags))
        client.call("auth", raw.auth_body(0, "digest", b"bob:pw"))
        client.call("create2", made("/b"))
        client.call("createContainer", made("/c", 4))
        client.call("createTTL", raw.create_ttl_body("/t", b"x", raw.OPEN_ACL, 5, 60_000))
        client.call("create", made("/no/such"))
        for path, version in (("/a", -1), ("/nosuch", -1), ("/a", 77)):
            client.call("setData", raw.set_data_body(path, b"y", version))
        acl = [(1, "world", "anyone"), (31, "ip", "127.0.0.1")]
        client.call("setACL", raw.set_acl_body("/b", acl, -1))
        for path in ("/b", "/nosuch"):
            client.call("delete", raw.path_and_int(path, -1))
        client.call("multi", raw.multi_body([
            (CREATE, made("/m")), (CREATE, made("/m/s-", 2)),
            (SET_DATA, raw.set_data_body("/m", b"z", -1)), (CHECK, raw.path_and_int("/m", -1)),
            (CREATE, made("/mm")), (DELETE, raw.path_and_int("/mm", -1)),
        ]))  # fmt: skip
        client.call("multi", raw.multi_body([
            (CREATE, made("/n")), (DELETE, raw.path_and_int("/nosuch", -1)),
        ]))  # fmt: skip
        client.call("getData", raw.path_and_watch("/a", False))
        client.call("closeSession")


def lines(log: str) -> list[str]:
    """Level and line, without time, session and the order of a user's names."""
    found = []
    for line in log.splitlines():
        if match := re.search(r" (INFO|ERROR) .*?((?:session|user)=.*)", line):
            text = re.sub(r"session=0x[0-9a-f]+", "session=ID", match[2])
            users = re.search(r"user=([^\t]*)", text)
            assert users is not None
            names = ",".join(sorted(users[1].split(",")))
            found.append(f"{match[1]} {text.replace(users[0], f'user={names}')}")
    return found


def audited(server: Server) -> list[str]:
    with server:
        use(server.port)
        while LAST not in server.log_path.read_text():
            time.sleep(0.02)
    return lines(server.log_path.read_text())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    require_reference()
    return audited(
        apache(
            tmp_path_factory.mktemp("audit"),
            settings=AUDIT,
            java_options=("-Dreference.level=INFO", "-Dzookeeper.audit.enable=true"),
        )
    )


def test_a_server_that_stands_alone(reference: list[str], tmp_path: Path) -> None:
    assert len(reference) > 20
    assert audited(kraal(tmp_path, settings=AUDIT)) == reference


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_members_audit_their_own_clients(reference: list[str], tmp_path: Path, role: str) -> None:
    with Ensemble(tmp_path, Shape(participants=(KRAAL,) * 3, settings=AUDIT)) as ensemble:
        ensemble.start()
        members = list(ensemble.members.values())
        member = next(m for m in members if m.mode() == role)
        use(member.client_port)
        ensemble.wait("their last lines", lambda: all(LAST in m.log_text() for m in members))
        for other in members:
            if other is member:
                continue
            assert [line for line in lines(other.log_text()) if "operation=create" in line] == []
        whole = lines(member.log_text())
    own = [line for line in whole if "server" not in line]
    assert own == [line for line in reference if "server" not in line]
