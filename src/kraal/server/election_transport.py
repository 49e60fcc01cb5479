"""The election port: one connection per pair of servers, kept by the larger id.

Rules: reference/quorum-protocol.md section 2.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Sequence

from kraal.errors import ConfigError
from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import Address, EnsembleConfig, Member, readable
from kraal.pipeline.complaints import Complaints
from kraal.server.addresses import is_wildcard, resolve
from kraal.server.election_connection import ElectionConnection
from kraal.server.election_origins import Origins
from kraal.server.quorum_sasl import QuorumSasl
from kraal.server.tls.port import TlsPort, listen
from kraal.server.tls.quorum import QuorumTls, connect
from kraal.wire.records.election import encode_initial

logger = logging.getLogger("kraal.server.election")

BACKLOG = 128
BIND_RETRY_SECONDS = 1.0
UNIDENTIFIED_MAX = 100
"""Connections that have not said who they are; one more closes the one that came first."""
UNKNOWN_MAX = 64
"""Servers of neither configuration (joiners) that are connected or dialled back at a time."""
DIAL_BACK_SECONDS = 0.5
"""How long a larger id has to dial back before it is told again that this server is there."""
UNANSWERED_MAX = 3
"""Connections in a row to a server that sends nothing, before that is worth a line."""

_LENGTH = struct.Struct(">i")


class ElectionTransport:
    """Carries notifications; the `Courier` of an Election.

    Sending never blocks. Per server the newest unsent notification replaces an older one, and
    the last one is sent again on every new connection: the receiver may see it twice, or late.
    Not thread-safe; everything happens in the event loop that `start` ran in.
    """

    def __init__(
        self,
        me: int,
        settings: EnsembleSettings,
        received: Callable[[int, bytes], None],
        *,
        tick_time_ms: int = 3000,
        failed: Callable[[OSError], None] | None = None,
        tls: QuorumTls | None = None,
    ) -> None:
        """`received` is called with sender and notification; it may call `send` and
        `reconfigure`. `failed` is called when a reconfiguration moved this server to an address
        that cannot be bound. `tick_time_ms` is the unit of `syncLimit`, which limits handshakes
        unless a setting of its own does (section 2.4).
        """
        self.me = me
        self._tls = tls
        self._sasl = QuorumSasl(settings.sasl) if settings.sasl is not None else None
        self._settings = settings
        self._received = received
        self._failed = failed
        self._unreachable: dict[int, str] = {}
        """Servers that could not be dialled last, and why."""
        self._config = settings.config
        self._last_seen = settings.last_seen
        limit_ms = settings.quorum_cnxn_timeout_ms
        if limit_ms <= 0:
            limit_ms = tick_time_ms * settings.sync_limit_ticks
        self._handshake_seconds = limit_ms / 1000
        self._own: tuple[Address, ...] = ()
        self._listening: list[asyncio.Server | TlsPort] = []
        self._binding: asyncio.Task[None] | None = None
        self._is_running = False
        self._generation = 0
        """Connections that were dialled before the members changed are not used after it."""
        self._open: set[ElectionConnection] = set()
        self._unidentified: dict[ElectionConnection, asyncio.TimerHandle] = {}
        self._links: dict[int, ElectionConnection] = {}
        self._unsent: dict[int, bytes] = {}
        """By server, the frame that waits for a connection or for a peer that does not read."""
        self._last: dict[int, bytes] = {}
        """By server, the last frame that was handed to a connection."""
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._advertised: dict[int, tuple[Address, ...]] = {}
        """Where to dial back when the dial in progress fails."""
        self._introduced: set[int] = set()
        """Larger ids that were told to dial back just now."""
        self._unanswered: dict[int, int] = {}
        """By server, connections that were made to it since it was heard of."""
        self._complaints = Complaints(logger)
        self._origins = Origins(multi_address=settings.multi_address)

    # What the server calls

    async def start(self, joiner: Member | None = None) -> None:
        """Bind this server's election addresses; those of a joiner are in no configuration.

        Raises OSError when that fails `electionPortBindRetry` times, and ConfigError when this
        server has no address.
        """
        own = self._config.members.get(self.me) or joiner
        if own is None:
            raise ConfigError(f"server {self.me} is not in the configuration")
        self._own = own.election
        await self._bind()
        self._is_running = True

    async def stop(self) -> None:
        """Close the port and every connection."""
        self._is_running = False
        tasks = [*self._dials.values()]
        if self._binding is not None:
            self._binding.cancel()
            tasks.append(self._binding)
        self._drop_links()
        servers = list(self._listening)
        self._close_port()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._open:
            for connection in list(self._open):
                connection.abort()
            await asyncio.sleep(0)
        for server in servers:
            await server.wait_closed()

    def send(self, server_id: int, message: bytes) -> None:
        """Send a notification, over a new connection if there is none."""
        assert server_id != self.me, "the own vote does not leave the server"
        if not self._is_running:
            return
        frame = _LENGTH.pack(len(message)) + message
        link = self._links.get(server_id)
        if link is not None and link.is_writable:
            self._last[server_id] = frame
            link.write(frame)
        elif link is not None or self._is_known(server_id):
            self._unsent[server_id] = frame
            self._dial(server_id, self._addresses(server_id))

    def reconfigure(self, config: EnsembleConfig, last_seen: EnsembleConfig | None) -> None:
        """Use these configurations; if the members changed, begin anew (section 6.5).

        Every connection is closed and what was not sent is forgotten. The port is bound anew
        only if this server's own address changed.
        """
        before, self._config, self._last_seen = self._config, config, last_seen
        if config is before or config.same_members(before):
            return
        self._generation += 1
        self._drop_links()
        own = config.members.get(self.me)
        if self._is_running and own is not None and own.election != self._own:
            self._own = own.election
            self._close_port()
            if self._binding is None or self._binding.done():
                self._binding = asyncio.get_running_loop().create_task(self._bind_again())

    def _drop_links(self) -> None:
        for link in list(self._links.values()):
            link.abort()
        for task in self._dials.values():
            task.cancel()
        self._links.clear()
        self._dials.clear()
        self._unsent.clear()
        self._last.clear()
        self._advertised.clear()
        self._introduced.clear()
        self._unanswered.clear()

    # Who is who

    def _is_known(self, server_id: int) -> bool:
        return bool(self._addresses(server_id))

    def _addresses(self, server_id: int) -> tuple[Address, ...]:
        """Where the committed and the last-seen configuration place a server."""
        found: dict[Address, None] = {}
        for config in (self._config, self._last_seen):
            if config is not None and (member := config.members.get(server_id)) is not None:
                found |= dict.fromkeys(member.election)
        return tuple(found)

    def _is_welcome(self, server_id: int) -> bool:
        """Whether it is a member or there is room for another one that is not."""
        if self._is_known(server_id) or server_id in self._links:
            return True
        strangers = {id_ for id_ in (*self._links, *self._dials) if not self._is_known(id_)}
        return len(strangers) < UNKNOWN_MAX

    # The port

    def _close_port(self) -> None:
        for server in self._listening:
            server.close()
        self._listening.clear()

    async def _bind(self) -> None:
        attempts = self._settings.election_port_bind_retry
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._listen()
                return
            except socket.gaierror as error:
                # Names of containers come with a delay: no attempt to bind was made.
                self._close_port()
                attempt -= 1
                names = ", ".join(address.host for address in self._own)
                logger.warning("Own address %s cannot be resolved yet: %s", names, error)
            except OSError as error:
                self._close_port()
                logger.error("Binding the election port of server %d: %s", self.me, error)
                if attempt == attempts:
                    raise
            await asyncio.sleep(BIND_RETRY_SECONDS)

    async def _bind_again(self) -> None:
        own: tuple[Address, ...] = ()
        while own != self._own:
            self._close_port()
            own = self._own
            try:
                await self._bind()
            except OSError as error:
                if self._failed is not None:
                    self._failed(error)
                return

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        hosts: dict[tuple[str | None, int], None] = {}
        for address in self._own:
            if self._settings.quorum_listen_on_all_ips:
                hosts[None, address.port] = None
            else:
                hosts[await resolve(address), address.port] = None
        for host, port in hosts:
            if self._tls is not None:
                tls_port = self._tls.port("election port", self._accepted)
                tls_port.start(await listen(host or "", port, backlog=BACKLOG))
                self._listening.append(tls_port)
                continue
            server = await loop.create_server(
                self._accepted, host, port, backlog=BACKLOG, reuse_address=True
            )
            self._listening.append(server)

    def _accepted(self) -> ElectionConnection:
        return ElectionConnection(self, None, self._generation)

    # Dialling

    def _dial(self, server_id: int, addresses: Sequence[Address]) -> None:
        """Begin to dial, unless there is a connection, or one is on its way."""
        if server_id in self._links or server_id in self._dials or server_id in self._introduced:
            return
        task = asyncio.get_running_loop().create_task(self._dial_each(server_id, addresses))
        self._dials[server_id] = task
        task.add_done_callback(lambda _: self._dialled(server_id, task))

    async def _dial_each(self, server_id: int, addresses: Sequence[Address]) -> None:
        limit = self._settings.cnx_timeout_ms / 1000
        hosts = {known.host for known in self._addresses(server_id) or addresses}
        for host, port in addresses:
            connection = ElectionConnection(self, server_id, self._generation)
            try:
                async with asyncio.timeout(limit):
                    await connect(self._tls, connection, host, port, hosts)
                    await connection.login.over()
            except asyncio.CancelledError:
                connection.give_up()
                raise
            except (OSError, TimeoutError, UnicodeError) as error:
                connection.give_up()
                reason = str(error) or "no answer"
                # Once for each server and reason, not with every notification.
                is_known = self._unreachable.get(server_id) == reason
                level = logging.DEBUG if is_known else logging.WARNING
                self._unreachable[server_id] = reason
                at = readable(host, port)
                logger.log(level, "Cannot dial server %d at %s: %s", server_id, at, reason)
            else:
                return

    def _dialled(self, server_id: int, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Dialling server %d: %r", server_id, error)
        if self._dials.get(server_id) is task:
            del self._dials[server_id]
            if advertised := self._advertised.pop(server_id, None):
                self._dial(server_id, advertised)

    def _dial_back(self, server_id: int, advertised: Sequence[Address]) -> None:
        """Make the connection that a smaller id asked for."""
        usable = tuple(address for address in advertised if not is_wildcard(address.host))
        addresses = usable or self._addresses(server_id)
        if server_id in self._dials:
            self._advertised[server_id] = addresses
        elif addresses:
            self._dial(server_id, addresses)
        else:
            logger.warning("Server %d is no member and says no address", server_id)

    # What connections tell

    def prepare(self, raw: socket.socket) -> None:
        """Set what election sockets need."""
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._settings.tcp_keep_alive:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # A peer that vanished is noticed when it should have acknowledged a notification,
            # and not a quarter of an hour later.
            limit_ms = min(int(1000 * self._handshake_seconds), 0x7FFF_FFFF)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)

    def opened(self, connection: ElectionConnection) -> None:
        """Introduce this server, or wait for the other one to do so."""
        self._open.add(connection)
        if not self._is_running or connection.generation != self._generation:
            connection.abort()
            return
        server_id = connection.server_id
        if server_id is None:
            self._await_identity(connection)
            return
        multi_address = self._settings.multi_address
        connection.write(encode_initial(self.me, self._own, multi_address=multi_address))
        connection.log_in(self._sasl.dialled() if self._sasl is not None else None)

    def logged_in(self, connection: ElectionConnection) -> None:
        """A connection may be used; who is at its other end is known."""
        server_id = connection.server_id
        if server_id is None:
            self._identified(connection)
        elif server_id < self.me:
            self._use(connection, server_id)
        else:
            connection.close()
            self._introduced.add(server_id)
            self._left(server_id)
            loop = asyncio.get_running_loop()
            loop.call_later(DIAL_BACK_SECONDS, self._introduced.discard, server_id)

    def _await_identity(self, connection: ElectionConnection) -> None:
        if len(self._unidentified) >= UNIDENTIFIED_MAX:
            first = next(iter(self._unidentified))
            logger.warning("Closing %s: too many do not say who they are", first.peer)
            self._forget_unidentified(first)
            first.abort()
        loop = asyncio.get_running_loop()
        self._unidentified[connection] = loop.call_later(
            self._handshake_seconds, self._too_late, connection
        )

    def _too_late(self, connection: ElectionConnection) -> None:
        logger.warning("Closing %s: it does not say who it is", connection.peer)
        connection.abort()

    def _forget_unidentified(self, connection: ElectionConnection) -> None:
        timer = self._unidentified.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def identified(self, connection: ElectionConnection) -> None:
        """A peer that connected has said who it is (section 2.1), and may have to prove it."""
        connection.log_in(self._sasl.accepted() if self._sasl is not None else None)

    def _identified(self, connection: ElectionConnection) -> None:
        self._forget_unidentified(connection)
        initial = connection.initial
        assert initial is not None, "who has not said who it is has not logged in"
        server_id = initial.server_id
        if server_id == self.me:
            logger.warning("%s claims to be this server, %d", connection.peer, self.me)
            connection.abort()
        elif not self._is_welcome(server_id):
            logger.warning("Too many servers that are no members: %d is refused", server_id)
            connection.abort()
        elif self._origins.note(initial, connection.peer) < self.me:
            connection.close()
            if (link := self._links.pop(server_id, None)) is not None:
                link.abort()
            self._dial_back(server_id, initial.addresses)
        else:
            self._use(connection, server_id)

    def _use(self, link: ElectionConnection, server_id: int) -> None:
        """From now on this is the connection with that server."""
        before = self._links.get(server_id)
        self._links[server_id] = link
        self._unreachable.pop(server_id, None)
        link.server_id = server_id
        if before is not None:
            before.abort()
        self._introduced.discard(server_id)
        self._advertised.pop(server_id, None)
        frame = self._unsent.pop(server_id, None) or self._last.get(server_id)
        if frame is not None:
            self._last[server_id] = frame
            link.write(frame)

    def heard(self, link: ElectionConnection, message: bytes) -> None:
        """A notification came in."""
        if link.server_id is not None and self._links.get(link.server_id) is link:
            self._unanswered.pop(link.server_id, None)
            self._received(link.server_id, message)

    def writable(self, link: ElectionConnection) -> None:
        """A peer reads again."""
        server_id = link.server_id
        if server_id is not None and self._links.get(server_id) is link:
            frame = self._unsent.pop(server_id, None)
            if frame is not None:
                self._last[server_id] = frame
                link.write(frame)

    def _left(self, server_id: int) -> None:
        """A connection to that server is over; what it refused shows in nothing but its silence."""
        self._unanswered[server_id] = self._unanswered.get(server_id, 0) + 1
        if self._unanswered[server_id] == UNANSWERED_MAX:
            logger.warning("Server %d says nothing: it refuses this server's login or certificate,"
                           " has another sslQuorum, or cannot dial back; its log says why",
                           server_id)  # fmt: skip

    def complain(self, text: str, *args: object) -> None:
        """Of what strangers can cause as often as they like."""
        self._complaints.warn(1000 * asyncio.get_running_loop().time(), text, *args)

    def closed(self, connection: ElectionConnection) -> None:
        """A connection is gone; the next notification makes a new one."""
        self._open.discard(connection)
        self._forget_unidentified(connection)
        server_id = connection.server_id
        if server_id is None or self._links.get(server_id) is not connection:
            return
        del self._links[server_id]
        if connection.initial is None:
            self._left(server_id)
        if not self._is_known(server_id):
            self._unsent.pop(server_id, None)
            self._last.pop(server_id, None)
        elif server_id in self._unsent:
            self._dial(server_id, self._addresses(server_id))
