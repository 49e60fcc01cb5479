"""Service discovery: instances announce themselves, and users pick one that works."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from kraal.client import Client, NoAuthError, Node
from kraal.recipes._arguments import (
    check_coroutine_function,
    check_count,
    check_function,
    check_name,
    check_place,
    check_seconds,
    coroutine_of,
)
from kraal.recipes._background import finish, patiently, serving
from kraal.recipes._names import child
from kraal.recipes._service import Service
from kraal.recipes._typed_json import Json, from_json, to_json
from kraal.recipes.cache import ChildrenCache
from kraal.recipes.errors import NotRunningError, RecipeError
from kraal.recipes.following import names_of, read
from kraal.recipes.persistent_node import PersistentNode
from kraal.recipes.picks import Pick, RoundRobin, Usage

logger = logging.getLogger("kraal.recipes")
P = TypeVar("P")
MAX_PORT = 65535


class NoInstanceError(RecipeError):
    """No instance of the service can be used now."""


@dataclass(frozen=True, slots=True)
class ServiceInstance(Generic[P]):
    """One instance of a service, as the others see it."""

    name: str
    """Of the service."""
    id: str
    """Of the instance: unique among those of the service."""
    address: str
    port: int | None = None
    """0 to 65535, as `ssl_port`."""
    ssl_port: int | None = None
    payload: P | None = None
    """Whatever else users should know: a dataclass, or JSON."""
    enabled: bool = True
    """False: it is there, and not to be used."""
    registered: int = 0
    """Milliseconds since 1970, by the clock of the ensemble's leader; set when it is read."""

    def encode(self) -> bytes:
        """As Curator's `x-discovery` writes it in JSON."""
        fields = {
            "name": self.name, "id": self.id, "address": self.address, "port": self.port,
            "sslPort": self.ssl_port, "payload": to_json(self.payload),
            "registrationTimeUTC": self.registered, "serviceType": "DYNAMIC", "uriSpec": None,
            "enabled": self.enabled,
        }  # fmt: skip
        return json.dumps(fields).encode()


def decode_instance(kind: type[P] | None, data: bytes, created: int) -> ServiceInstance[P]:
    """The instance that a znode describes; `kind` is the type of its payload, None: any JSON.

    `created` stands for a missing time of registration. Raises ValueError for anything else.
    """
    fields = json.loads(data)
    try:
        payload: Any = fields.get("payload")
        if isinstance(payload, dict):
            payload = {key: value for key, value in payload.items() if key != "@class"}
        if kind is not None and payload is not None:
            payload = from_json(kind, payload, "payload")
        return ServiceInstance(
            name=from_json(str, fields["name"], "name"),
            id=from_json(str, fields["id"], "id"),
            address=from_json(str, fields["address"], "address"),
            port=_port(fields.get("port")),
            ssl_port=_port(fields.get("sslPort")),
            payload=payload,
            enabled=from_json(bool, fields.get("enabled", True), "enabled"),
            registered=from_json(int, fields.get("registrationTimeUTC") or created, "registered"),
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"no service instance: {error!r}") from error


def _instance_at(path: str, kind: type[P] | None, node: Node) -> ServiceInstance[P] | None:
    """The instance at a path; None, after a line in the log, where there is something else."""
    try:
        return decode_instance(kind, node.data, node.stat.ctime)
    except ValueError as error:
        logger.warning("%s is no service instance: %s", path, error)
        return None


def _check_instance(kind: type[P] | None, instance: ServiceInstance[P]) -> None:
    """Raise TypeError or ValueError for what others could not read or not use."""
    if not isinstance(instance, ServiceInstance):
        raise TypeError(f"a ServiceInstance is needed, not {instance!r:.100}")
    check_name(instance.name)
    check_name(instance.id)
    payload = instance.payload
    if (
        kind is not None
        and dataclasses.is_dataclass(kind)
        and not isinstance(payload, (kind, type(None)))
    ):
        raise TypeError(f"payload must be a {kind.__name__}, not {payload!r:.100}")
    decode_instance(kind, instance.encode(), 0)
    if not instance.address:
        raise ValueError("address must not be empty")
    for port in (instance.port, instance.ssl_port):
        if port is not None and not 0 <= port <= MAX_PORT:
            raise ValueError(f"a port is a number from 0 to {MAX_PORT}, not {port}")


