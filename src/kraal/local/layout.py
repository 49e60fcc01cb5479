"""Where the servers of a local ensemble live: directories, ports, `zoo.cfg` and `myid`.

The configurations are the only record: what they say is found again at the next start, and
what was edited in them by hand, or by a reconfiguration, stays.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kraal.errors import ConfigError, KraalError
from kraal.model import properties
from kraal.model.ensemble import Role, is_membership_key
from kraal.server.config import keys
from kraal.server.config.admin import PROMETHEUS
from kraal.server.config.file import LoadedConfig, load

HOST = "127.0.0.1"
QUORUM_OFFSET, ELECTION_OFFSET, ADMIN_OFFSET, METRICS_OFFSET = 100, 200, 300, 400
"""From the client port."""
SERVERS_MAX = 100
"""So many have room between the ports."""
DEFAULT_BASE_PORT, BASE_PORT_MAX = 2181, 65535 - 500
DEFAULT_VOTERS = 3
_DEFAULTS = {
    "tickTime": "2000",
    "initLimit": "10",
    "syncLimit": "5",
    "4lw.commands.whitelist": "*",
    "admin.serverAddress": HOST,
    "metricsProvider.className": PROMETHEUS,
    "metricsProvider.httpHost": HOST,
}
CHOSEN = (
    "clientPort", "clientPortAddress", "dataDir", "dataLogDir", "dynamicConfigFile", "peerType",
    "secureClientPort",
)  # fmt: skip
"""Keys that differ from server to server and cannot be given for all."""
_CHOSEN_HERE = (*CHOSEN, "admin.serverPort", "metricsProvider.httpPort")
_DIRECTORY = re.compile(r"server-(\d+)")


class LayoutError(KraalError):
    """The directory cannot hold the ensemble that is asked for; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One server: its directory and where it listens."""

    id: int
    directory: Path
    is_observer: bool
    client_port: int
    quorum_ports: tuple[int, ...] = ()
    election_ports: tuple[int, ...] = ()
    admin_port: int | None = field(default=None, compare=False)
    metrics_port: int | None = field(default=None, compare=False)
    """Of HTTP; None: that server is switched off. Nobody else is told of them: they may differ."""

    @property
    def zoo_cfg(self) -> Path:
        return self.directory / "zoo.cfg"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "server.log"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; None: as it is, or the default."""

    voters: int | None = None
    observers: int | None = None
    base_port: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further keys of `zoo.cfg`, for all servers."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The servers by id, and what their author should know about their configuration."""

    places: tuple[Place, ...]
    warnings: tuple[str, ...]

    @property
    def connect_string(self) -> str:
        return ",".join(f"{HOST}:{place.client_port}" for place in self.places)


