"""Bugs on purpose: what the checks must find. Never part of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from kraal.model.ensemble import EnsembleConfig
from kraal.pipeline.outstanding import Outstanding
from kraal.pipeline.watch_table import WatchTable
from kraal.replica.leading import Leading
from kraal.sim.disk import SimDisk
from kraal.sim.server import SimServer
from kraal.storage import epochs
from kraal.storage.recovery import Recovered, recover
from kraal.tree.apply import Change
from kraal.tree.data_tree import EventType
from kraal.zab.leader import Leader
from kraal.zab.learner import Learner

Bug = Callable[[], AbstractContextManager[None]]


@contextmanager
def patched(owner: Any, name: str, broken: Callable[..., Any]) -> Iterator[None]:
    """`broken` takes the place of a method; its first argument is the sound one."""
    sound = getattr(owner, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        return broken(sound, *args, **kwargs)

    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, sound)


def _ack_before_flush() -> AbstractContextManager[None]:
    """A transaction counts as logged when it is handed to the log."""

    def append(sound: Callable[..., None], server: SimServer, zxid: int, payload: bytes) -> None:
        sound(server, zxid, payload)
        server.after(0, lambda: server.peer.logged(server.now_ms, server.wall_ms, zxid))

    return patched(SimServer, "append", append)


def _forget_accepted_epoch() -> AbstractContextManager[None]:
    """The promise to accept no lower epoch is not written down."""

    def save(_sound: Callable[..., None], *_: Any) -> None:
        pass

    return patched(epochs, "save_accepted", save)


def _skip_truncation() -> AbstractContextManager[None]:
    """What a leader wants cut away stays in the log."""

    def truncate(
        _sound: Callable[..., None],
        disk: SimDisk,
        _zxid: int,
        done: Callable[[Recovered], None],
    ) -> None:
        def finished() -> None:
            fs, config = disk._fs, disk._config
            done(recover(fs, config.storage, extended_types=config.extended_types))

        disk._server.after(1000, finished)

    return patched(SimDisk, "truncate", truncate)


def _commit_on_half() -> AbstractContextManager[None]:
    """Half of the voters are taken for a quorum of acknowledgements."""

    def quorum_zxid(
        sound: Callable[..., int], config: EnsembleConfig, acked: dict[int, int]
    ) -> int:
        zxids = sorted((acked[sid] for sid in acked if sid in config.voters), reverse=True)
        half = max(len(config.voters) // 2, 1)
        return zxids[half - 1] if len(zxids) >= half else sound(config, acked)

    return patched(EnsembleConfig, "quorum_zxid", quorum_zxid)


def _apply_out_of_order() -> AbstractContextManager[None]:
    """A learner applies two transactions that are committed together the other way round."""

    def serve(
        sound: Callable[..., None], learner: Learner[Any], now_ms: int, packets: list[Any]
    ) -> None:
        host = learner._host
        committed = host.committed

        def swapped(at_ms: int, txns: Sequence[Any]) -> None:
            committed(at_ms, [*txns[:-2], *reversed(txns[-2:])])

        host.committed = swapped  # type: ignore[method-assign, assignment]
        try:
            sound(learner, now_ms, packets)
        finally:
            del host.committed

    return patched(Learner, "_serve", serve)


def _lose_watch() -> AbstractContextManager[None]:
    """Nobody is told that a znode is gone."""

    def fire(sound: Callable[..., None], table: WatchTable, event: Any, zxid: int) -> None:
        if event[0] is not EventType.NODE_DELETED or zxid % 8:
            sound(table, event, zxid)

    return patched(WatchTable, "fire", fire)


def _answer_sync_at_once() -> AbstractContextManager[None]:
    """A leader does not wait for what it has proposed."""

    def sync(
        sound: Callable[..., bool], leader: Leader, handler: Any, released: Any = None
    ) -> bool:
        outstanding = leader._outstanding
        leader._outstanding = type(outstanding)()
        try:
            return sound(leader, handler, released)
        finally:
            leader._outstanding = outstanding

    return patched(Leader, "sync", sync)


def _expire_early() -> AbstractContextManager[None]:
    """Learners' reports about their sessions are thrown away."""

    def touch(
        _sound: Callable[..., None],
        _leading: Leading,
        _now_ms: int,
        _session_id: int,
        _timeout_ms: int,
    ) -> None:
        pass

    return patched(Leading, "touch", touch)


# Bugs that the simulation has found, brought back.


def _forget_deletion() -> AbstractContextManager[None]:
    """The commit of one deletion ends another one of the same path that is in flight."""

    def installed(
        _sound: Callable[..., None], outstanding: Outstanding, changes: list[Change]
    ) -> None:
        for path, image, _ in changes:
            latest = outstanding._latest.get(path)
            if latest is not None and latest[1] is image:
                del outstanding._latest[path]

    return patched(Outstanding, "installed", installed)


def _answer_syncs_late() -> AbstractContextManager[None]:
    """Syncs are answered when everything that can be committed is, not in their turn."""

    def commit(_sound: Callable[..., None], leader: Leader, now_ms: int, point: int) -> None:
        if leader._outstanding and leader._outstanding[0][0] <= point:
            leader._commit_run(now_ms, point)

    return patched(Leader, "_commit_up_to", commit)


BUGS: dict[str, Bug] = {
    "ack before flush": _ack_before_flush,
    "forget accepted epoch": _forget_accepted_epoch,
    "skip truncation": _skip_truncation,
    "commit on half": _commit_on_half,
    "apply out of order": _apply_out_of_order,
    "lose a watch": _lose_watch,
    "answer sync at once": _answer_sync_at_once,
    "expire early": _expire_early,
    "forget a deletion": _forget_deletion,
    "answer syncs late": _answer_syncs_late,
}
