"""Znodes that stand for one contender: created without doubt, watched, deleted for certain."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakKeyDictionary

from kraal.client import (
    Acl,
    Client,
    ConnectionLossError,
    Created,
    CreateMode,
    EventType,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    SessionState,
    TransactionError,
    UnimplementedError,
    WatchEvent,
)
from kraal.client.multi import WriteResult
from kraal.recipes._background import (
    NOT_EXECUTED,
    executed,
    in_background,
    lasting,
    patiently,
    while_session_lives,
)
from kraal.recipes._names import LAST_NUMBER, child
from kraal.recipes.errors import RecipeError

REVOKE_MESSAGE = b"__REVOKE__"
"""Data that asks a holder to give up; the same as Curator's."""

_SIGN = 1 << 64
_counters: WeakKeyDictionary[Client, itertools.count[int]] = WeakKeyDictionary()


async def new_prefix(zk: Client) -> str:
    """The beginning of a name that no other contender has.

    The guid is the session's id and a number of this client's; between two sessions, when the
    id is 0 for everybody, this waits for the next one.
    """
    while zk.session_id == 0:
        await zk.wait_connected()
    counter = _counters.setdefault(zk, itertools.count())
    hexa = f"{zk.session_id % _SIGN:016x}{next(counter) % _SIGN:016x}"
    return f"_c_{hexa[:8]}-{hexa[8:12]}-{hexa[12:16]}-{hexa[16:20]}-{hexa[20:]}-"


PREFIX_LENGTH = len("_c_12345678-1234-1234-1234-123456789abc-")


async def ensure_container(zk: Client, path: str) -> None:
    """Create a container, and persistent parents, unless it is there.

    A server that has no containers gets a persistent znode.
    """
    try:
        await zk.create(path, mode=CreateMode.CONTAINER, make_parents=True)
    except NodeExistsError:
        pass
    except UnimplementedError:
        await zk.ensure_path(path)


