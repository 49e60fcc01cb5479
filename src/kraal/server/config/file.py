"""Build the one configuration of a server from `zoo.cfg`, properties, environment and options.

What stands later wins: defaults of a start without a file, `-D` properties, zoo.cfg,
environment variables, command-line options. Keys, defaults and what wrong values do:
reference/operations.md sections 1.1 to 1.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kraal.admin.environment import user_name
from kraal.errors import ConfigError
from kraal.model import limits, properties
from kraal.model.config import (
    EnsembleSettings,
    ReaperConfig,
    SecurityConfig,
    ServerConfig,
    SnapshotCodec,
    StorageConfig,
    ThrottleConfig,
)
from kraal.model.ensemble import is_membership_key
from kraal.model.setting import decimal, refuse
from kraal.pipeline.auth.digest import hash_function
from kraal.server.config import keys
from kraal.server.config import sasl as sasl_settings
from kraal.server.config.admin import METRICS_PROVIDERS, admin_config
from kraal.server.config.client import client_ports, has_x509, x509_super_user
from kraal.server.config.ensemble import ensemble_settings, outstanding_limit
from kraal.server.config.settings import Settings
from kraal.server.membership import Membership, membership
from kraal.storage import dynamic_config
from kraal.storage.filesystem import OsFileSystem

WITHOUT_FILE = {
    "clientPort": "2181",
    "clientPortAddress": "127.0.0.1",
    "dataDir": "./kraal-data",
    "admin.serverAddress": "127.0.0.1",
}
"""Where a server started without a zoo.cfg listens and stores."""
_FILE_MAX_BYTES = 1 << 20
"""What is larger is another file, named by mistake; Java's properties have no bound."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and what its author should know about it."""

    config: ServerConfig
    warnings: tuple[str, ...]
    unknown: tuple[str, ...]
    """Keys, or environment variables, that nobody knows; each has a warning too."""
    settings: Settings = field(compare=False, repr=False, default_factory=lambda: Settings({}))
    """What it was read from."""

    def located(self, error: ConfigError) -> ConfigError:
        """The same of a setting of this configuration, with the place where that was set."""
        return ConfigError(self.settings.located(error.key, str(error)), error.key)


def load(
    typed: str | Path | None,
    *,
    defines: Mapping[str, str],
    environment: Mapping[str, str],
    overrides: Mapping[str, str],
    server_id: int | None = None,
) -> LoadedConfig:
    """Read and check a configuration; ConfigError names source, key, value and reason.

    `server_id` is who the server is where no `myid` says it.

    `typed` is the file's path as it was given: a `Path` does not keep a leading `./`.
    `defines` are Java properties with or without the `zookeeper.` prefix, `environment` is the
    whole process environment, of which only `KRAAL_*` counts, `overrides` are keys of zoo.cfg.
    """
    path = None if typed is None else Path(typed)
    names, unknown_variables = _from_environment(environment)
    in_file = {} if path is None else _read(path)
    defined = {key.removeprefix("zookeeper."): value for key, value in defines.items()}
    layers: tuple[tuple[Mapping[str, str], Mapping[str, str]], ...] = (
        ({} if path is not None else WITHOUT_FILE, {}),
        (defined, dict.fromkeys(defined, "-D")),
        (in_file, {} if path is None else _places(path)),
        ({key: environment[name] for key, name in names.items()}, names),
        (overrides, {}),
    )
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for layer, places in layers:
        values |= (canonical := _canonical(layer))
        sources = {key: at for key, at in sources.items() if key not in canonical}
        sources |= _canonical(places)
    settings = Settings(values, sources)
    if typed is not None:
        _warn_if_relative(settings, "the configuration file", str(typed))
    elsewhere = {*defined, *names, *overrides}
    try:
        return _load(settings, path, elsewhere, unknown_variables, server_id)
    except ConfigError as error:
        raise ConfigError(settings.located(error.key, str(error)), error.key) from error


