"""What operators see and may do beyond the four-letter words."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from kraal.errors import KraalError, RequestError, RestoreError
from kraal.model.acl import ALL
from kraal.model.path import ROOT
from kraal.model.zxid import show
from kraal.pipeline.load import SpaceSaving
from kraal.replica.status import (
    Access,
    BackupStream,
    ChildStatus,
    HeavyRow,
    LargeZnode,
    LearnerStatus,
    LoadStatus,
    SessionEventStatus,
    SlowRequestStatus,
    SnapshotFile,
    WatchedPath,
    WatchingSession,
    ZnodeKind,
)
from kraal.server import online_backup
from kraal.server.status_source import ServerStatusSource
from kraal.storage import exact_snapshot
from kraal.storage.interface import failing
from kraal.storage.recovery import drop_orphans
from kraal.storage.snapshot_store import SnapshotStore
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode

logger = logging.getLogger("kraal.server.admin")
PIECE_BYTES = 256 << 10
CHILDREN_LOOKED_AT_MAX = 1000
"""Names of children that are measured; the rest of a longer list counts as their average."""


class ServerAdminSource(ServerStatusSource):
    """Implements `kraal.admin.source.AdminSource`."""

    def last_snapshot(self) -> tuple[int, int] | None:
        fs = self._server.fs
        store = SnapshotStore(fs, self.config.storage)
        for found in store.named():
            path = store.directory / found.name
            with failing("reading", path):
                return found.zxid, int(fs.modified_s(path))
        return None

    def learner_statuses(self) -> Sequence[LearnerStatus]:
        offset_ms = self.wall_ms() - self.monotonic_ms()
        return [
            LearnerStatus(
                address=handler.name,
                server_id=handler.server_id,
                is_observer=handler.is_observer,
                connected_wall_ms=handler.connected_ms + offset_ms,
                queued_bytes=0,
                packets_received=handler.packets_received,
                packets_sent=handler.packets_sent,
                requests=handler.requests,
                last_zxid=max(handler.acked, handler.last_zxid),
            )
            for handler in self.learners()
        ]

    def reset_learner_stats(self) -> None:
        for handler in self.learners():
            handler.packets_received = handler.packets_sent = handler.requests = 0

    def load(self) -> LoadStatus:
        load = self._server.counters.load
        return LoadStatus(
            counted_ms=load.counted_ms,
            clients=[
                HeavyRow(
                    name=client.host, session_id=client.session_id, requests=weight, error=error
                )
                for client, weight, error in load.heaviest_clients().heaviest()
            ],
            paths=_rows(load.heaviest_paths()),
            operations=[
                HeavyRow(name=_operation(op), requests=weight, error=error)
                for op, weight, error in load.heaviest_operations().heaviest()
            ],
        )

    def slow_requests(self) -> Sequence[SlowRequestStatus]:
        return [
            SlowRequestStatus(
                wall_ms=slow.wall_ms,
                latency_ms=slow.latency_ms,
                operation=_operation(slow.op),
                path=slow.path.decode("utf-8", "replace"),
                session_id=slow.session_id,
                host=slow.host,
            )
            for slow in self._server.counters.load.slow
        ]

    def remembered_sessions(self) -> Sequence[int]:
        return self._server.counters.journal.sessions()

    def session_events(self, session_id: int) -> Sequence[SessionEventStatus]:
        return [
            SessionEventStatus(wall_ms=event.wall_ms, what=event.what, detail=event.detail)
            for event in self._server.counters.journal.events(session_id)
        ]

    def znode_sizes(self) -> Iterator[LargeZnode]:
        replica = self._server.replica
        nodes = replica.tree.nodes if replica is not None else {}
        for path in list(nodes):
            node = nodes.get(path)
            if node is None or not path:
                continue
            children = node.children or ()
            prefix = len(path) + (path != ROOT)
            measured = [len(name) - prefix for name in islice(children, CHILDREN_LOOKED_AT_MAX)]
            size = sum(measured) + 4 * len(measured)
            if len(children) > len(measured):
                size = size * len(children) // len(measured)
            yield LargeZnode(
                path=path.decode("utf-8", "replace"),
                data_bytes=len(node.data or b""),
                children=len(children),
                children_bytes=size,
            )

    def watched_paths(self) -> Iterator[WatchedPath]:
        replica = self._server.replica
        if replica is None:
            return
        data, child = replica.watches.data, replica.watches.child
        for path in [*data, *(path for path in child if path not in data)]:
            yield WatchedPath(
                path=path, data=len(data.get(path, ())), children=len(child.get(path, ()))
            )

    def watching_sessions(self) -> Iterator[WatchingSession]:
        replica = self._server.replica
        for conn in list(replica.connections) if replica is not None else ():
            watches = len(conn.data_watches) + len(conn.child_watches)
            if watches and conn.session is not None:
                session_id = conn.session.id & 0xFFFF_FFFF_FFFF_FFFF
                yield WatchingSession(session_id=session_id, host=conn.host, watches=watches)

    def child_paths(self, path: bytes) -> Sequence[bytes] | None:
        replica = self._server.replica
        node = replica.tree.nodes.get(path) if replica is not None else None
        return None if node is None else list(node.children or ())

    def child_status(self, path: bytes) -> ChildStatus | None:
        replica = self._server.replica
        node = replica.tree.nodes.get(path) if replica is not None else None
        if replica is None or node is None:
            return None
        kind, session_id, ttl_ms = ZnodeKind.PERSISTENT, 0, 0
        if path in replica.tree.containers:
            kind = ZnodeKind.CONTAINER
        elif path in replica.tree.ttls:
            kind, ttl_ms = ZnodeKind.TTL, replica.tree.ttls[path]
        elif owner := node.ephemeral_owner:
            kind, session_id = ZnodeKind.EPHEMERAL, owner & 0xFFFF_FFFF_FFFF_FFFF
        return ChildStatus(
            kind=kind, session_id=session_id, ttl_ms=ttl_ms,
            data_bytes=len(node.data or b""), children=len(node.children or ()),
        )  # fmt: skip

    def counted_insecure(self) -> None:
        self._server.counters.insecure_admin_requests += 1

    def access(self, scheme: str, credential: bytes, host: str) -> Access:
        replica = self._server.replica
        if replica is None:
            return Access.DENIED
        try:
            earned = tuple(replica.authority.authenticate(scheme, credential, host))
        except RequestError:
            return Access.UNKNOWN
        acl = replica.tree.nodes[ROOT].acl
        bits = [1 << bit for bit in range(ALL.bit_length())]
        granted = all(replica.authority.permits(acl, bit, earned) for bit in bits)
        return Access.GRANTED if granted else Access.DENIED

    def count_refused(self, command: str) -> None:
        counters = self._server.counters
        if command == "snapshot":
            counters.snapshots_rate_limited += 1
        else:
            counters.restores_rate_limited += 1

    async def take_snapshot(self) -> SnapshotFile:
        try:
            path, zxid, size = await self._server.storage.take_snapshot()
        except KraalError:
            self._server.counters.snapshot_errors += 1
            raise
        return SnapshotFile(path=path, zxid=zxid, size=size)

    async def snapshot_pieces(self, file: SnapshotFile) -> AsyncIterator[bytes]:
        stream = await asyncio.to_thread(Path(file.path).open, "rb")
        try:
            left = file.size
            while left and (piece := await asyncio.to_thread(stream.read, PIECE_BYTES)):
                left -= len(piece)
                yield piece
        finally:
            stream.close()

    async def backup(self) -> BackupStream:
        server = self._server
        replica = server.replica

        def applied() -> int | None:
            is_same_term = replica is not None and server.replica is replica
            return replica.tree.last_zxid if replica is not None and is_same_term else None

        try:
            return await online_backup.begin(
                server.fs, self.config.storage, server.storage, applied
            )
        except KraalError:
            server.counters.snapshot_errors += 1
            raise

    async def restore(self, pieces: AsyncIterator[bytes], begin: Callable[[], None]) -> int:
        counters, began_ms = self._server.counters, self.monotonic_ms()
        try:
            zxid = await self._restore(pieces, begin)
        except KraalError:
            counters.restore_errors += 1
            raise
        counters.restore_time.add(self.monotonic_ms() - began_ms)
        return zxid

    async def _restore(self, pieces: AsyncIterator[bytes], begin: Callable[[], None]) -> int:
        """Nothing changes before the whole snapshot has been read and verified."""
        member = self._server.member
        if member is not None:
            member.require_leader()
        directory = self.config.storage.data_dir
        with (
            failing("receiving a snapshot in", directory),
            tempfile.TemporaryFile(dir=directory) as spool,
        ):
            async for piece in pieces:
                await asyncio.to_thread(spool.write, piece)
            if not spool.tell():
                raise RestoreError("the request has no snapshot in it")
            tree = await asyncio.to_thread(self._read, spool)
        if (lost := self._server.disk.lost) is not None:
            raise RestoreError(lost)
        begin()
        dropped = drop_orphans(tree)
        if member is not None:
            await member.restore(tree)
        else:
            await self._server.replace_tree(tree)
        logger.warning(
            "Restored from a snapshot: %d znodes, %d sessions, at %s; %d ephemerals of sessions"
            " that are gone were dropped",
            len(tree.nodes) - 1, len(tree.sessions), show(tree.last_zxid), dropped,
        )  # fmt: skip
        return tree.last_zxid

    def _read(self, spool: IO[bytes]) -> DataTree:
        """On a thread. Raises KraalError."""
        spool.seek(0)
        tree, carried = exact_snapshot.read(
            spool.read,
            extended_types=self.config.extended_types,
            digests=self.config.storage.digest_enabled,
        )
        if exact_snapshot.is_mixture(tree, carried):
            raise RestoreError(
                "the snapshot was written while the tree changed and is no state of it: its log"
                " is needed, too. Take one while nothing is written, or restore a backup:"
                " `kraal restore BACKUP --into HOST:PORT`"
            )
        return tree


def _rows(sketch: SpaceSaving[bytes]) -> list[HeavyRow]:
    return [
        HeavyRow(name=key.decode("utf-8", "replace"), requests=weight, error=error)
        for key, weight, error in sketch.heaviest()
    ]


def _operation(op: int) -> str:
    """The protocol's name, as in `getData`."""
    try:
        first, *words = OpCode(op).name.lower().split("_")
    except ValueError:
        return str(op)
    return first + "".join(word.capitalize() for word in words)
