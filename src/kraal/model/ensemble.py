"""Who belongs to the ensemble, who votes, and which servers together are a quorum.

One immutable value per version of the membership. Its text is what notifications, NEWLEADER
and the znode `/zookeeper/config` carry. Source: reference/quorum-protocol.md sections 1.1, 3.3,
5.2 and 6.1, reference/operations.md section 1.4.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Self

from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.setting import decimal, hexadecimal, refuse

ANY_HOST = "0.0.0.0"
"""Where clients are served when the server line names only a client port."""

_HOST = r"(?:\[[!-~]+?\]|[^:|;\[\]]+)"
_HOST_CHARACTERS = re.compile(r"[!-Z^-~]+")
"""Printable ASCII but brackets and backslash, so that a text reads back as it was written."""
_SERVER = re.compile(rf"({_HOST}):([^:]+):([^:]+)(?::([^:]+))?")
_CLIENT = re.compile(rf"(?:({_HOST}):)?([^:;]+)")
_NO_SERVER = (1 << 63) - 1
"""Names nobody: the original uses it where it needs an id of no server."""
_FORM = (
    "does not have the form server_config or server_config;client_config where server_config is"
    " the pipe separated list of host:port:port or host:port:port:type and client_config is port"
    " or host:port"
)


def is_membership_key(key: str) -> bool:
    """Whether a key of a configuration file belongs to the membership."""
    return key.startswith(("server.", "group", "weight"))


class Role(StrEnum):
    """What a server is in the ensemble; the value is the word in its server line."""

    PARTICIPANT = "participant"
    OBSERVER = "observer"

    @classmethod
    def parse(cls, text: str) -> Role:
        """The role that `text` names in any case; ConfigError when it names none."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            raise ConfigError(f"Unrecognised peertype: {text}") from None


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One server line; `quorum[i]` and `election[i]` are ports of the same host."""

    id: int
    quorum: tuple[Address, ...]
    election: tuple[Address, ...]
    role: Role = Role.PARTICIPANT
    client: Address | None = None
    """Where clients are served, if the server line says so; None if `clientPort` does."""
    secure_client: Address | None = None
    """Where they are served by TLS, if it says so; ZooKeeper 3.9 refuses such a line."""

    def __post_init__(self) -> None:
        assert self.quorum, "a member has an address"
        assert len(self.quorum) == len(self.election), "both ports belong to one host"

    @classmethod
    def parse(cls, server_id: int, line: str, *, multi_address: bool = False) -> Member:
        """The member that `server.<server_id>=<line>` describes; ConfigError if it is wrong."""
        return _parse_member(server_id, line, multi_address=multi_address)

    def text(self) -> str:
        """The canonical value of the server line."""
        parts = "|".join(
            f"{quorum}:{election.port}"
            for quorum, election in zip(self.quorum, self.election, strict=True)
        )
        client = f";{self.client}" if self.client else ""
        if self.secure_client is not None:
            client = f";{self.client or ''};{self.secure_client}"
        return f"{parts}:{self.role}{client}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """The membership of one version.

    Constructing one checks what makes quorums meaningful: somebody votes, and in a hierarchy
    every voter is in exactly one group and everybody in a group has a weight. Raises
    ConfigError.
    """

    members: Mapping[int, Member]
    version: int = 0
    """The zxid of the transaction that made it, or 0 (section 6.3)."""
    groups: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Group id to the ids of its servers; empty: majority quorums."""
    weights: Mapping[int, int] = field(default_factory=dict)
    """In a hierarchy, the weight of every voter and of everybody whose weight was given."""

    voters: frozenset[int] = field(init=False, compare=False)
    observers: frozenset[int] = field(init=False, compare=False)
    _needed: int = field(init=False, repr=False, compare=False)
    """How many voters, or groups in a hierarchy, a quorum has at least."""
    _text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_role: dict[Role, list[int]] = {role: [] for role in Role}
        for server_id, member in self.members.items():
            assert server_id == member.id, "members are found by their id"
            by_role[member.role].append(server_id)
        voters = frozenset(by_role[Role.PARTICIPANT])
        if not voters:
            raise ConfigError(
                "Observers w/o participants is an invalid configuration"
                if self.members
                else "the configuration names no server"
            )
        for name, value in (
            ("members", MappingProxyType(dict(sorted(self.members.items())))),
            ("groups", MappingProxyType(dict(sorted(self.groups.items())))),
            ("weights", MappingProxyType(self._all_weights(voters))),
            ("voters", voters),
            ("observers", frozenset(by_role[Role.OBSERVER])),
        ):
            object.__setattr__(self, name, value)
        counted = sum(self._group_weight(group) > 0 for group in self.groups.values())
        among = counted if self.groups else len(voters)
        object.__setattr__(self, "_needed", among // 2 + 1)
        object.__setattr__(self, "_text", self._compose())

    def _all_weights(self, voters: frozenset[int]) -> dict[int, int]:
        """The weights with the default for voters, after the checks of a hierarchy."""
        if not self.groups and not self.weights:
            return {}
        grouped: set[int] = set()
        for group in self.groups.values():
            if both := grouped & group:
                raise ConfigError(f"Server {min(both)}is in multiple groups")
            grouped |= group
        if missing := voters - grouped:
            raise ConfigError(f"Server {min(missing)}is not in a group")
        weights = dict.fromkeys(voters, 1) | dict(self.weights)
        if unweighted := grouped - weights.keys():
            raise ConfigError(f"Server {min(unweighted)} is in a group but is no participant")
        if negative := [server_id for server_id, weight in weights.items() if weight < 0]:
            raise ConfigError(f"the weight of server {min(negative)} is negative")
        return dict(sorted(weights.items()))

    def _group_weight(self, group: Iterable[int]) -> int:
        return sum(self.weights[server_id] for server_id in group)

    def weight(self, server_id: int) -> int:
        """Its weight in elections (section 3.3); a candidate of weight 0 cannot win."""
        return self.weights.get(server_id, 0) if self.groups else 1

    def contains_quorum(self, ids: Collection[int]) -> bool:
        """Whether `ids` are a quorum (section 5.2); those who do not vote do not count."""
        present = self.voters.intersection(ids)
        if not self.groups:
            return len(present) >= self._needed
        won = sum(
            2 * self._group_weight(group & present) > self._group_weight(group)
            for group in self.groups.values()
        )
        return won >= self._needed

    def quorum_zxid(self, acked: Mapping[int, int]) -> int:
        """The largest zxid that a quorum has reached, given the last zxid of each server.

        -1 when the servers in `acked` are no quorum.
        """
        zxids = [zxid for server_id, zxid in acked.items() if server_id in self.voters]
        zxids.sort(reverse=True)
        if not self.groups:
            return zxids[self._needed - 1] if len(zxids) >= self._needed else -1
        for reached in zxids:
            if self.contains_quorum([id_ for id_, zxid in acked.items() if zxid >= reached]):
                return reached
        return -1

    def text(self) -> str:
        """The canonical text with its version line, without a newline at the end."""
        return self._text

    def _compose(self) -> str:
        lines = [f"server.{member.id}={member.text()}" for member in self.members.values()]
        lines += [
            f"group.{group_id}={':'.join(map(str, sorted(group)))}"
            for group_id, group in self.groups.items()
        ]
        lines += [f"weight.{server_id}={weight}" for server_id, weight in self.weights.items()]
        return "\n".join([*lines, f"version={self.version:x}"])

    @classmethod
    def parse(cls, text: str, *, multi_address: bool = False) -> Self:
        """The configuration that `text` describes; ConfigError for whatever is wrong in it."""
        return cls.from_settings(properties.parse_text(text), multi_address=multi_address)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str], *, multi_address: bool = False) -> Self:
        """As `parse`, from keys and values that are trimmed already."""
        members: dict[int, Member] = {}
        groups: dict[int, frozenset[int]] = {}
        weights: dict[int, int] = {}
        for key, value in settings.items():
            if key.startswith("server."):
                server_id = _id_in_key(key, value, members)
                if not 0 <= server_id < _NO_SERVER:
                    raise refuse(key, value, "a server id is not negative and has 63 bits")
                members[server_id] = Member.parse(server_id, value, multi_address=multi_address)
            elif key.startswith("group"):
                group_id = _id_in_key(key, value, groups)
                groups[group_id] = _group(key, value)
            elif key.startswith("weight"):
                server_id = _id_in_key(key, value, weights)
                weights[server_id] = _number(key, value, value)
            elif key != "version":
                raise ConfigError(f"Unrecognised parameter: {key}")
        version = _version(settings.get("version", "0"))
        return cls(members=members, version=version, groups=groups, weights=weights)

    def with_version(self, version: int) -> Self:
        """The same members under another version."""
        return replace(self, version=version)

    def same_members(self, other: EnsembleConfig) -> bool:
        """The equality of section 6.1: the same version, or the same members and weights.

        A majority and a hierarchy are never the same.
        """
        if bool(self.groups) != bool(other.groups):
            return False
        return self.version == other.version or (
            (self.members, self.groups, self.weights)
            == (other.members, other.groups, other.weights)
        )