def _load(
    settings: Settings,
    path: Path | None,
    elsewhere: set[str],
    unknown_variables: list[str],
    server_id: int | None,
) -> LoadedConfig:
    """`elsewhere` are the keys that are not set in the file alone."""
    settings.check_parsed()
    if path is not None:
        settings.warnings += _repeated_servers(path)
        settings.initial_text = path.read_text(encoding="latin-1")
    members_in_file = not any(map(_names_members, elsewhere))
    static = path.absolute() if path and members_in_file else None
    config = _server(settings, static, server_id)
    unknown_keys = sorted(filter(_is_unknown, config.passed_through))
    unknown = (*unknown_keys, *unknown_variables)
    settings.warnings += [settings.located(name, _unknown_warning(name)) for name in unknown]
    return LoadedConfig(config, tuple(settings.warnings), unknown, settings)


def _names_members(key: str) -> bool:
    return is_membership_key(key) or key == dynamic_config.POINTER


def _read(
    path: Path, parse: Callable[[bytes], dict[str, str]] = properties.parse
) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
        if len(content) > _FILE_MAX_BYTES:
            raise ConfigError(f"this is no configuration: it has more than {_FILE_MAX_BYTES} bytes")
        return parse(content)
    except FileNotFoundError:
        raise ConfigError(f"{path} file is missing") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _places(path: Path) -> dict[str, str]:
    """Where in the file each key is set."""
    numbers = properties.line_numbers(path.read_bytes())
    return {key: f"{path}, line {number}" for key, number in numbers.items()}


def _repeated_servers(path: Path) -> list[str]:
    """The original takes the last of several lines in silence, and the membership is another."""
    repeated = filter(is_membership_key, properties.repeated(path.read_bytes()))
    return [f"{path}: {key} is set more than once, and the last line counts" for key in repeated]


