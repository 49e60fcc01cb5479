"""A member whose disk holds another tree than the leader's, as processes."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from kraal.model.config import StorageConfig
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.recovery import recover
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree import snapshot
from kraal.tree.znode import UNKNOWN_DIGEST
from tests.server.conftest import connected, create, data_of
from tests.support import raw_client as raw
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Shape

PATH, DATA = "/znode", b"as it is"


def _spoil(data_dir: Path) -> None:
    """A snapshot that is sound, and of another tree."""
    fs = OsFileSystem()
    config = StorageConfig(data_dir=PurePath(data_dir), data_log_dir=PurePath(data_dir))
    tree = recover(fs, config, extended_types=False).tree
    znode = tree.nodes[PATH.encode()]
    znode.data, znode.digest = b"other"[: len(DATA)].ljust(len(DATA)), UNKNOWN_DIGEST
    tree.digest = tree.compute_digest()
    writer = SnapshotStore(fs, config).create(tree.last_zxid)
    for piece in snapshot.encode(tree):
        writer.write(piece)
    writer.commit()


@pytest.mark.parametrize(
    "others", [KRAAL, pytest.param(APACHE, marks=pytest.mark.apache)], ids=["kraal", "apache"]
)
def test_a_member_takes_the_leader_s_tree_by_itself(tmp_path: Path, others: str) -> None:
    shape = Shape(participants=(KRAAL, others, others))
    with Ensemble(tmp_path, shape) as ensemble:
        ensemble.start()
        ensemble.wait_leader()
        member = ensemble.members[1]
        with connected(ensemble.members[2].client_port) as client:
            assert create(client, PATH, DATA) == 0
            ensemble.wait("the znode", lambda: member.zxid() == ensemble.members[2].zxid())
            member.stop()
            _spoil(member.directory / "data")
            member.launch()
            ensemble.wait("the member", lambda: member.mode() == "follower")
            with connected(member.client_port) as other:
                assert data_of(other, PATH) != DATA
            assert create(client, "/seen") == 0
            ensemble.wait(
                "its new tree", lambda: member.figures().get("zk_kraal_tree_resyncs") == "1"
            )
            ensemble.wait("the member", lambda: member.mode() == "follower")
        with connected(member.client_port) as other:
            assert data_of(other, PATH) == DATA
            assert other.call("exists", raw.path_and_watch("/seen", False)).err == 0
        assert "its tree differs, and the leader's is to take its place" in member.log_text()
        kept = sorted(path.name for path in member.data.glob("replaced-*"))
        assert any(name.startswith("replaced-log.") for name in kept), kept
