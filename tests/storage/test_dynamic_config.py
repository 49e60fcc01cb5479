"""The files of a reconfigured membership, and a power failure at every step of writing them."""

from __future__ import annotations

from pathlib import Path, PurePath
from random import Random

import pytest

from kraal.errors import ConfigError, StorageError
from kraal.model import properties
from kraal.model.ensemble import EnsembleConfig
from kraal.storage import dynamic_config
from kraal.storage.filesystem import OsFileSystem
from kraal.storage.memory import MemoryFileSystem
from tests.support.servers import apache, four_letter_word, free_port, require_reference

HOME = PurePath("/etc/zookeeper")
STATIC = HOME / "zoo.cfg"
WRITTEN = """\
# our ensemble
dataDir=/data
clientPort=2181
clientPortAddress=0.0.0.0
clientPortListenBacklog=77
server.1=a:1:2
server.2=b:1:\\
    2
peerType=participant

group.1=1:2
weight.1=1
path=C:\\\\keys"""


def config(version: int, *hosts: str) -> EnsembleConfig:
    lines = [f"server.{at}={host}:1:2;2181" for at, host in enumerate(hosts, 1)]
    return EnsembleConfig.parse("\n".join([*lines, f"version={version:x}"]))


def disk(static: str = WRITTEN) -> MemoryFileSystem:
    fs = MemoryFileSystem(Random(1))
    fs.mkdir(HOME)
    file = fs.create(STATIC)
    file.write(static.encode("latin-1"), 0)
    file.sync_data()
    fs.sync_directory(HOME)
    return fs


def texts(fs: MemoryFileSystem) -> dict[str, str]:
    return {name: fs.read(HOME / name).decode("latin-1") for name in fs.listdir(HOME)}


def committed(fs: MemoryFileSystem) -> EnsembleConfig:
    """The membership that a start finds."""
    static = properties.parse(fs.read(STATIC))
    path = PurePath(static["dynamicConfigFile"])
    return EnsembleConfig.from_settings(dynamic_config.settings(path.name, fs.read(path)))


class TestCommitted:
    def test_gets_its_own_file_to_which_the_static_one_points(self) -> None:
        fs = disk()
        dynamic_config.save_committed(fs, STATIC, config(0x1F, "a", "c"), client_port_moved=False)
        assert texts(fs.crash(Random(1))) == {
            "zoo.cfg": "# our ensemble\n"
            "dataDir=/data\n"
            "clientPort=2181\n"
            "clientPortAddress=0.0.0.0\n"
            "clientPortListenBacklog=77\n"
            "\n"
            "path=C:\\\\keys\n"
            "dynamicConfigFile=/etc/zookeeper/zoo.cfg.dynamic.1f\n",
            "zoo.cfg.bak": WRITTEN,
            "zoo.cfg.dynamic.1f": "server.1=a:1:2:participant;0.0.0.0:2181\n"
            "server.2=c:1:2:participant;0.0.0.0:2181",
        }
        assert committed(fs) == config(0x1F, "a", "c")

    def test_takes_the_client_port_along(self) -> None:
        fs = disk()
        dynamic_config.save_committed(fs, STATIC, config(1, "a"), client_port_moved=True)
        static = properties.parse(fs.read(STATIC))
        assert {key for key in static if key.startswith("clientPort")} == {
            "clientPortListenBacklog"
        }

    def test_later_ones_leave_the_first_backup_and_older_files(self) -> None:
        fs = disk()
        for version in (1, 2, 0x10):
            dynamic_config.save_committed(
                fs, STATIC, config(version, "a", "b"), client_port_moved=True
            )
        files = texts(fs)
        assert sorted(files) == [
            "zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.1", "zoo.cfg.dynamic.10",
            "zoo.cfg.dynamic.2",
        ]  # fmt: skip
        assert files["zoo.cfg.bak"] == WRITTEN
        assert files["zoo.cfg"].count("dynamicConfigFile") == 1
        assert committed(fs).version == 0x10

    @pytest.mark.parametrize("end", ["a=1", "a=1\n", "a=1\\", "a=1\\\n", "a=\\\\", "# c", "a=1\r"])
    def test_the_pointer_stands_alone_whatever_the_file_ends_in(self, end: str) -> None:
        fs = disk(f"x=y\n{end}")
        before = properties.parse(fs.read(STATIC))
        dynamic_config.save_committed(fs, STATIC, config(1, "a"), client_port_moved=False)
        assert properties.parse(fs.read(STATIC)) == {
            **before, "dynamicConfigFile": "/etc/zookeeper/zoo.cfg.dynamic.1",
        }  # fmt: skip

    def test_paths_of_any_characters_read_back(self) -> None:
        fs = MemoryFileSystem(Random(1))
        static = PurePath("/etc/z\u00e9 \U0001f40e\\x=1/zoo.cfg")
        fs.mkdir(static.parent)
        fs.create(static)
        dynamic_config.save_committed(fs, static, config(1, "a"), client_port_moved=False)
        assert properties.parse(fs.read(static))["dynamicConfigFile"] == f"{static}.dynamic.1"

    def test_permissions_of_the_static_file_are_kept(self, tmp_path: Path) -> None:
        static = tmp_path / "zoo.cfg"
        static.write_text(WRITTEN)
        static.chmod(0o600)
        dynamic_config.save_committed(
            OsFileSystem(), static, config(1, "a"), client_port_moved=False
        )
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
            "zoo.cfg": 0o600, "zoo.cfg.bak": 0o600, "zoo.cfg.dynamic.1": 0o644,
        }  # fmt: skip


