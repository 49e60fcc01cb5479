"""The recipes for threads.

Written by `python -m tools.sync_api`; change the asyncio API instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Generic, Self, TypeVar

from kraal import recipes as aio
from kraal.recipes import Pick, ServiceInstance
from kraal.sync.client import Client
from kraal.sync.portal import Facade

P = TypeVar("P")


class Registration(Facade[aio.Registration[P]], Generic[P]):
    """An instance that is announced until `close`, or until its client is closed.

    See `kraal.recipes.Registration`.
    """

    def __init__(
        self, zk: Client, base: str, instance: ServiceInstance[P], kind: type[P] | None
    ) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.Registration(zk._async, base, instance, kind))

    @property
    def instance(self) -> ServiceInstance[P]:
        """As it is announced."""
        return self._async.instance

    @property
    def is_announced(self) -> bool:
        """Whether others see it, as far as this client knows."""
        return self._async.is_announced

    def update(self, instance: ServiceInstance[P]) -> None:
        """Announce something else; the name and the id must be the same."""
        self._portal.run(self._async.update(instance))

    def set_enabled(self, enabled: bool) -> None:
        """Have users take it, or keep away from it."""
        self._portal.run(self._async.set_enabled(enabled))

    def close(self) -> None:
        """Withdraw it."""
        self._portal.end(self._async.close())


class ServiceRegistry(Facade[aio.ServiceRegistry[P]], Generic[P]):
    """Announces instances of services, and finds those of others.

    See `kraal.recipes.ServiceRegistry`.
    """

    def __init__(self, zk: Client, path: str, payload: type[P] | None = None) -> None:
        self._portal = zk._portal
        self._async = self._portal.call(lambda: aio.ServiceRegistry(zk._async, path, payload))

    @property
    def path(self) -> str:
        return self._async.path

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))

    def close(self) -> None:
        """Withdraw all instances that were registered here; no more can be."""
        self._portal.end(self._async.close())

    def register(
        self,
        instance: ServiceInstance[P],
        *,
        check: Callable[[], bool] | None = None,
        interval: float = 5.0,
    ) -> Registration[P]:
        """Announce an instance, and wait until it is announced."""
        return Registration[P]._of(
            self._portal,
            self._portal.run(
                self._async.register(
                    instance,
                    check=None if check is None else self._portal.in_thread(check),
                    interval=interval,
                )
            ),
        )

    def names(self) -> list[str]:
        """The names of all services, those without instances included."""
        return self._portal.run(self._async.names())

    def instances(self, name: str) -> list[ServiceInstance[P]]:
        """All instances of a service, not only the enabled ones."""
        return self._portal.run(self._async.instances(name))

    def provider(
        self, name: str, pick: Pick | None = None, *, failures: int = 2, penalty: float = 30.0
    ) -> ServiceProvider[P]:
        """Picks instances of a service; see `ServiceProvider`."""
        return ServiceProvider[P]._of(
            self._portal,
            self._portal.call(
                lambda: self._async.provider(name, pick, failures=failures, penalty=penalty)
            ),
        )


class ServiceProvider(Facade[aio.ServiceProvider[P]], Generic[P]):
    """Picks instances of one service, and keeps away from those that fail.

    See `kraal.recipes.ServiceProvider`.
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
        self._portal = zk._portal
        self._async = self._portal.call(
            lambda: aio.ServiceProvider(
                zk._async, path, name, pick, payload=payload, failures=failures, penalty=penalty
            )
        )

    @property
    def name(self) -> str:
        return self._async.name

    def ready(self) -> None:
        """Wait until the instances are known that there are at first."""
        self._portal.run(self._async.ready())

    def wait_available(self) -> None:
        """Wait until an instance can be used. Those that are taken out do not count."""
        self._portal.run(self._async.wait_available())

    @property
    def instances(self) -> Mapping[str, ServiceInstance[P]]:
        """All instances that are known, by their ids, whether they can be used or not."""
        return self._async.instances

    def available(self) -> list[ServiceInstance[P]]:
        """The instances that can be used now, in the order of their ids."""
        return self._portal.call(self._async.available)

    def pick(self, key: str = "") -> ServiceInstance[P]:
        """Choose an instance; `key` is for `ConsistentHash`. Raises NoInstanceError."""
        return self._portal.call(lambda: self._async.pick(key))

    def use(self, key: str = "") -> AbstractContextManager[ServiceInstance[P]]:
        """Choose an instance for the block, which counts as use of it."""
        return self._portal.within(self._async.use(key), lambda _, value: value)

    def note_failure(self, instance: ServiceInstance[P]) -> None:
        """An instance that was picked has failed."""
        self._portal.call(lambda: self._async.note_failure(instance))

    def note_success(self, instance: ServiceInstance[P]) -> None:
        """An instance that was picked has worked."""
        self._portal.call(lambda: self._async.note_success(instance))

    def start(self) -> None:
        """Begin to work; does not wait for anything. Raises NotRunningError the second time."""
        self._portal.run(self._async.start())

    def close(self) -> None:
        """End the work; nothing remains of it on the servers. Closing twice is no error."""
        self._portal.end(self._async.close())

    def __enter__(self) -> Self:
        self._portal.run(self._async.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.leave(self._async.__aexit__(kind, error, traceback))

    @property
    def is_running(self) -> bool:
        return self._async.is_running
