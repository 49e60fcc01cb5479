"""Names of Kerberos, `service/host@REALM`, and who such a name is to the server.

The names of DIGEST-MD5 go the same way. Rules: reference/operations.md section 7.5 and
reference/client-protocol.md section 10.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kraal.pipeline.auth.sasl import LoginRefusedError, shown

_NAME = re.compile(r"([^/@]*)(?:/([^/@]*))?@([^/@]*)")


@dataclass(frozen=True, slots=True)
class KerberosName:
    """A name in its parts."""

    service: str
    """The user, where it is one."""
    host: str | None = None
    realm: str | None = None


def parse(name: str) -> KerberosName | None:
    """The parts of a name; without a realm all of it is the service. None: it is malformed."""
    if match := _NAME.fullmatch(name):
        return KerberosName(match[1], match[2], match[3])
    return None if "@" in name else KerberosName(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRules:
    """How a name becomes an id in ACLs."""

    short_name: Callable[[KerberosName], str | None]
    """The user, by `security.auth_to_local`; None: no rule is about this name."""
    removes_host: bool = False
    removes_realm: bool = False

    def authorization_id(self, name: str, wanted: str | None) -> str:
        """Who a client that has proven its name is. Raises LoginRefusedError.

        As whom it wants to act plays no part where a rule says who it is. Where none does, the
        reference takes the client's word for it; here it is itself or nobody.
        """
        parts = parse(name)
        if parts is None:
            raise LoginRefusedError(f"{shown(name)} is no name of Kerberos")
        short = parts.service if parts.realm is None else self.short_name(parts)
        if short is None:
            if wanted not in (None, "", name):
                raise LoginRefusedError(
                    f"no rule says who {shown(name)} is, and it asks to be {shown(wanted or '')}"
                )
            return name
        if parts.host is not None and not self.removes_host:
            short += f"/{parts.host}"
        if parts.realm is not None and not self.removes_realm:
            short += f"@{parts.realm}"
        return short