def _canonical(values: Mapping[str, str]) -> dict[str, str]:
    """Spell every key as the reference does; its own spelling wins over the guide's."""
    spellings = keys.GUIDE_SPELLINGS
    in_guide = {spellings[key]: value.strip() for key, value in values.items() if key in spellings}
    return in_guide | {key: value.strip() for key, value in values.items() if key not in spellings}


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The variables that set keys, by key, and those that set none; empty means not set."""
    variables = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(keys.ENVIRONMENT_PREFIX)
        and name.upper() not in keys.NOT_SETTINGS
        and value.strip()
    ]
    names: dict[str, str] = {}
    unknown = []
    for name in variables:
        key = keys.key_of_variable(name)
        if key is None:
            unknown.append(name)
        elif key in names:
            raise ConfigError(f"{names[key]} and {name} both set {key}")
        else:
            names[key] = name
    return names, unknown


def _is_unknown(key: str) -> bool:
    return not keys.is_known(key)


def _unknown_warning(name: str) -> str:
    meant = keys.suggestion(name)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"{name} is no known setting and changes nothing{hint}"


def _warn_if_relative(settings: Settings, what: str, path: str) -> None:
    if not path.startswith(("./", "/")):
        settings.warnings.append(
            f"{what} {path} is relative. Prepend ./ to indicate that you're sure!"
        )


def _server(settings: Settings, static: Path | None, server_id: int | None) -> ServerConfig:
    """The whole configuration; `static` is the file that names the members, if one does.

    `server_id` counts where there is no `myid`.
    """
    max_buffer_bytes = _max_buffer_bytes(settings)
    storage = _storage(settings, max_buffer_bytes)
    myid = _read_myid(Path(storage.data_dir))
    myid = server_id if myid is None else myid
    members = _membership(settings, myid)
    ports = client_ports(settings, members.member)
    tick_time_ms, min_timeout_ms, max_timeout_ms = _session_times(settings)
    extended_types = settings.flag("extendedTypesEnabled", False)
    server_id = 1 if myid is None else myid
    if extended_types and server_id > limits.MAX_SERVER_ID_WITH_EXTENDED_TYPES:
        raise ConfigError(
            f"extendedTypesEnabled=true: server id {server_id} is larger than"
            f" {limits.MAX_SERVER_ID_WITH_EXTENDED_TYPES}"
        )
    read_only_mode = settings.flag("readonlymode.enabled", False)
    _check_words(settings.values)
    reconfig_enabled = settings.parsed_flag("reconfigEnabled", False)
    ensemble = _ensemble(settings, members, myid, static, reconfig_enabled=reconfig_enabled)
    security = _security(settings, has_x509=has_x509(settings, ports.tls))
    return ServerConfig(
        storage=storage,
        security=security,
        throttle=_throttle(settings, len(members.ensemble.voters) if members.ensemble else 1),
        reaper=_reaper(settings),
        admin=admin_config(settings, ports),
        ensemble=ensemble,
        server_id=server_id,
        client_port=ports.port,
        client_host=ports.host,
        secure_client_port=ports.secure_port,
        secure_client_host=ports.secure_host,
        client_tls=ports.tls,
        unified_client_port=ports.is_unified,
        outstanding_handshakes_max=settings.number("netty.server.outstandingHandshake.limit", -1),
        listen_backlog=settings.parsed_number("clientPortListenBacklog", -1),
        tick_time_ms=tick_time_ms,
        min_session_timeout_ms=min_timeout_ms,
        max_session_timeout_ms=max_timeout_ms,
        max_buffer_bytes=max_buffer_bytes,
        extended_types=extended_types,
        enforce_quota=settings.flag("enforceQuota", False),
        reconfig_enabled=reconfig_enabled,
        read_only_mode=read_only_mode,
        close_session_txn=settings.flag("closeSessionTxn.enabled", True),
        client_tcp_keep_alive=settings.flag("clientTcpKeepAlive", False),
        lone_client_poll_us=settings.number("loneClientPollMicros", 50, minimum=0),
        audit_file=PurePath(audit_file) if (audit_file := settings.text("audit.file")) else None,
        audit_user=_audit_user(security) if settings.flag("audit.enable", False) else None,
        four_letter_words=_four_letter_words(settings, read_only_mode),
        passed_through=_passed_through(settings),
    )


def _max_buffer_bytes(settings: Settings) -> int:
    size = settings.number("jute.maxbuffer", limits.MAX_BUFFER_BYTES)
    if size <= 0:
        raise refuse("jute.maxbuffer", str(size), "must be positive")
    if size < limits.CONNECT_REQUEST_BYTES:
        text = f"clients cannot connect: their first request has {limits.CONNECT_REQUEST_BYTES}"
        settings.warn("jute.maxbuffer", f"{text} bytes")
    elif size < limits.MAX_BUFFER_USUAL_MIN_BYTES:
        settings.warn("jute.maxbuffer", "bytes are few: clients with longer requests are closed")
    return size


def _audit_user(security: SecurityConfig) -> str:
    """Who the server is in the audit log (section 7.8): as it logged in, or the system's user."""
    kerberos = security.sasl.kerberos if security.sasl is not None else None
    return user_name() if kerberos is None else kerberos.principal


