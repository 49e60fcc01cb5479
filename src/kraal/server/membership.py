"""Whether a configuration describes an ensemble, and which of its lines is this server's.

Source: reference/operations.md sections 1.4 to 1.6, reference/quorum-protocol.md section 7.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kraal.errors import ConfigError
from kraal.model.ensemble import Address, EnsembleConfig, Member

NO_SERVER = -1
"""The id in `myid` that counts as none."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What the `server.N`, `group.N` and `weight.N` settings say to one server."""

    member: Member | None
    """This server's own line, if it has one."""
    ensemble: EnsembleConfig | None
    """None: the server is standalone."""
    warnings: tuple[str, ...] = ()


def membership(
    settings: Mapping[str, str],
    *,
    server_id: int | None,
    standalone_enabled: bool,
    multi_address: bool,
    may_join: bool = False,
) -> Membership:
    """What the settings of the membership mean for the server that `myid` says; ConfigError.

    `settings` may hold a `version`, as that of a dynamic file does. Who `may_join` an ensemble
    does not stand alone in the place of another server.
    """
    if not any(key.startswith("server.") for key in settings):
        if not standalone_enabled:
            raise ConfigError("standaloneEnabled = false then number of participants should be >0")
        return Membership(None, None)
    config = EnsembleConfig.from_settings(settings, multi_address=multi_address)
    joins = may_join and server_id not in (None, NO_SERVER, *config.members)
    if len(config.voters) == 1 and standalone_enabled and not joins:
        if config.observers:
            raise ConfigError("Observers w/o quorum is an invalid configuration")
        return Membership(_own_line(config, server_id), None)
    if server_id is None:
        # The original says it after the limits; here the file can be named first.
        return Membership(None, config)
    warnings = (*_advice(len(config.voters)), *_shared_addresses(config))
    return Membership(config.members.get(server_id), config, warnings)


def _own_line(config: EnsembleConfig, server_id: int | None) -> Member | None:
    """The line of a standalone server, which needs no `myid` to know it."""
    if server_id is None:
        return next(iter(config.members.values()))
    return config.members.get(server_id)


def _shared_addresses(config: EnsembleConfig) -> Iterator[str]:
    """Servers that claim the same place; the original says nothing, and they never all run."""
    owners: dict[Address, int] = {}
    for member in config.members.values():
        for address in dict.fromkeys(member.quorum + member.election):
            owner = owners.setdefault(address, member.id)
            if owner != member.id:
                yield (
                    f"server.{owner} and server.{member.id} have the same address {address}:"
                    " only one of them can listen there"
                )


def _advice(voters: int) -> tuple[str, ...]:
    if voters <= 2:
        return ("No server failure will be tolerated. You need at least 3 servers.",)
    if voters % 2 == 0:
        return ("Non-optimal configuration, consider an odd number of servers.",)
    return ()
