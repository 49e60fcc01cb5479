"""Configuration: typed, atomic, with a history, and the same everywhere in the end."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, cast

import pytest

from kraal.client import CREATOR_ALL_ACL, BadVersionError, ConnectionLossError, NoAuthError
from kraal.recipes import Config, Edition, NotRunningError, RecipeError
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Limits:
    low: int
    high: int | None = None


@dataclass(frozen=True)
class Settings:
    workers: int = 1
    ratio: float = 0.5
    mode: Literal["fast", "safe"] = "safe"
    colour: Colour = Colour.RED
    limits: Limits = field(default_factory=lambda: Limits(1))
    hosts: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError("workers must not be below 0")


@dataclass(frozen=True)
class Newer(Settings):
    added: int = 1


FULL = Settings(2, 1.0, "fast", Colour.BLUE, Limits(1, 2), ("a", "b"), {"x": 1})


async def test_what_is_published_arrives(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        writer = Config(other, path, Settings)
        async with Config(zk, path, Settings, default=Settings()) as config:
            assert await config.ready() == Edition(Settings(), 0)
            changes = config.changes()
            assert await anext(changes) == Edition(Settings(), 0)
            assert await writer.publish(FULL, "first") == 1
            assert await anext(changes) == Edition(FULL, 1)
            second = await writer.update(lambda old: replace(old, workers=9))
            assert second == Edition(replace(FULL, workers=9), 2)
            assert await anext(changes) == second
            with pytest.raises(BadVersionError):
                await writer.publish(FULL, expected=1)
            assert await writer.roll_back(1) == 3
            assert await anext(changes) == Edition(FULL, 3)
            history = await writer.history()
            assert [(each.version, each.comment) for each in history] == [
                (3, "back to version 1"), (2, ""), (1, "first"),
            ]  # fmt: skip
            assert history[1].values["workers"] == 9
            with pytest.raises(RecipeError, match="not kept"):
                await writer.roll_back(17)
        assert await anext(changes, None) is None
        await background_ends()
        assert await zk.get_children(f"{path}/values")
        await zk.delete_recursive(path)
        await until_clean(server, zk, path)


async def test_who_has_published_finds_that_ready(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        for number in range(10):
            async with Config(zk, f"{path}/{number}", Settings) as config:
                assert await config.publish(FULL) == 1
                assert await config.ready() == Edition(FULL, 1)
                for workers in range(5):
                    published = await config.update(lambda old, n=workers: replace(old, workers=n))  # type: ignore[misc]
                    assert await config.ready() == published
        last = f"{path}/{number}"
        async with Config(zk, last, Settings) as config:
            await config.publish(FULL)
            await other.delete_recursive(last)
            with pytest.raises(RecipeError, match="nothing is published"):
                await config.ready()
            await config.publish(FULL)
        with pytest.raises(NotRunningError):
            await config.ready()
        await background_ends()


async def test_what_is_not_valid_is_logged_once(
    connect: Connector, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect() as zk:
        await Config(zk, path, Settings).publish(FULL)
        await zk.set(f"{path}/values/mode", b'"slow"')
        async with Config(zk, path, Settings, default=Settings()) as config:
            assert await config.ready() == Edition(Settings(), 0)
            await zk.set(f"{path}/values/workers", b"7")
            await until(lambda: caplog.text.count("is not valid") == 2)
            await zk.set(f"{path}/values/mode", b'"fast"')
            await until(lambda: config.problem is None)
        assert caplog.text.count("is not valid") == 2
        await background_ends()


async def test_what_is_not_valid_is_refused(connect: Connector, path: str) -> None:
    async with connect() as zk, Config(zk, path, Settings) as config:
        with pytest.raises(RecipeError, match="nothing is published"):
            await config.ready()
        with pytest.raises(RecipeError, match="no default"):
            await config.update(lambda old: old)
        with pytest.raises(ValueError, match=r"Settings\.mode must be"):
            await config.publish(replace(FULL, mode="slow"))  # type: ignore[arg-type]
        await config.publish(FULL)
        await until(lambda: config.problem is None)
        await zk.set(f"{path}/values/mode", b'"slow"')
        await until(lambda: "mode" in (config.problem or ""))
        assert config.current == Edition(FULL, 1)
        with pytest.raises(ValueError, match="mode"):
            await config.update(lambda old: old)
        await zk.set(f"{path}/values/mode", b"{")
        await zk.set(f"{path}/values/mode", b'"safe"')
        await until(lambda: config.problem is None and config.current.value.mode == "safe")
        await zk.create(f"{path}/values/new_field", b"1")  # of a newer program
        await config.update(lambda old: replace(old, workers=3))
        assert await zk.exists(f"{path}/values/new_field")
    with pytest.raises(TypeError, match="dataclass"):
        Config(zk, path, int)


async def test_only_values_of_the_dataclass_are_published(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with Config(zk, path, Settings, default=Settings()) as config:
            wrong: list[Any] = [{}, {"workers": 2, "unknown": 1}, None, Limits(1), Settings]
            for value in wrong:
                with pytest.raises(TypeError, match="a Settings is published"):
                    await config.publish(value)
                with pytest.raises(TypeError, match="a Settings is published"):
                    await config.update(lambda _, value=value: value)  # type: ignore[misc]
            for value in (Settings(ratio=math.nan), Settings(ratio=math.inf)):
                with pytest.raises(ValueError, match="no form in JSON"):
                    await config.publish(value)
            with pytest.raises(ValueError, match="UTF-8"):
                await config.publish(Settings(hosts=("\ud800",)))
            with pytest.raises(TypeError, match="default"):
                Config(zk, path, Settings, default=cast("Settings", {}))
            with pytest.raises(TypeError, match="version"):
                await config.roll_back(cast("int", "a"))
            with pytest.raises(TypeError, match="comment"):
                await config.publish(FULL, cast("str", 5))
            assert await config.history() == []
            published = await config.update(lambda old: replace(old, ratio=2))
            assert type(published.value.ratio) is float
            await until(lambda: config.current == published)
            assert await config.publish(Newer(9)) == 2
            assert await config.update(lambda old: old) == Edition(Settings(9), 3)
            assert not await zk.exists(f"{path}/values/added")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: config.publish(FULL),
            lambda: config.update(lambda old: old),
            lambda: config.roll_back(1),
        ]
        for call in calls:
            with pytest.raises(NotRunningError):
                await call()
        await background_ends()


async def test_a_field_that_may_not_be_read_is_not_taken_for_missing(
    connect: Connector, path: str
) -> None:
    async with connect() as zk, connect(auth=[("digest", b"a:b")]) as owner:
        await Config(owner, path, Settings).publish(FULL)
        await owner.set_acl(f"{path}/values/mode", CREATOR_ALL_ACL)
        async with Config(zk, path, Settings, default=Settings()) as config:
            assert await config.ready() == Edition(Settings(), 0)
            assert f"may not read {path}/values/mode" in str(config.problem)
            with pytest.raises(NoAuthError):
                await config.update(lambda old: replace(old, workers=3))


async def test_old_versions_are_pruned(connect: Connector, path: str) -> None:
    async with connect() as zk:
        config = Config(zk, path, Settings, default=Settings(), keep=3)
        for _ in range(6):
            await config.update(lambda old: replace(old, workers=old.workers + 1))
        await background_ends()
        assert [each.version for each in await config.history()] == [6, 5, 4]


async def test_who_made_the_values_and_got_no_further_is_in_nobody_s_way(
    connect: Connector, path: str
) -> None:
    async with connect() as zk, asyncio.timeout(10):
        await zk.create(f"{path}/values", b'{"version": 0}', make_parents=True)
        assert await Config(zk, path, Settings).publish(FULL) == 1
        assert [each.version for each in await Config(zk, path, Settings).history()] == [1]


async def test_a_lost_reply_is_in_doubt_once_its_version_is_not_kept(
    server: Server, connect: Connector, path: str
) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect() as other:

        def make_deaf(old: Settings) -> Settings:
            proxy.hold_answers()
            return replace(old, workers=5)

        config = Config(zk, path, Settings, default=Settings(), keep=1)
        updating = asyncio.create_task(config.update(make_deaf))
        async with Config(other, path, Settings, default=Settings(), keep=1) as followed:
            await until(lambda: followed.current.version == 1)
            for _ in range(2):
                await followed.update(lambda old: replace(old, workers=old.workers + 1))
            await background_ends()
            proxy.cut()
            proxy.release()
            with pytest.raises(ConnectionLossError):
                await updating
            await until(lambda: followed.current.version == 3)
            assert followed.current.value.workers == 7


@dataclass(frozen=True)
class Pair:
    left: int = 0
    right: int = 0


async def test_no_mixture_is_seen_and_no_update_lost(
    server: Server, connect: Connector, path: str
) -> None:
    seen: list[Edition[Pair]] = []

    async def watch(config: Config[Pair]) -> None:
        async for edition in config.changes():
            seen.append(edition)
            assert edition.value.left == edition.value.right == edition.version

    async def write(config: Config[Pair]) -> None:
        for _ in range(15):
            await config.update(lambda old: Pair(old.left + 1, old.right + 1))

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        # All versions are kept: a reply can be lost for longer than the other takes to make ten.
        writers = [Config(client, path, Pair, default=Pair(), keep=30) for client in (zk, other)]
        async with Config(zk, path, Pair, default=Pair()) as config:
            watching = asyncio.create_task(watch(config))
            async with trouble(server, proxy, [zk, other], seed=2):
                await asyncio.gather(*map(write, writers))
            await until(lambda: config.current == Edition(Pair(30, 30), 30))
        await watching
        assert [edition.version for edition in seen] == sorted({each.version for each in seen})
        root = json.loads((await other.get(f"{path}/values")).data)
        assert root == {"version": 30}
        await background_ends()
