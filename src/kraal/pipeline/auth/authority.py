"""Who is who and may do what: auth packets, ACL lists of requests, permission checks.

Rules: reference/client-protocol.md section 10. A connection with a `super` identity passes
every check.
"""

from __future__ import annotations

from kraal.errors import ErrorCode, RequestError
from kraal.model.acl import ADMIN, WORLD_ANYONE, Acl, Id
from kraal.model.config import SecurityConfig
from kraal.model.limits import ACL_MAX_BYTES
from kraal.pipeline.auth import digest, ip, kerberos_name, x509
from kraal.tree.acl_cache import AclList
from kraal.wire.records.data import decode_acls, encode_acls

KNOWN_LISTS_MAX = 4096
KNOWN_LIST_MAX_BYTES = 1024
_ENTRY_MIN_BYTES = 12
SUPER = Id("super", "")
SASL_SUPER_USER = "super"
"""Who logs in by SASL under this name is in every entry of the scheme `sasl`."""


class Authority:
    """Authentication providers and ACL rules of one server."""

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._algorithm = digest.hash_function(config.digest_algorithm)
        self._checked: dict[bytes, bytes] = {}
        """Vectors of requests that are valid for every connection, and their stored form."""

    def authenticate(
        self, scheme: str | None, auth: bytes | None, host: str, held: tuple[Id, ...] = ()
    ) -> list[Id]:
        """The identities that an auth packet earns. RequestError(AUTH_FAILED) when none.

        `held` are those that the connection has.
        """
        if scheme == "digest" and self._config.digest_enabled and auth is not None:
            id_ = digest.identity(auth, self._algorithm)
            earned = [Id("digest", id_)]
            if id_ == self._config.super_digest:
                earned.append(SUPER)
            return earned
        if scheme == "ip":
            return [Id("ip", host)]
        if scheme == "x509" and (mine := [i for i in held if i.scheme == "x509"]):
            return mine
        raise RequestError(ErrorCode.AUTH_FAILED)

    def logged_in(self, authorization_id: str) -> list[Id]:
        """The identities of a client that has logged in by SASL (section 10.7)."""
        earned = [Id("sasl", authorization_id)]
        if authorization_id and authorization_id in self._config.sasl_super_users:
            earned.append(SUPER)
        return earned

    @property
    def keeps_refused(self) -> bool:
        """Whether a client whose login by SASL is refused goes on as before."""
        return self._config.allow_sasl_failed_clients and not self.demands_sasl

    @property
    def demands_sasl(self) -> bool:
        """Whether SASL is among what is enforced."""
        return "sasl" in self._config.enforce_auth_schemes

    def certified(self, subject: str) -> list[Id]:
        """The identities of who showed a certificate of this subject (section 10.7)."""
        if not self._config.x509_provided:
            return []
        mine = Id("x509", subject)
        is_super = subject == self._config.x509_super_user
        return [Id("super", subject), mine] if is_super else [mine]

    def permits(self, acl: AclList, perms: int, auth: tuple[Id, ...]) -> bool:
        """Whether any of the identities has any of the permissions on a list."""
        if acl.world & perms or self._config.skip_acl:
            return True
        for identity in auth:
            if identity.scheme == "super":
                return True
        return any(
            entry.perms & perms and self._names(entry, auth)
            for entry in acl.acls
            if entry.scheme is not None and entry.id is not None
        )

    def _names(self, entry: Acl, auth: tuple[Id, ...]) -> bool:
        if entry.scheme == "ip":
            return any(i.scheme == "ip" and ip.matches(i.id, entry.id or "") for i in auth)
        if entry.scheme == "sasl":
            return self._config.sasl_provided and any(
                i.scheme == "sasl"
                and (i.id in (SASL_SUPER_USER, entry.id) or entry.id == self._config.any_sasl_user)
                for i in auth
            )
        return any(i.scheme == entry.scheme and i.id == entry.id for i in auth)

    def stored_list(self, vector: bytes | None, auth: tuple[Id, ...]) -> bytes:
        """The list that a create or setACL stores, encoded (section 10.3).

        Raises RequestError: INVALID_ACL, or MARSHALLING_ERROR for a null id. Entries of the
        scheme `auth` may not multiply a list beyond what a transaction can hold.
        """
        if vector is None:
            raise RequestError(ErrorCode.INVALID_ACL)
        known = self._checked.get(vector)
        if known is not None:
            return known
        entries = _without_duplicates(decode_acls(vector))
        if not entries:
            raise RequestError(ErrorCode.INVALID_ACL)
        stored: list[Acl] = []
        for entry in entries:
            stored += self._stored_entries(entry, auth)
            if len(stored) * _ENTRY_MIN_BYTES > ACL_MAX_BYTES:
                raise RequestError(ErrorCode.INVALID_ACL)
        encoded = encode_acls(stored)
        if len(encoded) > ACL_MAX_BYTES:
            raise RequestError(ErrorCode.INVALID_ACL)
        is_known_by_bytes = all(entry.scheme != "auth" for entry in entries)
        if is_known_by_bytes and len(vector) <= KNOWN_LIST_MAX_BYTES:
            if len(self._checked) >= KNOWN_LISTS_MAX:
                self._checked.clear()
            self._checked[vector] = encoded
        return encoded

    def _stored_entries(self, entry: Acl, auth: tuple[Id, ...]) -> list[Acl]:
        scheme, id_ = entry.scheme, entry.id
        if scheme is None:
            raise RequestError(ErrorCode.INVALID_ACL)
        if scheme == "auth":
            mine = [Acl(entry.perms, *i) for i in auth if self._authenticates(i.scheme)]
            if not mine:
                raise RequestError(ErrorCode.INVALID_ACL)
            return mine
        if id_ is None and (scheme == "world" or self._provides(scheme)):
            raise RequestError(ErrorCode.MARSHALLING_ERROR)
        if (scheme, id_) == WORLD_ANYONE or (
            id_ is not None and self._provides(scheme) and self._is_valid(scheme, id_)
        ):
            return [entry]
        raise RequestError(ErrorCode.INVALID_ACL)

    def _provides(self, scheme: str) -> bool:
        return scheme == "ip" or self._authenticates(scheme)

    def _authenticates(self, scheme: str) -> bool:
        """Whether `auth` entries expand to identities of this scheme."""
        if scheme == "digest":
            return self._config.digest_enabled
        if scheme == "sasl":
            return self._config.sasl_provided
        return scheme == "x509" and self._config.x509_provided

    def _is_valid(self, scheme: str, id_: str) -> bool:
        if scheme == "sasl":
            return kerberos_name.parse(id_) is not None
        if scheme == "x509":
            return x509.is_valid(id_)
        return ip.is_valid(id_) if scheme == "ip" else digest.is_valid(id_)

    def shown_list(self, acl: AclList, auth: tuple[Id, ...]) -> bytes:
        """The list that getACL answers: hashes are hidden without ADMIN (section 10.6)."""
        if self.permits(acl, ADMIN, auth):
            return acl.encoded
        return encode_acls(
            [
                Acl(e.perms, e.scheme, e.id.partition(":")[0] + ":x")
                if e.scheme == "digest" and e.id is not None
                else e
                for e in acl.acls
            ]
        )

    def user_name(self, identity: Id) -> str:
        """The user that whoAmI shows."""
        if identity.scheme == "digest":
            return identity.id.partition(":")[0]
        is_known = identity.scheme == "ip" or self._authenticates(identity.scheme)
        return identity.id if is_known else ""

    @property
    def enforces(self) -> bool:
        """Whether connections without a certain identity are refused (section 10.8)."""
        return bool(self._config.enforce_auth_schemes)

    def is_enforced_and_missing(self, auth: tuple[Id, ...]) -> bool:
        """Whether enforced authentication refuses a connection with these identities."""
        schemes = self._config.enforce_auth_schemes
        return bool(schemes) and not any(i.scheme in schemes for i in auth)


def _without_duplicates(entries: list[Acl]) -> list[Acl]:
    """First occurrences. The reference stumbles when it compares a null scheme or id."""
    kept: dict[Acl, None] = {}
    perms: set[int] = set()
    schemes: set[tuple[int, str]] = set()
    for entry in entries:
        if entry.scheme is None:
            stumbles = entry.perms in perms
        else:
            stumbles = entry.id is None and (entry.perms, entry.scheme) in schemes
        if stumbles:
            raise RequestError(ErrorCode.MARSHALLING_ERROR)
        kept[entry] = None
        perms.add(entry.perms)
        if entry.scheme is not None:
            schemes.add((entry.perms, entry.scheme))
    return list(kept)
