"""Commands about the membership of the ensemble: `config`, `reconfig`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kraal.client import Node, ZooKeeperError
from kraal.errors import ConfigError
from kraal.model import properties
from kraal.model.ensemble import EnsembleConfig, Member
from kraal.shell.command import command
from kraal.shell.context import Context
from kraal.shell.errors import CommandError
from kraal.shell.options import FILE, Given, flag, text, value
from kraal.shell.results import JsonObject, Result, Results, stat_json, stat_lines

GROUP = "Membership"


@dataclass(frozen=True)
class Membership(Result):
    """The text of a membership, or its version and where clients are served."""

    node: Node
    with_stat: bool
    heading: str = ""
    for_clients: bool = False

    def text(self) -> Iterator[str]:
        shown = self.node.data.decode(errors="replace")
        if self.heading:
            yield self.heading
        yield client_text(shown) if self.for_clients else shown
        if self.with_stat:
            yield from stat_lines(self.node.stat)

    def json(self) -> JsonObject:
        stat: JsonObject = {"stat": stat_json(self.node.stat)} if self.with_stat else {}
        shown = self.node.data.decode(errors="replace")
        return {"config": shown, "clients": client_text(shown), **stat}


def client_text(config: str) -> str:
    """The version of a membership and the addresses for clients, separated by commas."""
    settings = properties.parse_text(config)
    addresses: list[str] = []
    for key, line in settings.items():
        if key.startswith("server."):
            client = Member.parse(-1, line, multi_address=True).client
            addresses.append("" if client is None else f"{client.host}:{client.port}")
    return f"{settings.get('version', '')} {','.join(addresses)}"


@command(
    "config", "[-c] [-w] [-s]",
    flag("s", "stats"), flag("w", "watch"), flag("c", "client connection string"),
    group=GROUP,
)  # fmt: skip
async def config(shell: Context, given: Given) -> Results:
    """The membership of the ensemble; with -c its version and where clients are served."""
    node = await shell.zk.get_config(watch=shell.watch if given.has("w") else None)
    yield Membership(node, given.has("s"), for_clients=given.has("c"))


@command(
    "reconfig",
    "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] |"
    " [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
    flag("s", "stats"),
    value("v", "required current config version"),
    value("file", "path of config file to parse for membership", of=FILE),
    value("members", "comma-separated list of config strings for non-incremental reconfig"),
    value("add", "comma-separated list of config strings for new servers"),
    value("remove", "comma-separated list of server IDs to remove", of=text("ids")),
    group=GROUP,
)  # fmt: skip
async def reconfig(shell: Context, given: Given) -> Results:
    """Change the membership: -add and -remove servers, or replace it by -members or a -file.

    -v is the version, in hex, of the configuration that the change is meant for. The server must
    allow it (reconfigEnabled), and the session needs the permission to write /zookeeper/config.

    For example `reconfig -add server.4=zk4:2888:3888;2181 -remove 1`.
    """
    whole, change = (
        given.has("file") or given.has("members"),
        given.has("add") or given.has("remove"),
    )
    if not whole and not change:
        raise CommandError(reconfig.usage())
    version = _version(given.value("v"))
    if whole and change:
        raise CommandError(
            "Can't use -file or -members together with -add or -remove (mixing incremental and"
            " non-incremental modes is not allowed)"
        )
    if given.has("file") and given.has("members"):
        raise CommandError(
            "Can't use -file and -members together (conflicting non-incremental modes)"
        )
    file = given.value("file")
    members = _members(file) if file is not None else (given.value("members") or "").lower()
    try:
        node = await shell.zk.reconfig(
            joining=(given.value("add") or "").lower(),
            leaving=(given.value("remove") or "").lower(),
            members=members,
            from_version=version,
        )
    except ZooKeeperError as error:
        error.path = ""  # the original's errors are about no path here
        raise
    yield Membership(node, given.has("s"), "Committed new configuration:")


def _version(written: str | None) -> int:
    if written is None:
        return -1
    if not re.fullmatch(r"[+-]?[0-9a-fA-F]{1,16}", written):  # as Long.parseLong(written, 16)
        raise CommandError("-v must be followed by a long (configuration version)")
    return int(written, 16)


def _members(file: str) -> str:
    """The membership that a file describes. Raises CommandError."""
    try:
        return EnsembleConfig.from_settings(properties.parse(Path(file).read_bytes())).text()
    except OSError as error:
        raise CommandError(f"Error processing {file}: {error.strerror}") from None
    except ConfigError as error:
        raise CommandError(f"Error processing {file}: {error}") from None
