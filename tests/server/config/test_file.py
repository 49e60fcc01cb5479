"""zoo.cfg and its companions: what is read, what wins, what is refused."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from types import MappingProxyType

import pytest

from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.config import (
    AdminConfig,
    ReaperConfig,
    SecurityConfig,
    ServerConfig,
    SnapshotCodec,
    StorageConfig,
    ThrottleConfig,
)
from kraal.model.setting import decode
from kraal.server.config import keys
from kraal.server.config.file import LoadedConfig, load

NOTHING: Mapping[str, str] = MappingProxyType({})


def load_text(
    tmp_path: Path,
    text: str,
    *,
    defines: Mapping[str, str] = NOTHING,
    environment: Mapping[str, str] = NOTHING,
    overrides: Mapping[str, str] = NOTHING,
) -> LoadedConfig:
    """Load `text` as a zoo.cfg with a data directory and a client port, unless it names them."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(exist_ok=True)
    path = tmp_path / "zoo.cfg"
    path.write_bytes(f"dataDir={data_dir}\nclientPort=2181\n{text}".encode("latin-1"))
    return load(path, defines=defines, environment=environment, overrides=overrides)


def config(tmp_path: Path, text: str, **layers: Mapping[str, str]) -> ServerConfig:
    return load_text(tmp_path, text, **layers).config


class TestPropertiesSyntax:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a=1\nb:2\nc 3\nd\t4\ne\n", {"a": "1", "b": "2", "c": "3", "d": "4", "e": ""}),
            ("a = 1\n  b  :  2  \nc = = 3", {"a": "1", "b": "2", "c": "= 3"}),
            ("# a=1\n  ! b=2\n\n \t\nc=3", {"c": "3"}),
            ("a=1,\\\n    2,\\\r\n    3\nb=4", {"a": "1,2,3", "b": "4"}),
            ("a=1\\\n# no comment\nb=2", {"a": "1# no comment", "b": "2"}),
            ("a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
            ("# comment \\\na=1", {"a": "1"}),
            (r"a\:b\=c\ d=e\tf\u00e9\q", {"a:b=c d": "e\tf\u00e9q"}),
            ("a=1\ra=2\r\na=3", {"a": "3"}),
            ("a=\u00e9\u0085b", {"a": "\u00e9\u0085b"}),
            ("a=1\\", {"a": "1"}),
        ],
    )
    def test_is_javas(self, text: str, expected: dict[str, str]) -> None:
        assert properties.parse(text.encode("latin-1")) == expected

    def test_broken_unicode_escape_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"Malformed \\uxxxx encoding"):
            properties.parse(rb"a=\u12")


class TestDefaults:
    def test_without_a_file_loopback_and_a_local_directory(self) -> None:
        loaded = load(None, defines={}, environment={}, overrides={})
        assert loaded == LoadedConfig(
            ServerConfig(
                storage=StorageConfig(
                    data_dir=PurePath("kraal-data"), data_log_dir=PurePath("kraal-data")
                ),
                client_port=2181,
                client_host="127.0.0.1",
                admin=AdminConfig(enabled=True, host="127.0.0.1"),
            ),
            warnings=(),
            unknown=(),
        )

    def test_with_a_file_every_other_default_is_the_reference_s(self, tmp_path: Path) -> None:
        data_dir = PurePath(tmp_path / "data")
        assert load_text(tmp_path, "").config == ServerConfig(
            storage=StorageConfig(data_dir=data_dir, data_log_dir=data_dir),
            client_port=2181,
            admin=AdminConfig(enabled=True),
        )

    def test_the_data_directory_must_be_named(self, tmp_path: Path) -> None:
        path = tmp_path / "zoo.cfg"
        path.write_text("clientPort=2181")
        with pytest.raises(ConfigError, match="dataDir is not set"):
            load(path, defines={}, environment={}, overrides={})

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"zoo\.cfg file is missing"):
            load(tmp_path / "zoo.cfg", defines={}, environment={}, overrides={})

    def test_unreadable_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="directory"):
            load(tmp_path, defines={}, environment={}, overrides={})

    def test_no_client_port_means_no_listener_and_a_warning(self, tmp_path: Path) -> None:
        path = tmp_path / "zoo.cfg"
        path.write_text(f"dataDir={tmp_path}")
        loaded = load(path, defines={}, environment={}, overrides={})
        assert loaded.config.client_port is None
        assert loaded.warnings == ("clientPort is not set: nothing listens for clients",)

    def test_a_file_that_is_named_with_a_dot_is_meant(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "zoo.cfg").write_text(f"dataDir={tmp_path}\n")
        none: dict[str, str] = {}
        for typed, is_warned in (("zoo.cfg", True), ("./zoo.cfg", False)):
            loaded = load(typed, defines=none, environment=none, overrides=none)
            assert any("is relative" in one for one in loaded.warnings) is is_warned

    def test_relative_paths_are_warned_about(self, tmp_path: Path) -> None:
        overrides = {"dataDir": "data", "dataLogDir": "./logs"}
        loaded = load_text(tmp_path, "", overrides=overrides)
        assert loaded.warnings == (
            "dataDir data is relative. Prepend ./ to indicate that you're sure!",
        )
        assert loaded.config.storage.data_log_dir == PurePath("logs")