class Claim:
    """Ephemeral sequential znodes under `parent`, one for each mark, that exist together.

    The znodes belong to the session in which they were created. `is_gone` says that they are
    known to be no more, because somebody deleted one or because the session is over;
    `is_revoked` that somebody asked for them (see `REVOKE_MESSAGE`). `on_change` is called when
    one of the two becomes true.
    """

    def __init__(
        self,
        zk: Client,
        parent: str,
        marks: tuple[str, ...],
        data: bytes = b"",
        acl: Sequence[Acl] | None = None,
    ) -> None:
        self.zk = zk
        self.parent = parent
        self.session_id = 0
        self._names: tuple[str, ...] = ()
        self.paths: tuple[str, ...] = ()
        self.number = -1
        """The number of the first: the place in the queue."""
        self.token = -1
        """The zxid of the creation (czxid)."""
        self.is_gone = False
        self.is_revoked = False
        self.on_change: Callable[[], None] | None = None
        self._marks = marks
        self._data = data
        self._acl = acl
        self._looks: list[asyncio.Task[None]] = []
        self._exchanging: asyncio.Task[None] | None = None
        self._is_over = False
        """Deleted by us: what the watches say no longer matters."""

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of their numbers, which are neighbours."""
        return self._names

    @names.setter
    def names(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.paths = tuple([child(self.parent, name) for name in names])

    def is_among(self, children: Iterable[str]) -> bool:
        """Whether all of the znodes are in a list of the parent's children."""
        return set(children).issuperset(self._names)

    async def create(self) -> None:
        """Create the znodes, and the parent if it is missing.

        A lost reply is no doubt for long: the names carry a guid, by which the znodes are found
        again if the server did create them. If this raises or is cancelled, nothing remains.
        """
        prefix = await new_prefix(self.zk)
        while not self.names:
            is_in_doubt = True
            try:
                is_in_doubt = await self._try_to_create(prefix)
                if is_in_doubt:
                    self.names = await patiently(self.zk, partial(self._find, prefix))
            except TransactionError as error:
                raise error.error from None
            except BaseException:
                in_background(self._sweep(prefix))
                raise
        if self.token < 0:
            self.session_id = self.zk.session_id
            await self.look()
        self.number = int(self.names[0][-10:])
        if int(self.names[-1][-10:]) >= LAST_NUMBER:
            await self.delete()
            raise RecipeError(f"the numbers of {self.parent} are used up: delete that znode")

    async def _try_to_create(self, prefix: str) -> bool:
        """One attempt; returns whether it is in doubt. Raises TransactionError if refused."""
        try:
            results = await executed(self.zk, partial(self._commit_creation, prefix))
        except ConnectionLossError as error:
            if not error.sent:
                await self.zk.wait_connected()
            return error.sent
        except SessionExpiredError:
            return False  # what the session may have created is gone with it
        except TransactionError as error:
            if not isinstance(error.error, NoNodeError):
                raise
            await patiently(self.zk, partial(ensure_container, self.zk, self.parent))
            return False
        created = [result for result in results if isinstance(result, Created)]
        self.names = tuple(result.path.rpartition("/")[2] for result in created)
        stat = created[0].stat
        self.token, self.session_id = stat.czxid, stat.ephemeral_owner
        return False

    async def _commit_creation(self, prefix: str) -> list[WriteResult]:
        transaction = self.zk.transaction()
        for mark in self._marks:
            transaction.create_with_stat(
                child(self.parent, prefix + mark),
                self._data,
                mode=CreateMode.EPHEMERAL_SEQUENTIAL,
                acl=self._acl,
            )
        return await transaction.commit()

    async def _find(self, prefix: str) -> tuple[str, ...]:
        """The znodes with our guid, as they are once everything that was sent has happened.

        The sync makes the server that we are connected to now catch up. What a former server
        may still have forwarded comes too late: the session has moved away from there.
        """
        await self.zk.sync(self.parent)
        try:
            names = await self.zk.get_children(self.parent)
        except NoNodeError:
            return ()
        found = [name for name in names if name.startswith(prefix)]
        return tuple(sorted(found, key=lambda name: name[-10:]))

    async def _sweep(self, prefix: str) -> None:
        """Delete what a creation that was given up may have left."""
        session_id = self.zk.session_id

        async def sweep() -> None:
            self.names = await self._find(prefix)
            await self._delete()

        await while_session_lives(self.zk, session_id, sweep)

    def watch(self) -> None:
        """Have `look` done in the background, once: what it finds is told to `on_change`.

        The reads begin in the next turn of the loop, unless the claim is over by then.
        """
        if self._looks:
            return
        self._looks = [in_background(self._look_at(path)) for path in self.paths]

    async def watched(self) -> None:
        """Wait until `watch` has found out whether the claim is gone."""
        looks = [look for look in self._looks if not look.done()]
        if looks:
            await asyncio.wait(looks)

    async def look(self) -> None:
        """Read the znodes and leave a watch on each, so that `is_gone` and `is_revoked` hold."""
        await asyncio.gather(*map(self._look_at, self.paths))

    async def _look_at(self, path: str) -> None:
        if self._is_over:
            return
        try:
            node = await patiently(self.zk, partial(self.zk.get, path, watch=self._on_event))
        except NoNodeError:
            self._change(is_gone=path in self.paths)
            return
        if self.token < 0:
            self.token = node.stat.czxid
        if path not in self.paths:
            return  # exchanged for another one
        if node.stat.ephemeral_owner != self.zk.session_id:
            self._change(is_gone=True)
        elif node.data == REVOKE_MESSAGE:
            self._change(is_revoked=True)

    def _on_event(self, event: WatchEvent) -> None:
        if self._is_over:
            return
        if event.type is EventType.SESSION_LOST:
            self._change(is_gone=True)
        elif event.path not in self.paths:
            pass  # exchanged for another one
        elif event.type is EventType.DELETED:
            self._change(is_gone=True)
        else:
            in_background(self.look())

    def _change(self, *, is_gone: bool = False, is_revoked: bool = False) -> None:
        before = (self.is_gone, self.is_revoked)
        self.is_gone |= is_gone
        self.is_revoked |= is_revoked
        if before != (self.is_gone, self.is_revoked) and self.on_change is not None:
            self.on_change()

    async def exchange(self, marks: tuple[str, ...]) -> None:
        """Replace the znodes by others with the same numbers, in one transaction.

        A cancelled call goes on in the background. `is_gone` afterwards if the old ones were.
        """
        if self._exchanging is None:
            self._exchanging = lasting(self._exchange(marks))
        await asyncio.shield(self._exchanging)

    async def _exchange(self, marks: tuple[str, ...]) -> None:
        old = self.paths
        prefix = self.names[0][:PREFIX_LENGTH]
        # From here on an event about the old ones does not count.
        self.names = tuple(
            prefix + mark + name[-10:] for mark, name in zip(marks, self.names, strict=True)
        )
        while True:
            try:
                await executed(self.zk, partial(self._commit_exchange, old))
                break
            except ConnectionLossError:
                await self.zk.wait_connected()
            except SessionExpiredError:
                break
            except TransactionError as error:
                # Refused because it has happened already, or because the old ones are gone;
                # which of the two `look` will see.
                if not isinstance(error.error, NodeExistsError | NoNodeError):
                    raise error.error from None
                break
        await self.look()

    async def _commit_exchange(self, old: tuple[str, ...]) -> None:
        transaction = self.zk.transaction()
        for path in self.paths:
            transaction.create(path, self._data, mode=CreateMode.EPHEMERAL, acl=self._acl)
        for path in old:
            transaction.delete(path)
        await transaction.commit()

    async def delete(self) -> None:
        """Delete the znodes; without a connection that goes on in the background.

        Either way they are deleted unless the session ends first, which deletes them as well.
        """
        self._is_over = True
        is_exchanging = self._exchanging is not None and not self._exchanging.done()
        if self.zk.state is not SessionState.CONNECTED or is_exchanging:
            self._delete_in_background()
            return
        try:
            await self._delete()
        except (ConnectionLossError, *NOT_EXECUTED):
            self._delete_in_background()
        except SessionExpiredError:
            pass
        except asyncio.CancelledError:
            self._delete_in_background()
            raise

    def abandon(self) -> None:
        """Delete the znodes in the background."""
        self._is_over = True
        if self.names:
            self._delete_in_background()

    def _delete_in_background(self) -> None:
        in_background(while_session_lives(self.zk, self.session_id, self._delete))

    async def _delete(self) -> None:
        if self._exchanging is not None:
            # It might create the new ones after they have not been found here.
            await asyncio.wait((self._exchanging,))
        # A pair at once: two requests could take two flushes of the servers' logs.
        if len(self.names) > 1:
            transaction = self.zk.transaction()
            for path in self.paths:
                transaction.delete(path)
            try:
                await transaction.commit()
                return
            except TransactionError:
                pass  # one of them is gone already
        for path in self.paths:
            await self._delete_one(path)

    async def _delete_one(self, path: str) -> None:
        with suppress(NoNodeError):
            await self.zk.delete(path)
