"""The servers of an ensemble as the client is told them: `host:port,host:port/chroot`."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kraal.errors import ConfigError
from kraal.model import path as paths

DEFAULT_PORT = 2181


class Server(NamedTuple):
    host: str
    port: int

    @property
    def is_address(self) -> bool:
        """Whether the host needs no name service."""
        try:
            ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_server(text: str) -> Server:
    """One `host`, `host:port`, `[v6]` or `[v6]:port`. Raises ConfigError."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"hosts: {text!r} is no address of a server")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if any(each.isspace() for each in host):
        raise ConfigError(f"hosts: {text!r} has a space; servers are separated by commas")
    if not host or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"hosts: {text!r} is no address of a server")
    return Server(host, int(port) if port else DEFAULT_PORT)


def parse(text: str) -> tuple[list[Server], str]:
    """The servers and the chroot (empty: none) of a connect string. Raises ConfigError."""
    if not isinstance(text, str):
        raise TypeError(f'hosts must be a str such as "host:2181", not {type(text).__name__}')
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ConfigError(f"hosts: {text!a} has characters that no name has")
    if "://" in text:
        raise ConfigError(f"hosts: {text!r} begins with a scheme; write host:port without it")
    names, slash, rest = text.partition("/")
    chroot = f"/{rest}".rstrip("/") if slash else ""
    if chroot and not paths.is_valid(chroot.encode("utf-8", "replace")):
        raise ConfigError(f"hosts: {chroot!r} cannot be a chroot")
    servers = [parse_server(name.strip()) for name in names.split(",") if name.strip()]
    if not servers:
        raise ConfigError(f"hosts: {text!r} names no server")
    return list(dict.fromkeys(servers)), chroot


class Hosts:
    """The servers in a random order, which goes on where the last attempt was."""

    def __init__(self, servers: Iterable[Server], rng: random.Random) -> None:
        self._rng = rng
        self.replace(servers)

    def replace(self, servers: Iterable[Server]) -> None:
        self.servers = list(servers)
        self._rng.shuffle(self.servers)
        self._next = 0
        self._addresses: dict[Server, int] = {}

    @property
    def count(self) -> int:
        """How many servers there are, as far as names have been resolved."""
        return sum(self._addresses.get(server, 1) for server in self.servers)

    def resolved(self, server: Server, addresses: int) -> None:
        """A name stood for so many addresses."""
        if server in self.servers:
            self._addresses[server] = addresses

    def prefer(self, server: Server) -> None:
        """Let the next turn begin with this server."""
        if server in self.servers:
            self._next = self.servers.index(server)

    def shuffled(self) -> list[Server]:
        """Every server once, in another order."""
        return self._rng.sample(self.servers, len(self.servers))

    def turn(self) -> Iterator[Server]:
        """Every server once; the next turn begins behind the last that was taken."""
        for _ in range(len(self.servers)):
            server = self.servers[self._next % len(self.servers)]
            self._next = (self._next + 1) % len(self.servers)
            yield server
