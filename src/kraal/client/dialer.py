"""Finding a server for a session: addresses, attempts, pauses, and servers that lost their data.

Every attempt has the time in which all servers can be tried before the session ends; where that
is over, as in the Java client, in which they can be tried within one session timeout.

A server that has seen less than the client refuses it without a word
(reference/client-protocol.md section 2.4), and so does one that serves nobody at the moment.
Normally another server, or patience, helps. But servers that have lost their data would refuse
for ever: once the session's time is over the client also asks them without saying what it has
seen, and learns whether they know the session. That the session is over does not say that data is
lost, because servers lag behind others when a partition ends: what was seen is forgotten only
when nobody but such servers has answered for some rounds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import socket
import ssl
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from kraal.client.connection import Connection
from kraal.client.errors import AuthFailedError, SessionExpiredError, ZooKeeperError, reason_of
from kraal.client.hosts import Hosts, Server
from kraal.client.options import Options
from kraal.client.sasl import authenticate
from kraal.client.tls_failures import tls_reason

logger = logging.getLogger("kraal.client")

PAUSE_FIRST = 0.05
PAUSE_MAX = 1.0
LAST_ANSWER_SECONDS = 0.2
"""How long a close waits for a server that may be about to accept the session, to end it there."""
REPORT_EVERY = 10.0
"""Seconds between two lines of the log about what does not work."""
BEHIND_MAX = 5
"""Rounds in which servers had seen less than the client, before that counts as lost."""


class Outcome(Enum):
    """What became of an attempt that did not get a connection."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused without a word"
    EXPIRED = "the session is over"


class Seeker(Protocol):
    """The session that looks for a server."""

    options: Options
    server: Server | None

    heard_at: float | None
    """When a server was heard of last."""

    @property
    def timeout(self) -> float: ...
    @property
    def has_seen(self) -> bool: ...
    def new_connection(self, *, tell_zxid: bool) -> Connection: ...
    def take_up(self, connection: Connection) -> None: ...
    def leave(self, connection: Connection) -> None: ...
    def expire(self) -> None: ...
    def forget_seen(self) -> None: ...


class Dialer:
    """Tries servers until one has the session."""

    def __init__(self, seeker: Seeker, hosts: Hosts, rng: random.Random) -> None:
        self._seeker = seeker
        self._hosts = hosts
        self._rng = rng
        self._problems: list[str] = []
        self._round_time = 0.0
        self._report_again = -math.inf

    async def dial(self) -> Connection:
        """A connection whose session and credentials for SASL the server has accepted.

        Raises AuthFailedError.
        """
        loop = asyncio.get_running_loop()
        began, pause, behind = loop.time(), PAUSE_FIRST, 0
        while True:
            self._problems = []
            is_overdue = loop.time() - began > self._seeker.timeout and self._seeker.has_seen
            was_behind = False
            self._round_time = self._time_left() or self._seeker.timeout
            for server in self._hosts.turn():
                for address in await self._addresses(server):
                    outcome = await self._attempt(server, address)
                    if isinstance(outcome, Connection):
                        return outcome
                    if outcome is Outcome.EXPIRED:
                        self._seeker.expire()
                        began, is_overdue = loop.time(), False
                        outcome = await self._attempt(server, address)
                        if isinstance(outcome, Connection):
                            return outcome
                    elif outcome is Outcome.REFUSED and is_overdue:
                        was_behind = await self._is_behind(server, address) or was_behind
            behind = behind + 1 if was_behind else 0
            if behind >= BEHIND_MAX:
                self._seeker.forget_seen()
                behind = 0
            self._report()
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.0))
            pause = min(2 * pause, PAUSE_MAX)

    def _report(self) -> None:
        """Say what keeps us from the servers, and do not repeat it every second."""
        text, now = "; ".join(self._problems), asyncio.get_running_loop().time()
        if text and now >= self._report_again:
            logger.warning("no server could be reached: %s", text)
            self._report_again = now + REPORT_EVERY

    async def _is_behind(self, server: Server, address: str) -> bool:
        """Whether a server answers who says nothing of what we have seen."""
        outcome = await self._attempt(server, address, tell_zxid=False)
        if outcome is Outcome.EXPIRED:
            self._seeker.expire()
        return outcome is Outcome.EXPIRED or isinstance(outcome, Connection)

    @property
    def _attempt_timeout(self) -> float:
        given = self._seeker.options.connect_timeout
        return self._round_time / self._hosts.count if given is None else given

    def _time_left(self) -> float:
        """Seconds until the session would end, or 0."""
        if self._seeker.heard_at is None:
            return 0
        left = self._seeker.heard_at + self._seeker.timeout - asyncio.get_running_loop().time()
        return max(left, 0)

    async def _addresses(self, server: Server) -> list[str]:
        """The addresses that a host stands for now, in a random order."""
        if server.is_address:
            return [server.host]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._attempt_timeout):
                found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError) as error:
            self._problems.append(f"{server}: {reason_of(error)}")
            return []
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self._rng.shuffle(addresses)
        self._hosts.resolved(server, len(addresses))
        return addresses

    async def _attempt(
        self, server: Server, address: str, *, tell_zxid: bool = True
    ) -> Connection | Outcome:
        """One attempt with one server. One that does not tell the zxid is closed at once."""
        tls, sasl = self._seeker.options.tls, self._seeker.options.sasl
        if tell_zxid:
            self._seeker.server = server
        connection = self._seeker.new_connection(tell_zxid=tell_zxid)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._attempt_timeout):
                await loop.create_connection(
                    lambda: connection, address, server.port,
                    ssl=tls() if tls else None, server_hostname=server.host if tls else None,
                )  # fmt: skip
                await connection.answered()
                if sasl is not None and tell_zxid:
                    await authenticate(connection, sasl, server.host)
                    self._seeker.take_up(connection)
        except SessionExpiredError:
            return Outcome.EXPIRED
        except AuthFailedError:
            connection.abort()
            raise
        except (OSError, TimeoutError, ZooKeeperError) as error:
            reason = tls_reason(error) if tls and isinstance(error, OSError) else None
            self._problems.append(f"{server}: {reason or reason_of(error)}")
            connection.abort()
            return Outcome.REFUSED if connection.was_refused else Outcome.UNREACHABLE
        except asyncio.CancelledError:
            # The server may have made a session already, which nobody else knows of.
            if tell_zxid and await connection.is_accepted_within(LAST_ANSWER_SECONDS):
                self._seeker.leave(connection)
            else:
                connection.abort()
            raise
        except BaseException:
            connection.abort()
            raise
        return connection


async def find_read_write(
    servers: Iterable[Server], context: ssl.SSLContext | None, timeout: float
) -> Server | None:
    """The first server that says that it can write, if there is one."""
    for server in servers:
        try:
            async with asyncio.timeout(timeout):
                if await _can_write(server, context):
                    return server
        except (OSError, TimeoutError):
            continue
    return None


async def _can_write(server: Server, context: ssl.SSLContext | None) -> bool:
    question = _IsReadOnly()
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: question, server.host, server.port,
            ssl=context, server_hostname=server.host if context else None,
        )  # fmt: skip
        return (await question.answer).startswith(b"rw")
    finally:
        question.close()


class _IsReadOnly(asyncio.Protocol):
    """Asks the four-letter word `isro` (reference/client-protocol.md section 9.5)."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"isro")

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= 2:
            self._answer()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._answer()

    def _answer(self) -> None:
        if not self.answer.done():
            self.answer.set_result(self._received)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
