"""The client for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from kraal import client as aio
from kraal.client import (
    OPEN_ACL,
    Acl,
    AclNode,
    Children,
    Created,
    CreateMode,
    DigestMd5,
    Get,
    GetChildren,
    Gssapi,
    Id,
    Node,
    Protected,
    Retry,
    Server,
    Session,
    SessionState,
    Stat,
    TlsOptions,
    WatchCallback,
    WatcherKind,
    WatchEvent,
    ZooKeeperError,
)
from kraal.client.multi import WriteResult
from kraal.client.options import WhileDisconnected
from kraal.client.persistent import STREAM_EVENTS_MAX
from kraal.client.states import StateCallback
from kraal.model.limits import MAX_BUFFER_BYTES
from kraal.sync.lifecycle import Lifecycle
from kraal.sync.portal import Facade, Portal


class EventStream(Facade[aio.EventStream]):
    """The events of one persistent watch, for one reader: `async with … as events`.

    See `kraal.client.EventStream`.
    """

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.drop(self._async.__aexit__(kind, error, traceback))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        try:
            return self._portal.next(self._async)
        except StopAsyncIteration:
            raise StopIteration from None


class Transaction(Facade[aio.Transaction]):
    """Writes that are gathered and sent as one; `async with` sends them at the end of the block.

    See `kraal.client.Transaction`.
    """

    @property
    def results(self) -> list[WriteResult]:
        return self._async.results

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
    ) -> Self:
        """As `Client.create`; the result is the path."""
        self._portal.call(lambda: self._async.create(path, data, mode=mode, acl=acl, ttl=ttl))
        return self

    def create_with_stat(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
    ) -> Self:
        """As `Client.create_with_stat`; the result is `Created`."""
        self._portal.call(
            lambda: self._async.create_with_stat(path, data, mode=mode, acl=acl, ttl=ttl)
        )
        return self

    def set(self, path: str, data: bytes, *, version: int = -1) -> Self:
        """As `Client.set`; the result is the new stat."""
        self._portal.call(lambda: self._async.set(path, data, version=version))
        return self

    def delete(self, path: str, *, version: int = -1) -> Self:
        """As `Client.delete`."""
        self._portal.call(lambda: self._async.delete(path, version=version))
        return self

    def check(self, path: str, version: int) -> Self:
        """Go on only if the znode has this version; -1 asks only whether it exists."""
        self._portal.call(lambda: self._async.check(path, version))
        return self

    def commit(self) -> list[WriteResult]:
        """Send the transaction and return its results; one without operations is not sent."""
        return self._portal.run(self._async.commit())

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        (self._portal.run if kind is None else self._portal.leave)(
            self._async.__aexit__(kind, error, traceback)
        )

    def __len__(self) -> int:
        return self._portal.call(lambda: len(self._async))


class Watch(Facade[aio.Watch]):
    """A persistent watch that stays until `remove`, over connections and sessions.

    See `kraal.client.Watch`.
    """

    @property
    def path(self) -> str:
        return self._async.path

    @property
    def recursive(self) -> bool:
        return self._async.recursive

    def remove(self) -> None:
        """End the watch, here at once and on the server; a second time does nothing."""
        self._portal.end(self._async.remove())


class Client(Lifecycle):
    """A session with an ensemble, kept alive and renewed by itself.

    See `kraal.client.Client`.
    """

    def set_hosts(self, hosts: str) -> None:
        """Use other servers from now on."""
        self._portal.call(lambda: self._async.set_hosts(hosts))

    @property
    def state(self) -> SessionState:
        return self._async.state

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called; it may still be at work."""
        return self._async.is_closed

    @property
    def session(self) -> Session:
        """The session as the server knows it; the id is 0 before there is one."""
        return self._async.session

    @property
    def session_id(self) -> int:
        return self._async.session_id

    @property
    def session_deadline(self) -> float:
        """When the servers may end the session, as long as this client hears nothing more of it."""
        return self._async.session_deadline

    @property
    def last_zxid(self) -> int:
        """The newest zxid that an answer has carried."""
        return self._async.last_zxid

    @property
    def server(self) -> Server | None:
        """The server of the connection, or of the last attempt."""
        return self._async.server

    def on_state(self, callback: StateCallback) -> Callable[[], None]:
        """Have `callback(state)` called at each change; returns what ends that."""
        value = self._portal.call(lambda: self._async.on_state(self._portal.callback(callback)))
        return lambda: self._portal.call(value)

    def states(self) -> Iterator[SessionState]:
        """The state now and each later one, until CLOSED."""
        return self._portal.iterate(self._async.states())

    def wait_connected(self, *, read_write: bool = False) -> None:
        """Wait for a connection; with `read_write`, for one to a server that is not read-only."""
        self._portal.run(self._async.wait_connected(read_write=read_write))

    def add_auth(self, scheme: str, auth: bytes) -> None:
        """Authenticate this connection and all later ones."""
        self._portal.run(self._async.add_auth(scheme, auth))

    def transaction(self) -> Transaction:
        """Writes that happen all or not at all."""
        return Transaction._of(self._portal, self._portal.call(self._async.transaction))

    def create_protected(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.EPHEMERAL_SEQUENTIAL,
        acl: Sequence[Acl] | None = None,
        id: str | None = None,
        name: Protected = Protected.CURATOR,
    ) -> Created:
        """Create a znode under a name that says whose it is, and survive lost answers."""
        return self._portal.run(
            self._async.create_protected(path, data, mode=mode, acl=acl, id=id, name=name)
        )

    def retrying(self, retry: Retry | None = None) -> RetryingClient:
        """The same operations, repeating what is safe to repeat (`kraal.client.retry`)."""
        return RetryingClient._of(
            self._portal, self._portal.call(lambda: self._async.retrying(retry))
        )

    def add_watch(self, path: str, callback: WatchCallback, *, recursive: bool = False) -> Watch:
        """Have `callback(event)` called for every event of a path, until `Watch.remove`."""
        return Watch._of(
            self._portal,
            self._portal.run(
                self._async.add_watch(path, self._portal.callback(callback), recursive=recursive)
            ),
        )

    def watch(
        self, path: str, *, recursive: bool = False, limit: int = STREAM_EVENTS_MAX
    ) -> EventStream:
        """The events of a path as a stream, otherwise as `add_watch`."""
        return EventStream._of(
            self._portal,
            self._portal.call(lambda: self._async.watch(path, recursive=recursive, limit=limit)),
        )

    def remove_watches(
        self, path: str, kind: WatcherKind = WatcherKind.ANY, *, local: bool = False
    ) -> None:
        """Remove all watches of a kind on a path; their callbacks get a `…_REMOVED` event."""
        self._portal.end(self._async.remove_watches(path, kind, local=local))

    def forget_watch(self, path: str, callback: WatchCallback) -> None:
        """Forget a one-shot watch: `callback` is not called any more for this path."""
        self._portal.call(lambda: self._async.forget_watch(path, self._portal.callback(callback)))

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> str:
        """Create a znode and return its path, which has a suffix if `mode` is sequential."""
        return self._portal.run(
            self._async.create(path, data, mode=mode, acl=acl, ttl=ttl, make_parents=make_parents)
        )

    def create_with_stat(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> Created:
        """Create a znode and return its path and stat; otherwise as `create`."""
        return self._portal.run(
            self._async.create_with_stat(
                path, data, mode=mode, acl=acl, ttl=ttl, make_parents=make_parents
            )
        )

    def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode without children; `version` -1 means any."""
        self._portal.run(self._async.delete(path, version=version))

    def delete_recursive(self, path: str) -> None:
        """Delete a znode and all below it, with one request for each; a missing one is no error."""
        self._portal.run(self._async.delete_recursive(path))

    def ensure_path(self, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        """Create a persistent znode and its parents, where they are missing."""
        self._portal.run(self._async.ensure_path(path, acl=acl))

    def exists(self, path: str, *, watch: WatchCallback | None = None) -> Stat | None:
        """The stat of a znode, or None."""
        return self._portal.run(
            self._async.exists(path, watch=None if watch is None else self._portal.callback(watch))
        )

    def get(self, path: str, *, watch: WatchCallback | None = None) -> Node:
        """The data and stat of a znode."""
        return self._portal.run(
            self._async.get(path, watch=None if watch is None else self._portal.callback(watch))
        )

    def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode; `version` -1 means any. Returns the new stat."""
        return self._portal.run(self._async.set(path, data, version=version))

    def get_children(self, path: str, *, watch: WatchCallback | None = None) -> list[str]:
        """The names of the children, in no particular order."""
        return self._portal.run(
            self._async.get_children(
                path, watch=None if watch is None else self._portal.callback(watch)
            )
        )

    def get_children_with_stat(self, path: str, *, watch: WatchCallback | None = None) -> Children:
        """The names of the children and the stat of their parent; otherwise as `get_children`."""
        return self._portal.run(
            self._async.get_children_with_stat(
                path, watch=None if watch is None else self._portal.callback(watch)
            )
        )

    def get_acl(self, path: str) -> AclNode:
        """The ACL and stat of a znode. Raises NoNodeError, NoAuthError."""
        return self._portal.run(self._async.get_acl(path))

    def set_acl(self, path: str, acl: Sequence[Acl], *, version: int = -1) -> Stat:
        """Replace the ACL; `version` is that of the ACL (`Stat.aversion`), -1 means any."""
        return self._portal.run(self._async.set_acl(path, acl, version=version))

    def sync(self, path: str = "/") -> None:
        """Bring the server in step with the leader: later reads see all that was written before."""
        self._portal.run(self._async.sync(path))

    def get_ephemerals(self, prefix: str = "/") -> list[str]:
        """The ephemerals of this session whose path begins with `prefix`, in no order."""
        return self._portal.run(self._async.get_ephemerals(prefix))

    def count_descendants(self, path: str) -> int:
        """How many znodes are below this one, at any depth. Raises NoNodeError, NoAuthError."""
        return self._portal.run(self._async.count_descendants(path))

    def who_am_i(self) -> list[Id]:
        """The identities that the server knows this connection by, without passwords."""
        return self._portal.run(self._async.who_am_i())

    def multi_read(
        self, reads: Iterable[Get | GetChildren]
    ) -> list[Node | list[str] | ZooKeeperError]:
        """Several reads in one request, each with its result or its error."""
        return self._portal.run(self._async.multi_read(reads))

    def get_config(self, *, watch: WatchCallback | None = None) -> Node:
        """The membership of the ensemble, whatever the chroot; `watch` as for `get`."""
        return self._portal.run(
            self._async.get_config(watch=None if watch is None else self._portal.callback(watch))
        )

    def reconfig(
        self, *, joining: str = "", leaving: str = "", members: str = "", from_version: int = -1
    ) -> Node:
        """Change the membership and return the new one."""
        return self._portal.run(
            self._async.reconfig(
                joining=joining, leaving=leaving, members=members, from_version=from_version
            )
        )


class RetryingClient(Facade[aio.RetryingClient]):
    """The same operations as the client's; made by `Client.retrying`.

    See `kraal.client.RetryingClient`.
    """

    def ensure_path(self, path: str, *, acl: Sequence[Acl] | None = None) -> None:
        """Create a persistent znode and its parents, where they are missing."""
        self._portal.run(self._async.ensure_path(path, acl=acl))

    def delete_recursive(self, path: str) -> None:
        """Delete a znode and all below it, with one request for each; a missing one is no error."""
        self._portal.run(self._async.delete_recursive(path))

    def create_protected(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.EPHEMERAL_SEQUENTIAL,
        acl: Sequence[Acl] | None = None,
        id: str | None = None,
        name: Protected = Protected.CURATOR,
    ) -> Created:
        """As `Client.create_protected`, which leaves no doubt; repeated if it was not sent."""
        return self._portal.run(
            self._async.create_protected(path, data, mode=mode, acl=acl, id=id, name=name)
        )

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> str:
        """Create a znode and return its path, which has a suffix if `mode` is sequential."""
        return self._portal.run(
            self._async.create(path, data, mode=mode, acl=acl, ttl=ttl, make_parents=make_parents)
        )

    def create_with_stat(
        self,
        path: str,
        data: bytes = b"",
        *,
        mode: CreateMode = CreateMode.PERSISTENT,
        acl: Sequence[Acl] | None = None,
        ttl: float | None = None,
        make_parents: bool = False,
    ) -> Created:
        """Create a znode and return its path and stat; otherwise as `create`."""
        return self._portal.run(
            self._async.create_with_stat(
                path, data, mode=mode, acl=acl, ttl=ttl, make_parents=make_parents
            )
        )

    def delete(self, path: str, *, version: int = -1) -> None:
        """Delete a znode without children; `version` -1 means any."""
        self._portal.run(self._async.delete(path, version=version))

    def exists(self, path: str, *, watch: WatchCallback | None = None) -> Stat | None:
        """The stat of a znode, or None."""
        return self._portal.run(
            self._async.exists(path, watch=None if watch is None else self._portal.callback(watch))
        )

    def get(self, path: str, *, watch: WatchCallback | None = None) -> Node:
        """The data and stat of a znode."""
        return self._portal.run(
            self._async.get(path, watch=None if watch is None else self._portal.callback(watch))
        )

    def set(self, path: str, data: bytes, *, version: int = -1) -> Stat:
        """Replace the data of a znode; `version` -1 means any. Returns the new stat."""
        return self._portal.run(self._async.set(path, data, version=version))

    def get_children(self, path: str, *, watch: WatchCallback | None = None) -> list[str]:
        """The names of the children, in no particular order."""
        return self._portal.run(
            self._async.get_children(
                path, watch=None if watch is None else self._portal.callback(watch)
            )
        )

    def get_children_with_stat(self, path: str, *, watch: WatchCallback | None = None) -> Children:
        """The names of the children and the stat of their parent; otherwise as `get_children`."""
        return self._portal.run(
            self._async.get_children_with_stat(
                path, watch=None if watch is None else self._portal.callback(watch)
            )
        )

    def get_acl(self, path: str) -> AclNode:
        """The ACL and stat of a znode. Raises NoNodeError, NoAuthError."""
        return self._portal.run(self._async.get_acl(path))

    def set_acl(self, path: str, acl: Sequence[Acl], *, version: int = -1) -> Stat:
        """Replace the ACL; `version` is that of the ACL (`Stat.aversion`), -1 means any."""
        return self._portal.run(self._async.set_acl(path, acl, version=version))

    def sync(self, path: str = "/") -> None:
        """Bring the server in step with the leader: later reads see all that was written before."""
        self._portal.run(self._async.sync(path))

    def get_ephemerals(self, prefix: str = "/") -> list[str]:
        """The ephemerals of this session whose path begins with `prefix`, in no order."""
        return self._portal.run(self._async.get_ephemerals(prefix))

    def count_descendants(self, path: str) -> int:
        """How many znodes are below this one, at any depth. Raises NoNodeError, NoAuthError."""
        return self._portal.run(self._async.count_descendants(path))

    def who_am_i(self) -> list[Id]:
        """The identities that the server knows this connection by, without passwords."""
        return self._portal.run(self._async.who_am_i())

    def multi_read(
        self, reads: Iterable[Get | GetChildren]
    ) -> list[Node | list[str] | ZooKeeperError]:
        """Several reads in one request, each with its result or its error."""
        return self._portal.run(self._async.multi_read(reads))

    def get_config(self, *, watch: WatchCallback | None = None) -> Node:
        """The membership of the ensemble, whatever the chroot; `watch` as for `get`."""
        return self._portal.run(
            self._async.get_config(watch=None if watch is None else self._portal.callback(watch))
        )

    def reconfig(
        self, *, joining: str = "", leaving: str = "", members: str = "", from_version: int = -1
    ) -> Node:
        """Change the membership and return the new one."""
        return self._portal.run(
            self._async.reconfig(
                joining=joining, leaving=leaving, members=members, from_version=from_version
            )
        )


def connect(
    hosts: str,
    *,
    session_timeout: float = 10.0,
    read_only: bool = False,
    auth: Sequence[tuple[str, bytes]] = (),
    sasl: DigestMd5 | Gssapi | None = None,
    tls: ssl.SSLContext | TlsOptions | bool | None = None,
    connect_timeout: float | None = None,
    request_timeout: float | None = None,
    while_disconnected: WhileDisconnected = "wait",
    default_acl: Sequence[Acl] = OPEN_ACL,
    session: Session | None = None,
    rng: random.Random | None = None,
    max_request_bytes: int = MAX_BUFFER_BYTES,
) -> Client:
    """A client for an ensemble; use it as `with`, or with `start` and `close`.

    The arguments are those of `kraal.client.connect`.
    """
    return Client._of(
        Portal(),
        aio.connect(
            hosts,
            session_timeout=session_timeout,
            read_only=read_only,
            auth=auth,
            sasl=sasl,
            tls=tls,
            connect_timeout=connect_timeout,
            request_timeout=request_timeout,
            while_disconnected=while_disconnected,
            default_acl=default_acl,
            session=session,
            rng=rng,
            max_request_bytes=max_request_bytes,
        ),
    )
