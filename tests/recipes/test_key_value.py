"""Keys and values."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from kraal.client import Client, ConnectionLossError
from kraal.recipes import KeyChange, KeyValue, Versioned
from kraal.testing import Server
from tests.recipes.conftest import Connector, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


async def test_values_by_keys(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk:
        store = KeyValue(zk, path)
        assert await store.get("a") is None
        assert await store.keys() == []
        assert await store.set("a", b"1") == 0
        assert await store.set("a", b"2") == 1
        assert await store.get("a") == Versioned(b"2", 1)
        keys = ["a/b", ".", "..", "ä %", "zookeeper"]
        for key in keys:
            await store.set(key, key.encode())
        assert await store.keys() == sorted([*keys, "a"])
        assert (await store.items())["a/b"] == Versioned(b"a/b", 0)
        with pytest.raises(ValueError, match="empty"):
            await store.get("")
        for key in await store.keys():
            assert await store.delete(key)
        assert await store.delete("a")
        await until_clean(server, zk, path)


async def test_names_that_no_key_has_are_left_alone(connect: Connector, path: str) -> None:
    others = ["é", "a b", "100%", "%41", "%ff", "%2f", "...", "a+b"]
    keys = ["A", "é", "a b", "100%", "%41", "\ufffd", "/", "..."]
    async with connect() as zk, connect() as other:
        store = KeyValue(zk, path)
        for name in others:
            await other.create(f"{path}/{name}", b"other", make_parents=True)
        assert (await store.keys(), await store.items()) == ([], {})
        assert [await store.get(key) for key in keys] == [None] * len(keys)
        async with aclosing(store.changes()) as changes:
            for key in keys:
                await store.set(key, key.encode())
                assert await anext(changes) == KeyChange(key, Versioned(key.encode(), 0))
        assert await store.keys() == sorted(keys)
        assert await store.items() == {key: Versioned(key.encode(), 0) for key in keys}
        for key in keys:
            assert await store.get(key) == Versioned(key.encode(), 0)
            assert await store.delete(key)
        assert sorted(await zk.get_children(path)) == sorted(others)
        with pytest.raises(ValueError, match="surrogates"):
            await store.set("\ud800", b"")
        with pytest.raises(TypeError, match="a key is text"):
            await store.get(b"A")  # type: ignore[arg-type]


async def test_compare_and_set(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = KeyValue(zk, path), KeyValue(other, path)
        results = await asyncio.gather(
            mine.compare_and_set("a", b"1", -1), theirs.compare_and_set("a", b"2", -1)
        )
        assert sorted(results, key=str) == [0, None]
        assert await mine.compare_and_set("a", b"3", 0) == 1
        assert await theirs.compare_and_set("a", b"4", 0) is None
        assert await theirs.compare_and_set("b", b"4", 0) is None
        assert not await mine.delete("a", version=0)
        assert await mine.delete("a", version=1)


async def test_watching(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        store, theirs = KeyValue(zk, path), KeyValue(other, path)
        await theirs.set("a", b"1")
        async with aclosing(store.watch("b")) as values, aclosing(store.changes()) as changes:
            assert await anext(values) is None
            assert await anext(changes) == KeyChange("a", Versioned(b"1", 0))
            await theirs.set("b", b"2")
            assert await anext(values) == Versioned(b"2", 0)
            assert await anext(changes) == KeyChange("b", Versioned(b"2", 0))
            await theirs.delete("b")
            assert await anext(values) is None
            assert await anext(changes) == KeyChange("b", None)
        await theirs.delete("a")
        await until_clean(server, zk, path)


async def test_a_register_is_never_set_twice_from_one_version(
    server: Server, connect: Connector, path: str
) -> None:
    """Every success is for a version of its own, through lost connections and sessions."""
    versions: list[int] = []

    async def write(zk: Client, name: str) -> None:
        store = KeyValue(zk, path)
        for number in range(40):
            now = await store.get("r")
            try:
                version = await store.compare_and_set(
                    "r", f"{name}{number}".encode(), -1 if now is None else now.version
                )
            except ConnectionLossError:
                continue
            if version is not None:
                versions.append(version)

    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        async with trouble(server, proxy, [zk, other], seed=9):
            await asyncio.gather(write(zk, "a"), write(other, "b"))
        assert len(versions) == len(set(versions)) > 20
