"""Directories, ports and configurations of local ensembles."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kraal.local.layout import (
    HOST,
    Layout,
    LayoutError,
    Wanted,
    environment,
    prepare,
    taken_ports,
)
from kraal.model import properties
from kraal.model.ensemble import Role
from kraal.server.config.file import load


def prepared(
    root: Path,
    voters: int | None = None,
    observers: int | None = None,
    base_port: int | None = None,
    **settings: str,
) -> Layout:
    return prepare(root, Wanted(voters, observers, base_port, settings))


def configs(root: Path) -> dict[str, dict[str, str]]:
    return {
        path.parent.name: properties.parse(path.read_bytes())
        for path in sorted(root.glob("server-*/zoo.cfg"))
    }


def test_every_server_gets_a_configuration_that_kraal_serves(tmp_path: Path) -> None:
    layout = prepared(tmp_path, 3, 1, 3000)
    assert layout.connect_string == "127.0.0.1:3000,127.0.0.1:3001,127.0.0.1:3002,127.0.0.1:3003"
    for place in layout.places:
        config = load(place.zoo_cfg, defines={}, environment={}, overrides={}).config
        assert config.ensemble is not None
        assert config.server_id == place.id
        assert (config.client_host, config.client_port) == (HOST, 2999 + place.id)
        assert str(config.storage.data_dir) == str(place.data)
        assert "*" in config.four_letter_words
        members = config.ensemble.config.members
        assert members[place.id].role is (Role.OBSERVER if place.id == 4 else Role.PARTICIPANT)
        assert members[2].quorum[0] == (HOST, 3101)
        assert members[2].election[0] == (HOST, 3201)
        assert (config.admin.host, config.admin.port) == (HOST, 3299 + place.id)
        assert (config.admin.metrics_host, config.admin.metrics_port) == (HOST, 3399 + place.id)
    assert layout.warnings == ()


def test_without_arguments_there_are_three_and_later_what_there_was(tmp_path: Path) -> None:
    assert [place.client_port for place in prepared(tmp_path / "a").places] == [2181, 2182, 2183]
    prepared(tmp_path / "b", 5, 1, 4000, snapCount="77")
    before = configs(tmp_path / "b")
    layout = prepared(tmp_path / "b")
    assert [place.is_observer for place in layout.places] == [False] * 5 + [True]
    assert configs(tmp_path / "b") == before
    assert before["server-6"]["snapCount"] == "77"


def test_a_single_server_stands_alone(tmp_path: Path) -> None:
    for _ in range(2):
        (place,) = prepared(tmp_path, 1).places
        assert load(place.zoo_cfg, defines={}, environment={}, overrides={}).config.ensemble is None
    with pytest.raises(LayoutError, match="at least two voting"):
        prepared(tmp_path, observers=1)


def test_an_ensemble_without_admin_servers_stays_without_them(tmp_path: Path) -> None:
    prepare(tmp_path, Wanted(3, settings={"admin.enableServer": "false"}))
    assert {place.admin_port for place in prepared(tmp_path).places} == {None}
    with pytest.raises(LayoutError, match=r"admin\.serverPort is chosen for each server"):
        prepare(tmp_path, Wanted(3, settings={"admin.serverPort": "8080"}))


def test_the_number_of_voters_stays(tmp_path: Path) -> None:
    prepared(tmp_path, 3, 1)
    before = configs(tmp_path)
    for voters in (1, 2, 4, 5):
        with pytest.raises(LayoutError, match=r"holds an ensemble of 3 servers and 1 observer;"):
            prepared(tmp_path, voters)
    assert configs(tmp_path) == before


def test_observers_come_and_go(tmp_path: Path) -> None:
    prepared(tmp_path, 3, 2)
    kept = tmp_path / "server-5" / "data" / "kept"
    kept.touch()
    assert len(prepared(tmp_path, 3, 0).places) == 3
    assert len(prepared(tmp_path).places) == 3, "what was chosen last is what is there"
    assert "server.4" not in configs(tmp_path)["server-1"]
    assert len(prepared(tmp_path, observers=2).places) == 5
    assert configs(tmp_path)["server-1"]["server.5"] == "127.0.0.1:2285:2385:observer"
    assert kept.exists()


def test_ports_can_move_and_directories_too(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    prepared(old, 3, base_port=3000)
    old.rename(new)
    layout = prepared(new, base_port=4000)
    assert [place.client_port for place in layout.places] == [4000, 4001, 4002]
    config = configs(new)["server-2"]
    assert config["dataDir"] == str(new / "server-2" / "data")
    assert config["server.3"] == "127.0.0.1:4102:4202:participant"


def test_what_was_written_by_hand_stays(tmp_path: Path) -> None:
    (first, *_) = prepared(tmp_path, 3).places
    with first.zoo_cfg.open("a") as config:
        config.write("# ours\npreAllocSize=64")
    prepared(tmp_path, 3, base_port=5000, tickTime="500")
    text = first.zoo_cfg.read_text()
    assert "# ours\npreAllocSize=64\n" in text
    found = configs(tmp_path)["server-1"]
    assert (found["tickTime"], found["clientPort"]) == ("500", "5000")
    assert text.count("tickTime") == text.count("clientPort=") == 1


class TestReconfigured:
    """The members are in a dynamic file, as a reconfiguration leaves them."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for place in prepared(tmp_path, 3, base_port=6000, reconfigEnabled="true").places:
            entries = list(properties.entries(place.zoo_cfg.read_text()))
            version = 0x200000001 if place.id > 1 else 0x100000000
            dynamic = place.zoo_cfg.with_name(f"zoo.cfg.dynamic.{version:x}")
            members = (1, 2, 3) if place.id == 1 else (2, 3)
            dynamic.write_text(
                "".join(
                    f"server.{n}={HOST}:{7000 + n}:{8000 + n}:participant;{HOST}:{6100 + n}\n"
                    for n in members
                )
            )
            moved = ("server.", "clientPort")
            kept = [entry.lines for entry in entries if not (entry.key or "").startswith(moved)]
            place.zoo_cfg.write_text("".join(kept) + f"dynamicConfigFile={dynamic}\n")
        return tmp_path

    def test_the_newest_membership_is_started(self, root: Path) -> None:
        layout = prepared(root, 2, snapCount="99")
        assert layout.connect_string == "127.0.0.1:6102,127.0.0.1:6103"
        assert layout.places[0].quorum_ports == (7002,)
        assert configs(root)["server-2"]["snapCount"] == "99"
        assert not any(key.startswith("server.") for key in configs(root)["server-2"])

    def test_other_ports_and_observers_are_refused(self, root: Path) -> None:
        before = configs(root)
        with pytest.raises(LayoutError, match="by a reconfiguration"):
            prepared(root, observers=1)
        with pytest.raises(LayoutError, match="by a reconfiguration"):
            prepared(root, base_port=9000)
        assert configs(root) == before


