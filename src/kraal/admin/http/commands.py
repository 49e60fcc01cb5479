"""The commands of the admin server: from a server's values to the members of a JSON object.

Names, aliases and members are the reference's (reference/operations.md section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kraal.admin import java_text, monitor
from kraal.admin.environment import environment
from kraal.admin.four_letter_words import TRACE_MASK
from kraal.admin.http import children, members, own_commands
from kraal.admin.http.reply import CommandError, Parameters, Reply
from kraal.admin.json_text import Json, Pairs, Rows
from kraal.admin.source import AdminSource
from kraal.admin.version import VERSION
from kraal.replica.status import ConnectionStatus, Mode, ServerStatus

Run = Callable[[AdminSource, Parameters], Reply]


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `names` begins with the primary one."""

    names: tuple[str, ...]
    run: Run
    help: str
    needs_server: bool = True
    """Whether it is refused while the server does not serve."""
    is_own: bool = False
    """Whether kraal has it and the reference has not."""
    is_post: bool = False
    needs_access: bool = False
    """Whether credentials are needed that give all permissions on the root."""


def _configuration(source: AdminSource, _parameters: Parameters) -> Reply:
    config = source.config
    ensemble = source.server_status().ensemble
    return {
        "client_port": source.bound_port,
        "data_dir": str(Path(config.storage.data_dir).absolute() / "version-2"),
        "data_log_dir": str(Path(config.storage.data_log_dir).absolute() / "version-2"),
        "tick_time": config.tick_time_ms,
        "max_client_cnxns": config.throttle.max_client_connections,
        "min_session_timeout": config.min_session_timeout_ms,
        "max_session_timeout": config.max_session_timeout_ms,
        "server_id": ensemble.member.id if ensemble is not None else 0,
        "client_port_listen_backlog": config.listen_backlog,
    }


def _connections(source: AdminSource, parameters: Parameters) -> Reply:
    """A page of each of both."""
    return {
        name: Rows(map(_full, parameters.page(source.connection_statuses(secure=secure))))
        for name, secure in (("connections", False), ("secure_connections", True))
    }


def _brief(connection: ConnectionStatus) -> dict[str, Json]:
    host = connection.host
    return {
        "remote_socket_address": f"{f'[{host}]' if ':' in host else host}:{connection.port}",
        "interest_ops": int(connection.reading),
        "outstanding_requests": connection.outstanding,
        "packets_received": connection.received,
        "packets_sent": connection.sent,
    }


def _full(connection: ConnectionStatus) -> dict[str, Json]:
    latency = connection.latency
    return {
        **_brief(connection),
        "session_id": signed(connection.session_id),
        "last_operation": connection.last_operation,
        "established": connection.established_wall_ms,
        "session_timeout": connection.timeout_ms,
        "last_cxid": connection.last_cxid,
        "last_zxid": signed(connection.last_zxid),
        "last_response_time": connection.last_response_ms,
        "last_latency": connection.last_latency_ms,
        "min_latency": latency.minimum_ms,
        "avg_latency": int(latency.average_ms),
        "max_latency": latency.maximum_ms,
    }


