"""Where the servers of an ensemble dial its election ports from: an id that two use is named."""

from __future__ import annotations

import asyncio
import logging

from kraal.model.ensemble import readable
from kraal.wire.records.election import InitialMessage
from kraal.zab.twins import Twins

logger = logging.getLogger("kraal.server.election")

REMEMBERED_MAX = 512
"""Ids, of which those that were not heard of for longest are forgotten."""


class Origins:
    """A server that comes from elsewhere has moved; one that comes to and fro is two."""

    def __init__(self, *, multi_address: bool) -> None:
        """`multi_address`: one server may come from several hosts."""
        self._multi_address = multi_address
        self._origins: dict[int, str] = {}
        self._twins = Twins()

    def note(self, initial: InitialMessage, peer: str) -> int:
        """A server has connected and said who it is: its id."""
        server_id, host = initial.server_id, peer.rpartition(":")[0]
        origin = ", ".join(readable(*address) for address in initial.addresses)
        if not (origin and self._multi_address):
            origin = f"{host} (election address {origin})" if origin else host
        before = self._origins.pop(server_id, origin)
        self._origins[server_id] = origin
        if len(self._origins) > REMEMBERED_MAX:
            del self._origins[next(iter(self._origins))]
        if before != origin and self._twins.replaced(
            1000 * asyncio.get_running_loop().time(), server_id
        ):
            logger.warning(
                "Server id %d is used by two servers: %s and %s; the one that connected last is"
                " heard in elections. Give one of them another myid",
                server_id, before, origin,
            )  # fmt: skip
        return server_id