class TestEveryKey:
    def test_storage(self, tmp_path: Path) -> None:
        text = f"""
            dataLogDir={tmp_path}/logs
            forceSync=no
            preAllocSize=64
            txnLogSizeLimitInKb=5
            snapCount=7
            snapSizeLimitInKb=8
            snapshot.compression.method=GZ
            snapshot.trust.empty=true
            digest.enabled=false
            serializeLastProcessedZxid.enabled=false
            datadir.autocreate=false
            db.autocreate=false
            fsync.warningthresholdms=9
            jute.maxbuffer=2000
            jute.maxbuffer.extrasize=3000
            autopurge.snapRetainCount=11
            autopurge.purgeInterval=12
        """
        loaded = load_text(tmp_path, text)
        assert loaded.warnings == ()
        assert loaded.config.max_buffer_bytes == 2000
        assert loaded.config.storage == StorageConfig(
            data_dir=PurePath(tmp_path / "data"),
            data_log_dir=PurePath(tmp_path / "logs"),
            force_sync=False,
            pre_alloc_bytes=64 * 1024,
            txn_log_size_limit_bytes=5 * 1024,
            snap_count=7,
            snap_size_limit_bytes=8 * 1024,
            snapshot_codec=SnapshotCodec.GZIP,
            snapshot_trust_empty=True,
            digest_enabled=False,
            serialize_last_processed_zxid=False,
            datadir_autocreate=False,
            db_autocreate=False,
            fsync_warning_threshold_ms=9,
            max_record_bytes=5000,
            snap_retain_count=11,
            purge_interval_hours=12,
        )

    @pytest.mark.parametrize(
        ("value", "said"), [(44, ["cannot connect"]), (45, ["bytes are few"]), (1024, [])]
    )
    def test_a_small_buffer(self, tmp_path: Path, value: int, said: list[str]) -> None:
        warnings = load_text(tmp_path, f"jute.maxbuffer={value}").warnings
        assert len(warnings) == len(said)
        assert all(text in each for text, each in zip(said, warnings, strict=True))

    def test_security(self, tmp_path: Path) -> None:
        text = """
            DigestAuthenticationProvider.digestAlg=SHA-256
            DigestAuthenticationProvider.superDigest=super:lK75jTNcA+U9vtVEw5vB51mj/w4=
            skipACL=yes
            enforce.auth.enabled=true
            enforce.auth.schemes=digest, ip
        """
        assert config(tmp_path, text).security == SecurityConfig(
            digest_algorithm="SHA-256",
            super_digest="super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
            skip_acl=True,
            enforce_auth_schemes=("digest", "ip"),
        )

    def test_throttle(self, tmp_path: Path) -> None:
        text = """
            globalOutstandingLimit=1
            maxClientCnxns=2
            maxCnxns=3
            request_throttle_max_requests=4
            throttled_op_wait_time=6
            largeRequestThreshold=7
            largeRequestMaxBytes=8
            connection_throttle_tokens=9
            connection_throttle_fill_time=10
            connection_throttle_fill_count=11
            nio.sessionlessCnxnTimeout=12
        """
        loaded = load_text(tmp_path, text)
        assert loaded.warnings == ()
        assert loaded.config.throttle == ThrottleConfig(
            global_outstanding_limit=1,
            max_client_connections=2,
            max_connections=3,
            request_max=4,
            throttled_op_wait_time_ms=6,
            large_request_threshold_bytes=7,
            large_request_max_bytes=8,
            connection_tokens=9,
            connection_token_fill_time_ms=10,
            connection_token_fill_count=11,
            sessionless_timeout_ms=12,
        )

    def test_reaper(self, tmp_path: Path) -> None:
        text = """
            znode.container.checkIntervalMs=1
            znode.container.maxPerMinute=2
            znode.container.maxNeverUsedIntervalMs=3
        """
        assert config(tmp_path, text).reaper == ReaperConfig(
            check_interval_ms=1, max_per_minute=2, max_never_used_interval_ms=3
        )

    def test_server(self, tmp_path: Path) -> None:
        text = """
            clientPortAddress=127.0.0.1
            clientPortListenBacklog=50
            tickTime=2000
            minSessionTimeout=1000
            extendedTypesEnabled=true
            enforceQuota=true
            reconfigEnabled=true
            readonlymode.enabled=true
            closeSessionTxn.enabled=false
            clientTcpKeepAlive=true
            loneClientPollMicros=0
            4lw.commands.whitelist=ruok, stat ,mntr
        """
        loaded = load_text(tmp_path, text)
        assert loaded.warnings == ()
        assert loaded.config == ServerConfig(
            storage=loaded.config.storage,
            client_port=2181,
            client_host="127.0.0.1",
            listen_backlog=50,
            tick_time_ms=2000,
            min_session_timeout_ms=1000,
            max_session_timeout_ms=40_000,
            extended_types=True,
            enforce_quota=True,
            reconfig_enabled=True,
            read_only_mode=True,
            close_session_txn=False,
            client_tcp_keep_alive=True,
            lone_client_poll_us=0,
            four_letter_words=frozenset({"srvr", "ruok", "stat", "mntr", "isro"}),
            admin=AdminConfig(enabled=True),
        )

    def test_the_guide_s_spellings_count_and_yield_to_the_property_s(self, tmp_path: Path) -> None:
        text = "connectionMaxTokens=7\nrequestThrottleLimit=8\nrequest_throttle_max_requests=9"
        loaded = load_text(tmp_path, text)
        assert loaded.config.throttle.connection_tokens == 7
        assert loaded.config.throttle.request_max == 9
        assert loaded.unknown == ()


