"""From zoo.cfg to the settings of a member of an ensemble.

Refusals carry the words of reference/operations.md sections 1.4 to 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from kraal.errors import ConfigError
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig, Role
from kraal.server.config.file import LoadedConfig, load
from kraal.storage import dynamic_config
from kraal.storage.filesystem import OsFileSystem

LIMITS = "initLimit=10\nsyncLimit=5\n"
THREE = "server.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n"


def load_text(
    tmp_path: Path,
    text: str,
    *,
    myid: str | None = "1",
    environment: Mapping[str, str] | None = None,
    defines: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Load `text` as a zoo.cfg with a data directory, which holds `myid`."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(exist_ok=True)
    if myid is not None:
        (data_dir / "myid").write_text(myid)
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={data_dir}\n{text}")
    return load(path, defines=defines or {}, environment=environment or {}, overrides={})


def ensemble(tmp_path: Path, text: str, *, myid: str = "1") -> EnsembleSettings:
    settings = load_text(tmp_path, text, myid=myid).config.ensemble
    assert settings is not None
    return settings


EVERY_SETTING = """
connectToLearnerMasterLimit=7
peerType=observer
leaderServes=no
syncEnabled=false
localSessionsEnabled=true
localSessionsUpgradingEnabled=true
cnxTimeout=1000
quorumCnxnTimeoutMs=2000
electionPortBindRetry=0
tcpKeepAlive=true
fastleader.minNotificationInterval=50
fastleader.maxNotificationInterval=0x100
leader.maxTimeToWaitForEpoch=3000
leaderConnectDelayDuringRetryMs=10
quorumListenOnAllIPs=true
leader.nodelay=false
follower.nodelay=false
observer.reconnectDelayMs=11
observer.election.DelayMs=12
observerMasterPort=2191
observerMaster.sizeLimit=13
forceSnapshotSync=true
commitLogCount=600
snapshotSizeFactor=-0.5
maxConcurrentSnapSyncs=14
leader.maxConcurrentDiffSyncs=15
multiAddress.enabled=true
server.4=zk4:2888:3888|zk4b:2888:3888:observer;2184
"""


class TestMember:
    def test_defaults_are_the_reference_s(self, tmp_path: Path) -> None:
        loaded = load_text(tmp_path, f"{LIMITS}{THREE}clientPort=2181")
        assert loaded.warnings == loaded.unknown == ()
        assert loaded.config.ensemble == EnsembleSettings(
            config=EnsembleConfig.parse(THREE),
            init_limit_ticks=10,
            sync_limit_ticks=5,
            config_path=tmp_path / "zoo.cfg",
        )
        assert (loaded.config.server_id, loaded.config.client_port) == (1, 2181)

    def test_every_setting(self, tmp_path: Path) -> None:
        loaded = load_text(tmp_path, LIMITS + THREE + EVERY_SETTING, myid="4")
        assert loaded.warnings == ()
        assert loaded.config.ensemble == EnsembleSettings(
            config=EnsembleConfig.parse(
                THREE + "server.4=zk4:2888:3888|zk4b:2888:3888:observer;2184", multi_address=True
            ),
            init_limit_ticks=10,
            sync_limit_ticks=5,
            connect_to_learner_master_limit_ticks=7,
            leader_serves=False,
            sync_enabled=False,
            local_sessions=True,
            local_sessions_upgrading=True,
            config_path=tmp_path / "zoo.cfg",
            cnx_timeout_ms=1000,
            quorum_cnxn_timeout_ms=2000,
            election_port_bind_retry=0,
            tcp_keep_alive=True,
            min_notification_interval_ms=50,
            max_notification_interval_ms=256,
            max_time_to_wait_for_epoch_ms=3000,
            leader_connect_delay_ms=10,
            quorum_listen_on_all_ips=True,
            leader_no_delay=False,
            follower_no_delay=False,
            observer_reconnect_delay_ms=11,
            observer_election_delay_ms=12,
            observer_master_port=2191,
            observer_master_size_limit_bytes=13,
            force_snapshot_sync=True,
            commit_log_count=600,
            snapshot_size_factor=-0.5,
            max_concurrent_snap_syncs=14,
            max_concurrent_diff_syncs=15,
            multi_address=True,
        )
        assert (loaded.config.client_host, loaded.config.client_port) == ("0.0.0.0", 2184)

    def test_properties_and_environment_reach_it(self, tmp_path: Path) -> None:
        loaded = load_text(
            tmp_path,
            "clientPort=2181\nsyncLimit=1\nsyncEnabled=true",
            defines={"zookeeper.observer.syncEnabled": "false", "zookeeper.commitLogCount": "700"},
            environment={
                "KRAAL_INIT_LIMIT": "3",
                "KRAAL_SYNC_LIMIT": "2",
                "KRAAL_SERVER_1": "a:1:2",
                "KRAAL_SERVER_2": "b:1:2",
            },
        )
        settings = loaded.config.ensemble
        assert settings is not None
        assert (settings.init_limit_ticks, settings.sync_limit_ticks) == (3, 2)
        assert (settings.sync_enabled, settings.commit_log_count) == (False, 700)
        assert settings.config.voters == {1, 2}
        assert settings.config_path is None

    @pytest.mark.parametrize(
        ("line", "warned", "field", "value"),
        [
            ("commitLogCount=499", "too small; 500 is used", "commit_log_count", 500),
            ("commitLogCount=x", "the default 500 is used", "commit_log_count", 500),
            ("snapshotSizeFactor=1.5", "0.33 is used", "snapshot_size_factor", 0.33),
            ("snapshotSizeFactor=nan", "0.33 is used", "snapshot_size_factor", 0.33),
            ("snapshotSizeFactor=x", "0.33 is used", "snapshot_size_factor", 0.33),
            ("electionPortBindRetry=-1", "3 is used", "election_port_bind_retry", 3),
            ("leaderServes=false", "it counts as yes", "leader_serves", True),
            ("oraclePath=/o", "without effect", "multi_address", False),
        ],
    )
    def test_what_cannot_be_followed_is_said(
        self, tmp_path: Path, line: str, warned: str, field: str, value: object
    ) -> None:
        loaded = load_text(tmp_path, f"{LIMITS}{THREE}clientPort=2181\n{line}")
        assert getattr(loaded.config.ensemble, field) == value
        (warning,) = loaded.warnings
        assert f"zoo.cfg, line 8: {line}" in warning
        assert warned in warning

    def test_no_timeout_of_its_own_means_that_of_the_ticks(self, tmp_path: Path) -> None:
        text = f"{LIMITS}{THREE}clientPort=2181\nquorumCnxnTimeoutMs=0"
        assert ensemble(tmp_path, text).quorum_cnxn_timeout_ms == -1

    @pytest.mark.parametrize(
        ("voters", "limit", "share"),
        [(1, 1000, 1000), (2, 1000, 1000), (3, 1000, 500), (4, 1000, 333), (5, 3, 1)],
    )
    def test_outstanding_requests_are_shared_among_the_others(
        self, tmp_path: Path, voters: int, limit: int, share: int
    ) -> None:
        lines = "".join(f"server.{at}=h{at}:1:2\n" for at in range(1, voters + 1))
        text = f"{LIMITS}standaloneEnabled=false\nclientPort=2181\nglobalOutstandingLimit={limit}\n"
        loaded = load_text(tmp_path, f"{text}{lines}server.9=o:1:2:observer")
        assert loaded.config.throttle.global_outstanding_limit == share


class TestWhoIsAMember:
    @pytest.mark.parametrize(
        ("text", "member"),
        [
            ("", False),
            ("server.1=a:1:2", False),
            ("server.1=a:1:2\nserver.2=b:1:2", True),
            ("standaloneEnabled=false\nserver.1=a:1:2", True),
            ("standaloneEnabled=false\nserver.1=a:1:2\nserver.2=b:1:2:observer", True),
        ],
    )
    def test_by_participants(self, tmp_path: Path, text: str, member: bool) -> None:
        loaded = load_text(tmp_path, f"clientPort=2181\n{LIMITS}{text}")
        assert (loaded.config.ensemble is not None) == member

    @pytest.mark.parametrize(("reconfig", "member"), [("true", True), ("false", False)])
    def test_nobody_stands_alone_in_the_place_of_another(
        self, tmp_path: Path, reconfig: str, member: bool
    ) -> None:
        text = f"clientPort=2181\n{LIMITS}reconfigEnabled={reconfig}\nserver.1=a:1:2"
        loaded = load_text(tmp_path, text, myid="2")
        assert (loaded.config.ensemble is not None) == member
        assert load_text(tmp_path, text, myid="1").config.ensemble is None

    def test_a_standalone_server_needs_no_limits(self, tmp_path: Path) -> None:
        text = "clientPort=2181\nsslQuorum=true\nserver.1=a:1:2"
        assert load_text(tmp_path, text, myid=None).config.ensemble is None

    @pytest.mark.parametrize(
        ("servers", "advice"),
        [
            (1, "No server failure will be tolerated. You need at least 3 servers."),
            (2, "No server failure will be tolerated. You need at least 3 servers."),
            (4, "Non-optimal configuration, consider an odd number of servers."),
        ],
    )
    def test_poor_numbers_of_voters_are_said(
        self, tmp_path: Path, servers: int, advice: str
    ) -> None:
        lines = "".join(f"server.{at}=h{at}:1:2\n" for at in range(1, servers + 1))
        text = f"clientPort=2181\nstandaloneEnabled=false\n{LIMITS}{lines}"
        assert load_text(tmp_path, text).warnings == (advice,)

    @pytest.mark.parametrize(
        ("line", "address"),
        [
            ("server.3=h1:1:5", "h1:1"),  # the quorum port
            ("server.3=h3:1:5\nserver.4=h3:6:1", "h3:1"),  # one's quorum, the other's election
            ("server.3=[::1]:7:2\nserver.4=[0:0::1]:8:2:observer", "[0:0:0:0:0:0:0:1]:2"),
        ],
    )
    def test_equal_addresses_are_said(self, tmp_path: Path, line: str, address: str) -> None:
        lines = f"server.1=h1:1:2\nserver.2=h2:1:2\n{line}\n"
        warnings = load_text(tmp_path, f"clientPort=2181\n{LIMITS}{lines}").warnings
        (warned,) = (text for text in warnings if "the same address" in text)
        assert f"have the same address {address}: only one" in warned

    def test_repeated_server_lines_are_said(self, tmp_path: Path) -> None:
        lines = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.2=d:1:2\n"
        loaded = load_text(tmp_path, f"clientPort=2181\n{LIMITS}{lines}")
        (warned,) = loaded.warnings
        assert warned.endswith("zoo.cfg: server.2 is set more than once, and the last line counts")
        assert loaded.config.ensemble is not None
        assert loaded.config.ensemble.config.members[2].quorum[0].host == "d"

    @pytest.mark.parametrize(
        ("peer_type", "line", "role", "warned"),
        [
            ("participant", "b:1:2:observer", Role.OBSERVER, True),
            ("OBSERVER", "b:1:2:observer", Role.OBSERVER, False),
            ("observer", "b:1:2", Role.PARTICIPANT, True),
        ],
    )
    def test_the_server_line_wins_over_the_peer_type(
        self, tmp_path: Path, peer_type: str, line: str, role: Role, warned: bool
    ) -> None:
        text = f"{LIMITS}{THREE}clientPort=2181\npeerType={peer_type}\nserver.5={line}\n"
        loaded = load_text(
            tmp_path, f"{text}server.4=z:1:2:{'observer' if warned else ''}", myid="5"
        )
        assert loaded.config.ensemble is not None
        assert loaded.config.ensemble.config.members[5].role is role
        assert any("Defaulting to servers list." in one for one in loaded.warnings) == warned


@pytest.mark.parametrize(
    ("myid", "text", "message"),
    [
        ("1", THREE + "syncLimit=5", "initLimit is not set"),
        ("1", THREE + "initLimit=5", "syncLimit is not set"),
        ("1", THREE + LIMITS + "initLimit=0", "initLimit is not set"),
        ("1", THREE + LIMITS + "syncLimit=-1", "syncLimit=-1: must be positive"),
        ("1", "standaloneEnabled=false\nserver.1=a:1:2", "initLimit is not set"),
        (None, THREE + LIMITS, "myid file is missing"),
        ("-1", THREE + LIMITS, "myid file holds -1, which is no server: a number from 0 on is"),
        (" 1", THREE + LIMITS, "serverid  1 is not a number"),
        ("", THREE + LIMITS, "serverid null is not a number"),
        ("7", THREE + LIMITS, "My id 7 not in the peer list"),
        ("1", THREE + LIMITS + "electionAlg=1", "Invalid electionAlg value. Only 3 is supported."),
        ("1", THREE + LIMITS + "peerType=boss", "Unrecognised peertype: boss"),
        ("1", THREE + LIMITS + "observerMasterPort=65536", "port out of range:65536"),
        ("1", THREE + LIMITS + "cnxTimeout=5s", 'cnxTimeout=5s: For input string: "5s"'),
        ("1", THREE + LIMITS + "cnxTimeout=0", "cnxTimeout=0: must be positive"),
        ("1", THREE + LIMITS + "syncEnabled=yes", "Invalid option yes for syncEnabled."),
        ("1", THREE + LIMITS + "sslQuorum=true\nssl.quorum.clientAuth=x", "neither none nor want"),
        (
            "1",
            THREE + LIMITS + "quorum.auth.enableSasl=true",
            "java.security.auth.login.config must name a file",
        ),
        ("1", THREE + LIMITS + "group.1=1:2", "Server 3is not in a group"),
        ("1", THREE + LIMITS + "group.1=1:2\ngroup.2=2:3", "Server 2is in multiple groups"),
        ("1", THREE + LIMITS + "group.1=1:2:3\nweight.1=x", 'For input string: "x"'),
        ("1", LIMITS + "server.1=a:1:2|b:1:2\nserver.2=c:1:2", "Multiple address feature is"),
        (
            "1",
            LIMITS + "server.1=a:1:2;2181\nserver.2=b:1:2\nclientPort=2182",
            "client address 0.0.0.0:2182 is different from",
        ),
        (
            "1",
            LIMITS + "server.1=a:1:2;127.0.0.1:2181\nserver.2=b:1:2\n"
            "clientPort=2181\nclientPortAddress=127.0.0.2",
            "client address 127.0.0.2:2181 is different from",
        ),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_with_the_reference_s_words(
    tmp_path: Path, myid: str | None, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text(tmp_path, text, myid=myid)
    assert message in str(refused.value)


class TestClientAddress:
    @pytest.mark.parametrize(
        ("text", "address", "static"),
        [
            ("clientPort=2181\nserver.1=a:1:2", ("", 2181), True),
            ("server.1=a:1:2;2182", ("0.0.0.0", 2182), False),
            ("clientPort=2182\nserver.1=a:1:2;127.0.0.1:2182", ("127.0.0.1", 2182), False),
            (
                "clientPort=2182\nclientPortAddress=::1\nserver.1=a:1:2;[::1]:2182",
                ("0:0:0:0:0:0:0:1", 2182),
                False,
            ),
            ("server.1=a:1:2", ("", None), True),
        ],
    )
    def test_comes_from_the_server_line_or_the_static_key(
        self, tmp_path: Path, text: str, address: tuple[str, int | None], static: bool
    ) -> None:
        loaded = load_text(tmp_path, f"{LIMITS}server.2=b:1:2;2181\nserver.3=c:1:2\n{text}").config
        assert (loaded.client_host, loaded.client_port) == address
        assert loaded.ensemble is not None
        # A static address is nobody else's business: it is not in the text that peers get.
        assert (";" in loaded.ensemble.config.members[1].text()) == (not static)


class TestGroups:
    def test_are_read_with_their_weights(self, tmp_path: Path) -> None:
        text = f"{LIMITS}{THREE}clientPort=2181\ngroup.1=1:2\ngroup.2=3\nweight.3=0"
        config = ensemble(tmp_path, text).config
        assert config.groups == {1: frozenset({1, 2}), 2: frozenset({3})}
        assert config.weights == {1: 1, 2: 1, 3: 0}

    def test_a_version_is_not_read_from_the_static_file(self, tmp_path: Path) -> None:
        loaded = load_text(tmp_path, f"{LIMITS}{THREE}clientPort=2181\nversion=5")
        assert loaded.config.ensemble is not None
        assert loaded.config.ensemble.config.version == 0
        assert loaded.unknown == ("version",)


class TestDynamicFile:
    def dynamic(self, tmp_path: Path, version: str, members: str = THREE) -> str:
        path = tmp_path / f"zoo.cfg.dynamic{version}"
        path.write_text(members)
        return f"{LIMITS}clientPort=2181\ndynamicConfigFile={path}\n"

    @pytest.mark.parametrize(("suffix", "version"), [("", 0), (".100000006", 0x1_0000_0006)])
    def test_holds_the_members_and_in_its_name_the_version(
        self, tmp_path: Path, suffix: str, version: int
    ) -> None:
        settings = ensemble(tmp_path, self.dynamic(tmp_path, suffix))
        assert settings.config == EnsembleConfig.parse(THREE).with_version(version)
        assert settings.config_path == tmp_path / "zoo.cfg"
        assert settings.last_seen is None

    @pytest.mark.parametrize("enabled", [True, False])
    def test_a_proposed_membership_counts_where_reconfiguration_is_on(
        self, tmp_path: Path, enabled: bool
    ) -> None:
        proposed = EnsembleConfig.parse(THREE + "server.4=zk4:1:2\nversion=200000001")
        dynamic_config.save_next(OsFileSystem(), tmp_path / "zoo.cfg", proposed)
        text = self.dynamic(tmp_path, ".5") + f"reconfigEnabled={str(enabled).lower()}"
        assert ensemble(tmp_path, text).last_seen == (proposed if enabled else None)

    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        lines = THREE.replace("zk1:2888:3888", "zk1:2888:3888;2181")
        text = f"{LIMITS}reconfigEnabled=true\npeerType=participant\n{lines}clientPort=2181"
        before = ensemble(tmp_path, text)
        saved = EnsembleConfig.parse(f"{lines}server.4=zk4:1:2:observer\nversion=100000000")
        static = tmp_path / "zoo.cfg"
        dynamic_config.save_committed(OsFileSystem(), static, saved, client_port_moved=True)
        loaded = load(static, defines={}, environment={}, overrides={})
        assert loaded.warnings == ()
        assert loaded.config.client_port == 2181
        after = loaded.config.ensemble
        assert after is not None
        assert after.config == saved
        assert after.init_limit_ticks == before.init_limit_ticks

    def test_members_of_the_environment_cannot_be_rewritten(self, tmp_path: Path) -> None:
        loaded = load_text(
            tmp_path,
            f"{LIMITS}clientPort=2181\nreconfigEnabled=true",
            environment={f"KRAAL_SERVER_{at}": f"h{at}:1:2" for at in (1, 2, 3)},
        )
        (warning,) = loaded.warnings
        assert "a reconfiguration is not recorded on disk" in warning

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ("server.1=a:1:2\nversion=5", "dynamic file shouldn't have version inside"),
            ("server.1=a:1:2\ntickTime=5", "Unrecognised parameter: tickTime"),
            ("server.1=a:1", "does not have the form"),
        ],
    )
    def test_refusals_name_the_file_or_the_line(
        self, tmp_path: Path, members: str, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_text(tmp_path, self.dynamic(tmp_path, "", members))

    def test_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="nowhere file is missing"):
            load_text(tmp_path, f"{LIMITS}dynamicConfigFile={tmp_path}/nowhere")