def _port(value: Json) -> int | None:
    return None if value is None else from_json(int, value, "port")


class Registration(Generic[P]):
    """An instance that is announced until `close`, or until its client is closed.

    It is over, too, when the same registry registers the same id again: then `update` and
    `set_enabled` raise NotRunningError, and `close` has no effect.
    """

    def __init__(
        self, zk: Client, base: str, instance: ServiceInstance[P], kind: type[P] | None
    ) -> None:
        _check_instance(kind, instance)
        self._instance = instance
        self._kind = kind
        self._is_healthy = True
        path = child(child(base, instance.name), instance.id)
        self._node = PersistentNode(zk, path, instance.encode())
        self._check_length(instance)
        self._checking: asyncio.Task[None] | None = None
        self._is_replaced = False

    @property
    def instance(self) -> ServiceInstance[P]:
        """As it is announced."""
        return replace(self._instance, enabled=self._instance.enabled and self._is_healthy)

    @property
    def is_announced(self) -> bool:
        """Whether others see it, as far as this client knows."""
        return self._node.is_present and not self._is_replaced

    async def update(self, instance: ServiceInstance[P]) -> None:
        """Announce something else; the name and the id must be the same.

        Raises TypeError, ValueError or BadArgumentsError as `ServiceRegistry.register`, and then
        changes nothing.
        """
        _check_instance(self._kind, instance)
        self._check_length(instance)
        if (instance.name, instance.id) != (self._instance.name, self._instance.id):
            raise ValueError("an instance keeps its name and its id")
        if self._is_replaced:
            raise NotRunningError(f"{instance.name}/{instance.id} was registered again")
        self._instance = instance
        await self._node.set_data(self.instance.encode())

    def _check_length(self, instance: ServiceInstance[P]) -> None:
        """Raise BadArgumentsError unless it can be announced as enabled and as not enabled."""
        self._node._check_data(replace(instance, enabled=False).encode())

    async def set_enabled(self, enabled: bool) -> None:
        """Have users take it, or keep away from it."""
        await self.update(replace(self._instance, enabled=enabled))

    async def close(self) -> None:
        """Withdraw it."""
        await self._stop_checking()
        if not self._is_replaced:
            await self._node.close()

    async def _stop_checking(self) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.wait((self._checking,))

    async def _start(
        self,
        before: Registration[P] | None,
        check: Callable[[], Coroutine[Any, Any, bool]] | None,
        interval: float,
    ) -> None:
        """Announce it, in the place of the one `before` if that is announced."""
        try:
            if before is not None and before._node._is_at_work:
                data, self._node = self._node.data, before._node
                before._is_replaced = True
                await before._stop_checking()
                await self._node.set_data(data)
            else:
                await self._node.start()
                await self._node.ready()
        except BaseException:
            await self.close()
            raise
        if check is not None and not self._is_replaced:
            work = self._check(check, interval)
            self._checking = serving(work)

    async def _check(self, check: Callable[[], Coroutine[Any, Any, bool]], interval: float) -> None:
        while True:
            try:
                async with asyncio.timeout(interval):
                    is_healthy = await check()
            except Exception as error:
                logger.warning("the check of %s failed: %r", self._instance.id, error)
                is_healthy = False
            if is_healthy != self._is_healthy:
                self._is_healthy = is_healthy
                await self._node.set_data(self.instance.encode())
            await asyncio.sleep(interval)