class TestPrecedence:
    def test_what_stands_later_wins(self, tmp_path: Path) -> None:
        defines = {"zookeeper.snapCount": "10", "maxCnxns": "10", "jute.maxbuffer": "1024"}
        environment = {"KRAAL_MAX_CNXNS": "30", "KRAAL_TICK_TIME": "3000"}
        overrides = {"tickTime": "4000"}
        loaded = load_text(
            tmp_path,
            "maxCnxns=20\ntickTime=2000",
            defines=defines,
            environment=environment,
            overrides=overrides,
        )
        assert loaded.config.storage.snap_count == 10
        assert loaded.config.max_buffer_bytes == 1024
        assert loaded.config.throttle.max_connections == 30
        assert loaded.config.tick_time_ms == 4000

    def test_zoo_cfg_overwrites_a_define(self, tmp_path: Path) -> None:
        defines = {"zookeeper.snapCount": "10"}
        assert config(tmp_path, "snapCount=20", defines=defines).storage.snap_count == 20

    @pytest.mark.parametrize(
        ("variable", "key"),
        [
            ("KRAAL_CLIENT_PORT", "clientPort"),
            ("kraal_clientport", "clientPort"),
            ("KRAAL_4LW_COMMANDS_WHITELIST", "4lw.commands.whitelist"),
            ("KRAAL_AUTOPURGE_SNAP_RETAIN_COUNT", "autopurge.snapRetainCount"),
            ("KRAAL_REQUEST_THROTTLE_STALL_TIME", "request_throttle_stall_time"),
            ("KRAAL_CONNECTION_MAX_TOKENS", "connection_throttle_tokens"),
            ("KRAAL_FIPS_MODE", "fips-mode"),
            ("KRAAL_SSL_QUORUM_KEY_STORE_LOCATION", "ssl.quorum.keyStore.location"),
            ("KRAAL_JUTE_MAXBUFFER", "jute.maxbuffer"),
            ("KRAAL_SERVER_3", "server.3"),
            ("KRAAL_AUTH_PROVIDER_SASL", "authProvider.sasl"),
            ("KRAAL_SUPER_USER", "superUser"),
            ("KRAAL_PORT", None),
        ],
    )
    def test_environment_variables_name_keys(self, variable: str, key: str | None) -> None:
        assert keys.key_of_variable(variable) == key

    def test_every_key_has_an_environment_variable_of_its_own(self) -> None:
        for key in keys.KNOWN:
            assert keys.key_of_variable(keys.variable_of_key(key)) == key

    def test_empty_variables_and_those_of_others_do_not_count(self, tmp_path: Path) -> None:
        environment = {"KRAAL_TICK_TIME": " ", "TICK_TIME": "1", "KRAAL_LOG_LEVEL": "DEBUG"}
        loaded = load_text(tmp_path, "", environment=environment)
        assert loaded.config.tick_time_ms == 3000
        assert loaded.warnings == ()

    def test_two_variables_for_one_key_are_refused(self, tmp_path: Path) -> None:
        environment = {"KRAAL_TICK_TIME": "1", "KRAAL_TICKTIME": "2"}
        with pytest.raises(ConfigError, match="KRAAL_TICKTIME and KRAAL_TICK_TIME both set tick"):
            load_text(tmp_path, "", environment=environment)


