"""Reads: each shows the state of the zxid that it carries, and no client sees time go back."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from kraal.errors import ErrorCode
from kraal.model.zxid import epoch, show
from kraal.sim.checks.history import History
from kraal.sim.checks.watcher import Watcher
from kraal.sim.protocol import read_buffer, read_strings
from kraal.sim.violation import violated
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.sim.client import Connection, Request, SimClient
    from kraal.sim.protocol import Reply

READS = frozenset((OpCode.EXISTS, OpCode.GET_DATA, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2))
CONFIG_PREFIX = b"/zookeeper/config"


class ReadCheck(Watcher):
    """Replies against the history."""

    def __init__(self, history: History) -> None:
        self._history = history

    def sent(self, client: SimClient, connection: Connection, request: Request) -> None:
        if request.op == OpCode.SYNC:
            zxids = self._history.zxids
            # A leader of the past may not know yet that there is another one.
            last = bisect_right(zxids, ((connection.epoch + 1) << 32) - 1) - 1
            request.epoch_tip = zxids[last]

    def replied(
        self, client: SimClient, connection: Connection, request: Request, reply: Reply
    ) -> None:
        if connection.is_read_only:
            return
        if reply.zxid < client.session.last_zxid:
            violated(
                "no client sees time go back", "%s is answered %s to %s after %s",
                client.name, show(reply.zxid), request, show(client.session.last_zxid),
            )  # fmt: skip
        zxid = self._history.floor(reply.zxid)
        if zxid not in self._history.digests:
            violated(
                "replies show what is committed", "%s is answered %s to %s",
                client.name, show(reply.zxid), request,
            )  # fmt: skip
        if epoch(reply.zxid) > connection.epoch:
            violated(
                "a connection belongs to one epoch", "%d, but %s", connection.epoch,
                show(reply.zxid),
            )  # fmt: skip
        if request.op == OpCode.SYNC and zxid < request.epoch_tip:
            violated(
                "a sync brings what was committed before", "%s is answered %s after %s",
                request, show(reply.zxid), show(request.epoch_tip),
            )  # fmt: skip
        if request.op in READS and not request.path.startswith(CONFIG_PREFIX):
            found = self._compare(request, reply, zxid)
            if found is not None:
                violated(
                    "reads show the history", "%s of %s at %s: %s",
                    request, client.name, show(reply.zxid), found,
                )  # fmt: skip

    def _compare(self, request: Request, reply: Reply, zxid: int) -> str | None:
        version = self._history.at(zxid, request.path)
        if version is None or version.children is None:
            return None if reply.err == ErrorCode.NO_NODE else "there is no such znode"
        if reply.err:
            return f"error {reply.err}, but the znode is there"
        body, op, at = reply.body, request.op, 0
        if op == OpCode.GET_DATA:
            data, at = read_buffer(body)
            if data != version.data:
                return f"{data!r} instead of {version.data!r}"
        elif op in (OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2):
            names, at = read_strings(body)
            below = b"" if request.path == b"/" else request.path
            expected = sorted(path[len(below) + 1 :] for path in version.children)
            if sorted(names) != expected:
                return f"children {sorted(names)} instead of {expected}"
        rest = body[at:]
        expected_rest = b"" if op == OpCode.GET_CHILDREN else version.stat
        return None if rest == expected_rest else "another stat"
