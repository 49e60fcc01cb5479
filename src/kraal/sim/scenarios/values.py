"""Keys and values, and configuration: changes are made once, arrive everywhere, and whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kraal.client import Client, ConnectionLossError
from kraal.recipes import Config, Edition, KeyValue, Versioned
from kraal.sim.scenarios.workers import TOP, Workers
from kraal.sim.violation import violated

if TYPE_CHECKING:
    from kraal.sim.stage import Actor, Stage

ONCE = "each change is made once"
ARRIVES = "every change arrives"
WHOLE = "a configuration is never a mixture"
KEYS = ("a", "b/c", "..")


class KeyValues(Workers):
    """Everybody appends to values on the condition of their version, and follows all."""

    path = f"{TOP}/values"
    pause_s = 0.3

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._serial = 0
        self._made: dict[bytes, str] = {}
        """What succeeded, and with which key."""
        self._refused: set[bytes] = set()
        self._seen: dict[Actor, dict[str, Versioned]] = {}

    async def work(self, app: Actor) -> None:
        async with self.connect(app) as zk, app.beside(self._follow(app, zk)):
            await self._act_often(app, zk)
            await self.rest(app)

    async def _follow(self, app: Actor, zk: Client) -> None:
        seen = self._seen.setdefault(app, {})
        async for change in KeyValue(zk, self.path).changes():
            if change.value is None:
                seen.pop(change.key, None)
            else:
                seen[change.key] = change.value

    async def act(self, app: Actor, zk: Client) -> None:
        store, key = KeyValue(zk, self.path), app.random.choice(KEYS)
        self._serial += 1
        mark = b"%d" % self._serial
        now = await store.get(key)
        data, version = (now.data, now.version) if now else (b"", -1)
        made = await store.compare_and_set(key, data + mark + b",", version)
        if made is None:
            self._refused.add(mark)
        else:
            self._made[mark] = key
        self.got_on(app)

    def at_rest(self) -> None:
        nodes = self.world.history.tree.nodes
        parent = nodes.get(self.server_path(self.path))
        texts = {path: nodes[path].data or b"" for path in (parent and parent.children) or ()}
        marks = [mark for text in texts.values() for mark in text.split(b",")[:-1]]
        if len(set(marks)) < len(marks):
            violated(ONCE, "one of %s is there twice", marks)
        lost = set(self._made) - set(marks)
        if lost:
            violated(ONCE, "%s are lost", lost)
        if self._refused & set(marks):
            violated(ONCE, "%s were refused and made", self._refused & set(marks))
        for app, seen in self._seen.items():
            found = sorted(value.data for value in seen.values())
            if app.is_up and found != sorted(texts.values()):
                violated(ARRIVES, "%s knows of %s instead of %s", app.name, found, texts)


@dataclass(frozen=True)
class Settings:
    """Both fields are always the same."""

    first: int = 0
    second: int = 0


class Configurations(Workers):
    """Everybody adds one to both fields, and follows."""

    path = f"{TOP}/configuration"
    tasks = (1,)
    pause_s = 0.5

    def __init__(self, world: Stage) -> None:
        super().__init__(world)
        self._in_doubt = 0
        self._versions: set[int] = set()
        self._seen: dict[Actor, Edition[Settings]] = {}

    def _config(self, zk: Client) -> Config[Settings]:
        return Config(zk, self.path, Settings, default=Settings(), keep=3)

    async def work(self, app: Actor) -> None:
        async with (
            self.connect(app) as zk,
            self._config(zk) as config,
            app.beside(self._follow(app, config)),
        ):
            await self._act_often(app, zk)
            await self.rest(app)

    async def _follow(self, app: Actor, config: Config[Settings]) -> None:
        async for edition in config.changes():
            value, before = edition.value, self._seen.get(app)
            if value.first != value.second:
                violated(WHOLE, "%s sees %s", app.name, edition)
            if before is not None and edition.version < before.version:
                violated(ARRIVES, "%s sees %s after %s", app.name, edition, before)
            self._seen[app] = edition

    async def act(self, app: Actor, zk: Client) -> None:
        self._in_doubt += 1
        try:
            edition = await self._config(zk).update(_add_one)
        except ConnectionLossError as error:
            self._in_doubt -= not error.sent
            raise
        self._in_doubt -= 1
        if edition.version in self._versions:
            violated(ONCE, "two changes made version %d", edition.version)
        self._versions.add(edition.version)
        self.got_on(app)

    def at_rest(self) -> None:
        sure = len(self._versions)
        values = {app: edition.value.first for app, edition in self._seen.items() if app.is_up}
        if len(set(values.values())) > 1:
            violated(ARRIVES, "%s", {app.name: value for app, value in values.items()})
        for value in values.values():
            if not sure <= value <= sure + self._in_doubt:
                violated(ONCE, "%d changes, %d in doubt, made %d", sure, self._in_doubt, value)


def _add_one(settings: Settings) -> Settings:
    return Settings(settings.first + 1, settings.second + 1)
