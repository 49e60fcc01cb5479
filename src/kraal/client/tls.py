"""TLS towards the servers. Whom the client talks to is verified unless it is told otherwise."""

from __future__ import annotations

import pathlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePath

from kraal.errors import ConfigError
from kraal.tls import pem
from kraal.tls.reloading import Made, ReloadingContext

Path = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Files in PEM; without `ca_file` the authorities that the system trusts.

    `cert_file` and `key_file` are the client's own certificate (the key may be in the same file)
    for servers that ask for one. `check_hostname` False accepts a trusted certificate for any
    name. Files that change are taken up at the next connection.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = None
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Of the files as they are now. Raises ConfigError for those that cannot be read."""
        try:
            made = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise ConfigError(
                f"tls: ca_file {self.ca_file}: there is no certificate in it that can be read:"
                " name a PEM file with those of authorities"
            ) from error
        except OSError as error:
            raise ConfigError(f"tls: ca_file {self.ca_file}: {error.strerror or error}") from error
        made.check_hostname = self.check_hostname
        if self.cert_file is not None:
            try:
                # With no password at all OpenSSL would ask for one at the terminal.
                made.load_cert_chain(self.cert_file, self.key_file, self.key_password or "")
            except OSError as error:
                reason = self._problem(error)
                raise ConfigError(f"tls: cert_file {self.cert_file}: {reason}") from error
        elif self.key_file is not None:
            raise ConfigError("tls: key_file needs cert_file")
        return made

    def _problem(self, error: OSError) -> str:
        """Of the client's own certificate and key."""
        if not isinstance(error, ssl.SSLError):
            return error.strerror or str(error)
        files = [pathlib.Path(file) for file in (self.cert_file, self.key_file) if file is not None]
        try:
            data = b"\n".join(file.read_bytes() for file in files)
        except OSError as unreadable:
            return unreadable.strerror or str(unreadable)
        return pem.problem(
            data, error, password=self.key_password,
            password_key="key_password (zookeeper.ssl.keyStore.password of the shell)",
        )  # fmt: skip


def _chain(tls: TlsOptions) -> tuple[bytes, ...]:
    """The client's own certificates in DER. Raises ConfigError."""
    if tls.cert_file is None:
        return ()
    try:
        return tuple(pem.certificates(pathlib.Path(tls.cert_file).read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"tls: cert_file {tls.cert_file}: {error}") from error


def contexts_for(
    tls: ssl.SSLContext | TlsOptions | bool | None,
) -> Callable[[], ssl.SSLContext] | None:
    """What gives the context for a connection, of what `connect` was given; None: no TLS."""
    if isinstance(tls, ssl.SSLContext):
        return lambda: tls
    if isinstance(tls, TlsOptions):
        files = [file for file in (tls.ca_file, tls.cert_file, tls.key_file) if file is not None]
        return ReloadingContext(lambda: Made(tls.context(), _chain(tls)), map(PurePath, files))
    if tls is not None and not isinstance(tls, bool):
        raise TypeError(f"tls must be a bool, TlsOptions or an SSLContext, not {tls!r:.100}")
    return contexts_for(TlsOptions()) if tls else None
