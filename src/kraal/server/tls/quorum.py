"""TLS between members: which ports speak it, how others are dialled, and who may have which name.

Certificates must name hosts of the membership as its server lines have them; addresses are never
looked up in reverse (reference/quorum-protocol.md section 2.6, reference/operations.md section 9,
complaint 20).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection
from ssl import SSLContext, SSLObject

from kraal.model.tls import TlsSettings
from kraal.server.tls.guard import TlsGuard
from kraal.server.tls.peers import verify_address
from kraal.server.tls.port import HANDSHAKE_SECONDS, TlsPort, failure, is_plain
from kraal.tls.names import CertificateNames

_REMEDY = "sslQuorum must be the same in all members, or portUnification=true while it changes"
SPEAKS_TLS = f"it speaks TLS, and this server does not: {_REMEDY}"
_DEMANDED = f", as sslQuorum=true demands here: {_REMEDY}"
"""Behind what is said of who does not speak TLS."""
PENDING_MAX = 100
"""Connections to one port that have not shaken hands."""


class QuorumTls:
    """How a member accepts others, and how it dials them."""

    def __init__(
        self,
        settings: TlsSettings,
        *,
        accepting: Callable[[], SSLContext],
        dialling: Callable[[], SSLContext] | None,
        is_unified: bool,
        hosts: Callable[[], Collection[str]],
    ) -> None:
        """`dialling` None: others are dialled without TLS, which `is_unified` accepts, too.

        `hosts` are those of all members.
        """
        self._settings = settings
        self._accepting = accepting
        self._dialling = dialling
        self._is_unified = is_unified
        self._hosts = hosts

    def port(self, name: str, make: Callable[[], asyncio.Protocol]) -> TlsPort:
        """One that gives connections to protocols; it is still to be started."""

        port = TlsPort(name, self._accepting, lambda _host: make())
        port.pending_max = PENDING_MAX
        port.plain_hint = _DEMANDED
        if self._is_unified:
            port.detection_seconds = self._settings.detection_ms / 1000
        if self._settings.verifies_clients:
            port.verify = self._verify
        return port

    async def _verify(self, tls: SSLObject, host: str) -> str | None:
        names = CertificateNames.of(tls)
        if names is None or any(map(names.names, self._hosts())):
            return None
        if await verify_address(tls, host) is None:
            return None  # a joiner, whom no server line here names yet
        return f"its certificate is of {names}, and no server line names that"

    async def connect(
        self, protocol: asyncio.Protocol, host: str, port: int, expected: Collection[str]
    ) -> None:
        """Dial for a protocol; `expected` are hosts of whom is meant. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self._dialling is None:
            await loop.create_connection(lambda: protocol, host, port)
            return
        guard = TlsGuard(protocol, is_held=True)
        try:
            await loop.create_connection(
                lambda: guard,
                host,
                port,
                ssl=self._dialling(),
                server_hostname=host,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
            if guard.tls is not None and self._settings.verifies_servers:
                _check(guard.tls, expected)
            if not guard.release():
                raise ConnectionResetError("it hung up")
        except OSError as error:
            guard.abort()
            raise OSError(_reason(error, is_shaken=guard.tls is not None)) from error
        except BaseException:
            guard.abort()
            raise


def _reason(error: OSError, *, is_shaken: bool) -> str:
    """Why a connection by TLS failed."""
    if is_plain(error):
        return failure(error) + _DEMANDED
    if not is_shaken and isinstance(
        error, ConnectionResetError | BrokenPipeError | ssl.SSLEOFError
    ):
        return f"it closed the connection before a TLS handshake; if it speaks none: {_REMEDY}"
    return failure(error)


def _check(tls: SSLObject, expected: Collection[str]) -> None:
    names = CertificateNames.of(tls)
    assert names is not None, "a context for dialling demands a certificate"
    if not any(map(names.names, expected)):
        raise ConnectionRefusedError(
            f"its certificate is of {names}, and not of {' or '.join(expected)}"
        )


async def connect(
    tls: QuorumTls | None,
    protocol: asyncio.Protocol,
    host: str,
    port: int,
    expected: Collection[str],
) -> None:
    """Dial, by TLS if that is how members dial. Raises OSError."""
    if tls is not None:
        await tls.connect(protocol, host, port, expected)
        return
    await asyncio.get_running_loop().create_connection(lambda: protocol, host, port)
