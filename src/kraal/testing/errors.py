"""What a test is told when a server does not do what was asked of it."""

from __future__ import annotations

from kraal.errors import KraalError


class StartError(KraalError):
    """A server did not start; the text has the reason, or the end of its log."""


class WaitError(KraalError, TimeoutError):
    """What was waited for did not happen in time; the text says what is the case instead."""


class UnavailableError(KraalError):
    """This kind of server cannot do that; the text says why, and which can."""
