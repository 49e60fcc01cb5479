"""The four-letter words: text from a server's values, byte for byte as the reference prints it.

Source: reference/operations.md section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from kraal.admin import java_text, monitor
from kraal.admin.environment import environment
from kraal.admin.source import StatusSource
from kraal.admin.version import VERSION
from kraal.errors import StorageError
from kraal.model.config import ServerConfig
from kraal.model.ensemble import Address, Role
from kraal.replica.status import (
    ConnectionStatus,
    EnsembleStatus,
    Mode,
    ServerStatus,
    SessionStatus,
)

Word = Callable[[StatusSource, ServerStatus], str | Iterator[str]]

NOT_SERVING = "This ZooKeeper instance is not currently serving requests"
TRACE_MASK = 306
"""The reference's default trace mask; kraal has no trace categories, so it never changes."""
TRACE_MASK_BYTES = 8
"""`stmk` is followed by a mask of this many bytes, big-endian."""


def answer(
    word: str, source: StatusSource, argument: bytes = b"", *, secure: bool = False
) -> str | Iterator[str]:
    """The answer to `word`, one of KNOWN, a long one in pieces.

    `argument` is what follows `stmk`; `secure` says that the port that speaks TLS alone was
    asked: each port knows of its own connections.
    """
    enabled = source.config.four_letter_words
    if word not in enabled and "*" not in enabled:
        return f"{word} is not executed because it is not in the whitelist.\n"
    if word == "stmk":
        return str(int.from_bytes(argument, "big", signed=True))
    if word in _ALWAYS:
        return _ALWAYS[word](source)
    status = source.server_status()
    if not status.serving:
        return _NOT_SERVING.get(word, f"{NOT_SERVING}\n")
    if word in _OF_PORT:
        return _OF_PORT[word](source, status, secure)
    try:
        return _SERVING[word](source, status)
    except StorageError as error:  # a directory that cannot be measured
        return f"{error}\n"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _ruok(_source: StatusSource) -> str:
    return "imok"


def _gtmk(_source: StatusSource) -> str:
    return str(TRACE_MASK)


def _envi(_source: StatusSource) -> str:
    values = environment(VERSION)
    return _lines(["Environment:", *(f"{key}={value}" for key, value in values.items())])


def _isro(_source: StatusSource, status: ServerStatus) -> str:
    return "ro" if status.mode is Mode.READ_ONLY else "rw"


def _srvr(_source: StatusSource, status: ServerStatus) -> str:
    return _lines([*_version_lines(status), *_figures(status)])


def _version_lines(status: ServerStatus) -> list[str]:
    lines = [f"Zookeeper version: {VERSION}"]
    if status.mode is Mode.READ_ONLY:
        lines.append("READ-ONLY mode; serving only read-only clients")
    return lines


def _figures(status: ServerStatus) -> list[str]:
    latency = status.latency
    average = java_text.number(java_text.average(latency.average_ms))
    lines = [
        f"Latency min/avg/max: {latency.minimum_ms}/{average}/{latency.maximum_ms}",
        f"Received: {status.received}",
        f"Sent: {status.sent}",
        f"Connections: {status.connections}",
        f"Outstanding: {status.outstanding}",
        f"Zxid: 0x{java_text.hex_long(status.last_zxid)}",
        f"Mode: {status.mode}",
        f"Node count: {status.node_count}",
    ]
    leader = status.ensemble.leader if status.ensemble is not None else None
    if leader is not None:
        lines.append(
            f"Proposal sizes last/min/max: {leader.last_proposal_bytes}"
            f"/{leader.min_proposal_bytes}/{leader.max_proposal_bytes}"
        )
    return lines


def _stat(source: StatusSource, status: ServerStatus, secure: bool) -> Iterator[str]:
    yield _lines([*_version_lines(status), "Clients:"])
    for connection in source.connection_statuses(secure=secure):
        yield f"{_brief(connection)})\n"
    yield _lines(["", *_figures(status)])


def _cons(source: StatusSource, _status: ServerStatus, secure: bool) -> Iterator[str]:
    for connection in source.connection_statuses(secure=secure):
        yield f"{_full(connection)}\n"
    yield "\n"


def _brief(connection: ConnectionStatus) -> str:
    """A connection without its session and without the closing bracket.

    `[n]` is the reference's set of socket operations waited for: 1 is reading, 0 is nothing.
    """
    return (
        f" {java_text.socket_address(connection.host, connection.port)}"
        f"[{int(connection.reading)}](queued={connection.queued}"
        f",recved={connection.received},sent={connection.sent}"
    )


