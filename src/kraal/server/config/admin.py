"""The settings of the admin server and of the metrics provider.

Source: reference/operations.md sections 3.1 and 4.1.
"""

from __future__ import annotations

from kraal.model.config import AdminConfig
from kraal.model.setting import decimal, refuse
from kraal.model.tls import ClientAuth
from kraal.server.config.client import ClientPorts, overlap
from kraal.server.config.settings import Settings
from kraal.server.config.tls import QUORUM, tls_settings

PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
METRICS_PROVIDERS = (
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    PROMETHEUS,
)
_IDLE_PROVIDER_KEYS = ("numWorkerThreads", "maxQueueSize", "workerShutdownTimeoutMs")


def admin_config(settings: Settings, clients: ClientPorts) -> AdminConfig:
    """Read `admin.*`, `metricsProvider.*` and kraal's own. Raises ConfigError.

    A port of the `clients` is theirs: a warning says what is not served for that.
    """
    number, flag, text = settings.number, settings.flag, settings.text
    port = number("admin.serverPort", 8080)
    if not 0 <= port <= 0xFFFF:
        raise refuse("admin.serverPort", str(port), f"port out of range:{port}")
    provider = text("metricsProvider.className") or METRICS_PROVIDERS[0]
    for key in _IDLE_PROVIDER_KEYS:
        text(f"metricsProvider.{key}")  # of the reference's worker threads
    text("admin.httpVersion")
    force_https, unified = flag("admin.forceHttps", False), flag("admin.portUnification", False)
    needs_certificate = flag("admin.needClientAuth", False)
    tls = None
    if force_https or unified:
        client_auth = ClientAuth.NEED if needs_certificate else ClientAuth.NONE
        tls = tls_settings(settings, QUORUM, client_auth=client_auth)
    config = AdminConfig(
        enabled=text("admin.enableServer") != "false",
        host=text("admin.serverAddress") or "0.0.0.0",
        port=port,
        command_url=text("admin.commandURL") or "/commands",
        idle_timeout_ms=number("admin.idleTimeout", 30_000, minimum=1),
        port_unification=unified,
        force_https=force_https,
        tls=tls,
        rate_limiter_interval_ms=number("admin.rateLimiterIntervalInMS", 300_000, minimum=0),
        snapshot_enabled=flag("admin.snapshot.enabled", True),
        restore_enabled=flag("admin.restore.enabled", True),
        use_forwarded_for=flag("IPAuthenticationProvider.usexforwardedfor", False),
        initial_text=settings.initial_text,
        metrics_host=text("metricsProvider.httpHost") or "0.0.0.0",
        metrics_port=_metrics_port(settings) if provider == PROMETHEUS else None,
        export_process_info=flag("metricsProvider.exportJvmInfo", True),
        slow_request_threshold_ms=number("slowRequestThresholdMs", 1000, minimum=1),
    )
    _warn_of_shared_ports(settings, config, clients)
    return config


def _warn_of_shared_ports(settings: Settings, config: AdminConfig, clients: ClientPorts) -> None:
    """Ports are opened in this order, and one that is open already is not opened again."""
    admin_port = config.port if config.enabled else None
    opened = [
        ("clientPort", clients.host, clients.port, "clients"),
        ("secureClientPort", clients.secure_host, clients.secure_port, "clients"),
        ("admin.serverPort", config.host, admin_port, "the admin server"),
        ("metricsProvider.httpPort", config.metrics_host, config.metrics_port, "the metrics"),
    ]
    for number, (key, host, port, what) in enumerate(opened[2:], 2):
        for before, at, taken, _ in opened[:number]:
            if port and port == taken and overlap(host, at):
                text = f"{settings.named(before)} is the same port; not served: {what}"
                settings.warnings.append(settings.located(key, f"{key}={port}: {text}"))


def _metrics_port(settings: Settings) -> int:
    key = "metricsProvider.httpPort"
    value = settings.text(key)
    if value is None:
        return 7000
    port = decimal(value)
    if port is None or not 0 <= port <= 0xFFFF:
        raise refuse(key, value, f"port out of range:{value}")
    return port