class TestNumbersAndBooleans:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("16", 16), ("0x10", 16), ("0X1f", 31), ("#10", 16), ("010", 8), ("00", 0), ("0", 0),
            ("-0x1", -1), ("+5", 5), ("2147483647", 2147483647), ("2147483648", None),
            ("08", None), ("0x", None), ("", None), ("1_0", None), ("1k", None), ("- 1", None),
        ],
    )  # fmt: skip
    def test_pass_through_numbers_are_javas_decode(self, text: str, value: int | None) -> None:
        assert decode(text) == value

    def test_an_unparsable_pass_through_number_is_the_default_and_a_warning(
        self, tmp_path: Path
    ) -> None:
        loaded = load_text(tmp_path, "snapCount=many\npreAllocSize=0x10")
        assert loaded.config.storage.snap_count == 100_000
        assert loaded.config.storage.pre_alloc_bytes == 65536 * 1024
        file = tmp_path / "zoo.cfg"
        assert loaded.warnings == (
            f"{file}, line 4: preAllocSize=0x10: not a size in KB; the default 65536 is used",
            f"{file}, line 3: snapCount=many: not a number; the default 100000 is used",
        )

    @pytest.mark.parametrize(
        ("text", "warning"),
        [
            ("snapCount=1", "snapCount=1: too small; 2 is used"),
            ("autopurge.snapRetainCount=2", "autopurge.snapRetainCount=2: too small; 3 is used"),
            ("largeRequestThreshold=0", "should be -1 or positive; -1 is used"),
            ("enforceQuota=yes", "enforceQuota=yes: neither true nor false; it counts as false"),
            ("skipACL=true", "skipACL=true: neither no nor yes; it counts as no"),
            ("snapshot.compression.method=zstd", "neither gz nor snappy"),
        ],
    )
    def test_odd_values_are_warned_about(self, tmp_path: Path, text: str, warning: str) -> None:
        (found,) = load_text(tmp_path, text).warnings
        assert warning in found

    def test_zero_and_less_switch_size_limits_off(self, tmp_path: Path) -> None:
        storage = config(tmp_path, "snapSizeLimitInKb=-5\ntxnLogSizeLimitInKb=0").storage
        assert (storage.snap_size_limit_bytes, storage.txn_log_size_limit_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clientPort=abc", 'clientPort=abc: For input string: "abc"'),
        ("clientPort=0x10", 'For input string: "0x10"'),
        ("clientPort=99999999999", 'For input string: "99999999999"'),
        ("tickTime=2s", 'tickTime=2s: For input string: "2s"'),
        ("initLimit=x", 'initLimit=x: For input string: "x"'),
        ("clientPort=70000", "clientPort=70000: port out of range:70000"),
        ("clientPort=-1", "port out of range:-1"),
        (
            "localSessionsEnabled=yes",
            "Invalid option yes for localSessionsEnabled. Choose 'true' or 'false.'",
        ),
        ("electionAlg=1", "Invalid electionAlg value. Only 3 is supported."),
        ("peerType=foo", "peerType=foo: Unrecognised peertype: foo"),
        ("tickTime=0", "tickTime is not set"),
        ("tickTime=-3", "tickTime=-3: tickTime must be positive"),
        ("minSessionTimeout=70000", "minSessionTimeout must not be larger than maxSession"),
        ("secureClientPort=70000", "port out of range:70000"),
        (
            "secureClientPortAddress=::1",
            "secureClientPortAddress is set but secureClientPort is not set",
        ),
        (
            "quorum.auth.serverRequireSasl=true",
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        ("metricsProvider.className=a.B", "metrics provider class was not found"),
        ("jute.maxbuffer=-1", "jute.maxbuffer=-1: must be positive"),
        (
            "DigestAuthenticationProvider.digestAlg=ROT13",
            "digestAlg=ROT13: there is no such digest algorithm",
        ),
        ("enforce.auth.enabled=true", "enforce.auth.schemes must be configured"),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl",
            "Authentication scheme sasl is not available",
        ),
        ("sessionRequireClientSASLAuth=true", "Authentication scheme sasl is not available"),
        ("server.1=h:2888", "does not have the form server_config or server_config;client_config"),
        ("server.x=h:2888:3888", 'For input string: "x"'),
        ("server.1=h:2888:2888", "Client and election port must be different!"),
        ("server.1=h:2888:3888:boss", "Unrecognised peertype: boss"),
        ("server.1=h:1:2|g:1:2", "multiple addresses were specified for sid 1"),
        (
            "multiAddress.enabled=true\nserver.1=h:1:2:participant|g:1:2:observer",
            "Multiple addresses should have similar roles: PARTICIPANT vs OBSERVER",
        ),
        ("server.1=h:2888:99999", "port out of range:99999"),
        ("server.1=h:2888:x", "Address unresolved: x"),
        ("server.1=h:1:2:observer", "Observers w/o participants is an invalid configuration"),
        (
            "server.1=h:1:2\nserver.2=h:3:4:observer",
            "Observers w/o quorum is an invalid configuration",
        ),
        ("standaloneEnabled=false", "number of participants should be >0"),
        ("server.1=h:1:2;2182", "is different from the client address of the server line"),
        (
            "secureClientPort=2281\nserver.1=h:1:2;;2282",
            "is different from the secure client address of the server line",
        ),
    ],
)
def test_wrong_values_are_refused_with_the_reference_s_words(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_text(tmp_path, text)
    assert message in str(refused.value)


class TestUnknownKeys:
    def test_are_passed_through_and_reported(self, tmp_path: Path) -> None:
        loaded = load_text(
            tmp_path,
            "clientprot=1\nzookeeper.snapCount=5\nserver_1=x\nwatchManagerName=y",
            environment={"KRAAL_TICK_TYME": "1"},
        )
        assert loaded.unknown == (
            "clientprot", "server_1", "zookeeper.snapCount", "KRAAL_TICK_TYME",
        )  # fmt: skip
        file = tmp_path / "zoo.cfg"
        assert loaded.warnings == (
            f"{file}, line 3: clientprot is no known setting and changes nothing;"
            " did you mean clientPort?",
            f"{file}, line 5: server_1 is no known setting and changes nothing",
            f"{file}, line 4: zookeeper.snapCount is no known setting and changes nothing;"
            " did you mean snapCount?",
            "KRAAL_TICK_TYME is no known setting and changes nothing; did you mean tickTime?",
        )
        assert loaded.config.passed_through == {
            "clientprot": "1", "zookeeper.snapCount": "5", "server_1": "x", "watchManagerName": "y",
        }  # fmt: skip

    def test_keys_of_features_to_come_are_named_in_one_warning(self, tmp_path: Path) -> None:
        text = "maxBatchSize=9\nflushDelay=1\nleaderServes=no"
        assert load_text(tmp_path, text).warnings == (
            "not served by this version yet, so without effect: flushDelay, maxBatchSize",
        )

    def test_what_is_off_anyway_is_not_worth_a_warning(self, tmp_path: Path) -> None:
        text = (
            "admin.enableServer=false\n"
            "metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider"
        )
        assert load_text(tmp_path, text).warnings == ()


class TestIdentityAndAddress:
    @pytest.mark.parametrize(
        ("text", "server_id"), [("7", 7), ("7\nanything", 7), ("+7", 7), ("300", 300)]
    )
    def test_myid_names_the_server(self, tmp_path: Path, text: str, server_id: int) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "myid").write_text(text)
        assert config(tmp_path, "").server_id == server_id

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_a_myid_that_is_no_file_names_nobody(
        self, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        (tmp_path / "data").mkdir()
        make(tmp_path / "data" / "myid")
        assert config(tmp_path, "").server_id == 1

    @pytest.mark.parametrize(("text", "shown"), [(" 1", " 1"), ("one", "one"), ("", "null")])
    def test_myid_must_be_a_bare_number(self, tmp_path: Path, text: str, shown: str) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "myid").write_text(text)
        with pytest.raises(ConfigError, match=f"serverid {shown} is not a number"):
            load_text(tmp_path, "")

    def test_large_ids_and_ttl_znodes_exclude_each_other(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "myid").write_text("255")
        with pytest.raises(ConfigError, match="server id 255 is larger than 254"):
            load_text(tmp_path, "extendedTypesEnabled=true")

    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("server.7=h:1:2", ("", 2181)),
            ("server.7=h:1:2;", ("", 2181)),
            ("server.7=h:1:2:participant;2181", ("0.0.0.0", 2181)),
            ("server.7=[::1]:1:2;[::1]:2181", ("0:0:0:0:0:0:0:1", 2181)),
            ("clientPortAddress=0.0.0.0\nserver.7=h:1:2;127.0.0.1:2181", ("127.0.0.1", 2181)),
            ("clientPortAddress=127.0.0.1\nserver.7=h:1:2;127.0.0.1:2181", ("127.0.0.1", 2181)),
            ("multiAddress.enabled=true\nserver.7=h:1:2|g:3:4", ("", 2181)),
            ("clientPortAddress=[::1]", ("::1", 2181)),
            ("clientPortAddress=", ("localhost", 2181)),
        ],
    )
    def test_one_server_line_is_standalone(
        self, tmp_path: Path, text: str, address: tuple[str, int]
    ) -> None:
        loaded = config(tmp_path, text)
        assert (loaded.client_host, loaded.client_port) == address

    def test_the_line_of_another_server_does_not_count(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "myid").write_text("7")
        assert config(tmp_path, "server.8=h:1:2;2182").client_port == 2181

    def test_addresses_must_resolve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def unresolved(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unresolved)
        with pytest.raises(ConfigError, match=r"zk\.example: Name or service not known"):
            load_text(tmp_path, "clientPortAddress=zk.example")

    def test_an_address_needs_a_port(self, tmp_path: Path) -> None:
        path = tmp_path / "zoo.cfg"
        path.write_text(f"dataDir={tmp_path}\nclientPortAddress=127.0.0.1")
        with pytest.raises(ConfigError, match="clientPortAddress is set but clientPort is not"):
            load(path, defines={}, environment={}, overrides={})


class TestDynamicFile:
    def test_members_are_read_from_it(self, tmp_path: Path) -> None:
        dynamic = tmp_path / "zoo.cfg.dynamic"
        dynamic.write_text("server.1=h:1:2:participant;127.0.0.1:2181")
        loaded = config(tmp_path, f"dynamicConfigFile={dynamic}")
        assert loaded.client_host == "127.0.0.1"

    @pytest.mark.parametrize(
        ("text", "members", "message"),
        [
            ("server.1=h:1:2", "", "server.1 must be in a separate dynamic config file"),
            ("", "tickTime=1", "Unrecognised parameter: tickTime"),
            ("", "server.1=h:1:2\nversion=5", "dynamic file shouldn't have version inside"),
        ],
    )
    def test_only_members_and_only_there(
        self, tmp_path: Path, text: str, members: str, message: str
    ) -> None:
        dynamic = tmp_path / "zoo.cfg.dynamic"
        dynamic.write_text(members)
        with pytest.raises(ConfigError, match=re.escape(message)):
            load_text(tmp_path, f"{text}\ndynamicConfigFile={dynamic}")
