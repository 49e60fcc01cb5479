"""The `server.N` lines of a configuration, as far as a standalone server is concerned.

Source: reference/operations.md section 1.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kraal.errors import ConfigError
from kraal.model.setting import decimal, refuse

_HOST = r"(?:\[[^\]]*\]|[^:|;\[\]]+)"
_ADDRESS = re.compile(rf"{_HOST}:([^:]+):([^:]+)(?::([^:]+))?")
_CLIENT = re.compile(rf"(?:({_HOST}):)?([^:]+)")
_FORM = (
    "does not have the form server_config or server_config;client_config where server_config is"
    " the pipe separated list of host:port:port or host:port:port:type and client_config is port"
    " or host:port"
)


@dataclass(frozen=True, slots=True)
class Member:
    """One server of the configuration."""

    is_participant: bool
    client_address: tuple[str, int] | None
    """Host and port that clients use, where the line names them."""


def standalone_member(
    lines: Mapping[str, str], *, server_id: int | None, standalone_enabled: bool, multi: bool
) -> Member | None:
    """The line that describes this one server, or None; refuses configurations of an ensemble.

    `lines` are the `server.N` settings, `server_id` is what `myid` says, `multi` allows several
    addresses for a server.
    """
    members = {_server_id(key, line): _parse(key, line, multi=multi) for key, line in lines.items()}
    participants = sum(member.is_participant for member in members.values())
    if participants == 0 and not standalone_enabled:
        raise ConfigError("standaloneEnabled = false then number of participants should be >0")
    if participants == 0 and members:
        raise ConfigError("Observers w/o participants is an invalid configuration")
    if participants > 1 or not standalone_enabled:
        raise ConfigError(
            f"{', '.join(sorted(lines))}: ensembles are not served by this version yet;"
            " it runs standalone servers only (at most one server.N line, standaloneEnabled=true)"
        )
    if len(members) > 1:
        raise ConfigError("Observers w/o quorum is an invalid configuration")
    if server_id is None:
        return next(iter(members.values()), None)
    return members.get(server_id)


def _server_id(key: str, line: str) -> int:
    text = key.removeprefix("server.")
    server_id = decimal(text, bits=64)
    if server_id is None:
        raise refuse(key, line, f'For input string: "{text}"')
    return server_id


def _parse(key: str, line: str, *, multi: bool) -> Member:
    addresses, _, client = line.partition(";")
    roles = {_role(key, line, address) for address in addresses.split("|")}
    if len(roles) > 1:
        raise refuse(key, line, "Multiple addresses should have the same role")
    if "|" in addresses and not multi:
        raise refuse(
            key,
            line,
            "Multiple address feature is disabled, but multiple addresses were specified for sid "
            + key.removeprefix("server."),
        )
    return Member(
        is_participant=roles == {"participant"},
        client_address=_client_address(key, line, client.strip()) if client.strip() else None,
    )


def _role(key: str, line: str, address: str) -> str:
    match = _ADDRESS.fullmatch(address.strip())
    if match is None:
        raise refuse(key, line, f"{line} {_FORM}")
    if _port(key, line, match[1]) == _port(key, line, match[2]):
        raise refuse(
            key,
            line,
            "Client and election port must be different!"
            f" Please update the configuration file on {key}",
        )
    role = (match[3] or "participant").strip().lower()
    if role not in {"participant", "observer"}:
        raise refuse(key, line, f"Unrecognised peertype: {match[3]}")
    return role


def _client_address(key: str, line: str, client: str) -> tuple[str, int]:
    match = _CLIENT.fullmatch(client)
    if match is None:
        raise refuse(key, line, f"{line} {_FORM}")
    return (match[1] or "0.0.0.0").strip("[]"), _port(key, line, match[2])


def _port(key: str, line: str, text: str) -> int:
    port = decimal(text.strip())
    if port is None:
        raise refuse(key, line, f"Address unresolved: {text}")
    if not 0 <= port <= 0xFFFF:
        raise refuse(key, line, f"port out of range:{port}")
    return port
