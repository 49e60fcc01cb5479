"""What `kraal doctor` says of the certificates that a zoo.cfg names."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time

from kraal.errors import ConfigError
from kraal.model.config import ServerConfig
from kraal.model.tls import TlsSettings
from kraal.storage.inspection.findings import Report, Severity
from kraal.tls.contexts import accepting
from kraal.tls.reloading import SOON_S


def examine_certificates(config: ServerConfig, report: Report) -> None:
    """Whether the stores of all ports can be read, and when what is in them expires."""
    servers = config.ensemble.tls if config.ensemble is not None else None
    admin = config.admin.tls if config.admin.enabled else None
    for tls in filter(None, (config.client_tls, servers)):
        _examine(tls, report, Severity.ERROR, "the server does not start")
    if admin is not None and (servers is None or admin.key != servers.key):
        _examine(admin, report, Severity.WARNING, "the admin port stays closed")


def _examine(tls: TlsSettings, report: Report, severity: Severity, otherwise: str) -> None:
    try:
        expiry_s = accepting(tls).expiry_s
    except ConfigError as error:
        remedy = f"correct it: until then {otherwise}"
        report.add("certificates", severity, str(error), remedy=remedy)
        return
    if expiry_s is None or tls.key is None:
        return
    when = datetime.fromtimestamp(expiry_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    left_s = expiry_s - time()
    text = f"a certificate {'expires on' if left_s > 0 else 'has expired on'} {when}"
    soon = Severity.WARNING if left_s < SOON_S else Severity.NOTE
    remedy = "replace the file; a running server takes it up by itself" if left_s < SOON_S else ""
    report.add("certificates", soon, text, tls.key.path, remedy=remedy)
