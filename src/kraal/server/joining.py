"""The place of a server that no line of its configuration names: it joins without a vote.

A joiner asks the members that it knows for the configuration, follows whom they follow, and votes
once a reconfiguration names it; the election and the learner do that for whoever is not named
(reference/quorum-protocol.md section 6.5). What it lacks is an address of its own, at which members
of a smaller id dial it back, and which it can propose to whoever is to name it. The reference ends
with "My id N not in the peer list" instead (reference/operations.md section 9, complaint 5).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.config import ServerConfig
from kraal.model.ensemble import ANY_HOST, Address, EnsembleConfig, Member
from kraal.storage import dynamic_config

logger = logging.getLogger("kraal.server.joining")
RETRY_SECONDS = 1.0
QUORUM_PORT, ELECTION_PORT = 2888, 3888
"""What most ensembles have."""
STEPS_MAX = ELECTION_PORT - QUORUM_PORT


async def own_line(config: ServerConfig) -> Member:
    """The line that this server had, or one that it could have beside those of the others."""
    assert config.ensemble is not None
    static = config.ensemble.config_path
    multi_address = config.ensemble.multi_address
    earlier = None if static is None else _earlier(static, config.server_id, multi_address)
    if earlier is not None and await _can_listen(earlier.election):
        return earlier
    return await _proposed(config, config.ensemble.config)


def command(own: Member) -> str:
    """What names it, in the shell."""
    return f'reconfig -add "server.{own.id}={own.text()}"'


def _earlier(static: PurePath, server_id: int, multi_address: bool) -> Member | None:
    """What the newest of the dynamic files said that name this server, or the file before them."""
    beside = Path(static)
    files = sorted(
        beside.parent.glob(f"{beside.name}{dynamic_config.DYNAMIC}*"),
        key=lambda path: dynamic_config.version_in_name(path.name),
    )
    for path in [*reversed(files), beside.with_name(beside.name + dynamic_config.BACKUP)]:
        with suppress(OSError, ConfigError):
            line = properties.parse(path.read_bytes()).get(f"server.{server_id}")
            if line is not None:
                return Member.parse(server_id, line, multi_address=multi_address)
    return None


async def _can_listen(addresses: Sequence[Address]) -> bool:
    """Whether they are still this host's, and free."""
    hosts = await _addresses(address.host for address in addresses)
    return all(
        address.host in hosts and _is_free(hosts[address.host], address.port)
        for address in addresses
    )


async def _proposed(config: ServerConfig, known: EnsembleConfig) -> Member:
    """This host as the members see it, with the ports that most of them have.

    Where those are not free, with the usual ones, or else the next ones behind them that are.
    """
    members = list(known.members.values())
    host, hosts = await _own_host([address.host for one in members for address in one.quorum])
    taken = {
        (hosts.get(address.host), address.port)
        for member in members
        for address in (*member.quorum, *member.election)
    }

    def is_usable(ports: Sequence[int]) -> bool:
        return all((host, port) not in taken and _is_free(host, port) for port in ports)

    usual = [
        Counter(port for port in ports).most_common(1)[0][0]
        for ports in zip(*((m.quorum[0].port, m.election[0].port) for m in members), strict=True)
    ]
    # In step: a server that does not lead has only its election port bound.
    near = ((QUORUM_PORT + step, ELECTION_PORT + step) for step in range(STEPS_MAX))
    found = next((ports for ports in (usual, *near) if is_usable(ports)), None)
    if found is None:
        raise ConfigError(f"{host} has no free ports behind {QUORUM_PORT} and {ELECTION_PORT}")
    quorum, election = found
    if found != usual:
        logger.warning(
            "The ports of the members, %d and %d, are not free on %s: %d and %d are proposed;"
            " firewalls must let the members pass to them",
            *usual, host, *found,
        )  # fmt: skip
    client = secure_client = None
    if config.client_port:
        client = Address(config.client_host or ANY_HOST, config.client_port)
    if config.secure_client_port:
        secure_client = Address(config.secure_client_host or ANY_HOST, config.secure_client_port)
    return Member(
        id=config.server_id,
        quorum=(Address(host, quorum),),
        election=(Address(host, election),),
        client=client,
        secure_client=secure_client,
    )


async def _own_host(names: Sequence[str]) -> tuple[str, dict[str, str]]:
    """This host's address on the way to the members, and theirs by name.

    Waits for a member whose name resolves and to which a way leads: in containers both may come
    late.
    """
    is_told = False
    while True:
        found = await _addresses(names)
        for address in found.values():
            if (own := _source(address)) is not None:
                return own, found
        if not is_told:
            is_told = True
            logger.warning("No way to %s yet, of whom one is to be asked", ", ".join(names))
        await asyncio.sleep(RETRY_SECONDS)


async def _addresses(names: Iterable[str]) -> dict[str, str]:
    """The first address of every host that resolves, of IPv4 if there is one."""
    loop = asyncio.get_running_loop()
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        with suppress(OSError, UnicodeError):
            answers = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            answers.sort(key=lambda answer: answer[0] != socket.AF_INET)
            found[name] = str(answers[0][4][0])
    return found


def _source(address: str) -> str | None:
    """This host's address on the way there; nothing is sent for that."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 1))
        return str(probe.getsockname()[0])
    return None


def _is_free(host: str, port: int) -> bool:
    """Whether this process could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False
