"""A TLS context that follows its files: certificates are taken up without a restart.

(reference/operations.md section 9, complaint 19.) Whether files have changed is looked at when
somebody asks for the context, by their size, time and place on the disk, so that a replaced
symbolic link counts as well. Connections that are there keep what they began with.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath
from time import time

from kraal.errors import ConfigError, DecodeError
from kraal.tls import der

logger = logging.getLogger("kraal.tls")
HOUR_S = 3600
DAY_S = 24 * HOUR_S
SOON_S = 14 * DAY_S
"""A certificate that expires so soon is warned about, once a day."""
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Made:
    """A context, and the certificates in DER of which it is made."""

    context: ssl.SSLContext
    chain: tuple[bytes, ...] = ()
    """Those that are shown, the owner's first."""
    trusted: tuple[bytes, ...] = ()
    """Those of authorities."""

    @property
    def expiry_s(self) -> int | None:
        """When the first certificate expires, in seconds since 1970; None: there is none."""
        return min(_expiries_s((*self.chain, *self.trusted)), default=None)

    @property
    def end_s(self) -> int | None:
        """When it is of no use any more: the owner's certificate has expired, or those of all
        authorities have. None: there is no such time."""
        ends = _expiries_s(self.chain[:1])
        if authorities := _expiries_s(self.trusted):
            ends.append(max(authorities))
        return min(ends, default=None)


class ReloadingContext:
    """Call it for the context of now."""

    def __init__(self, make: Callable[[], Made], files: Iterable[PurePath]) -> None:
        """`make` reads the files. Raises ConfigError, as `make` does."""
        self._make = make
        self._files = tuple(files)
        self._stamps = self._look()
        self._warn_again_s = 0.0
        self._made = make()
        self._warn_if_soon()

    def __call__(self) -> ssl.SSLContext:
        stamps = self._look()
        if stamps != self._stamps:
            # Taken before they are read: what changes meanwhile is seen the next time.
            self._stamps = stamps
            self._take_up()
        self._warn_if_soon()
        return self._made.context

    @property
    def expiry_s(self) -> int | None:
        """As that of what is made."""
        return self._made.expiry_s

    def _take_up(self) -> None:
        try:
            made = self._make()
            self._check(made)
        except ConfigError as error:
            logger.warning("New TLS files are not used, those before stay in use: %s", error)
        else:
            self._made, self._warn_again_s = made, 0.0
            logger.info("New TLS files are in use: %s", self._names)

    def _check(self, made: Made) -> None:
        """Nothing that has expired takes the place of what has not. Raises ConfigError."""
        now_s, end_s, before_s = time(), made.end_s, self._made.end_s
        if end_s is None or end_s > now_s or (before_s is not None and before_s <= now_s):
            return
        raise ConfigError(
            f"a certificate of {self._names} {when(end_s, now_s)}: put one there that is valid"
        )

    def _warn_if_soon(self) -> None:
        now_s, expiry_s = time(), self._made.expiry_s
        if expiry_s is not None and expiry_s - now_s < SOON_S and now_s >= self._warn_again_s:
            self._warn_again_s = now_s + DAY_S
            logger.warning("A certificate of %s %s", self._names, when(expiry_s, now_s))

    @property
    def _names(self) -> str:
        return ", ".join(map(str, self._files))

    def _look(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: PurePath) -> Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def when(expiry_s: int, now_s: float) -> str:
    """What is said of a certificate with this expiry, such as `expires in 3 days (…)`."""
    day = datetime.fromtimestamp(expiry_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    left_s = int(expiry_s - now_s)
    if left_s <= 0:
        return f"has expired on {day}"
    if left_s < HOUR_S:
        return f"expires within the hour ({day})"
    number, unit = (left_s // DAY_S, "days") if left_s >= 2 * DAY_S else (left_s // HOUR_S, "hours")
    return f"expires in {number} {unit if number > 1 else unit[:-1]} ({day})"


def _expiries_s(certificates: Iterable[bytes]) -> list[int]:
    """Of those that say it."""
    found = []
    for certificate in certificates:
        with suppress(DecodeError):
            found.append(der.expiry_s(certificate))
    return found