def _full(connection: ConnectionStatus) -> str:
    if not connection.session_id:
        return f"{_brief(connection)})"
    latency = connection.latency
    last_cxid = connection.last_cxid
    return (
        f"{_brief(connection)},sid=0x{java_text.hex_long(connection.session_id)}"
        f",lop={connection.last_operation},est={connection.established_wall_ms}"
        f",to={connection.timeout_ms}"
        f"{f',lcxid=0x{last_cxid:x}' if last_cxid >= 0 else ''}"
        f",lzxid=0x{java_text.hex_long(connection.last_zxid)}"
        f",lresp={connection.last_response_ms},llat={connection.last_latency_ms}"
        f",minlat={latency.minimum_ms},avglat={int(latency.average_ms)}"
        f",maxlat={latency.maximum_ms})"
    )


def _conf(source: StatusSource, status: ServerStatus) -> str:
    config = source.config
    ensemble = status.ensemble
    data_dir = Path(config.storage.data_dir).absolute() / "version-2"
    log_dir = Path(config.storage.data_log_dir).absolute() / "version-2"
    text = _lines(
        [
            f"clientPort={source.bound_port}",
            f"secureClientPort={source.secure_port}",
            f"dataDir={data_dir}",
            f"dataDirSize={source.data_dir_bytes()}",
            f"dataLogDir={log_dir}",
            f"dataLogSize={source.log_dir_bytes()}",
            f"tickTime={config.tick_time_ms}",
            f"maxClientCnxns={config.throttle.max_client_connections}",
            f"minSessionTimeout={config.min_session_timeout_ms}",
            f"maxSessionTimeout={config.max_session_timeout_ms}",
            f"clientPortListenBacklog={config.listen_backlog}",
            # A standalone server of the reference has no id, whatever its myid says.
            f"serverId={ensemble.member.id if ensemble is not None else 0}",
        ]
    )
    return text if ensemble is None else text + _member_conf(config, ensemble)


def _member_conf(config: ServerConfig, status: EnsembleStatus) -> str:
    """What a member of an ensemble adds; the membership only while it has a leader."""
    settings, member = config.ensemble, status.member
    assert settings is not None, "a member has the settings of one"
    lines = [
        f"initLimit={settings.init_limit_ticks}",
        f"syncLimit={settings.sync_limit_ticks}",
        "electionAlg=3",
        f"electionPort={_ports(member.election)}",
        f"quorumPort={_ports(member.quorum)}",
        f"peerType={int(member.role is Role.OBSERVER)}",
    ]
    if status.peer_state is None:
        return _lines(lines)
    return _lines([*lines, "membership: "]) + status.config.text()


def _ports(addresses: Sequence[Address]) -> str:
    return "|".join(str(address.port) for address in addresses)


def _dirs(source: StatusSource, _status: ServerStatus) -> str:
    return _lines(
        [
            f"datadir_size: {source.data_dir_bytes()}",
            f"logdir_size: {source.log_dir_bytes()}",
        ]
    )


def _dump(source: StatusSource, status: ServerStatus, secure: bool) -> str:
    connections = source.connection_statuses(secure=secure)
    ephemerals = source.ephemerals()
    lines = ["SessionTracker dump:"]
    local = source.local_session_statuses()
    if local is not None:
        lines += _session_sets(source, "Local Session", local)
    if status.mode in (Mode.STANDALONE, Mode.LEADER):
        what = "Session" if local is None else "Global Session"
        lines += _session_sets(source, what, source.session_statuses())
    else:
        lines += _global_sessions(source.session_statuses())
    lines += ["ephemeral nodes dump:", f"Sessions with Ephemerals ({len(ephemerals)}):"]
    for session_id, paths in ephemerals.items():
        lines.append(f"{_session(session_id)}:")
        lines += [f"\t{java_text.path(path)}" for path in paths]
    lines.append("Connections dump:")
    lines += _expiry_sets(
        source,
        "Connections",
        [
            (
                connection.deadline_ms,
                f"ip: {java_text.socket_address(connection.host, connection.port)}"
                f" sessionId: {_session(connection.session_id)}",
            )
            for connection in connections
        ],
    )
    return _lines(lines)


def _session_sets(source: StatusSource, what: str, sessions: Iterable[SessionStatus]) -> list[str]:
    """Sessions whose end this server decides."""
    members = [(session.deadline_ms, _session(session.session_id)) for session in sessions]
    return _expiry_sets(source, what, members)