def _storage(settings: Settings, max_buffer_bytes: int) -> StorageConfig:
    data_dir = settings.text("dataDir")
    if not data_dir:
        raise ConfigError("dataDir is not set")
    data_log_dir = settings.text("dataLogDir") or data_dir
    _warn_if_relative(settings, "dataDir", data_dir)
    if data_log_dir != data_dir:
        _warn_if_relative(settings, "dataLogDir", data_log_dir)
    extra_bytes = settings.number(
        "jute.maxbuffer.extrasize", max_buffer_bytes, minimum=limits.MIN_EXTRA_BYTES
    )
    retained = settings.parsed_number("autopurge.snapRetainCount", limits.SNAP_RETAIN_MIN)
    if retained < limits.SNAP_RETAIN_MIN:
        settings.warn("autopurge.snapRetainCount", f"too small; {limits.SNAP_RETAIN_MIN} is used")
    warn_bytes = settings.number("disk.warnFreeBytes", 512 << 20, minimum=0, bits=64)
    refuse_bytes = settings.number("disk.refuseFreeBytes", 64 << 20, minimum=0, bits=64)
    if 0 < warn_bytes < refuse_bytes:
        _warn_of_late_warning(settings, warn_bytes, refuse_bytes)
    return StorageConfig(
        data_dir=PurePath(data_dir),
        data_log_dir=PurePath(data_log_dir),
        force_sync=not settings.word("forceSync", other="no", default="yes"),
        pre_alloc_bytes=_pre_alloc_kib(settings) * 1024,
        txn_log_size_limit_bytes=max(0, settings.number("txnLogSizeLimitInKb", -1, bits=64)) * 1024,
        snap_count=settings.number("snapCount", 100_000, minimum=limits.SNAP_COUNT_MIN),
        snap_size_limit_bytes=max(0, settings.number("snapSizeLimitInKb", 4_194_304, bits=64))
        * 1024,
        snapshot_codec=_snapshot_codec(settings),
        snapshot_trust_empty=settings.flag("snapshot.trust.empty", False),
        digest_enabled=settings.flag("digest.enabled", True),
        serialize_last_processed_zxid=settings.flag("serializeLastProcessedZxid.enabled", True),
        datadir_autocreate=settings.flag("datadir.autocreate", True),
        db_autocreate=settings.flag("db.autocreate", True),
        fsync_warning_threshold_ms=settings.number("fsync.warningthresholdms", 1000, bits=64),
        max_record_bytes=max_buffer_bytes + extra_bytes,
        snap_retain_count=max(retained, limits.SNAP_RETAIN_MIN),
        purge_interval_hours=max(0, settings.parsed_number("autopurge.purgeInterval", 1)),
        retain_hours=settings.number("autopurge.retainHours", 0, minimum=0),
        retain_bytes=settings.number("autopurge.retainBytes", 0, minimum=0, bits=64),
        disk_warn_free_bytes=warn_bytes,
        disk_refuse_free_bytes=refuse_bytes,
    )


def _warn_of_late_warning(settings: Settings, warn_bytes: int, refuse_bytes: int) -> None:
    warn, refuse = f"disk.warnFreeBytes={warn_bytes}", f"disk.refuseFreeBytes={refuse_bytes}"
    if "disk.warnFreeBytes" in settings.values:
        text = f"less than {refuse}: writes are refused before there is a warning"
        settings.warn("disk.warnFreeBytes", text)
    else:
        text = f"more than {warn}, the default: writes are refused before there is a warning"
        settings.warn("disk.refuseFreeBytes", text)


def _pre_alloc_kib(settings: Settings) -> int:
    """`preAllocSize` is decimal, unlike the other pass-through numbers (section 1.3)."""
    text = settings.text("preAllocSize")
    kib = None if text is None else decimal(text, bits=64)
    if text is not None and (kib is None or kib < 0):
        settings.warn("preAllocSize", "not a size in KB; the default 65536 is used")
    return 65536 if kib is None or kib < 0 else kib


def _snapshot_codec(settings: Settings) -> SnapshotCodec:
    text = (settings.text("snapshot.compression.method") or "").lower()
    if text not in {codec.value for codec in SnapshotCodec}:
        settings.warn("snapshot.compression.method", "neither gz nor snappy; nothing is compressed")
        return SnapshotCodec.NONE
    return SnapshotCodec(text)


def _security(settings: Settings, *, has_x509: bool) -> SecurityConfig:
    digest_enabled = settings.flag("DigestAuthenticationProvider.enabled", True)
    algorithm = settings.text("DigestAuthenticationProvider.digestAlg") or "SHA1"
    try:
        hash_function(algorithm)
    except ValueError:
        key = "DigestAuthenticationProvider.digestAlg"
        raise refuse(key, algorithm, "there is no such digest algorithm") from None
    sasl_provided = sasl_settings.is_provided(settings)
    sasl = sasl_settings.sasl_config(settings, is_provided=sasl_provided)
    available = {
        "ip": True, "digest": digest_enabled, "sasl": sasl is not None and sasl_provided,
        "x509": has_x509,
    }  # fmt: skip
    return SecurityConfig(
        digest_enabled=digest_enabled,
        digest_algorithm=algorithm,
        super_digest=settings.text("DigestAuthenticationProvider.superDigest") or None,
        skip_acl=settings.word("skipACL", other="yes", default="no"),
        enforce_auth_schemes=_enforced_schemes(settings, available),
        sasl=sasl,
        sasl_provided=sasl_provided,
        sasl_super_users=sasl_settings.super_users(settings),
        any_sasl_user=settings.text("letAnySaslUserDoX"),
        allow_sasl_failed_clients=settings.flag("allowSaslFailedClients", False),
        x509_provided=has_x509,
        x509_super_user=x509_super_user(settings),
    )