class ServiceRegistry(Generic[P]):
    """Announces instances of services, and finds those of others::

        async with ServiceRegistry(zk, "/services", Payload) as registry:
            await registry.register(ServiceInstance("mail", "host-1", "10.0.0.1", 25))
            async with registry.provider("mail") as provider:
                async with provider.use() as instance:
                    await send(instance.address, instance.port)

    An instance is an ephemeral with JSON at `path`/name/id, as in Curator's `x-discovery`; it
    goes with its client's session, and comes back when that has expired. `payload` is the type
    of the payloads (a dataclass, for instance); without, they are JSON as it is.
    """

    def __init__(self, zk: Client, path: str, payload: type[P] | None = None) -> None:
        check_place(zk, path)
        self._zk = zk
        self.path = path
        self._payload = payload
        self._registrations: dict[tuple[str, str], Registration[P]] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"ServiceRegistry({self.path!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Withdraw all instances that were registered here; no more can be."""
        self._is_closed = True
        registrations, self._registrations = self._registrations, {}
        await finish(*(each.close() for each in registrations.values()))

    async def register(
        self,
        instance: ServiceInstance[P],
        *,
        check: Callable[[], Coroutine[Any, Any, bool]] | None = None,
        interval: float = 5.0,
    ) -> Registration[P]:
        """Announce an instance, and wait until it is announced.

        With a `check`, that is called every `interval` seconds; the instance is shown as not
        enabled while it returns False, raises, or takes longer than the interval. Raises
        TypeError or ValueError for a payload of another type or without a form in JSON, an empty
        address, an impossible port, an interval that is not above 0, and a check that is no
        coroutine function; BadArgumentsError for what is too long for one request, and
        NotRunningError after `close`.

        The same id again replaces the instance and the check, without a moment in between in
        which it is not announced; the earlier `Registration` is over. Raises RecipeError for an
        id that another registry of this client has. While another session has it, or a
        persistent znode is there, this waits until that is gone, and logs once what it waits for.
        """
        registration = Registration(self._zk, self.path, instance, self._payload)
        check_seconds("interval", interval)
        if interval == 0:
            raise ValueError("interval must be above 0 s")
        if check is not None:
            check_coroutine_function(check)
            coroutine_of(check).close()
        if self._is_closed:
            raise NotRunningError(f"{self} is closed")
        key = instance.name, instance.id
        before = self._registrations.get(key)
        self._registrations[key] = registration
        try:
            await registration._start(before, check, interval)
        except BaseException:
            if self._registrations.get(key) is registration:
                del self._registrations[key]
            raise
        return registration

    async def names(self) -> list[str]:
        """The names of all services, those without instances included."""
        return await patiently(self._zk, partial(names_of, self._zk, self.path)) or []

    async def instances(self, name: str) -> list[ServiceInstance[P]]:
        """All instances of a service, not only the enabled ones.

        An instance that this client may not read, or a znode that is none, is logged and left out.
        """
        path = child(self.path, name)
        ids = await patiently(self._zk, partial(names_of, self._zk, path)) or []
        found = await asyncio.gather(*(self._read(child(path, each)) for each in ids))
        return [instance for instance in found if instance is not None]

    async def _read(self, path: str) -> ServiceInstance[P] | None:
        try:
            node = await patiently(self._zk, partial(read, self._zk, path))
        except NoAuthError:
            logger.warning("%s may not read, and leaves out: %s", self, path)
            return None
        return None if node is None else _instance_at(path, self._payload, node)

    def provider(
        self,
        name: str,
        pick: Pick | None = None,
        *,
        failures: int = 2,
        penalty: float = 30.0,
    ) -> ServiceProvider[P]:
        """Picks instances of a service; see `ServiceProvider`."""
        return ServiceProvider(
            self._zk, self.path, name, pick, payload=self._payload, failures=failures,
            penalty=penalty,
        )  # fmt: skip


