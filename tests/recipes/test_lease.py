"""Leases: one holder for a time, by the clock of the servers."""

from __future__ import annotations

import asyncio
import json

import pytest

from kraal.recipes import Lease, LostError, MultiLease, RecipeError, Term
from kraal.testing import Server
from tests.recipes.conftest import Connector, watches


async def test_a_lease_is_one_holders_until_it_is_released(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        mine, theirs = Lease(zk, path, 60.0, "a"), Lease(other, path, 60.0, "b")
        held = await mine.obtain()
        assert held is not None
        assert 0 < held.remaining <= 60.0
        assert held.is_sure
        assert await theirs.obtain() is None
        term = await theirs.holder()
        assert term is not None and term.holder == "a"
        await held.release()
        assert await mine.holder() is None
        again = await theirs.obtain()
        assert again is not None and again.token > held.token
        await held.release()  # without effect on the new one
        assert await theirs.holder() is not None


async def test_a_lease_outlives_its_session_and_is_renewed_by_name(
    server: Server, connect: Connector, path: str
) -> None:
    async with connect() as zk:
        first = await Lease(zk, path, 60.0, "host").obtain()
        assert first is not None
    async with connect() as zk:
        assert await Lease(zk, path, 60.0, "other").obtain() is None
        second = await Lease(zk, path, 60.0, "host").obtain()
        assert second is not None and second.token > first.token
        assert await watches(server) == 0


async def test_a_lease_ends(connect: Connector, path: str) -> None:
    async with connect() as zk:
        held = await Lease(zk, path, 0.05, "a").obtain()
        assert held is not None
        async with asyncio.timeout(10):
            await held.lost.wait()
        assert held.remaining == 0
        with pytest.raises(LostError, match="time is over"):
            await held.renew()
        async with asyncio.timeout(10):
            while (taken := await Lease(zk, path, 60.0, "b").obtain()) is None:
                await asyncio.sleep(0.005)
        await held.release()  # it is another one's by now
        term = await Lease(zk, path, 60.0).holder()
        assert term is not None and term.holder == "b"
        await taken.release()


async def test_a_renewed_lease_does_not_end_at_its_old_end(connect: Connector, path: str) -> None:
    async with connect() as zk:
        held = await Lease(zk, path, 60.0, "a").obtain()
        assert held is not None
        before = (held.end, held.token)
        await held.renew()
        assert (held.end, held.token) > before
        await held.release()


async def test_many_clients_and_one_holder(connect: Connector, path: str) -> None:
    async with connect() as zk, connect() as other:
        leases = [Lease((zk, other)[n % 2], path, 60.0, str(n)) for n in range(8)]
        taken = await asyncio.gather(*(lease.obtain() for lease in leases))
        assert sum(held is not None for held in taken) == 1


async def test_as_many_holders_as_there_are_leases(connect: Connector, path: str) -> None:
    async with connect() as zk:
        taken = [await MultiLease(zk, path, 2, 60.0, name).obtain() for name in "abc"]
        assert [held is not None for held in taken] == [True, True, False]
        again = await MultiLease(zk, path, 2, 60.0, "b").obtain()
        assert again is not None
        first = taken[0]
        assert first is not None
        await first.release()
        renewed = await MultiLease(zk, path, 2, 60.0, "b").obtain()
        assert renewed is not None
        assert str(renewed) == f"{path}/1"


async def test_what_is_no_lease_is_an_error(connect: Connector, path: str) -> None:
    async with connect() as zk:
        await zk.create(f"{path}/lease_holder", b"{}", make_parents=True)
        with pytest.raises(RecipeError, match="not a lease"):
            await Lease(zk, path, 1.0, "a").obtain()
        assert await zk.get_children(path) == ["lease_holder"]


def test_terms_are_read_and_written_as_kazoo_does() -> None:
    term = Term("me", 1_700_000_000.25)
    fields = json.loads(term.encode())
    assert (fields["version"], fields["holder"]) == (1, "me")
    assert fields["end"] == "2023-11-14T22:13:21"
    assert Term.decode(term.encode()) == term
    kazoos = b'{"version": 1, "holder": "you", "end": "2023-11-14T22:13:20"}'
    assert Term.decode(kazoos) == Term("you", 1_700_000_000.0)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b'{"version": 2}', b'{"version": 1, "holder": "x"}']
)
def test_terms_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(RecipeError):
        Term.decode(data)


async def test_many_leases_cost_nothing_until_they_are_held(connect: Connector, path: str) -> None:
    async with connect() as zk, asyncio.timeout(10):
        first = await MultiLease(zk, path, 10**12, 60.0, "a").obtain()
        second = await MultiLease(zk, path, 10**12, 60.0, "b").obtain()
        assert [str(first), str(second)] == [f"{path}/0", f"{path}/1"]
        again = await MultiLease(zk, path, 10**12, 60.0, "b").obtain()
        assert str(again) == f"{path}/1"
