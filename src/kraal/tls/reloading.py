"""A TLS context that follows its files: certificates are taken up without a restart.

(reference/operations.md section 9, complaint 19.) Whether files have changed is looked at when
somebody asks for the context, by their size, time and place on the disk, so that a replaced
symbolic link counts as well. Connections that are there keep what they began with.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from time import time

from kraal.errors import ConfigError, DecodeError
from kraal.tls import der

logger = logging.getLogger("kraal.tls")
SOON_S = 14 * 24 * 3600
"""A certificate that expires so soon is warned about."""
Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Made:
    """A context, and the certificates in DER of which it is made."""

    context: ssl.SSLContext
    certificates: tuple[bytes, ...] = ()

    @property
    def expiry_s(self) -> int | None:
        """When the first certificate expires, in seconds since 1970; None: there is none."""
        found = []
        for certificate in self.certificates:
            try:
                found.append(der.expiry_s(certificate))
            except DecodeError:
                continue
        return min(found, default=None)


class ReloadingContext:
    """Call it for the context of now."""

    def __init__(self, make: Callable[[], Made], files: Iterable[PurePath]) -> None:
        """`make` reads the files. Raises ConfigError, as `make` does."""
        self._make = make
        self._files = tuple(files)
        self._stamps = self._look()
        self._made = self._checked()

    def __call__(self) -> ssl.SSLContext:
        stamps = self._look()
        if stamps != self._stamps:
            # Taken before they are read: what changes meanwhile is seen the next time.
            self._stamps = stamps
            self._take_up()
        return self._made.context

    @property
    def expiry_s(self) -> int | None:
        """As that of what is made."""
        return self._made.expiry_s

    def _take_up(self) -> None:
        names = ", ".join(map(str, self._files))
        try:
            self._made = self._checked()
        except ConfigError as error:
            logger.warning("New TLS files are not used, those before stay in use: %s", error)
        else:
            logger.info("New TLS files are in use: %s", names)

    def _checked(self) -> Made:
        made = self._make()
        left_s = None if made.expiry_s is None else made.expiry_s - time()
        if left_s is not None and left_s < SOON_S:
            names = ", ".join(map(str, self._files))
            days = int(left_s // (24 * 3600))
            text = f"expires in {days} days" if left_s > 0 else "has expired"
            logger.warning("A certificate of %s %s", names, text)
        return made

    def _look(self) -> tuple[Stamp, ...]:
        return tuple(map(_stamp, self._files))


def _stamp(path: PurePath) -> Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