class ServiceProvider(Service, Generic[P]):
    """Picks instances of one service, and keeps away from those that fail.

    The instances are kept here, up to date by a watch. `pick` says how to choose: `RoundRobin`
    (the default), `RandomPick`, `Weighted`, `LeastUsed` or `ConsistentHash`, or a function of
    your own. An instance that has failed `failures` times in a row is taken out for `penalty`
    seconds; after that, one more failure takes it out again, and one success brings it back for
    good. An instance that is registered anew starts without failures. One that this client may
    not read is left out, as by `ChildrenCache`. Once the provider has ended by an error, whatever
    asks it for instances raises that.
    """

    def __init__(
        self,
        zk: Client,
        path: str,
        name: str,
        pick: Pick | None = None,
        *,
        payload: type[P] | None = None,
        failures: int = 2,
        penalty: float = 30.0,
    ) -> None:
        super().__init__()
        check_place(zk, path)
        check_name(name)
        if pick is not None:
            check_function("pick", pick)
        check_count("failures", failures)
        check_seconds("penalty", penalty)
        self._zk = zk
        self.name = name
        self._path = child(path, name)
        self._pick = pick or RoundRobin()
        self._payload = payload
        self._failures = failures
        self._penalty = penalty
        self._nodes: dict[str, Node] = {}
        self._instances: dict[str, ServiceInstance[P]] = {}
        self._is_ready = False
        self._in_flight: dict[str, int] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        """How often an instance has failed in a row, and until when it is out."""

    def __repr__(self) -> str:
        return f"ServiceProvider({self._path!r})"

    async def ready(self) -> None:
        """Wait until the instances are known that there are at first."""
        self._check()
        await self._until(lambda: self._is_ready)

    async def wait_available(self) -> None:
        """Wait until an instance can be used. Those that are taken out do not count."""
        while not self.available():
            self._check()
            now = asyncio.get_running_loop().time()
            ends = [end for _, end in self._failed.values() if end > now]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(ends) - now if ends else None):
                    await self._changed.wait()

    @property
    def instances(self) -> Mapping[str, ServiceInstance[P]]:
        """All instances that are known, by their ids, whether they can be used or not."""
        self._check_alive()
        return self._instances

    def available(self) -> list[ServiceInstance[P]]:
        """The instances that can be used now, in the order of their ids."""
        self._check_alive()
        now = asyncio.get_running_loop().time()
        return [
            instance
            for id_, instance in sorted(self._instances.items())
            if instance.enabled and self._failed.get(id_, (0, now))[1] <= now
        ]

    def pick(self, key: str = "") -> ServiceInstance[P]:
        """Choose an instance; `key` is for `ConsistentHash`. Raises NoInstanceError."""
        available = self.available()
        if not available:
            raise NoInstanceError(f"no instance of {self.name} can be used now")
        usage = Usage(key, self._in_flight)
        chosen: ServiceInstance[P] = self._pick(available, usage)
        return chosen

    @asynccontextmanager
    async def use(self, key: str = "") -> AsyncGenerator[ServiceInstance[P], None]:
        """Choose an instance for the block, which counts as use of it.

        A block that raises an Exception is a failure of the instance, one that ends is a success;
        one that is cancelled says nothing.
        """
        instance = self.pick(key)
        self._in_flight[instance.id] = self._in_flight.get(instance.id, 0) + 1
        try:
            yield instance
        except Exception:
            self.note_failure(instance)
            raise
        else:
            self.note_success(instance)
        finally:
            self._in_flight[instance.id] -= 1
            if not self._in_flight[instance.id]:
                del self._in_flight[instance.id]

    def note_failure(self, instance: ServiceInstance[P]) -> None:
        """An instance that was picked has failed."""
        now = asyncio.get_running_loop().time()
        count = self._failed.get(instance.id, (0, now))[0] + 1
        until = now + self._penalty if count >= self._failures else now
        self._failed[instance.id] = (count, until)

    def note_success(self, instance: ServiceInstance[P]) -> None:
        """An instance that was picked has worked."""
        self._failed.pop(instance.id, None)

    async def _run(self) -> None:
        async with ChildrenCache(self._zk, self._path) as cache:
            changes = cache.changes()
            await cache.ready()
            for name in cache.names():
                self._take(name, cache.child(name))
            self._is_ready = True
            self._tell()
            async for change in changes:
                if change.path != self._path:
                    self._take(change.path.rpartition("/")[2], change.node)
                    self._tell()

    def _take(self, id_: str, node: Node | None) -> None:
        if node is None:
            for known in (self._nodes, self._instances, self._failed):
                known.pop(id_, None)
            return
        if self._nodes.get(id_) == node:
            return  # the changes begin with what is there
        self._nodes[id_] = node
        before = self._instances.pop(id_, None)
        instance = _instance_at(child(self._path, id_), self._payload, node)
        if instance is None:
            return
        if before is not None and before.registered != instance.registered:
            self._failed.pop(id_, None)
        self._instances[id_] = replace(instance, id=id_)
