"""From a reconfig request to the membership that it asks for.

Rules: reference/quorum-protocol.md section 6.4.
"""

from __future__ import annotations

import ipaddress
import logging

from kraal.errors import ConfigError, ErrorCode, RequestError
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import Address, EnsembleConfig, Member

logger = logging.getLogger("kraal.zab.reconfig")


def requested(
    present: EnsembleConfig,
    joining: str | None,
    leaving: str | None,
    new_members: str | None,
    settings: EnsembleSettings,
) -> EnsembleConfig:
    """The membership that a request asks for. RequestError: it is none that may be."""
    multi_address = settings.multi_address
    try:
        if new_members is not None:
            config = bulk(new_members, multi_address=multi_address)
        else:
            config = incremental(present, joining, leaving, multi_address=multi_address)
    except ConfigError as error:
        logger.info("A reconfiguration is refused: %s", error)
        raise RequestError(ErrorCode.BAD_ARGUMENTS) from error
    if len(config.voters) < (2 if settings.standalone_enabled else 1):
        raise RequestError(ErrorCode.BAD_ARGUMENTS)
    return config


def bulk(text: str, *, multi_address: bool) -> EnsembleConfig:
    """The whole membership at once, its lines separated by commas or newlines. ConfigError."""
    return EnsembleConfig.parse(text.replace(",", "\n"), multi_address=multi_address)


def incremental(
    present: EnsembleConfig, joining: str | None, leaving: str | None, *, multi_address: bool
) -> EnsembleConfig:
    """The present membership without the leaving ids and with the joining lines. ConfigError."""
    if present.groups:
        raise ConfigError("an incremental change needs majority quorums")
    members = dict(present.members)
    for text in _split(leaving):
        try:
            members.pop(int(text), None)
        except ValueError:
            raise ConfigError(f"{text!r} is no server id") from None
    for line in _split(joining):
        member = _joiner(line, multi_address=multi_address)
        for other in members.values():
            if other.id != member.id:
                _check_distinct(member, other)
        members[member.id] = member
    return EnsembleConfig(members=members)


def _split(text: str | None) -> list[str]:
    parts = (text or "").replace("\n", ",").split(",")
    return [part.strip() for part in parts if part.strip()]


def _joiner(line: str, *, multi_address: bool) -> Member:
    key, _, value = line.partition("=")
    word, _, server_id = key.strip().partition(".")
    if word != "server" or not server_id.isdecimal():
        raise ConfigError(f"{line!r} is no server line")
    member = Member.parse(int(server_id), value.strip(), multi_address=multi_address)
    if member.client is None and member.secure_client is None:
        raise ConfigError(f"{line!r}: each server should have 3 ports specified")
    return member


def _check_distinct(member: Member, other: Member) -> None:
    """Two servers must not claim one address; loopback and wildcards are not compared."""
    taken = set(_addresses(other))
    for address in _addresses(member):
        if address is not None and address in taken and not _is_shared(address):
            raise ConfigError(f"servers {member.id} and {other.id} both claim {address}")


def _addresses(member: Member) -> tuple[Address | None, ...]:
    return (*member.quorum, *member.election, member.client, member.secure_client)


def _is_shared(address: Address) -> bool:
    if address.host.lower() == "localhost":
        return True
    try:
        host = ipaddress.ip_address(address.host)
    except ValueError:
        return False
    return host.is_loopback or host.is_unspecified
