"""What `mntr` says of quotas, beside Apache ZooKeeper."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import raw_client as raw
from tests.support.servers import Server, apache, four_letter_word, kraal, require_reference

pytestmark = [pytest.mark.apache, pytest.mark.timeout(120)]
QUOTAS = {
    "/app": b"count=5,bytes=-1=;byteHardLimit=30;countHardLimit=3",
    "/soft": b"count=7,bytes=9",
    "/none": b"count=-1,bytes=-1",
    "/free/below": b"count=4,bytes=-1",
}


def figures(server: Server) -> list[str]:
    """The lines about quotas, some of which are used up."""
    with server, raw.RawClient(server.port) as client:
        client.connect(raw.connect_request(timeout=10_000))

        def create(path: str, data: bytes = b"") -> int:
            return client.call("create", raw.create_body(path, data, raw.OPEN_ACL, 0)).err

        for path in ("/app", "/app/a", "/soft", "/none", "/free"):
            assert create(path, b"12345" if path == "/app/a" else b"") == 0
        for path, limits in QUOTAS.items():
            above = "/zookeeper/quota"
            for name in path.strip("/").split("/"):
                above = f"{above}/{name}"
                create(above)
            assert create(f"{above}/zookeeper_limits", limits) == 0
            assert create(f"{above}/zookeeper_stats", b"count=1,bytes=0") == 0
        assert [create(f"/app/{name}", b"x") for name in "bcd"] == [0, -125, -125]
        lines = four_letter_word(server.port, "mntr").splitlines()
    return sorted(line for line in lines if "quota" in line)


def test_limits_usage_and_refusals_are_the_same(tmp_path: Path) -> None:
    require_reference()
    settings = {"enforceQuota": "true"}
    theirs = figures(apache(tmp_path / "apache", settings=settings))
    assert len(theirs) == 17
    assert figures(kraal(tmp_path / "kraal", settings=settings)) == theirs