def prepare(root: Path, wanted: Wanted) -> Layout:
    """Make the directories and configurations, or find them again. LayoutError, OSError."""
    root = root.absolute()
    for key in wanted.settings:
        if key in _CHOSEN_HERE or is_membership_key(key):
            raise LayoutError(f"{key} is chosen for each server and cannot be set for all")
    if (root / "myid").exists() or (root / "version-2").exists():
        raise LayoutError(f"{root} is the data directory of a single server")
    found = _find(root)
    if found is None:
        voters = DEFAULT_VOTERS if wanted.voters is None else wanted.voters
        base_port = DEFAULT_BASE_PORT if wanted.base_port is None else wanted.base_port
        places = _places(root, voters, wanted.observers or 0, base_port)
        _check_size(places)
        _write(places, {**_DEFAULTS, **wanted.settings}, has_members=True)
    else:
        places, has_members = _reuse(root, found, wanted)
        if has_members:
            _check_size(places)
        _write(places, wanted.settings, has_members=has_members)
        if has_members:
            for left in found[len(places) :]:
                # An observer that is not wanted now; its data waits for the day it is.
                left.zoo_cfg.unlink()
    loaded = [_load(place.zoo_cfg) for place in places]
    warnings = dict.fromkeys(
        _without_place(place.zoo_cfg, warning)
        for place, found_config in zip(places, loaded, strict=True)
        for warning in found_config.warnings
    )
    served = (
        replace(
            place,
            admin_port=place.admin_port if found_config.config.admin.enabled else None,
            metrics_port=found_config.config.admin.metrics_port,
        )
        for place, found_config in zip(places, loaded, strict=True)
    )
    return Layout(tuple(served), tuple(warnings))


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server, without what would override its ports and directories."""
    return {name: value for name, value in own.items() if not _sets_chosen(name)}


def _sets_chosen(name: str) -> bool:
    upper = name.upper()
    if not upper.startswith(keys.ENVIRONMENT_PREFIX) or upper in keys.NOT_SETTINGS:
        return False
    key = keys.key_of_variable(upper)
    return key is not None and (key in _CHOSEN_HERE or is_membership_key(key))


def taken_ports(places: Sequence[Place]) -> list[str]:
    """The ports that somebody else listens on, each with what it is for."""
    return [
        f"{port} ({what} port of server {place.id})"
        for place in places
        for what, ports in (
            ("client", (place.client_port,)),
            ("quorum", place.quorum_ports),
            ("election", place.election_ports),
            ("admin", (place.admin_port,)),
            ("metrics", (place.metrics_port,)),
        )
        for port in ports
        if port is not None and _is_taken(port)
    ]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: what their last run left in TIME_WAIT is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return True
        return False


def count(voters: int, observers: int) -> str:
    """`3 servers and 1 observer`."""
    text = f"{voters} server{'s' if voters > 1 else ''}"
    if observers:
        text += f" and {observers} observer{'s' if observers > 1 else ''}"
    return text


def _places(root: Path, voters: int, observers: int, base_port: int) -> list[Place]:
    alone = voters == 1
    return [
        Place(
            id=n,
            directory=root / f"server-{n}",
            is_observer=n > voters,
            client_port=base_port + n - 1,
            quorum_ports=() if alone else (base_port + QUORUM_OFFSET + n - 1,),
            election_ports=() if alone else (base_port + ELECTION_OFFSET + n - 1,),
            admin_port=base_port + ADMIN_OFFSET + n - 1,
            metrics_port=base_port + METRICS_OFFSET + n - 1,
        )
        for n in range(1, voters + observers + 1)
    ]


def _write(places: Sequence[Place], settings: Mapping[str, str], *, has_members: bool) -> None:
    """Make what is missing, and set these keys; `has_members`: those of the ports as well."""
    lines = {
        f"server.{place.id}": f"{HOST}:{quorum}:{election}"
        f":{Role.OBSERVER if place.is_observer else Role.PARTICIPANT}"
        for place in places
        for quorum, election in zip(place.quorum_ports, place.election_ports, strict=True)
    }
    # A server that is new here gets what the others have.
    written = [place.zoo_cfg for place in places if place.zoo_cfg.exists()]
    template = written[0].read_text("latin-1") if written else ""
    for place in places:
        make(place)
        values = {"dataDir": str(place.data), **settings}
        if has_members:
            values |= {"clientPort": str(place.client_port), "clientPortAddress": HOST, **lines}
            values |= {
                "admin.serverPort": str(place.admin_port),
                "metricsProvider.httpPort": str(place.metrics_port),
            }
            if place.is_observer:
                values["peerType"] = str(Role.OBSERVER)
        _set(place.zoo_cfg, template, values, has_members=has_members)


def make(place: Place) -> None:
    """The directories of a server, and its `myid`. OSError."""
    place.data.mkdir(parents=True, exist_ok=True)
    myid = place.data / "myid"
    if not myid.exists():
        myid.write_text(f"{place.id}\n")


def _set(zoo_cfg: Path, template: str, values: Mapping[str, str], *, has_members: bool) -> None:
    """Change the lines of these keys and leave the others as they are."""
    is_new = not zoo_cfg.exists()
    before = template if is_new else zoo_cfg.read_text("latin-1")
    present = {entry.key: entry.value for entry in properties.entries(before)}
    gone = {key for key in present if has_members and key and is_membership_key(key)} - {*values}
    changed = {key: value for key, value in values.items() if present.get(key) != value}
    if not gone and not changed and not is_new:
        return
    kept = "".join(
        entry.lines
        for entry in properties.entries(before)
        if entry.key not in gone and entry.key not in changed
    )
    if kept and not kept.endswith("\n"):
        kept += "\n"
    added = "".join(f"{properties.written(key, value)}\n" for key, value in changed.items())
    temporary = zoo_cfg.with_suffix(".tmp")
    temporary.write_text(kept + added, "latin-1")
    try:
        _load(temporary)
    except LayoutError:
        temporary.unlink()  # what cannot be started is not left behind
        raise
    temporary.replace(zoo_cfg)


def _check_size(places: Sequence[Place]) -> None:
    if len(places) > SERVERS_MAX:
        raise LayoutError(f"no more than {SERVERS_MAX} servers")
    if len(places) > 1 and places[1].is_observer:
        raise LayoutError("observers need at least two voting servers beside them")


# What is there already


def _find(root: Path) -> list[Place] | None:
    """The members that the newest configuration in the directory names; None: there is none."""
    directories = {
        int(match[1]): path
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := _DIRECTORY.fullmatch(path.name)) and (path / "zoo.cfg").exists()
    }
    if not directories:
        return None
    configs = {n: _load(path / "zoo.cfg").config for n, path in sorted(directories.items())}
    memberships = [config.ensemble.config for config in configs.values() if config.ensemble]
    if not memberships:
        if [*configs] != [1]:
            raise LayoutError(f"the servers in {root} are no ensemble")
        port = configs[1].client_port or 0
        return [
            Place(
                id=1,
                directory=directories[1],
                is_observer=False,
                client_port=port,
                admin_port=configs[1].admin.port,
            )
        ]
    members = max(memberships, key=lambda membership: membership.version).members
    if missing := sorted(members.keys() - directories.keys()):
        raise LayoutError(f"{root / f'server-{missing[0]}'} is missing, or has no zoo.cfg")
    return [
        Place(
            id=member.id,
            directory=directories[member.id],
            is_observer=member.role is Role.OBSERVER,
            client_port=configs[member.id].client_port or 0,
            quorum_ports=tuple(address.port for address in member.quorum),
            election_ports=tuple(address.port for address in member.election),
            admin_port=configs[member.id].admin.port,
        )
        for member in members.values()
    ]


def _load(zoo_cfg: Path) -> LoadedConfig:
    try:
        return load(
            zoo_cfg,
            defines={},
            environment=environment(os.environ),
            # Where it is now, if the directory was moved.
            overrides={"dataDir": str(zoo_cfg.with_name("data"))},
        )
    except ConfigError as error:
        reason = _without_place(zoo_cfg, str(error))
        raise LayoutError(f"{zoo_cfg.with_suffix('.cfg')}: {reason}") from error


def _without_place(zoo_cfg: Path, text: str) -> str:
    """What is said of a setting, without the line of a file that nobody wrote by hand."""
    return re.sub(rf"^{re.escape(str(zoo_cfg))}(, line \d+)?: ", "", text)


def _reuse(root: Path, found: list[Place], wanted: Wanted) -> tuple[list[Place], bool]:
    """The servers that fit what is asked for, and whether their ports are as first chosen."""
    voters = sum(not place.is_observer for place in found)
    observers, base_port = len(found) - voters, found[0].client_port
    if wanted.voters not in (None, voters):
        raise LayoutError(
            f"{root} holds an ensemble of {count(voters, observers)}; with another number of voting"
            " servers, what its quorum acknowledged could be lost. Start it as it is, or give"
            " another --data-dir"
        )
    same_observers = wanted.observers in (None, observers)
    same_ports = wanted.base_port in (None, base_port)
    if found != _places(root, voters, observers, base_port):
        if same_observers and same_ports:
            return found, False
        raise LayoutError(
            f"{root} holds an ensemble whose members or ports were changed by hand or by a"
            " reconfiguration; it can only be started as it is, without --observers and --base-port"
        )
    if wanted.observers is not None:
        observers = wanted.observers
    if wanted.base_port is not None:
        base_port = wanted.base_port
    return _places(root, voters, observers, base_port), True
