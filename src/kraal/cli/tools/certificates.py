"""What `kraal doctor` says of the certificates that a zoo.cfg names."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time

from kraal.errors import ConfigError
from kraal.model.config import AdminConfig
from kraal.server.admin_tls import AdminTls
from kraal.storage.inspection.findings import Report, Severity
from kraal.tls.reloading import SOON_S


def examine_certificates(admin: AdminConfig, report: Report) -> None:
    """Whether the stores of the admin port can be read, and when what is in them expires."""
    try:
        files = AdminTls.of(admin)
        expiry_s = None if files is None else files.make().expiry_s
    except ConfigError as error:
        remedy = "correct it: until then the admin port stays closed"
        report.add("certificates", Severity.WARNING, str(error), remedy=remedy)
        return
    if files is None or expiry_s is None:
        return
    when = datetime.fromtimestamp(expiry_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    left_s = expiry_s - time()
    text = f"a certificate {'expires on' if left_s > 0 else 'has expired on'} {when}"
    soon = Severity.WARNING if left_s < SOON_S else Severity.NOTE
    remedy = "replace the file; a running server takes it up by itself" if left_s < SOON_S else ""
    report.add("certificates", soon, text, files.paths[0], remedy=remedy)
