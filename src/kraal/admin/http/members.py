"""Commands about the ensemble (reference/operations.md section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from kraal.admin.http.reply import CommandError, Parameters, Reply
from kraal.admin.json_text import Json
from kraal.admin.source import AdminSource
from kraal.model.ensemble import Address, Member, Role
from kraal.model.zxid import counter, epoch
from kraal.replica.status import EnsembleStatus, Mode

ANY_HOST = "0.0.0.0"


def leader(source: AdminSource, _parameters: Parameters) -> Reply:
    """Who leads."""
    status = source.server_status()
    ensemble = status.ensemble
    if ensemble is None or ensemble.leader_id is None or status.mode is Mode.READ_ONLY:
        raise CommandError("server is not initialized")
    member = ensemble.config.members.get(ensemble.leader_id)
    hosts = [address.host for address in member.quorum] if member is not None else []
    return {
        "is_leader": ensemble.leader is not None,
        "leader_id": ensemble.leader_id,
        "leader_ip": "|".join(hosts),
    }


def observers(source: AdminSource, _parameters: Parameters) -> Reply:
    """Observers of this leader or observer master."""
    ensemble = source.server_status().ensemble
    synced = 0
    if ensemble is not None:
        if ensemble.leader is not None:
            synced = ensemble.leader.synced_observers
        else:
            synced = ensemble.synced_observers or 0
    rows = [learner for learner in source.learner_statuses() if learner.is_observer]
    return {
        "synced_observers": synced,
        "observers": [
            {
                "remote_socket_address": f"/{learner.address.lstrip('/')}",
                "sid": learner.server_id,
                "established": learner.connected_wall_ms,
                "queued_packets": 0,
                "queued_packets_size": learner.queued_bytes,
                "packets_received": learner.packets_received,
                "packets_sent": learner.packets_sent,
                "requests": learner.requests,
                "last_zxid": learner.last_zxid,
            }
            for learner in rows
        ],
    }


def voting_view(source: AdminSource, _parameters: Parameters) -> Reply:
    """The voters of the committed configuration."""
    ensemble = source.server_status().ensemble
    if ensemble is None:
        return {"current_config": {}}
    voters = (ensemble.config.members[sid] for sid in sorted(ensemble.config.voters))
    return {
        "current_config": {
            str(member.id): {
                "server_addresses": _shown(member.quorum),
                "election_addresses": _shown(member.election),
                "client_address": _client(source, ensemble, member),
                "learner_type": "observer" if member.role is Role.OBSERVER else "participant",
            }
            for member in voters
        }
    }


def zabstate(source: AdminSource, _parameters: Parameters) -> Reply:
    """Where this member is in the protocol."""
    status = source.server_status()
    ensemble = status.ensemble
    if ensemble is None:
        return {"voting": False, "zabstate": ""}
    member = ensemble.member
    return {
        "myid": member.id,
        "is_leader": ensemble.leader is not None,
        "quorum_address": _address(member.quorum),
        "election_address": _address(member.election),
        "client_address": _client(source, ensemble, member),
        "voting": member.id in ensemble.config.voters,
        "last_zxid": f"0x{status.last_zxid:x}",
        "zab_epoch": epoch(status.last_zxid),
        "zab_counter": counter(status.last_zxid),
        "zabstate": ensemble.phase,
    }


def _client(source: AdminSource, ensemble: EnsembleStatus, member: Member) -> str:
    """Where clients are served; of others it is known only where the server lines say it."""
    if member.client is not None:
        return str(member.client)
    if member.id != ensemble.member.id or source.config.client_port is None:
        return ""
    return str(Address(source.config.client_host or ANY_HOST, source.bound_port))


def _shown(addresses: Sequence[Address]) -> list[Json]:
    return [str(address) for address in addresses]


def _address(addresses: Sequence[Address]) -> dict[str, Json]:
    """Several addresses of one server. Which of them others reach is not known here."""
    shown = _shown(addresses)
    first = shown[0] if shown else ""
    return {
        "empty": not addresses,
        "all_addresses": shown,
        "wildcard_addresses": list(
            dict.fromkeys(f"{ANY_HOST}:{address.port}" for address in addresses)
        ),
        "all_ports": [address.port for address in addresses],
        "all_host_strings": [address.host for address in addresses],
        "reachable_address": first,
        "all_reachable_addresses": shown,
        "all_reachable_addresses_or_all": shown,
        "reachable_or_one": first,
        "one": first,
    }