def _parse_member(server_id: int, line: str, *, multi_address: bool) -> Member:
    key = f"server.{server_id}"
    servers, *ports = line.split(";")
    # The original overlooks separators at the end of a list.
    while ports and not ports[-1]:
        ports.pop()
    if len(ports) > 2:
        raise refuse(key, line, f"{line} {_FORM}")
    client, secure_client = [text.strip() for text in (*ports, "", "")][:2]
    alternatives = [_alternative(key, line, text) for text in servers.rstrip("|").split("|")]
    if len(alternatives) > 1 and not multi_address:
        raise refuse(
            key,
            line,
            "Multiple address feature is disabled, but multiple addresses were specified for sid"
            f" {server_id}",
        )
    roles = {role for _, _, role in alternatives if role is not None}
    if len(roles) > 1:
        raise refuse(
            key, line, "Multiple addresses should have similar roles: PARTICIPANT vs OBSERVER"
        )
    pairs = dict.fromkeys((quorum, election) for quorum, election, _ in alternatives)
    pairs_by_host = sorted(pairs, key=lambda pair: pair[0].host)
    return Member(
        id=server_id,
        quorum=tuple(quorum for quorum, _ in pairs_by_host),
        election=tuple(election for _, election in pairs_by_host),
        role=roles.pop() if roles else Role.PARTICIPANT,
        client=_client(key, line, client) if client else None,
        secure_client=_client(key, line, secure_client) if secure_client else None,
    )