def _global_sessions(sessions: Sequence[SessionStatus]) -> list[str]:
    """Sessions whose end the leader decides."""
    by_id = sorted(sessions, key=lambda session: session.session_id)
    return [
        f"Global Sessions({len(by_id)}):",
        *(f"{_session(session.session_id)}\t{session.timeout_ms}ms" for session in by_id),
    ]


def _expiry_sets(
    source: StatusSource, what: str, members: Iterable[tuple[int | None, str]]
) -> list[str]:
    """Members by the time at which they expire; those that never expire are only counted."""
    members = list(members)
    buckets: dict[int, list[str]] = {}
    for deadline_ms, text in members:
        if deadline_ms is not None:
            buckets.setdefault(deadline_ms, []).append(text)
    lines = [f"{what} Sets ({len(buckets)})/({len(members)}):"]
    wall_offset_ms = source.wall_ms() - source.monotonic_ms()
    for deadline_ms, texts in sorted(buckets.items()):
        lines.append(f"{len(texts)} expire at {java_text.date(wall_offset_ms + deadline_ms)}:")
        lines += [f"\t{text}" for text in texts]
    return lines


def _session(session_id: int) -> str:
    return f"0x{java_text.hex_long(session_id)}"


def _wchs(source: StatusSource, _status: ServerStatus) -> Iterator[str]:
    sessions: set[int] = set()
    paths = total = 0
    for _, watching in source.watch_status().by_path:
        sessions.update(watching)
        paths += 1
        total += len(watching)
        yield ""
    yield f"{len(sessions)} connections watching {paths} paths\nTotal watches:{total}\n"


def _wchc(source: StatusSource, _status: ServerStatus) -> Iterator[str]:
    by_session: dict[int, list[bytes]] = {}
    for path, sessions in source.watch_status().by_path:
        for session in sessions:
            by_session.setdefault(session, []).append(path)
        yield ""
    for session, paths in by_session.items():
        yield f"{_session(session)}\n"
        for path in paths:
            yield f"\t{java_text.path(path)}\n"
    yield "\n"


def _wchp(source: StatusSource, _status: ServerStatus) -> Iterator[str]:
    for path, sessions in source.watch_status().by_path:
        yield f"{java_text.path(path)}\n"
        for session in sessions:
            yield f"\t{_session(session)}\n"
    yield "\n"


def _hash(source: StatusSource, _status: ServerStatus) -> str:
    return _lines(f"{java_text.hex_long(zxid)}: {digest}" for zxid, digest in source.digests())


def _srst(source: StatusSource, _status: ServerStatus) -> str:
    source.reset_server_stats()
    return "Server stats reset.\n"


def _crst(source: StatusSource, _status: ServerStatus) -> str:
    source.reset_connection_stats()
    return "Connection stats reset.\n"


def _mntr(source: StatusSource, status: ServerStatus) -> Iterator[str]:
    for name, value in monitor.entries(source, status):
        yield f"zk_{name}\t{value if isinstance(value, str) else java_text.number(value)}\n"


_ALWAYS: Mapping[str, Callable[[StatusSource], str]] = MappingProxyType(
    {"ruok": _ruok, "gtmk": _gtmk, "envi": _envi}
)
"""Words that are answered whether or not the server serves (section 2.1), with `stmk`."""

_NOT_SERVING = MappingProxyType({"isro": "null", "hash": NOT_SERVING})
"""Answers of a server that does not serve, where they differ from the usual line."""

_SERVING: Mapping[str, Callable[[StatusSource, ServerStatus], str | Iterator[str]]] = (
    MappingProxyType(
        {
            "conf": _conf,
            "crst": _crst,
            "dirs": _dirs,
            "hash": _hash,
            "isro": _isro,
            "mntr": _mntr,
            "srst": _srst,
            "srvr": _srvr,
            "wchc": _wchc,
            "wchp": _wchp,
            "wchs": _wchs,
        }
    )
)

_OF_PORT: Mapping[str, Callable[[StatusSource, ServerStatus, bool], str | Iterator[str]]] = (
    MappingProxyType({"cons": _cons, "dump": _dump, "stat": _stat})
)
"""Words about the connections of the port that was asked."""

KNOWN: Mapping[bytes, str] = MappingProxyType(
    {word.encode(): word for word in (*_ALWAYS, "stmk", *_SERVING, *_OF_PORT)}
)
"""The first four bytes of a connection that are a word and not the length of a frame."""
