"""A survivor becomes a new ensemble of one; what the others left gives way to it."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from click.testing import CliRunner, Result

from kraal.cli.main import main
from kraal.errors import StorageError
from kraal.model.config import StorageConfig
from kraal.model.path import CONFIG
from kraal.model.zxid import make
from kraal.server.config.file import load
from kraal.storage import epochs
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.inspection.force_new import begin_epoch
from kraal.storage.memory import MemoryFileSystem
from kraal.storage.recovery import recover
from tests.storage.inspection import support
from tests.storage.inspection.support import Disk, build
from tests.storage.support import SNAPSHOT_DIR, described

FS = OsFileSystem()
MEMBERS = "".join(f"server.{n}=127.0.0.1:{2880 + n}:{3880 + n}\n" for n in (1, 2, 3))


class Survivor:
    def __init__(self, directory: Path, extra: str = MEMBERS) -> None:
        self.data = directory / "data"
        self.config = StorageConfig(
            data_dir=PurePath(self.data), data_log_dir=PurePath(self.data), pre_alloc_bytes=0
        )
        self.tree, _ = build(FS, self.config)
        (self.data / "myid").write_text("2\n")
        self.zoo_cfg = directory / "zoo.cfg"
        self.zoo_cfg.write_text(
            f"# ours\ndataDir={self.data}\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n{extra}"
        )


def force_new(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["ensemble", "force-new", *map(str, arguments)])


def test_the_survivor_goes_on_alone_in_a_new_epoch(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path)
    before = described(survivor.tree)
    asked = force_new("--config", survivor.zoo_cfg)
    assert asked.exit_code == 2, "nobody could be asked"
    assert "LOST" in asked.stderr
    assert "TWO ensembles" in asked.stderr
    dry = force_new("--config", survivor.zoo_cfg, "--dry-run")
    assert (dry.exit_code, recover(FS, survivor.config, extended_types=True).tree.last_zxid) == (
        0, make(2, 30),
    )  # fmt: skip
    done = force_new("--config", survivor.zoo_cfg, "--yes")
    assert done.exit_code == 0, done.output
    tree = recover(FS, survivor.config, extended_types=True).tree
    assert tree.last_zxid == make(3, 0)
    assert epochs.load(FS, survivor.config, tree.last_zxid) == (3, 3)
    config = tree.nodes[CONFIG]
    assert config.data == b"server.2=127.0.0.1:2882:3882:participant\nversion=300000000"
    after = described(tree)
    for part in ("sessions", "ephemerals", "children", "containers", "ttls"):
        assert after[part] == before[part]
    text = survivor.zoo_cfg.read_text()
    assert "# ours" in text
    assert [line for line in text.splitlines() if line.startswith("server")] == [
        "server.2=127.0.0.1:2882:3882"
    ]
    kept = Path(f"{survivor.zoo_cfg}.before-force-new").read_text()
    assert kept.count("server.") == 3
    loaded = load(survivor.zoo_cfg, defines={}, environment={}, overrides={})
    assert loaded.config.ensemble is None, "one participant stands alone"


def test_a_dynamic_membership_gets_a_new_file(tmp_path: Path) -> None:
    dynamic = tmp_path / "zoo.cfg.dynamic.200000005"
    dynamic.write_text(MEMBERS)
    extra = f"reconfigEnabled=true\nstandaloneEnabled=false\ndynamicConfigFile={dynamic}\n"
    survivor = Survivor(tmp_path, extra)
    done = force_new("--config", survivor.zoo_cfg, "--yes")
    assert done.exit_code == 0, done.output
    loaded = load(survivor.zoo_cfg, defines={}, environment={}, overrides={}).config.ensemble
    assert loaded is not None
    assert loaded.config.voters == {2}
    assert loaded.config.version == make(3, 0)
    assert dynamic.read_text() == MEMBERS


def test_who_is_no_voter_cannot_be_the_survivor(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path)
    wrong = force_new("--config", survivor.zoo_cfg, "--server-id", 7, "--yes")
    assert wrong.exit_code == 2
    assert "myid says that this is 2" in wrong.stderr
    (survivor.data / "myid").unlink()
    wrong = force_new("--config", survivor.zoo_cfg, "--server-id", 7, "--yes")
    assert wrong.exit_code == 2
    assert "My id 7 not in the peer list" in wrong.stderr
    assert force_new("--yes").exit_code == 2
    assert force_new("--data-dir", survivor.data, "--yes").exit_code == 0
    assert recover(FS, survivor.config, extended_types=True).tree.last_zxid == make(3, 0)


@pytest.mark.parametrize("server_id", [0, 2])
def test_the_id_may_be_given_where_myid_is_missing(tmp_path: Path, server_id: int) -> None:
    survivor = Survivor(tmp_path, MEMBERS.replace("server.1", "server.0"))
    (survivor.data / "myid").unlink()
    unnamed = force_new("--config", survivor.zoo_cfg, "--yes")
    assert unnamed.exit_code == 2
    assert "myid" in unnamed.stderr
    done = force_new("--config", survivor.zoo_cfg, "--server-id", server_id, "--yes")
    assert done.exit_code == 0, done.output
    assert f"write {server_id} into it" in done.stdout
    lines = survivor.zoo_cfg.read_text().splitlines()
    assert [line[:8] for line in lines if line.startswith("server")] == [f"server.{server_id}"]


def test_the_id_that_is_given_counts_also_where_it_is_zero(tmp_path: Path) -> None:
    survivor = Survivor(tmp_path, MEMBERS.replace("server.1", "server.0"))
    (survivor.data / "myid").write_text("0\n")
    done = force_new("--config", survivor.zoo_cfg, "--server-id", 0, "--dry-run")
    assert "server.0=" in done.stdout


@pytest.mark.parametrize("step", range(0, 24, 2))
def test_a_power_failure_leaves_the_old_history_or_the_new_one(step: int) -> None:
    disk = Disk()
    fs: MemoryFileSystem = disk.fs
    crashed: list[MemoryFileSystem] = []
    count = 0

    def hook(_kind: str, _path: PurePath) -> None:
        nonlocal count
        if count == step:
            crashed.append(fs.crash())
        count += 1

    fs.hook = hook
    begin_epoch(fs, support.CONFIG, None, wall_ms=0)
    for after in crashed:
        tree = recover(after, support.CONFIG, extended_types=True).tree
        assert tree.last_zxid in (make(2, 30), make(3, 0))
        known = epochs.load(after, support.CONFIG, tree.last_zxid)
        assert known.accepted >= known.current >= tree.last_zxid >> 32
        assert described(tree)["nodes"] == disk.whole["nodes"]


def test_what_is_no_history_or_a_damaged_one_is_left_alone() -> None:
    disk = Disk()
    with pytest.raises(StorageError, match="holds no history"):
        begin_epoch(MemoryFileSystem(disk.fs.rng), support.CONFIG, None, wall_ms=0)
    disk.fs.corrupt(support.NEWEST_LOG, 45)
    with pytest.raises(StorageError, match="is damaged"):
        begin_epoch(disk.fs, support.CONFIG, None, wall_ms=0)
    assert disk.content(SNAPSHOT_DIR / "acceptedEpoch") == b"2"


def test_a_configuration_or_a_directory_and_not_both(tmp_path: Path) -> None:
    (tmp_path / "zoo.cfg").write_text(f"dataDir={tmp_path}\n")
    both = ["--config", str(tmp_path / "zoo.cfg"), "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(main, ["ensemble", "force-new", *both])
    assert result.exit_code == 2
    assert "not both" in result.stderr
