"""A data directory goes from Apache ZooKeeper to kraal and back: nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import data_directory_dump as state
from tests.interop.data_directory_files import digest_term, signed, ttl_owner
from tests.interop.data_directory_relay import Leg, Relay
from tests.support import raw_client as raw
from tests.support import servers
from tests.support.servers import require_reference

_HOUR_MS = 3_600_000
_ROLLS: dict[str, object] = {"txnLogSizeLimitInKb": 40, "preAllocSize": 10, "snapCount": 1000}


def _there_and_back(settings: dict[str, object]) -> list[Leg]:
    return [Leg(kind, settings, churn=500) for kind in ("apache", "kraal") * 2 + ("apache",)]


@pytest.mark.apache
def test_a_directory_goes_to_kraal_and_back(tmp_path: Path) -> None:
    require_reference()
    settings: dict[str, object] = {"snapCount": 150}
    relay = Relay(tmp_path, seed=1)
    print(
        relay.run(Leg("apache", settings, 200), Leg("kraal", settings, 100), Leg("apache", {}, 0))
    )
    assert relay.counted["logs printed"] > 1
    assert relay.counted["snapshots printed"] > 0


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"snapCount": 200}, id="plain"),
        pytest.param({"snapCount": 200, "snapshot.compression.method": "gz"}, id="gz"),
        pytest.param({"snapCount": 200, "snapshot.compression.method": "snappy"}, id="snappy"),
        pytest.param(_ROLLS, id="rolls"),
        pytest.param({"snapCount": 300, "preAllocSize": 0}, id="no padding"),
        pytest.param({"snapCount": 200, "dataLogDir": "logs"}, id="two directories"),
        pytest.param({"serializeLastProcessedZxid.enabled": "false", "snapCount": 200}, id="older"),
    ],
)
def test_a_directory_goes_there_and_back_again(settings: dict[str, object], tmp_path: Path) -> None:
    require_reference()
    relay = Relay(tmp_path, seed=2)
    print(relay.run(*_there_and_back(settings)))
    assert relay.counted["logs printed"] > 4
    if settings is _ROLLS:
        assert relay.counted["logs printed"] > 10


@pytest.mark.apache
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_directory_of_kraal_goes_to_apache(tmp_path: Path) -> None:
    """Each leg with another codec."""
    require_reference()
    codecs = ("", "gz", "snappy", "snappy", "gz", "")
    legs = [
        Leg(kind, {"snapCount": 200, "snapshot.compression.method": codec}, churn=400)
        for kind, codec in zip(("kraal", "apache") * 3, codecs, strict=True)
    ]
    print(Relay(tmp_path, seed=3).run(*legs))


def test_znodes_dropped_at_a_start_stay_dropped(tmp_path: Path) -> None:
    """A TTL znode is nobody's ephemeral to a server that does not know its kind.

    It is deleted without a transaction, so replaying the log must not bring it back in the
    place of what was created since.
    """

    def live(extended_types: str, op: str, *arguments: object) -> raw.Reply:
        settings = {"extendedTypesEnabled": extended_types}
        with servers.kraal(tmp_path, settings=settings) as server:
            with raw.RawClient(server.port) as client:
                client.connect()
                reply = client.call(op, raw.BODIES[op](*arguments))
            assert state.figures(server.port)["zk_digest_mismatches_count"] == "0"
            server.kill()
        return reply

    assert live("true", "createTTL", "/a", b"ttl", raw.OPEN_ACL, 5, _HOUR_MS).err == 0
    assert live("false", "create", "/a", b"new", raw.OPEN_ACL, 0).err == 0
    found = live("false", "getData", "/a", False).value
    assert isinstance(found, tuple)
    assert found[0] == b"new"


def test_the_digest_is_the_one_of_the_format() -> None:
    """The worked example of reference/storage-formats.md section 6."""
    none = (0, 0, 0)
    system = digest_term("/zookeeper", b"", zxids=none, times=(0, 0), versions=none, owner=0)
    root = digest_term("/", b"", zxids=none, times=(0, 0), versions=none, owner=0)
    assert root + system == 1_371_985_504
    root = digest_term("/", b"", zxids=(0, 0, 2), times=(0, 0), versions=(0, 1, 0), owner=0)
    assert root == 51_738_866
    assert digest_term("/zookeeper/a", b"x", zxids=none, times=(0, 0), versions=none, owner=0) == 0
    assert signed(2**64 - 1) == -1
    assert ttl_owner(_HOUR_MS) & (2**64 - 1) == 0xFF000000_0036EE80