class TestProposed:
    def test_is_kept_with_its_version(self) -> None:
        fs = disk()
        assert dynamic_config.load_next(fs, STATIC) is None
        dynamic_config.save_next(fs, STATIC, config(0x2A, "b", "a"))
        assert texts(fs.crash(Random(1)))["zoo.cfg.dynamic.next"] == (
            "server.1=b:1:2:participant;0.0.0.0:2181\n"
            "server.2=a:1:2:participant;0.0.0.0:2181\n"
            "version=2a"
        )
        assert dynamic_config.load_next(fs, STATIC) == config(0x2A, "b", "a")

    @pytest.mark.parametrize(("version", "kept"), [(4, True), (5, False), (6, False)])
    def test_is_forgotten_once_it_is_committed(self, version: int, kept: bool) -> None:
        fs = disk()
        dynamic_config.save_next(fs, STATIC, config(5, "a"))
        dynamic_config.save_committed(fs, STATIC, config(version, "a"), client_port_moved=False)
        assert (dynamic_config.load_next(fs, STATIC) is not None) == kept

    def test_a_damaged_one_is_named(self) -> None:
        fs = disk()
        fs.create(dynamic_config.next_path(STATIC)).write(b"server.1=?", 0)
        with pytest.raises(ConfigError, match=r"zoo\.cfg\.dynamic\.next: server\.1=\?"):
            dynamic_config.load_next(fs, STATIC)


class TestDynamicFile:
    @pytest.mark.parametrize(
        ("name", "version"),
        [
            ("zoo.cfg.dynamic.100000006", 0x1_0000_0006),
            ("zoo.cfg.dynamic.FF", 0xFF),
            ("zoo.cfg.dynamic", 0),
            ("zoo.cfg.dynamic.", 0),
            ("zoo.cfg.dynamic.-1", 0),
            ("zoo.cfg.dynamic.8000000000000000", 0),
            ("100", 0),
        ],
    )
    def test_its_name_ends_in_the_version(self, name: str, version: int) -> None:
        assert dynamic_config.version_in_name(name) == version

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"server.1=a:1:2\nversion=5", "dynamic file shouldn't have version inside"),
            (b"server.1=a:1:2\nclientPort=5", "Unrecognised parameter: clientPort"),
        ],
    )
    def test_holds_only_the_membership(self, content: bytes, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            dynamic_config.settings("zoo.cfg.dynamic", content)


class TestPowerFailure:
    @pytest.mark.parametrize("seed", range(20))
    def test_at_every_step_one_membership_is_committed(self, seed: int) -> None:
        rng = Random(seed)
        fs = disk()
        dynamic_config.save_committed(fs, STATIC, config(1, "a"), client_port_moved=False)
        allowed = [config(1, "a")]
        seen: set[tuple[int, int | None]] = set()

        def look(_kind: str, _path: PurePath) -> None:
            for left in (fs.crash(rng), fs.killed()):
                found = committed(left)
                assert found in allowed
                proposed = dynamic_config.load_next(left, STATIC)
                assert proposed is None or proposed in (allowed[-1], following)
                seen.add((found.version, None if proposed is None else proposed.version))

        fs.hook = look
        for version in (2, 3):
            following = config(version, "a", "b", f"c{version}")
            dynamic_config.save_next(fs, STATIC, following)
            allowed = [allowed[-1], following]
            dynamic_config.save_committed(fs, STATIC, following, client_port_moved=True)
        assert {(1, 2), (2, 2), (2, 3)} <= seen

    @pytest.mark.parametrize(
        "kind", ["create", "write", "sync", "rename", "sync_directory", "read"]
    )
    def test_a_failing_disk_is_said(self, kind: str) -> None:
        fs = disk()
        fs.fail(kind)
        with pytest.raises(StorageError, match=r"ing /etc/zookeeper/zoo\.cfg.* failed"):
            dynamic_config.save_committed(fs, STATIC, config(1, "a"), client_port_moved=False)


@pytest.mark.apache
def test_apache_starts_from_what_was_written(tmp_path: Path) -> None:
    require_reference()
    port, quorum, election = free_port(), free_port(), free_port()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "myid").write_text("1")
    settings = {
        "initLimit": 10, "syncLimit": 5, "standaloneEnabled": "false", "reconfigEnabled": "true",
        "server.1": "127.0.0.1:1:2",
    }  # fmt: skip
    server = apache(tmp_path, port=port, settings=settings)
    members = EnsembleConfig.parse(
        f"server.1=127.0.0.1:{quorum}:{election};127.0.0.1:{port}\nversion=100000005"
    )
    static = tmp_path / "zoo.cfg"
    dynamic_config.save_committed(OsFileSystem(), static, members, client_port_moved=True)
    with server:
        assert "Mode: leader" in four_letter_word(port, "srvr")
        assert f"quorumPort={quorum}" in four_letter_word(port, "conf")
    # It had nothing to write: to it, this is a configuration that it made itself.
    assert committed_on_disk(static) == members


def committed_on_disk(static: Path) -> EnsembleConfig:
    path = Path(properties.parse(static.read_bytes())["dynamicConfigFile"])
    return EnsembleConfig.from_settings(dynamic_config.settings(path.name, path.read_bytes()))