@pytest.mark.parametrize("key", ["clientPort", "dataDir", "server.4", "peerType"])
def test_keys_of_single_servers_cannot_be_given(tmp_path: Path, key: str) -> None:
    with pytest.raises(LayoutError, match=f"^{key} is chosen for each server"):
        prepare(tmp_path, Wanted(settings={key: "1"}))
    assert [*tmp_path.iterdir()] == []


def test_a_wrong_setting_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r'zoo\.cfg: tickTime=abc: For input string: "abc"'):
        prepared(tmp_path, 3, tickTime="abc")
    prepared(tmp_path, 3, tickTime="500")
    with pytest.raises(LayoutError, match="tickTime=abc"):
        prepared(tmp_path, 3, tickTime="abc")
    assert {found["tickTime"] for found in configs(tmp_path).values()} == {"500"}


def test_unknown_settings_are_warned_about_once(tmp_path: Path) -> None:
    layout = prepared(tmp_path, 3, snapCuont="5")
    (warning,) = layout.warnings
    assert "did you mean snapCount?" in warning


def test_the_data_of_a_single_server_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "version-2").mkdir()
    with pytest.raises(LayoutError, match="data directory of a single server"):
        prepared(tmp_path, 3)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    places = prepared(tmp_path, 3).places
    places[1].zoo_cfg.unlink()
    with pytest.raises(LayoutError, match=r"server-2 is missing, or has no zoo\.cfg"):
        prepared(tmp_path, 3)


def test_there_is_room_for_a_hundred(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no more than 100 servers"):
        prepared(tmp_path, 99, 2)


def test_taken_ports_are_named_with_what_they_are_for(tmp_path: Path) -> None:
    with socket.socket() as client, socket.socket() as other:
        for held in (client, other):
            held.bind((HOST, 0))
            held.listen()
        base = client.getsockname()[1]
        places = prepared(tmp_path, 3, base_port=min(base, 65035)).places
        expected = f"{base} (client port of server 1)"
        assert expected in taken_ports(places)
    assert expected not in taken_ports(places)


def test_variables_that_set_ports_and_directories_do_not_reach_the_servers() -> None:
    given = {
        "PATH": "/bin", "KRAAL_LOG_LEVEL": "DEBUG", "KRAAL_SNAP_COUNT": "5",
        "KRAAL_CLIENT_PORT": "1", "KRAAL_DATA_DIR": "/d", "KRAAL_SERVER_1": "x",
    }  # fmt: skip
    assert environment(given).keys() == {"PATH", "KRAAL_LOG_LEVEL", "KRAAL_SNAP_COUNT"}
