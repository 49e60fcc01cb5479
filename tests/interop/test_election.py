"""Elections between our voter and two servers of Apache ZooKeeper, which do the leading.

Ours has no quorum port: it votes, answers and is told, and that must be enough for the others
to find their leader with its help.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig, Role
from kraal.zab.state import State
from tests.support.ensembles import APACHE, KRAAL, Ensemble, Member, Shape, quiet_ports
from tests.support.servers import HOST, require_reference
from tests.support.voter import Voter

pytestmark = [pytest.mark.apache, pytest.mark.timeout(180)]

T = TypeVar("T")
COMPLAINTS = ("malformed", "Read only", "nvalid", "nrecognized", "protocol", "config received")


async def apart(blocking: Callable[[], T]) -> T:
    """Wait in a thread, while our voter goes on."""
    return await asyncio.to_thread(blocking)


def config_of(ensemble: Ensemble, *more: str) -> EnsembleConfig:
    return EnsembleConfig.parse("\n".join([*ensemble.server_lines(), *more]))


@asynccontextmanager
async def voter(
    me: int, config: EnsembleConfig, *, zxid: int = 0, epoch: int = 0
) -> AsyncIterator[Voter]:
    settings = EnsembleSettings(config=config, init_limit_ticks=20, sync_limit_ticks=6)
    one = Voter(me, settings)
    try:
        await one.start(zxid, epoch)
        yield one
    finally:
        await one.stop()


def ensemble_in(directory: Path, *ours: int) -> Ensemble:
    """Three members on loopback, some of which are ours."""
    require_reference()
    kinds = tuple(KRAAL if id_ in ours else APACHE for id_ in (1, 2, 3))
    return Ensemble(directory, Shape(participants=kinds, log_level="INFO"))


async def is_looking(member: Member) -> None:
    """Wait until it has begun its first round."""
    while "New election" not in member.log_text():
        await asyncio.sleep(0.05)


def check_log(member: Member) -> None:
    """It understood everything that it was sent."""
    lines = member.log_text().splitlines()
    heard = [one for one in lines if "FastLeaderElection" in one or "QuorumCnxManager" in one]
    assert heard
    assert [one for one in heard if any(word in one for word in COMPLAINTS)] == []


def test_a_smaller_id_votes_for_a_leader_and_tells_a_late_one(tmp_path: Path) -> None:
    async def main(ensemble: Ensemble) -> None:
        second, third = ensemble.members[2], ensemble.members[3]
        third.launch()
        await is_looking(third)
        async with voter(1, config_of(ensemble)) as ours:
            assert await ours.decision() == (State.FOLLOWING, 3)
            second.launch()
            assert await apart(ensemble.wait_leader) is third
            await apart(partial(ensemble.wait_mode, second, "follower"))
            for _ in range(3):
                ours.look()
                assert await ours.decision() == (State.FOLLOWING, 3)
            assert ours.election.vote.peer_epoch == 1
            check_log(second)
            check_log(third)

    with ensemble_in(tmp_path, 1) as ensemble:
        asyncio.run(main(ensemble))


def test_a_larger_id_is_told_and_then_votes_for_who_has_more(tmp_path: Path) -> None:
    async def main(ensemble: Ensemble) -> None:
        first, second = ensemble.members[1], ensemble.members[2]
        first.launch()
        second.launch()
        leader = await apart(ensemble.wait_serving)
        assert leader is second
        async with voter(3, config_of(ensemble)) as ours:
            assert await ours.decision() == (State.FOLLOWING, 2)
            assert ours.election.vote.peer_epoch == 1
            second.kill()
            ours.look()
            assert await ours.decision() == (State.FOLLOWING, 1)
            second.launch()
            assert await apart(ensemble.wait_serving) is first
            check_log(first)
            check_log(second)

    with ensemble_in(tmp_path, 3) as ensemble:
        asyncio.run(main(ensemble))


def test_all_three_look_at_once(tmp_path: Path) -> None:
    """In the middle: dialled back by one, dialling back the other."""

    async def main(ensemble: Ensemble) -> None:
        first, third = ensemble.members[1], ensemble.members[3]
        third.launch()
        await is_looking(third)
        async with voter(2, config_of(ensemble)) as ours:
            first.launch()
            assert await ours.decision() == (State.FOLLOWING, 3)
            assert await apart(ensemble.wait_leader) is third
            third.kill()
            ours.look()
            assert await ours.decision() == (State.FOLLOWING, 1)
            check_log(first)

    with ensemble_in(tmp_path, 2) as ensemble:
        asyncio.run(main(ensemble))


def test_an_observer_is_told(tmp_path: Path) -> None:
    async def main(ensemble: Ensemble) -> None:
        async with voter(3, config_of(ensemble)) as ours:
            ensemble.members[1].launch()
            ensemble.members[2].launch()
            assert await ours.decision() == (State.OBSERVING, 2)
            assert await apart(ensemble.wait_leader) is ensemble.members[2]

    require_reference()
    shape = Shape(participants=(APACHE, APACHE), observers=(KRAAL,), log_level="INFO")
    with Ensemble(tmp_path, shape) as ensemble:
        asyncio.run(main(ensemble))


def test_a_joiner_adopts_the_configuration_and_follows_without_a_vote(tmp_path: Path) -> None:
    async def main(ensemble: Ensemble) -> None:
        for member in ensemble.members.values():
            member.launch()
        await apart(ensemble.wait_serving)
        quorum, election = quiet_ports(2)
        config = config_of(ensemble, f"server.9={HOST}:{quorum}:{election}:participant")
        assert config.members[9].role is Role.PARTICIPANT
        async with voter(9, config) as ours:
            assert await ours.decision() == (State.FOLLOWING, 2)
            assert ours.election.config.version == 1 << 32
            assert 9 not in ours.election.config.members

    require_reference()
    shape = Shape(participants=(APACHE, APACHE), dynamic=True, log_level="INFO")
    with Ensemble(tmp_path, shape) as ensemble:
        asyncio.run(main(ensemble))
