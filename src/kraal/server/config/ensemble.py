"""The settings of a member of an ensemble, from the merged keys of its configuration.

Keys, units and defaults: reference/quorum-protocol.md section 8 and reference/operations.md
sections 1.2 and 1.3. A standalone server does not read them.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePath

from kraal.errors import ConfigError
from kraal.model import limits
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig, Role
from kraal.model.setting import decimal, refuse
from kraal.server.config.sasl import quorum_sasl_config
from kraal.server.config.settings import Settings
from kraal.server.config.tls import QUORUM, tls_settings
from kraal.server.membership import NO_SERVER

_SIZE_FACTOR = 0.33
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BIND_RETRY = 3


def ensemble_settings(
    settings: Settings,
    config: EnsembleConfig,
    *,
    server_id: int | None,
    static: PurePath | None,
    last_seen: EnsembleConfig | None,
) -> EnsembleSettings:
    """Read the keys; ConfigError for what is missing, wrong or not served yet.

    `server_id` is what `myid` says, `static` is where reconfigurations are recorded.
    """
    _warn_of_unserved(settings)
    init_limit = _limit(settings, "initLimit")
    sync_limit = _limit(settings, "syncLimit")
    if server_id is None:
        raise ConfigError("myid file is missing")
    _look_for(settings, config, server_id)
    number, flag = settings.number, settings.flag
    dials_tls = settings.parsed_flag("sslQuorum", False)
    is_unified = settings.parsed_flag("portUnification", False)
    return EnsembleSettings(
        config=config,
        init_limit_ticks=init_limit,
        sync_limit_ticks=sync_limit,
        connect_to_learner_master_limit_ticks=max(
            0, settings.parsed_number("connectToLearnerMasterLimit", 0)
        ),
        standalone_enabled=settings.parsed_flag("standaloneEnabled", True),
        leader_serves=not settings.word("leaderServes", other="no", default="yes"),
        sync_enabled=flag("observer.syncEnabled", settings.parsed_flag("syncEnabled", True)),
        local_sessions=settings.parsed_flag("localSessionsEnabled", False),
        local_sessions_upgrading=settings.parsed_flag("localSessionsUpgradingEnabled", False),
        last_seen=last_seen,
        config_path=static,
        cnx_timeout_ms=_cnx_timeout_ms(settings),
        quorum_cnxn_timeout_ms=number("quorumCnxnTimeoutMs", -1, minimum=-1) or -1,
        election_port_bind_retry=_bind_retry(settings),
        tcp_keep_alive=flag("tcpKeepAlive", False),
        min_notification_interval_ms=number("fastleader.minNotificationInterval", 200, minimum=1),
        max_notification_interval_ms=number(
            "fastleader.maxNotificationInterval", 60_000, minimum=1
        ),
        max_time_to_wait_for_epoch_ms=number("leader.maxTimeToWaitForEpoch", -1, minimum=-1),
        leader_connect_delay_ms=number("leaderConnectDelayDuringRetryMs", 100, minimum=0),
        sasl=quorum_sasl_config(settings),
        quorum_listen_on_all_ips=settings.parsed_flag("quorumListenOnAllIPs", False),
        tls=tls_settings(settings, QUORUM) if dials_tls or is_unified else None,
        dials_tls=dials_tls,
        unified_quorum_ports=is_unified,
        leader_no_delay=flag("leader.nodelay", True),
        follower_no_delay=flag("follower.nodelay", True),
        observer_reconnect_delay_ms=number("observer.reconnectDelayMs", 0, minimum=0),
        observer_election_delay_ms=number("observer.election.DelayMs", 200, minimum=0),
        observer_master_port=_observer_master_port(settings),
        observer_master_size_limit_bytes=number("observerMaster.sizeLimit", 32 << 20, minimum=1),
        force_snapshot_sync=flag("forceSnapshotSync", False),
        commit_log_count=number(
            "commitLogCount", limits.COMMIT_LOG_MIN_TXNS, minimum=limits.COMMIT_LOG_MIN_TXNS
        ),
        ack_logging_frequency=number("leader.ackLoggingFrequency", 1000, minimum=1),
        snapshot_size_factor=_snapshot_size_factor(settings),
        max_concurrent_snap_syncs=number("leader.maxConcurrentSnapSyncs", 10, minimum=1),
        max_concurrent_diff_syncs=number("leader.maxConcurrentDiffSyncs", 100, minimum=1),
        multi_address=settings.parsed_flag("multiAddress.enabled", False),
        tree_resync_interval_ms=number("treeResyncIntervalMs", 3_600_000, minimum=0),
    )


def _look_for(settings: Settings, config: EnsembleConfig, server_id: int) -> None:
    """This server is a member, or may become one."""
    if server_id == NO_SERVER:
        raise ConfigError(
            f"myid file holds {server_id}, which is no server: a number from 0 on is allowed,"
            f" one of those of the server lines: {', '.join(map(str, config.members))}"
        )
    member = config.members.get(server_id)
    if member is not None:
        _compare_roles(settings, member.role)
    elif not settings.parsed_flag("reconfigEnabled", False):
        raise ConfigError(
            f"My id {server_id} not in the peer list, which names"
            f" {', '.join(map(str, config.members))}: with reconfigEnabled=true it would join"
        )


def outstanding_limit(settings: Settings, voters: int) -> int:
    """This server's share of `globalOutstandingLimit` (end of quorum-protocol.md section 8)."""
    limit = settings.number("globalOutstandingLimit", 1000, minimum=1)
    return max(1, limit // (voters - 1)) if voters > 2 else limit


def _warn_of_unserved(settings: Settings) -> None:
    """What was asked for must not be left out silently."""
    if settings.text("oraclePath"):
        settings.warn("oraclePath", "not served by this version yet, so without effect")
    if settings.flag("kerberos.canonicalizeHostNames", False):
        settings.warn(
            "kerberos.canonicalizeHostNames", "host names of server lines are used as written"
        )


def _limit(settings: Settings, key: str) -> int:
    ticks = settings.parsed_number(key, 0)
    if ticks == 0:
        raise ConfigError(f"{key} is not set")
    if ticks < 0:
        raise refuse(key, str(ticks), "must be positive")
    return ticks


def _compare_roles(settings: Settings, by_servers_list: Role) -> None:
    """`peerType` decides nothing; a member's line does."""
    peer_type = Role.parse(settings.text("peerType") or Role.PARTICIPANT)
    if peer_type is not by_servers_list:
        settings.warnings.append(
            f"Peer type from servers list ({by_servers_list.name}) doesn't match peerType"
            f" ({peer_type.name}). Defaulting to servers list."
        )


def _cnx_timeout_ms(settings: Settings) -> int:
    """`cnxTimeout` is decimal and a wrong value is fatal (section 1.3)."""
    text = settings.text("cnxTimeout")
    if text is None:
        return 5000
    timeout_ms = decimal(text)
    if timeout_ms is None:
        raise refuse("cnxTimeout", text, f'For input string: "{text}"')
    if timeout_ms <= 0:
        raise refuse("cnxTimeout", text, "must be positive")
    return timeout_ms


def _bind_retry(settings: Settings) -> int:
    attempts = settings.number("electionPortBindRetry", _BIND_RETRY)
    if attempts >= 0:
        return attempts
    settings.warn("electionPortBindRetry", f"must not be negative; {_BIND_RETRY} is used")
    return _BIND_RETRY


def _observer_master_port(settings: Settings) -> int:
    port = settings.parsed_number("observerMasterPort", 0)
    if not 0 <= port <= 0xFFFF:
        raise refuse("observerMasterPort", str(port), f"port out of range:{port}")
    return port


def _snapshot_size_factor(settings: Settings) -> float:
    text = settings.text("snapshotSizeFactor")
    if text is None:
        return _SIZE_FACTOR
    factor = float(text) if _FLOAT.fullmatch(text) else math.nan
    if factor <= 1:
        return factor
    settings.warn("snapshotSizeFactor", f"not a number of at most 1; {_SIZE_FACTOR} is used")
    return _SIZE_FACTOR
