"""One frozen configuration, built once and passed down; no room reads settings elsewhere.

Fields carry the names of the reference's keys in Python's case, with units. The keys, their
defaults and what wrong values do: reference/operations.md section 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath

from kraal.model import limits
from kraal.model.ensemble import EnsembleConfig
from kraal.model.tls import TlsSettings


class SnapshotCodec(StrEnum):
    """`snapshot.compression.method`; the value is the file name's suffix."""

    NONE = ""
    GZIP = "gz"
    SNAPPY = "snappy"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """What the disk room needs; sizes in bytes, times in ms, counts in transactions."""

    data_dir: PurePath
    data_log_dir: PurePath
    force_sync: bool = True
    pre_alloc_bytes: int = 65536 * 1024
    txn_log_size_limit_bytes: int = 0
    snap_count: int = 100_000
    snap_size_limit_bytes: int = 4_194_304 * 1024
    snapshot_codec: SnapshotCodec = SnapshotCodec.NONE
    snapshot_trust_empty: bool = False
    digest_enabled: bool = True
    serialize_last_processed_zxid: bool = True
    datadir_autocreate: bool = True
    db_autocreate: bool = True
    fsync_warning_threshold_ms: int = 1000
    max_record_bytes: int = 2 * limits.MAX_BUFFER_BYTES
    snap_retain_count: int = limits.SNAP_RETAIN_MIN
    purge_interval_hours: int = 1
    """0: nothing is purged."""
    retain_hours: int = 0
    """A purge keeps what leads back so many hours, too; 0: the count alone decides."""
    retain_bytes: int = 0
    """A purge keeps no more than that, down to two snapshots; 0: as much as it takes."""
    disk_warn_free_bytes: int = 512 << 20
    disk_refuse_free_bytes: int = 64 << 20
    """With less free space, writes of znodes are refused; 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KerberosLogin:
    """Who a server is in Kerberos."""

    principal: str
    """`service/host@REALM`."""
    keytab: PurePath | None = None
    """The file with its keys; None: that of the system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslConfig:
    """How clients log in by SASL (reference/operations.md section 7.5)."""

    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Users of DIGEST-MD5, which is the mechanism without `kerberos`."""
    kerberos: KerberosLogin | None = None
    """With it the mechanism is GSSAPI."""
    auth_to_local: str = "DEFAULT"
    """`security.auth_to_local`: which users names with a realm are."""
    removes_host: bool = False
    """`kerberos.removeHostFromPrincipal`: ids are without the host of the name."""
    removes_realm: bool = False
    """`kerberos.removeRealmFromPrincipal`: ids are without the realm of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityConfig:
    """Authentication and authorisation (reference/operations.md sections 7.4 and 7.6)."""

    digest_enabled: bool = True
    digest_algorithm: str = "SHA1"
    super_digest: str | None = None
    skip_acl: bool = False
    enforce_auth_schemes: tuple[str, ...] = ()
    """Schemes of which one must be held; empty means that nothing is enforced."""
    sasl: SaslConfig | None = None
    """None: no client can log in by SASL."""
    sasl_provided: bool = False
    """Whether ACLs may have the scheme `sasl` (`authProvider.N`)."""
    sasl_super_users: frozenset[str] = frozenset()
    """`superUser` and `superUser.X`: who is the superuser after a login by SASL."""
    any_sasl_user: str | None = None
    """`letAnySaslUserDoX`: the id that stands for everybody who has logged in."""
    allow_sasl_failed_clients: bool = False
    """Whether a refused login leaves the client its connection, if none is demanded."""
    x509_provided: bool = False
    """Whether clients have identities by their certificates: there is a port with TLS."""
    x509_super_user: str | None = None
    """The subject of the superuser's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleConfig:
    """Limits on what clients may keep in flight (reference/client-protocol.md section 11.2)."""

    global_outstanding_limit: int = 1000
    max_client_connections: int = 60
    max_connections: int = 0
    request_max: int = 0
    throttled_op_wait_time_ms: int = 0
    large_request_threshold_bytes: int = -1
    large_request_max_bytes: int = 100 << 20
    connection_tokens: int = 0
    connection_token_fill_time_ms: int = 1
    connection_token_fill_count: int = 1
    sessionless_timeout_ms: int = limits.SESSIONLESS_TIMEOUT_MS
    watches_of_session: int = 0
    """`maxWatchesPerSession`, kraal's own; 0: any number."""
    refused_request_max_bytes: int = 0
    """`refusedRequestMaxBytes`, kraal's own: a longer request ends its connection even if it could
    be refused; 0: every request that is longer than `jute.maxbuffer` does, as with ZooKeeper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaperConfig:
    """Deletion of empty containers and expired TTL znodes (section 6.3)."""

    check_interval_ms: int = 60_000
    max_per_minute: int = 10_000
    max_never_used_interval_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """What operators are shown, and where (reference/operations.md sections 3.1 and 4.1)."""

    enabled: bool = False
    """Whether the admin server is to run; zoo.cfg has it run by default."""
    host: str = "0.0.0.0"
    port: int = 8080
    command_url: str = "/commands"
    idle_timeout_ms: int = 30_000
    port_unification: bool = False
    """Whether the same port speaks HTTP and HTTPS."""
    force_https: bool = False
    tls: TlsSettings | None = None
    """None: no HTTPS."""
    rate_limiter_interval_ms: int = 300_000
    snapshot_enabled: bool = True
    restore_enabled: bool = True
    use_forwarded_for: bool = False
    """Whether the client's address is that of X-Forwarded-For."""
    initial_text: str = field(default="", compare=False, repr=False)
    """The text of zoo.cfg; empty where there is none."""
    metrics_host: str = "0.0.0.0"
    metrics_port: int | None = None
    """Of the Prometheus endpoint; None: there is none."""
    export_process_info: bool = True
    """`metricsProvider.exportJvmInfo`: figures of the process, too."""
    slow_request_threshold_ms: int = 1000
    """`slowRequestThresholdMs`: requests that take at least as long are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumSaslConfig:
    """How servers log in to each other (reference/quorum-protocol.md section 2.5)."""

    username: str
    """Who this server is to those that it dials."""
    password: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    """Of those that dial it."""
    learner_requires: bool = False
    """Whether this server logs in where it dials."""
    server_requires: bool = False
    """Whether it demands a login of those that dial it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleSettings:
    """What a member of an ensemble is told beyond its own server's settings.

    Names are those of the keys; `_ticks` counts `tickTime`. Meaning and defaults:
    reference/quorum-protocol.md section 8.
    """

    config: EnsembleConfig
    """The membership that the server starts with; reconfigurations replace it."""
    init_limit_ticks: int
    sync_limit_ticks: int
    connect_to_learner_master_limit_ticks: int = 0
    """0: as `init_limit_ticks`."""
    standalone_enabled: bool = True
    leader_serves: bool = True
    sync_enabled: bool = True
    """Whether an observer writes log and snapshots."""
    local_sessions: bool = False
    local_sessions_upgrading: bool = False
    last_seen: EnsembleConfig | None = None
    """A membership that was proposed and not known to be committed (section 6.2)."""
    config_path: PurePath | None = None
    """The static configuration file, where reconfigurations are recorded; None: nowhere."""

    cnx_timeout_ms: int = 5000
    quorum_cnxn_timeout_ms: int = -1
    """Limit for the handshake of an election connection; -1: tickTime * syncLimit."""
    election_port_bind_retry: int = 3
    """Attempts to bind the election port, 1 s apart; 0: without end."""
    tcp_keep_alive: bool = False
    min_notification_interval_ms: int = 200
    max_notification_interval_ms: int = 60_000
    max_time_to_wait_for_epoch_ms: int = -1
    """-1: a leader waits for the whole initLimit (section 3.9)."""
    leader_connect_delay_ms: int = 100
    """Between the attempts to dial the leader."""
    quorum_listen_on_all_ips: bool = False
    tls: TlsSettings | None = None
    """None: members speak no TLS with each other."""
    dials_tls: bool = False
    """`sslQuorum`: others are dialled by TLS."""
    unified_quorum_ports: bool = False
    """`portUnification`: connections without TLS are accepted, too."""
    sasl: QuorumSaslConfig | None = None
    """None: servers do not log in to each other."""
    leader_no_delay: bool = True
    follower_no_delay: bool = True

    observer_reconnect_delay_ms: int = 0
    observer_election_delay_ms: int = 200
    observer_master_port: int = 0
    """0: followers do not serve observers."""
    observer_master_size_limit_bytes: int = 32 << 20

    force_snapshot_sync: bool = False
    commit_log_count: int = limits.COMMIT_LOG_MIN_TXNS
    ack_logging_frequency: int = 1000
    """Every how many proposals the time of their acknowledgements is taken."""
    snapshot_size_factor: float = 0.33
    """Negative: never synchronise from the log on disk."""
    max_concurrent_snap_syncs: int = 10
    max_concurrent_diff_syncs: int = 100

    multi_address: bool = False
    tree_resync_interval_ms: int = 3_600_000
    """How long a member whose tree differed, and that took the leader's, does not do so again; 0:
    it never does. `treeResyncIntervalMs`, kraal's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Everything that one server is told at start."""

    storage: StorageConfig
    security: SecurityConfig = field(default_factory=SecurityConfig)
    throttle: ThrottleConfig = field(default_factory=ThrottleConfig)
    reaper: ReaperConfig = field(default_factory=ReaperConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    ensemble: EnsembleSettings | None = None
    """None: a standalone server."""

    server_id: int = 1
    client_port: int | None = None
    """None: no plain listener. 0: a free port."""
    client_host: str = ""
    """Address to bind; empty means every interface."""
    secure_client_port: int | None = None
    """None: no listener that speaks TLS alone. 0: a free port."""
    secure_client_host: str = ""
    client_tls: TlsSettings | None = None
    """None: no port for clients speaks TLS."""
    unified_client_port: bool = False
    """Whether the plain port speaks TLS, too."""
    outstanding_handshakes_max: int = -1
    """TLS handshakes with clients that may be under way; -1: any number."""
    listen_backlog: int = -1
    tick_time_ms: int = 3000
    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 60_000
    max_buffer_bytes: int = limits.MAX_BUFFER_BYTES
    extended_types: bool = False
    enforce_quota: bool = False
    reconfig_enabled: bool = False
    read_only_mode: bool = False
    close_session_txn: bool = True
    client_tcp_keep_alive: bool = False
    lone_client_poll_us: int = 50
    """`loneClientPollMicros`: how long the loop stays awake for a lone client's next request."""
    audit_user: str | None = None
    """Who the server is in the audit log (`audit.enable`); None: there is no such log."""
    audit_file: PurePath | None = None
    """`audit.file`: where it goes instead of the server's log."""
    four_letter_words: frozenset[str] = frozenset({"srvr"})
    """Enabled four-letter words; `*` enables all."""
    passed_through: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """Keys that become properties of the JVM in the original, as they were written."""
