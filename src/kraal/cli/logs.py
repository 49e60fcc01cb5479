"""Where the log of a server process goes and how it looks.

The library only names loggers; this is the executable's part. Levels follow a file that is read
again at each SIGHUP, or the admin command `set_log_level`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path

PLAIN = "%(asctime)s %(levelname)-5s %(name)s %(message)s"
AUDIT = "%(asctime)s %(levelname)s audit.Slf4jAuditLogger: %(message)s"
AUDIT_LOGGER = "kraal.audit"
AUDIT_FILE_BYTES, AUDIT_FILES_KEPT = 10 << 20, 10
LEVELS = ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL")
LOGGERS = (
    "kraal", "kraal.admin", "kraal.admin.streams", "kraal.audit", "kraal.cli", "kraal.cli.logs",
    "kraal.client", "kraal.pipeline.limits", "kraal.recipes", "kraal.replica.following",
    "kraal.replica.leading", "kraal.replica.learning", "kraal.replica.peer",
    "kraal.replica.tree_resync", "kraal.sasl", "kraal.server", "kraal.server.admin",
    "kraal.server.client", "kraal.server.config", "kraal.server.disk", "kraal.server.election",
    "kraal.server.http", "kraal.server.joining", "kraal.server.listener", "kraal.server.member",
    "kraal.server.quorum", "kraal.server.snapshot", "kraal.server.storage", "kraal.server.tls",
    "kraal.sync", "kraal.tls", "kraal.zab.election", "kraal.zab.leader", "kraal.zab.learner",
    "kraal.zab.learner_master", "kraal.zab.reconfig",
)  # fmt: skip
"""All of kraal's; many are made by modules that are not loaded when levels are read."""
logger = logging.getLogger("kraal.cli.logs")


class LogFormat(StrEnum):
    """How records look."""

    AUTO = "auto"
    """Coloured in a terminal, else plain."""
    PLAIN = "plain"
    JSON = "json"


def start(level: str, log_format: LogFormat, levels_file: Path | None) -> Callable[[], None]:
    """Log to standard error; the result sets the levels anew, from the file if there is one."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler: logging.Handler = logging.NullHandler()
    if sys.stderr is not None:  # it is None where the starter closed it
        handler = logging.StreamHandler()
        handler.setFormatter(_formatter(log_format))
    logging.basicConfig(level=level, handlers=[handler], force=True)

    def set_levels() -> None:
        entries = _read_levels(levels_file) if levels_file is not None else {}
        if entries is None:
            logger.error("SIGHUP: the levels of the log stay as they are")
            return
        changed = [name for name in logging.root.manager.loggerDict if name.startswith("kraal")]
        for name in changed:
            logging.getLogger(name).setLevel(logging.NOTSET)
        _set({"root": level, **entries})
        shown = ", ".join(f"{name}={value}" for name, value in entries.items()) or "none"
        logger.info("SIGHUP: the levels of the log are set anew; of single loggers: %s", shown)

    if levels_file is not None:
        _set(_read_levels(levels_file) or {})
    return set_levels


def _formatter(log_format: LogFormat) -> logging.Formatter:
    is_terminal = log_format is LogFormat.AUTO and sys.stderr.isatty()
    if log_format is LogFormat.PLAIN or (log_format is LogFormat.AUTO and not is_terminal):
        return logging.Formatter(PLAIN)
    import structlog  # noqa: PLC0415 - slow to import, and not needed for plain lines

    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=log_format is LogFormat.JSON),
    ]
    if log_format is LogFormat.JSON:
        last: list[structlog.typing.Processor] = [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(sort_keys=True),
        ]
    else:
        last = [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(pad_event_to=0),
        ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def _set(levels: Mapping[str, str]) -> None:
    for name, level in levels.items():
        logging.getLogger(None if name == "root" else name).setLevel(level)


def _read_levels(path: Path) -> dict[str, str] | None:
    """Levels by logger, from lines like `kraal.server=DEBUG`; `#` begins a comment.

    What is wrong is complained of, and left out; None: the file cannot be read.
    """
    levels: dict[str, str] = {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        logger.error("The log levels in %s cannot be read: %s", path, error)
        return None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, equals, level = (part.strip() for part in text.partition("="))
        if not name or not equals:
            logger.error("%s, line %d: %r is not of the form LOGGER=LEVEL", path, number, text)
        elif level.upper() not in LEVELS:
            logger.error("%s, line %d: %r is none of %s", path, number, level, ", ".join(LEVELS))
        else:
            if not _is_known(name):
                logger.warning("%s, line %d: there is no logger %s", path, number, name)
            levels[name] = level.upper()
    return levels


def _is_known(name: str) -> bool:
    """Whether it is a logger, or above one; of other libraries' nobody knows."""
    if name.partition(".")[0] != "kraal":
        return True
    return any(f"{known}.".startswith(f"{name}.") for known in LOGGERS)


class AuditFile(RotatingFileHandler, WatchedFileHandler):
    """Ten of 10 MB; where somebody else renames or deletes the file, the next line begins it anew.

    A line that cannot be written is lost, and complained of: no write fails for its record's sake.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        RotatingFileHandler.__init__(
            self, path, maxBytes=AUDIT_FILE_BYTES, backupCount=AUDIT_FILES_KEPT
        )
        self.dev, self.ino = -1, -1
        self._statstream()
        self._error: BaseException | None = None
        self._loses_lines = False

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the file, and write."""
        self._error = None
        try:
            self.reopenIfNeeded()
        except OSError as error:
            self._error = error
        else:
            super().emit(record)
        if self._loses_lines == (self._error is None):
            self._loses_lines = not self._loses_lines
            if self._loses_lines:
                logger.error("Lines of the audit log are lost: %s", self._error)
            else:
                logger.warning("The audit log is written to %s again", self.baseFilename)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - as in logging
        """`emit` tells."""
        self._error = sys.exception()


def audit_to(path: Path) -> None:
    """Write the audit log to a file of its own. Raises OSError."""
    handler = AuditFile(path)
    handler.setFormatter(logging.Formatter(AUDIT))
    audit = logging.getLogger(AUDIT_LOGGER)
    audit.addHandler(handler)
    audit.propagate = False