def _enforced_schemes(settings: Settings, available: Mapping[str, bool]) -> tuple[str, ...]:
    """Section 7.6; a scheme that the server cannot grant would lock every client out."""
    listed = settings.text("enforce.auth.schemes") or ""
    if settings.flag("sessionRequireClientSASLAuth", False):
        key, schemes = "sessionRequireClientSASLAuth", ["sasl"]
    elif settings.flag("enforce.auth.enabled", False):
        key, schemes = "enforce.auth.schemes", _split(listed)
    else:
        return ()
    if not schemes:
        raise ConfigError("enforce.auth.enabled=true: enforce.auth.schemes must be configured")
    for scheme in schemes:
        if not available.get(scheme, False):
            raise refuse(
                key, settings.values[key], f"Authentication scheme {scheme} is not available"
            )
    return tuple(schemes)


def _throttle(settings: Settings, voters: int) -> ThrottleConfig:
    number = settings.number
    threshold_bytes = number("largeRequestThreshold", -1)
    if threshold_bytes == 0 or threshold_bytes < -1:
        settings.warn("largeRequestThreshold", "should be -1 or positive; -1 is used")
        threshold_bytes = -1
    return ThrottleConfig(
        global_outstanding_limit=outstanding_limit(settings, voters),
        max_client_connections=max(0, settings.parsed_number("maxClientCnxns", 60)),
        max_connections=number("maxCnxns", 0, minimum=0),
        request_max=number("request_throttle_max_requests", 0, minimum=0),
        throttled_op_wait_time_ms=number("throttled_op_wait_time", 0, minimum=0),
        large_request_threshold_bytes=threshold_bytes,
        large_request_max_bytes=number("largeRequestMaxBytes", 100 << 20, minimum=1),
        connection_tokens=number("connection_throttle_tokens", 0, minimum=0),
        connection_token_fill_time_ms=number("connection_throttle_fill_time", 1, minimum=1),
        connection_token_fill_count=number("connection_throttle_fill_count", 1, minimum=1),
        sessionless_timeout_ms=number(
            "nio.sessionlessCnxnTimeout", limits.SESSIONLESS_TIMEOUT_MS, minimum=1
        ),
        watches_of_session=number("maxWatchesPerSession", 0, minimum=0),
        refused_request_max_bytes=number("refusedRequestMaxBytes", 0, minimum=0),
    )


def _reaper(settings: Settings) -> ReaperConfig:
    return ReaperConfig(
        check_interval_ms=settings.number("znode.container.checkIntervalMs", 60_000, minimum=1),
        max_per_minute=settings.number("znode.container.maxPerMinute", 10_000, minimum=1),
        max_never_used_interval_ms=settings.number(
            "znode.container.maxNeverUsedIntervalMs", 0, minimum=0, bits=64
        ),
    )


def _session_times(settings: Settings) -> tuple[int, int, int]:
    """Tick, smallest and largest session timeout, in ms; -1 means the multiple of the tick."""
    tick = settings.parsed_number("tickTime", 3000)
    if tick == 0:
        raise refuse("tickTime", "0", "tickTime is not set")
    if tick < 0:
        raise refuse("tickTime", str(tick), "tickTime must be positive")
    smallest = settings.parsed_number("minSessionTimeout", -1)
    largest = settings.parsed_number("maxSessionTimeout", -1)
    smallest = 2 * tick if smallest == -1 else smallest
    largest = 20 * tick if largest == -1 else largest
    if smallest > largest:
        raise ConfigError(
            "minSessionTimeout must not be larger than maxSessionTimeout:"
            f" {smallest} > {largest}, tickTime={tick}"
        )
    return tick, smallest, largest


