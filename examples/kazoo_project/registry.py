"""Which instances of a service are alive: an ephemeral znode for each, and a watch on them."""

from __future__ import annotations

from contextlib import suppress

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, NodeExistsError
from kazoo.protocol.states import KazooState


class Registry:
    def __init__(self, client: KazooClient, service: str) -> None:
        self._client = client
        self._path = f"/services/{service}"
        self._own: dict[str, bytes] = {}
        self.instances: list[str] = []
        client.ensure_path(self._path)
        client.ChildrenWatch(self._path, self._changed)
        client.add_listener(self._state_changed)

    def register(self, name: str, address: str) -> None:
        self._own[name] = address.encode()
        self._create(name)

    def address(self, name: str) -> str:
        data: bytes = self._client.get(f"{self._path}/{name}")[0]
        return data.decode()

    def _create(self, name: str) -> None:
        path, address = f"{self._path}/{name}", self._own[name]
        # It is there when the session has survived, and not needed when the client has stopped.
        with suppress(NodeExistsError, ConnectionClosedError):
            self._client.retry(self._client.create, path, address, ephemeral=True)

    def _changed(self, children: list[str]) -> None:
        self.instances = sorted(children)

    def _state_changed(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            for name in self._own:
                self._client.handler.spawn(self._create, name)
