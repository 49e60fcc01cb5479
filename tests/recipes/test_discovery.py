"""Service discovery: who is announced is found, who fails is left alone for a while."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from kraal.client import CREATOR_ALL_ACL, NoAuthError
from kraal.recipes import (
    ConsistentHash,
    LeastUsed,
    NoInstanceError,
    NotRunningError,
    Pick,
    RandomPick,
    RecipeError,
    RoundRobin,
    ServiceInstance,
    ServiceRegistry,
    Usage,
    Weighted,
)
from kraal.testing import Server
from tests.recipes.conftest import Connector, background_ends, until, until_clean
from tests.recipes.trouble import trouble
from tests.support.proxy import Proxy


@dataclass(frozen=True)
class Payload:
    weight: int = 1
    zone: str = ""


def instance(number: int, weight: int = 1) -> ServiceInstance[Payload]:
    return ServiceInstance("mail", f"i{number}", "10.0.0.1", 25 + number, payload=Payload(weight))


async def test_what_is_registered_is_found(server: Server, connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        async with ServiceRegistry(zk, path, Payload) as registry:
            first = await registry.register(instance(1))
            theirs = ServiceRegistry(other, path, Payload)
            assert await theirs.names() == ["mail"]
            [found] = await theirs.instances("mail")
            assert replace(found, registered=0) == instance(1)
            assert found.registered > 0
            async with theirs.provider("mail") as provider:
                await provider.ready()
                assert provider.pick().port == 26
                await first.set_enabled(False)
                await until(lambda: not provider.available())
                with pytest.raises(NoInstanceError):
                    provider.pick()
                await registry.register(instance(2))
                await provider.wait_available()
                assert provider.pick().id == "i2"
                session = zk.session_id
                server.expire(session)
                await until(lambda: zk.session_id not in (0, session) and first.is_announced)
                await until(lambda: len(provider.instances) == 2)
                with pytest.raises(ValueError, match="keeps its name"):
                    await first.update(instance(3))
        await until_clean(server, other, f"{path}/mail")


async def test_curators_json_is_read_and_written(connect: Connector, path: str) -> None:
    theirs = {
        "name": "mail", "id": "x", "address": "h", "port": 1, "sslPort": None,
        "payload": {"@class": "com.example.Payload", "weight": 7}, "enabled": True,
        "registrationTimeUTC": 1700000000000, "serviceType": "DYNAMIC", "uriSpec": None,
    }  # fmt: skip
    async with connect() as zk:
        await zk.create(f"{path}/mail/x", json.dumps(theirs).encode(), make_parents=True)
        [found] = await ServiceRegistry(zk, path, Payload).instances("mail")
        assert found == ServiceInstance(
            "mail", "x", "h", 1, payload=Payload(7), registered=1700000000000
        )
        [untyped] = await ServiceRegistry[object](zk, path).instances("mail")
        assert untyped.payload == {"weight": 7}
        assert set(json.loads(found.encode())) == set(theirs)


async def test_what_is_no_instance_is_left_out_and_logged_once(
    connect: Connector, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [b"nonsense", b"{}", b'{"name": "mail", "id": "x", "address": "h", "payload": "x"}']
    async with connect() as zk, ServiceRegistry(zk, path, Payload) as registry:
        await registry.register(instance(1))
        for number, data in enumerate(wrong):
            await zk.create(f"{path}/mail/wrong-{number}", data)
        assert [each.id for each in await registry.instances("mail")] == ["i1"]
        assert caplog.text.count("is no service instance") == len(wrong)
        caplog.clear()
        async with registry.provider("mail") as provider:
            await provider.ready()
            assert set(provider.instances) == {"i1"}
            await registry.register(instance(2))
            await until(lambda: set(provider.instances) == {"i1", "i2"})
            assert caplog.text.count("is no service instance") == len(wrong)
            await zk.set(f"{path}/mail/wrong-0", instance(3).encode())
            await until(lambda: "wrong-0" in provider.instances)


async def healthy() -> bool:
    return True


@pytest.mark.parametrize(
    ("changed", "options", "error"),
    [
        ({"payload": "x"}, {}, "payload must be a Payload"),
        ({"payload": Payload(cast("int", "x"))}, {}, "payload.weight must be int"),
        ({"address": ""}, {}, "address must not be empty"),
        ({"address": 5}, {}, "address must be str"),
        ({"port": 65536}, {}, "a port is a number from 0 to 65535"),
        ({"ssl_port": -1}, {}, "a port is a number from 0 to 65535"),
        ({"port": "25"}, {}, "port must be int"),
        ({"enabled": 1}, {}, "enabled must be bool"),
        ({"id": "a/b"}, {}, "can be no name"),
        ({}, {"check": healthy, "interval": 0}, "interval must be above 0 s"),
        ({}, {"check": healthy, "interval": -1}, "interval must not be below 0 s"),
        ({}, {"check": healthy, "interval": "x"}, "interval must be a number"),
        ({}, {"check": lambda: True}, "a coroutine function is needed"),
        ({}, {"check": 5}, "a coroutine function is needed"),
    ],
)
async def test_what_others_could_not_use_is_not_registered(
    connect: Connector, path: str, changed: dict[str, Any], options: dict[str, Any], error: str
) -> None:
    async with connect() as zk, ServiceRegistry(zk, path, Payload) as registry:
        with pytest.raises((TypeError, ValueError), match=error):
            await registry.register(replace(instance(1), **changed), **options)
        assert await registry.names() == []
        if changed.keys() - {"id"}:
            registration = await registry.register(instance(1), check=healthy)
            with pytest.raises((TypeError, ValueError), match=error):
                await registration.update(replace(instance(1), **changed))


async def test_a_closed_registry_takes_no_more(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with ServiceRegistry(zk, path, Payload) as registry:
            with pytest.raises(TypeError, match="a ServiceInstance is needed"):
                await registry.register(cast("ServiceInstance[Payload]", "mail"))
        with pytest.raises(NotRunningError, match="is closed"):
            await registry.register(instance(1))
        assert await registry.names() == []


async def test_an_instance_that_may_not_be_read_is_left_out(connect: Connector, path: str) -> None:
    async with (
        connect() as zk,
        connect(auth=[("digest", b"a:b")]) as owner,
        ServiceRegistry(owner, path, Payload) as registry,
    ):
        await registry.register(instance(1))
        await owner.create(f"{path}/mail/i2", instance(2).encode(), acl=CREATOR_ALL_ACL)
        theirs = ServiceRegistry(zk, path, Payload)
        assert [each.id for each in await theirs.instances("mail")] == ["i1"]
        async with theirs.provider("mail") as provider:
            await provider.ready()
            assert list(provider.instances) == ["i1"]
            await registry.register(instance(3))
            await until(lambda: list(provider.instances) == ["i1", "i3"])
        await owner.set_acl(f"{path}/mail", CREATOR_ALL_ACL)
        async with theirs.provider("mail") as provider:
            with pytest.raises(NoAuthError):
                await provider.ready()
            with pytest.raises(NoAuthError):
                provider.pick()


async def test_who_registers_an_id_again_replaces_it(connect: Connector, path: str) -> None:
    async with connect() as zk:
        async with ServiceRegistry(zk, path, Payload) as registry:
            first = await registry.register(instance(1))
            created = (await zk.get(f"{path}/mail/i1")).stat
            second = await registry.register(instance(1, weight=7))
            node = await zk.get(f"{path}/mail/i1")
            assert node.stat.czxid == created.czxid  # it was there all the time
            assert json.loads(node.data)["payload"]["weight"] == 7
            assert second.is_announced and not first.is_announced
            with pytest.raises(NotRunningError, match="registered again"):
                await first.set_enabled(False)
            await first.close()
            assert await zk.exists(f"{path}/mail/i1")
            with pytest.raises(RecipeError, match="another PersistentNode"):
                await ServiceRegistry(zk, path, Payload).register(instance(1))
            await second.close()
            assert await zk.exists(f"{path}/mail/i1") is None
            both = [registry.register(instance(1, weight)) for weight in (1, 2)]
            await asyncio.gather(*both)
            [found] = await registry.instances("mail")
            assert found.payload == Payload(2)
        assert await zk.exists(f"{path}/mail/i1") is None


async def test_health_is_shown(connect: Connector, path: str) -> None:
    health: list[bool | Exception] = [True]

    async def check() -> bool:
        outcome = health[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with connect() as zk, ServiceRegistry(zk, path, Payload) as registry:
        registration = await registry.register(instance(1), check=check, interval=0.01)
        async with registry.provider("mail") as provider:
            await provider.wait_available()
            health[0] = False
            await until(lambda: not provider.available())
            health[0] = True
            await until(lambda: bool(provider.available()))
            health[0] = OSError("down")
            await until(lambda: not provider.available())
            assert not registration.instance.enabled


async def test_who_fails_is_taken_out_for_a_while(connect: Connector, path: str) -> None:
    async with connect() as zk, ServiceRegistry(zk, path, Payload) as registry:
        for number in (1, 2):
            await registry.register(instance(number))
        async with registry.provider("mail", failures=2, penalty=0.05) as provider:
            await provider.ready()
            for _ in range(4):
                with pytest.raises(OSError, match="down"):
                    async with provider.use():
                        raise OSError("down")
            assert not provider.available()
            await provider.wait_available()
            async with provider.use() as used:
                pass
            with pytest.raises(OSError, match="once"):
                async with provider.use():
                    raise OSError("once")
            assert used.id in {each.id for each in provider.instances.values()}


async def test_a_cancelled_use_is_no_failure(connect: Connector, path: str) -> None:
    async with connect() as zk, ServiceRegistry(zk, path, Payload) as registry:
        await registry.register(instance(1))
        async with registry.provider("mail", failures=1) as provider:
            await provider.ready()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), provider.use():
                    await asyncio.Event().wait()
            assert provider.available()


def picked(pick: Pick, count: int, usage: Usage = Usage("", {})) -> list[str]:  # noqa: B008
    instances = [instance(number, weight=number) for number in range(3)]
    return [pick(instances, usage).id for _ in range(count)]


def test_ways_to_pick() -> None:
    assert picked(RoundRobin(), 4) == ["i0", "i1", "i2", "i0"]
    assert set(picked(RandomPick(random.Random(1)), 50)) == {"i0", "i1", "i2"}
    weighted = Counter(picked(Weighted(lambda payload: payload.weight, random.Random(1)), 300))
    assert weighted["i0"] == 0
    assert weighted["i2"] > weighted["i1"] > 0
    assert set(picked(Weighted(lambda _: 0, random.Random(1)), 50)) == {"i0", "i1", "i2"}
    for weight in (-1, math.nan):
        with pytest.raises(ValueError, match="the weight of i0 must not be below 0"):
            picked(Weighted(lambda _, weight=weight: weight), 1)  # type: ignore[misc]
    assert picked(LeastUsed(), 3, Usage("", {"i0": 1, "i1": 1})) == ["i2"] * 3
    assert picked(LeastUsed(), 3, Usage("", {"i0": 1})) == ["i1", "i2", "i1"]


def test_consistent_hashing_moves_only_what_it_must() -> None:
    instances = [instance(number) for number in range(5)]
    pick = ConsistentHash()
    keys = [f"key {number}" for number in range(500)]
    before = {key: pick(instances, Usage(key, {})).id for key in keys}
    after = {key: pick(instances[1:], Usage(key, {})).id for key in keys}
    assert all(before[key] == after[key] for key in keys if before[key] != "i0")
    assert min(Counter(before.values()).values()) > 50


async def test_it_survives_trouble(server: Server, connect: Connector, path: str) -> None:
    async with Proxy(server.port) as proxy, connect(proxy.port) as zk, connect(proxy.port) as other:
        registry = ServiceRegistry(zk, path, Payload)
        provider = ServiceRegistry(other, path, Payload).provider("mail")
        async with provider:
            async with trouble(server, proxy, [zk, other], seed=6):
                registrations = [await registry.register(instance(n)) for n in range(3)]
                for weight in range(5):
                    for number, each in enumerate(registrations):
                        await each.update(instance(number, weight))
                await registrations[0].close()
            await until(lambda: set(provider.instances) == {"i1", "i2"})
            await until(
                lambda: all(each.payload == Payload(4) for each in provider.instances.values())
            )
        await registry.close()
        await background_ends()
        await until_clean(server, other, f"{path}/mail")