def _membership(settings: Settings, myid: int | None) -> Membership:
    """Who belongs to the ensemble, from zoo.cfg or the dynamic file (sections 1.4, 1.5)."""
    lines = {key: value for key, value in settings.values.items() if is_membership_key(key)}
    if dynamic_file := settings.text(dynamic_config.POINTER):
        if lines:
            key = min(lines)
            raise refuse(
                key, lines[key], f"parameter: {key} must be in a separate dynamic config file"
            )
        path = Path(dynamic_file)
        lines = _read(path, lambda content: dynamic_config.settings(path.name, content))
        settings.warnings += _repeated_servers(path)
    members = membership(
        lines,
        server_id=myid,
        standalone_enabled=settings.parsed_flag("standaloneEnabled", True),
        multi_address=settings.parsed_flag("multiAddress.enabled", False),
        may_join=settings.parsed_flag("reconfigEnabled", False),
    )
    settings.warnings += members.warnings
    return members


def _ensemble(
    settings: Settings,
    members: Membership,
    myid: int | None,
    static: Path | None,
    *,
    reconfig_enabled: bool,
) -> EnsembleSettings | None:
    if members.ensemble is None:
        return None
    last_seen = None
    if reconfig_enabled and static is None:
        settings.warnings.append(
            "reconfigEnabled=true: a reconfiguration is not recorded on disk, because the"
            " members are not named in a configuration file"
        )
    elif static is not None and reconfig_enabled and dynamic_config.POINTER in settings.values:
        last_seen = dynamic_config.load_next(
            OsFileSystem(),
            static,
            multi_address=settings.parsed_flag("multiAddress.enabled", False),
        )
    return ensemble_settings(
        settings, members.ensemble, server_id=myid, static=static, last_seen=last_seen
    )


def _read_myid(data_dir: Path) -> int | None:
    """The first line of `<dataDir>/myid` as a bare decimal number (section 1.6)."""
    path = data_dir / "myid"
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            return None
        lines = path.read_text(encoding="latin-1").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    server_id = decimal(lines[0], bits=64) if lines else None
    if server_id is None:
        raise ConfigError(f"serverid {lines[0] if lines else 'null'} is not a number")
    return server_id


def _check_words(values: Mapping[str, str]) -> None:
    """Refuse what the original refuses in keys of section 1.2 that know a few values."""
    algorithm = values.get("electionAlg", "3")
    if int(algorithm) != 3:
        raise refuse("electionAlg", algorithm, "Invalid electionAlg value. Only 3 is supported.")
    role = values.get("peerType", "participant")
    if role.lower() not in {"participant", "observer"}:
        raise refuse("peerType", role, f"Unrecognised peertype: {role}")
    provider = values.get("metricsProvider.className", METRICS_PROVIDERS[0])
    if provider not in METRICS_PROVIDERS:
        raise refuse("metricsProvider.className", provider, "metrics provider class was not found")
    if values.get("quorum.auth.enableSasl", "false").lower() == "true":
        return
    for key in ("quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl"):
        if values.get(key, "false").lower() == "true":
            raise refuse(
                key, values[key], f"quorum.auth.enableSasl is disabled, so cannot enable {key}"
            )


def _four_letter_words(settings: Settings, read_only_mode: bool) -> frozenset[str]:
    """`srvr` is always allowed, `isro` where read-only mode is on (section 2.1)."""
    words = _split(settings.text("4lw.commands.whitelist") or "")
    return frozenset(["srvr", *words, *(["isro"] if read_only_mode else [])])


def _passed_through(settings: Settings) -> dict[str, str]:
    """Keys that the original's parser does not know; says which will count in a later version."""
    waiting = [key for key in sorted(settings.unread()) if keys.waits_for_feature(key)]
    if waiting:
        settings.warnings.append(
            f"not served by this version yet, so without effect: {', '.join(waiting)}"
        )
    return {key: value for key, value in settings.values.items() if key not in keys.PARSED}


def _split(csv: str) -> list[str]:
    return [word for part in csv.split(",") if (word := part.strip())]
