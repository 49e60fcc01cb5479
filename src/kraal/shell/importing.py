"""Writing the znodes of an export file into the tree, in transactions of bounded size."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

from kraal.client import (
    Acl,
    BadVersionError,
    Client,
    ConnectionLossError,
    CreateMode,
    Id,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Perms,
    TransactionError,
    UnimplementedError,
    ZooKeeperError,
)
from kraal.shell import paths
from kraal.shell.errors import CommandError, message_of
from kraal.shell.survey import REQUEST_OVERHEAD, Survey
from kraal.shell.walk import PATIENT, UNDER_WAY, subtree
from kraal.shell.znodes import Entry, NodeKind

BATCH = 500
"""Znodes of one transaction."""
BATCHES_UNDER_WAY = 4
ATTEMPTS = 5
"""How often a batch is tried while others change the same znodes."""
RECONNECTION = 30.0
"""Seconds that a lost connection is waited for."""
_CONFLICTS = (NodeExistsError, NoNodeError, BadVersionError, NotEmptyError)
_MODES = {
    NodeKind.PERSISTENT: CreateMode.PERSISTENT,
    NodeKind.CONTAINER: CreateMode.CONTAINER,
    NodeKind.TTL: CreateMode.PERSISTENT_WITH_TTL,
}


class Existing(Enum):
    """What happens to znodes that are there."""

    REFUSE = "refuse"
    """Nothing is imported where something is."""
    MERGE = "merge"
    """They stay as they are."""
    OVERWRITE = "overwrite"
    """They get the data of the file, and its ACL."""
    REPLACE = "replace"
    """The same, and what the file does not have is deleted."""


class Action(Enum):
    CREATE = "create"
    SET = "set"
    SET_ACL = "setAcl"
    DELETE = "delete"
    KEEP = "keep"


class Step(NamedTuple):
    """What is done with one znode."""

    action: Action
    path: str
    entry: Entry
    version: int = -1


@dataclass
class Counts:
    """What an import has done, or would do."""

    created: int = 0
    changed: int = 0
    deleted: int = 0
    kept: int = 0

    def add(self, action: Action) -> None:
        self.created += action is Action.CREATE
        self.changed += action in (Action.SET, Action.SET_ACL)
        self.deleted += action is Action.DELETE
        self.kept += action is Action.KEEP


class Importer:
    """One import. `run` gives what was done, step by step."""

    def __init__(
        self,
        zk: Client,
        survey: Survey,
        target: str,
        existing: Existing,
        *,
        with_acl: bool,
        is_dry: bool,
        limit: int,
        skip: Sequence[str],
        note: Callable[[str], None],
    ) -> None:
        self._zk = zk
        self._patient = zk.retrying(PATIENT)
        self._survey = survey
        self._target = target
        self._existing = existing
        self._with_acl = with_acl
        self._is_dry = is_dry
        self._bytes = limit // 2
        self._skip = skip
        self._note = note
        self._ids: Sequence[Id] = ()
        self._new: set[str] = set()
        """Inner znodes that were created here: nothing can be below them yet."""
        self._acls: dict[str, tuple[Acl, ...]] = {}
        """What is set when all is written."""
        self.counts = Counts()

    async def run(self, entries: Iterator[Entry]) -> AsyncGenerator[Step, None]:
        """Import; what is yielded has happened, in a dry run it would. Raises CommandError."""
        self._ids = await self._identities()
        if self._existing is Existing.REFUSE:
            await self._require_free()
        if self._existing is Existing.REPLACE:
            async for step in self._delete_others():
                yield self._counted(step)
        flights: deque[_Flight] = deque()
        try:
            while batch := await asyncio.to_thread(self._take, entries):
                steps = await self._plan(batch)
                flights.append(_Flight(batch, steps, asyncio.create_task(self._send(steps))))
                while len(flights) >= BATCHES_UNDER_WAY:
                    for step in await self._settled(flights.popleft()):
                        yield self._counted(step)
            while flights:
                for step in await self._settled(flights.popleft()):
                    yield self._counted(step)
        finally:
            for flight in flights:
                flight.task.cancel()
            await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        await self._set_acls()

    def _counted(self, step: Step) -> Step:
        self.counts.add(step.action)
        return step

    def _take(self, entries: Iterator[Entry]) -> list[Entry]:
        """The entries of the next transaction."""
        batch: list[Entry] = []
        size = 0
        for entry in islice(entries, BATCH):
            batch.append(entry)
            size += REQUEST_OVERHEAD + len(entry.path) + len(entry.data)
            size += sum(len(f"{acl.scheme}{acl.id}") + 12 for acl in entry.acl or ())
            if size >= self._bytes:
                break
        return batch

    # Looking

    async def _identities(self) -> Sequence[Id]:
        try:
            return await self._patient.who_am_i()
        except UnimplementedError:
            return ()  # servers before 3.7 do not say

    async def _require_free(self) -> None:
        """Raise CommandError if there is something at the target."""
        if await self._patient.exists(self._target) is None:
            return
        names = [
            name
            for name in await self._patient.get_children(self._target)
            if paths.child(self._target, name) not in self._skip
        ]
        if self._target != "/" or names:
            raise CommandError(
                f"Node already exists: {self._target}; --mode merge, overwrite or replace"
                " imports into it"
            )

    async def _plan(self, batch: Sequence[Entry]) -> list[Step]:
        """What is to be done with each entry, as the tree is now."""
        steps: list[Step] = []
        for at in range(0, len(batch), UNDER_WAY):
            steps += await asyncio.gather(*map(self._step, batch[at : at + UNDER_WAY]))
        return steps

    async def _step(self, entry: Entry) -> Step:
        path = paths.below(self._target, entry.path)
        is_free = self._existing is Existing.REFUSE and path != "/"
        if is_free or paths.parent(path) in self._new:
            return self._creation(path, entry)
        if self._existing is Existing.MERGE or entry.is_implied:
            is_there = await self._patient.exists(path) is not None
            return Step(Action.KEEP, path, entry) if is_there else self._creation(path, entry)
        try:
            data, stat = await self._patient.get(path)
            is_same = data == entry.data and type(data) is type(entry.data)  # null is a type
        except NoNodeError:
            return self._creation(path, entry)
        except NoAuthError:  # perhaps it may be written nevertheless
            found = await self._patient.exists(path)
            if found is None:
                return self._creation(path, entry)
            stat, is_same = found, False
        if stat.ephemeral_owner:
            self._note(f"{path} is an ephemeral of session 0x{stat.ephemeral_owner:x}: left alone")
            return Step(Action.KEEP, path, entry)
        if self._with_acl and entry.acl is not None and await self._has_other_acl(path, entry.acl):
            self._acls[path] = entry.acl
        if is_same:
            return Step(Action.KEEP, path, entry)
        return Step(Action.SET, path, entry, stat.version)

    async def _has_other_acl(self, path: str, wanted: tuple[Acl, ...]) -> bool:
        try:
            return tuple((await self._patient.get_acl(path)).acl) != wanted
        except (NoNodeError, NoAuthError):
            return True

    def _creation(self, path: str, entry: Entry) -> Step:
        if entry.path in self._survey.inner:
            self._new.add(path)
            if self._with_acl and entry.acl is not None and not self._may_create(entry.acl):
                self._acls[path] = entry.acl
        return Step(Action.CREATE, path, entry)

    def _may_create(self, acl: Sequence[Acl]) -> bool:
        """Whether this session can create children where this is the ACL."""
        return not self._ids or any(
            entry.perms & Perms.CREATE
            and ((entry.scheme, entry.id) in self._ids or entry.scheme == "world")
            for entry in acl
        )

    # Writing

    def _acl(self, step: Step) -> Sequence[Acl] | None:
        """The ACL that a new znode gets first: the children must be created below it."""
        acl = step.entry.acl
        if not self._with_acl or acl is None:
            return None
        if step.path in self._acls:
            return (*acl, *(Acl(Perms.ALL, each.scheme, each.id) for each in self._ids))
        return acl

    async def _send(self, steps: Sequence[Step]) -> None:
        """Write one batch: all of it or nothing."""
        writes = [step for step in steps if step.action in (Action.CREATE, Action.SET)]
        if self._is_dry or not writes:
            return
        if len(writes) == 1:  # a transaction around it might be too long
            await self._send_one(writes[0])
            return
        transaction = self._zk.transaction()
        for action, path, entry, version in writes:
            if action is Action.SET:
                transaction.set(path, entry.data, version=version)
            else:
                acl = self._acl(Step(action, path, entry))
                ttl = None if entry.ttl_ms is None else entry.ttl_ms / 1000
                transaction.create(path, entry.data, mode=_MODES[entry.kind], acl=acl, ttl=ttl)
        await transaction.commit()

    async def _send_one(self, step: Step) -> None:
        _, path, entry, version = step
        if step.action is Action.SET:
            await self._zk.set(path, entry.data, version=version)
            return
        ttl = None if entry.ttl_ms is None else entry.ttl_ms / 1000
        await self._zk.create(
            path, entry.data, mode=_MODES[entry.kind], acl=self._acl(step), ttl=ttl
        )

    async def _settled(self, flight: _Flight) -> Sequence[Step]:
        """What a batch has done, once it is done; it is planned anew where others interfered."""
        steps = flight.steps
        try:
            await flight.task
            return steps
        except ZooKeeperError as error:
            failure = error
        for _ in range(ATTEMPTS):
            if not self._may_repeat(failure):
                break
            if isinstance(failure, ConnectionLossError):
                await self._reconnected(failure)
            else:  # nothing was written, so these wait for nothing
                for step in steps:
                    self._acls.pop(step.path, None)
            self._new.clear()  # others have been there since
            try:
                steps = await self._plan(flight.batch)
                await self._send(steps)
                return steps
            except ZooKeeperError as error:
                failure = error
        raise self._explained(failure, len(flight.batch))

    def _may_repeat(self, failure: ZooKeeperError) -> bool:
        cause = failure.error if isinstance(failure, TransactionError) else failure
        is_passing = isinstance(cause, (*_CONFLICTS, ConnectionLossError))
        return is_passing and self._existing is not Existing.REFUSE

    async def _reconnected(self, failure: ConnectionLossError) -> None:
        try:
            async with asyncio.timeout(RECONNECTION):
                await self._zk.wait_connected()
        except TimeoutError:
            raise self._explained(failure, BATCH) from None

    def _explained(self, failure: ZooKeeperError, batch: int) -> CommandError:
        """Why it has ended, and what is there now."""
        cause = failure.error if isinstance(failure, TransactionError) else failure
        reason = message_of(cause)
        if isinstance(cause, UnimplementedError):
            reason += " (are znodes with a TTL switched on, extendedTypesEnabled?)"
        done = self.counts.created + self.counts.changed + self.counts.deleted
        if isinstance(cause, ConnectionLossError):
            perhaps = batch * BATCHES_UNDER_WAY
            reason += f"; up to {perhaps} znodes that were under way may be written or not"
        if done:
            reason += f"; {done} changes were made before"
        return CommandError(reason)

    async def _set_acls(self) -> None:
        """Give the ACLs that had to wait."""
        if self._is_dry:
            return
        waiting = [*self._acls.items()]
        for at in range(0, len(waiting), UNDER_WAY):
            some = waiting[at : at + UNDER_WAY]
            try:
                await asyncio.gather(*(self._zk.set_acl(path, acl) for path, acl in some))
            except ZooKeeperError as error:
                raise CommandError(
                    f"{message_of(error)}; all znodes are written, but up to"
                    f" {len(waiting) - at} do not have their ACL yet: import again with"
                    " --mode overwrite"
                ) from error

    # Deleting

    async def _delete_others(self) -> AsyncGenerator[Step, None]:
        """Delete what is below the target and not in the file, ephemerals and their parents not."""
        doomed: list[str] = []
        needed: set[str] = set()
        try:
            async with aclosing(subtree(self._zk, self._target, skip=self._skip)) as znodes:
                async for znode in znodes:
                    path = paths.seen_from(self._target, znode.path)
                    if znode.stat is not None and znode.stat.ephemeral_owner:
                        needed.update(paths.lineage(paths.parent(znode.path)))
                    elif not znode.is_gone and path not in self._survey.paths and path != "/":
                        doomed.append(znode.path)
        except NoNodeError:
            return
        kept = [path for path in doomed if path in needed]
        for path in kept:
            self._note(f"{path} has ephemerals below it: left alone")
        steps = [
            Step(Action.DELETE, path, Entry(path))
            for path in reversed(doomed)
            if path not in needed
        ]
        for at in range(0, len(steps), BATCH):
            await self._delete(steps[at : at + BATCH])
            for step in steps[at : at + BATCH]:
                yield step

    async def _delete(self, steps: Sequence[Step]) -> None:
        if self._is_dry:
            return
        try:
            async with self._zk.transaction() as transaction:
                for step in steps:
                    transaction.delete(step.path)
        except TransactionError as error:
            if not isinstance(error.error, _CONFLICTS):
                raise self._explained(error, len(steps)) from error
            for step in steps:  # others delete here, too
                try:
                    await self._zk.delete(step.path)
                except NoNodeError:
                    continue
                except ZooKeeperError as failure:
                    raise self._explained(failure, len(steps)) from failure
        except ZooKeeperError as error:
            raise self._explained(error, len(steps)) from error


class _Flight(NamedTuple):
    """A batch whose transaction is under way."""

    batch: Sequence[Entry]
    steps: Sequence[Step]
    task: asyncio.Task[None]
