"""The keys of the admin server and of the metrics provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from kraal.errors import ConfigError
from kraal.model.config import AdminConfig
from tests.server.config.test_file import load_text


def test_admin_and_metrics(tmp_path: Path) -> None:
    text = """
        admin.serverAddress=127.0.0.1
        admin.serverPort=8081
        admin.commandURL=/do
        admin.idleTimeout=5000
        admin.rateLimiterIntervalInMS=1000
        admin.snapshot.enabled=false
        admin.restore.enabled=false
        IPAuthenticationProvider.usexforwardedfor=true
        metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
        metricsProvider.httpHost=127.0.0.1
        metricsProvider.httpPort=7001
        metricsProvider.exportJvmInfo=false
        metricsProvider.numWorkerThreads=2
        slowRequestThresholdMs=50
    """
    loaded = load_text(tmp_path, text)
    assert loaded.warnings == ()
    assert loaded.config.admin == AdminConfig(
        enabled=True,
        host="127.0.0.1",
        port=8081,
        command_url="/do",
        idle_timeout_ms=5000,
        rate_limiter_interval_ms=1000,
        snapshot_enabled=False,
        restore_enabled=False,
        use_forwarded_for=True,
        metrics_host="127.0.0.1",
        metrics_port=7001,
        export_process_info=False,
        slow_request_threshold_ms=50,
    )
    assert loaded.config.admin.initial_text.endswith(text)
    assert load_text(tmp_path, "admin.enableServer=false").config.admin == AdminConfig()
    for wrong in ("admin.serverPort=70000", f"{text}\nmetricsProvider.httpPort=x"):
        with pytest.raises(ConfigError, match="port out of range"):
            load_text(tmp_path, wrong)
