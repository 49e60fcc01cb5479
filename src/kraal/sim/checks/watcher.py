"""What a run tells those who watch it; every method does nothing unless a check needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.ensemble import EnsembleConfig
from kraal.replica.replica import Replica
from kraal.storage.epochs import Epochs
from kraal.storage.recovery import Recovered

if TYPE_CHECKING:
    from kraal.pipeline.connection import ClientConnection
    from kraal.sim.client import Connection, Request, SimClient
    from kraal.sim.protocol import Event, Reply
    from kraal.sim.server import SimServer


class Watcher:
    """Base of the checks."""

    # Servers

    def booted(self, server: SimServer, recovered: Recovered, known: Epochs) -> None:
        """A process begins with what its disk holds."""

    def died(self, server: SimServer) -> None:
        """A process is gone."""

    def after_turn(self, server: SimServer) -> None:
        """A server took one input to its end."""

    def serving(self, server: SimServer, replica: Replica | None) -> None:
        """Clients talk to this replica from now on."""

    def appended(self, server: SimServer, zxid: int, payload: bytes) -> None:
        """A transaction was handed to the log."""

    def flushed(self, server: SimServer, zxid: int) -> None:
        """Everything up to zxid is durable."""

    def giving_up(self, server: SimServer, zxid: int) -> None:
        """Its history is about to change: not more than up to zxid will stay for sure."""

    def cut_refused(self, server: SimServer, zxid: int) -> None:
        """Its history cannot be made to end at zxid, and is as it was."""

    def adopting(self, server: SimServer) -> None:
        """A leader's tree is about to take the place of all it has."""

    def given_up(self, server: SimServer, zxid: int) -> None:
        """Its history ends at zxid, durably."""

    def saving_epoch(self, server: SimServer, which: str, epoch: int) -> None:
        """An epoch is about to be saved; `which` is accepted or current."""

    def saved_epoch(self, server: SimServer, which: str, epoch: int) -> None:
        """It is durable."""

    def activated(
        self, server: SimServer, config: EnsembleConfig, last_seen: EnsembleConfig | None
    ) -> None:
        """A configuration is committed."""

    def heard(self, server: SimServer, conn: ClientConnection) -> None:
        """Frames of a client reached its server."""

    # Clients

    def established(self, client: SimClient, connection: Connection) -> None:
        """A client has a session on a connection."""

    def session_over(self, client: SimClient) -> None:
        """A client was told that its session is over."""

    def disconnected(self, client: SimClient, connection: Connection) -> None:
        """A connection is gone; what is outstanding has no answer."""

    def sent(self, client: SimClient, connection: Connection, request: Request) -> None:
        """A request leaves."""

    def replied(
        self, client: SimClient, connection: Connection, request: Request, reply: Reply
    ) -> None:
        """A reply arrives."""

    def event(self, client: SimClient, connection: Connection, event: Event) -> None:
        """A watch event arrives."""
