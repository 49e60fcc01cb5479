"""Whether the owner of a certificate is who may be at the other end.

Names are looked up, addresses never: what reverse DNS says is often nobody's care
(reference/operations.md section 9, complaint 20).
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ssl import SSLObject

from kraal.tls.names import CertificateNames, ip_address

LOOKED_UP_MAX = 8
"""Names of a certificate that are looked up."""
LOOK_UP_SECONDS = 5.0


async def verify_address(tls: SSLObject, host: str) -> str | None:
    """Why a peer with this address may not have the certificate that it shows, if it shows one."""
    names = CertificateNames.of(tls)
    if names is None or names.names(host) or await _leads_to(names, host):
        return None
    return f"its certificate is of {names}, which is not at {host}"


async def _leads_to(names: CertificateNames, host: str) -> bool:
    """Whether one of the names is that of the address."""
    address, loop = ip_address(host), asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_UP_SECONDS):
            for name in [each for each in names.hosts if "*" not in each][:LOOKED_UP_MAX]:
                with suppress(OSError, UnicodeError):
                    found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                    if address in {ip_address(str(each[4][0])) for each in found}:
                        return True
    return False