def _alternative(key: str, line: str, text: str) -> tuple[Address, Address, Role | None]:
    """Quorum and election address of one part of a server line, and the role if it says one."""
    match = _SERVER.fullmatch(text.strip().rstrip(":"))
    if match is None:
        raise refuse(key, line, f"{line} {_FORM}")
    host = _host(key, line, match[1])
    quorum = Address(host, _port(key, line, match[2]))
    election = Address(host, _port(key, line, match[3]))
    if quorum.port == election.port:
        raise refuse(
            key,
            line,
            "Client and election port must be different!"
            f" Please update the configuration file on {key}",
        )
    if match[4] is None:
        return quorum, election, None
    try:
        return quorum, election, Role.parse(match[4])
    except ConfigError as error:
        raise refuse(key, line, str(error)) from None


def _client(key: str, line: str, text: str) -> Address:
    match = _CLIENT.fullmatch(text)
    if match is None:
        raise refuse(key, line, f"{line} {_FORM}")
    return Address(_host(key, line, match[1]) if match[1] else ANY_HOST, _port(key, line, match[2]))


def _port(key: str, line: str, text: str) -> int:
    port = decimal(text.strip())
    if port is None:
        raise refuse(key, line, f"Address unresolved: {text}")
    if not 0 <= port <= 0xFFFF:
        raise refuse(key, line, f"port out of range:{port}")
    return port


def _host(key: str, line: str, text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if _HOST_CHARACTERS.fullmatch(host) is None:
        raise refuse(key, line, f"{host!r} is no host name")
    return canonical_host(host)


def canonical_host(host: str) -> str:
    """A host as the original prints it: IPv6 literals in full, names as they are."""
    if ":" not in host:
        return host
    literal, percent, zone = host.partition("%")
    try:
        address = ipaddress.IPv6Address(literal)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    groups = (f"{int(group, 16):x}" for group in address.exploded.split(":"))
    return ":".join(groups) + percent + zone


def readable(host: str, port: int) -> str:
    """An address as people write it: an IPv6 literal is shortened and stands in brackets."""
    with suppress(ValueError):
        host = str(ipaddress.IPv6Address(host))
    return f"{_bracketed(host)}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _id_in_key(key: str, value: str, taken: Collection[int]) -> int:
    """The number behind the first dot of `key`."""
    number = _number(key, value, key.partition(".")[2])
    if number in taken:
        raise refuse(key, value, f"{key.partition('.')[0]} {number} is set twice")
    return number


def _group(key: str, value: str) -> frozenset[int]:
    ids = [_number(key, value, text) for text in value.split(":")]
    if len(set(ids)) < len(ids):
        twice = next(id_ for id_ in ids if ids.count(id_) > 1)
        raise ConfigError(f"Server {twice}is in multiple groups")
    return frozenset(ids)


def _number(key: str, value: str, text: str) -> int:
    number = decimal(text.strip(), bits=64)
    if number is None:
        raise refuse(key, value, f'For input string: "{text}"')
    return number


def _version(text: str) -> int:
    version = hexadecimal(text)
    if version is None:
        raise refuse("version", text, f'For input string: "{text}"')
    return version