def signed(value: int) -> int:
    """A Java long."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def _reset_connections(source: AdminSource, _parameters: Parameters) -> Reply:
    source.reset_connection_stats()
    return {}


def _dirs(source: AdminSource, _parameters: Parameters) -> Reply:
    return {"datadir_size": source.data_dir_bytes(), "logdir_size": source.log_dir_bytes()}


def _dump(source: AdminSource, _parameters: Parameters) -> Reply:
    buckets: dict[int, list[Json]] = {}
    for session in source.session_statuses():
        if session.deadline_ms is not None:
            buckets.setdefault(session.deadline_ms, []).append(signed(session.session_id))
    return {
        "expiry_time_to_session_ids": Pairs(
            (str(deadline_ms), ids) for deadline_ms, ids in sorted(buckets.items())
        ),
        "session_id_to_ephemeral_paths": Pairs(
            (str(signed(owner)), [java_text.path(path) for path in paths])
            for owner, paths in source.ephemerals().items()
        ),
    }


def _environment(_source: AdminSource, _parameters: Parameters) -> Reply:
    return dict(environment(VERSION))


def _get_trace_mask(_source: AdminSource, _parameters: Parameters) -> Reply:
    return {"tracemask": TRACE_MASK}


def _set_trace_mask(_source: AdminSource, parameters: Parameters) -> Reply:
    """As `stmk`: there are no trace categories, so the mask is repeated and nothing more."""
    text = parameters.text("traceMask")
    if text is None:
        raise CommandError("setTraceMask requires long traceMask argument")
    try:
        return {"tracemask": signed(int(text))}
    except ValueError:
        raise CommandError(f"setTraceMask requires long traceMask argument, got {text}") from None


def _hash(source: AdminSource, _parameters: Parameters) -> Reply:
    return {
        "digests": [
            {"zxid": zxid, "digest": signed(digest), "digest_version": 2}
            for zxid, digest in source.digests()
        ]
    }


def _initial_configuration(source: AdminSource, _parameters: Parameters) -> Reply:
    """Null in an ensemble, as the reference has it."""
    is_member = source.config.ensemble is not None
    return {"initial_configuration": None if is_member else source.config.admin.initial_text}


def _is_read_only(source: AdminSource, _parameters: Parameters) -> Reply:
    return {"read_only": source.server_status().mode is Mode.READ_ONLY}


def _last_snapshot(source: AdminSource, _parameters: Parameters) -> Reply:
    zxid, seconds = source.last_snapshot() or (-1, -1)
    return {"zxid": java_text.hex_long(zxid), "timestamp": seconds}


def _monitor(source: AdminSource, _parameters: Parameters) -> Reply:
    return dict(monitor.entries(source, source.server_status()))


def _reset_learners(source: AdminSource, _parameters: Parameters) -> Reply:
    source.reset_learner_stats()
    return {}


def _ruok(_source: AdminSource, _parameters: Parameters) -> Reply:
    return {}


def _server_stats(source: AdminSource, _parameters: Parameters) -> Reply:
    return _stats_of(source, source.server_status())


def _stats_of(source: AdminSource, status: ServerStatus) -> Reply:
    responses = _sizes(status.response_sizes)
    local, remote = status.plain_connections
    leader = status.ensemble.leader if status.ensemble is not None else None
    reply: Reply = {
        "version": VERSION,
        "read_only": status.mode is Mode.READ_ONLY,
        "server_stats": {
            "packets_sent": status.sent,
            "packets_received": status.received,
            "fsync_threshold_exceed_count": status.slow_syncs,
            "client_response_stats": responses,
            "data_dir_size": source.data_dir_bytes(),
            "log_dir_size": source.log_dir_bytes(),
            "provider_null": False,
            "last_processed_zxid": status.last_zxid,
            "outstanding_requests": status.outstanding,
            "server_state": str(status.mode),
            "avg_latency": java_text.average(status.latency.average_ms),
            "max_latency": status.latency.maximum_ms,
            "min_latency": status.latency.minimum_ms,
            "num_alive_client_connections": status.connections,
            "uptime": status.uptime_ms,
            "auth_failed_count": status.handshakes_failed,
            "non_mtlsremote_conn_count": remote,
            "non_mtlslocal_conn_count": local,
        },
        "client_response": responses,
    }
    if leader is not None:
        reply["proposal_stats"] = _sizes(
            (leader.last_proposal_bytes, leader.min_proposal_bytes, leader.max_proposal_bytes)
        )
    reply["node_count"] = status.node_count
    return reply


def _sizes(sizes: tuple[int, int, int]) -> dict[str, Json]:
    last, smallest, largest = sizes
    return {
        "last_buffer_size": last,
        "min_buffer_size": smallest,
        "max_buffer_size": largest,
    }


def _stats(source: AdminSource, _parameters: Parameters) -> Reply:
    return {
        **_stats_of(source, source.server_status()),
        "connections": Rows(map(_brief, source.connection_statuses(secure=False))),
        "secure_connections": Rows(map(_brief, source.connection_statuses(secure=True))),
    }


def _reset_stats(source: AdminSource, _parameters: Parameters) -> Reply:
    source.reset_server_stats()
    return {}


def _system_properties(source: AdminSource, _parameters: Parameters) -> Reply:
    """Settings that are properties in the original, without what nobody should see."""
    return {
        f"zookeeper.{key}": "********" if _is_secret(key) else value
        for key, value in sorted(source.config.passed_through.items())
    }


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("password", "digest", "secret"))


def _watches(source: AdminSource, parameters: Parameters) -> Reply:
    by_session: dict[int, list[Json]] = {}
    for path, sessions in source.watch_status().by_path:
        for session_id in sessions:
            by_session.setdefault(session_id, []).append(java_text.path(path))
    return {
        "session_id_to_watched_paths": Pairs(
            (str(signed(session_id)), paths)
            for session_id, paths in parameters.page(by_session.items())
        )
    }


def _watches_by_path(source: AdminSource, parameters: Parameters) -> Reply:
    return {
        "path_to_session_ids": Pairs(
            (java_text.path(path), [signed(session_id) for session_id in sessions])
            for path, sessions in parameters.page(source.watch_status().by_path)
        )
    }


def _watch_summary(source: AdminSource, _parameters: Parameters) -> Reply:
    by_path = list(source.watch_status().by_path)
    return {
        "num_connections": len({session for _, watching in by_path for session in watching}),
        "num_paths": len(by_path),
        "num_total_watches": sum(len(watching) for _, watching in by_path),
    }


_C = Command
COMMANDS: tuple[Command, ...] = (
    _C(("configuration", "conf", "config"), _configuration, "Settings in use."),
    _C(("connection_stat_reset", "crst"), _reset_connections, "Reset the figures of connections."),
    _C(("connections", "cons"), _connections, "Connections of clients. `limit`, `offset`."),
    _C(("dirs",), _dirs, "Bytes of snapshots and logs."),
    _C(("dump",), _dump, "Sessions by expiry, ephemerals by session."),
    _C(("environment", "env", "envi"), _environment, "The process.", needs_server=False),
    _C(("get_trace_mask", "gtmk"), _get_trace_mask, "The trace mask.", needs_server=False),
    _C(("hash",), _hash, "Digests of the tree by zxid."),
    _C(("initial_configuration", "icfg"), _initial_configuration, "zoo.cfg as it was read."),
    _C(("is_read_only", "isro"), _is_read_only, "Whether only reads are served."),
    _C(("last_snapshot", "lsnp"), _last_snapshot, "The newest snapshot."),
    _C(("leader", "lead"), members.leader, "Who leads."),
    _C(("monitor", "mntr"), _monitor, "All metrics.", needs_server=True),
    _C(("observer_connection_stat_reset", "orst"), _reset_learners,
       "Reset the figures of observers' connections."),
    _C(("observers", "obsr"), members.observers, "Observers that are connected here."),
    _C(("ruok",), _ruok, "Whether the server serves: `error` is null then."),
    _C(("server_stats", "srvr"), _server_stats, "Figures of the server."),
    _C(("set_trace_mask", "stmk"), _set_trace_mask, "Repeats `traceMask`.", needs_server=False),
    _C(("stat_reset", "srst"), _reset_stats, "Reset the figures of the server."),
    _C(("stats", "stat"), _stats, "Figures of the server, and connections in brief."),
    _C(("system_properties", "sysp"), _system_properties, "Properties that were set.",
       needs_server=False),
    _C(("voting_view",), members.voting_view, "The voters."),
    _C(("watch_summary", "wchs"), _watch_summary, "Number of data watches."),
    _C(("watches", "wchc"), _watches, "Data watches by session. `limit`, `offset`."),
    _C(("watches_by_path", "wchp"), _watches_by_path, "Data watches by path. `limit`, `offset`."),
    _C(("zabstate",), members.zabstate, "Where a member is in the protocol.", needs_server=False),
    _C(("load",), own_commands.load, "The heaviest clients, paths and operations of the last"
       " minutes.", is_own=True),
    _C(("slow_requests",), own_commands.slow_requests, "Requests that took longer than"
       " `slowRequestThresholdMs`.", is_own=True),
    _C(("sessions",), own_commands.sessions, "What befell a `session` and why it ended; without"
       " it, the sessions that are remembered.", is_own=True),
    _C(("largest_znodes",), own_commands.largest_znodes, "The znodes and lists of children that"
       " are nearest to `jute.maxbuffer`. `limit`.", is_own=True),
    _C(("most_watched",), own_commands.most_watched, "The paths that most sessions watch, and the"
       " sessions with most watches. `limit`.", is_own=True),
    _C(("children",), children.children, "Children of the znode `path` by name, with their kinds,"
       " in pages: at most `limit` of those whose names come behind `after` and begin with"
       " `prefix`; `next` is the `after` of the next page.", is_own=True, needs_access=True),
    _C(("log_levels",), own_commands.log_levels, "Levels of the loggers.", needs_server=False,
       is_own=True),
    _C(("set_log_level",), own_commands.set_log_level, "Set the `level` of a `logger`.",
       needs_server=False, is_own=True, is_post=True, needs_access=True),
)  # fmt: skip
"""All but `snapshot` and `restore`, which take and give streams."""

BY_NAME: Mapping[str, Command] = MappingProxyType(
    {name: command for command in COMMANDS for name in command.names}
)
