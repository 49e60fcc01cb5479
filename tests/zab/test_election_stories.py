"""Elections of several servers: the stories of section 3.10, and a network that misbehaves."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from kraal.model.ensemble import EnsembleConfig
from tests.zab.election_bench import FIVE, FOLLOWING, LOOKING, THREE
from tests.zab.election_network import Faults, Network, configuration


def quiet(config: EnsembleConfig) -> Network:
    return Network(config, Random(0), Faults())


def test_five_fresh_servers_one_after_the_other() -> None:
    network = quiet(FIVE)
    network.boot(1)
    network.run(20_000)
    assert network.nodes[1].state is LOOKING
    network.boot(2)
    network.run(20_000)
    assert network.nodes[1].state is network.nodes[2].state is LOOKING
    network.boot(3)
    assert network.run(1000, lambda: network.agreed() == 3)
    network.run(20_000)
    for late in (4, 5):
        network.boot(late)
        assert network.run(100, lambda: network.agreed() == 3)
    network.run(100_000)
    assert network.agreed() == 3
    assert network.established == 1


def survivors(zxids: Sequence[int]) -> Network:
    """Servers 1, 2, 4 and 5 after their leader 3 died, with these last zxids."""
    network = quiet(FIVE)
    for id_, zxid in zip((1, 2, 4, 5), zxids, strict=True):
        network.nodes[id_].zxid, network.nodes[id_].epoch = zxid, 1
    return network


@pytest.mark.parametrize(
    ("zxids", "leader"), [((123, 124, 169, 188), 5), ((123, 188, 169, 124), 2)]
)
def test_the_leader_dies_and_the_most_advanced_survivor_leads(
    zxids: Sequence[int], leader: int
) -> None:
    network = survivors(zxids)
    network.boot(1, 2, 4, 5)
    assert network.run(1000, lambda: network.agreed() == leader)


def test_three_survivors_agree_before_the_most_advanced_is_heard() -> None:
    network = survivors((123, 124, 169, 188))
    network.boot(1, 2, 4)
    assert network.run(1000, lambda: network.agreed() == 4)
    network.boot(5)
    assert network.run(1000, lambda: network.agreed() == 4)
    assert network.nodes[5].state is FOLLOWING


def test_an_observer_that_waits_long_learns_of_the_leader_at_once() -> None:
    network = quiet(configuration(range(1, 4), observers=[9]))
    network.boot(9, 1)
    network.run(200_000)
    network.boot(2)
    assert network.run(1000, lambda: network.agreed() == 2)


# A network that misbehaves

ENSEMBLES = (
    THREE,
    FIVE,
    configuration(range(1, 5)),
    configuration(range(1, 4), observers=[4, 5]),
    configuration(range(1, 8), more="group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7"),
    configuration(range(1, 6), more="group.1=1:2:3\ngroup.2=4\ngroup.3=5\nweight.2=0\nweight.3=2"),
)


def misbehave(seed: int) -> Network:
    """Some seconds of faults, then quiet: everybody agrees in the end."""
    random = Random(seed)
    faults = Faults(
        lost=random.choice((0.0, 0.1, 0.4)),
        repeated=random.choice((0.0, 0.2)),
        stale=random.choice((0.0, 0.1, 0.3)),
        delay_ms=random.choice((5, 100, 400, 2000)),
    )
    network = Network(random.choice(ENSEMBLES), random, faults)
    ids = list(network.nodes)
    for node in network.nodes.values():
        node.zxid = random.choice((0, 0, 1, 2, 5))
        node.epoch = random.choice((0, 0, 1))
        network.at(random.randint(0, 1500), lambda id_=node.id: network.boot(id_))  # type: ignore[misc]
    for _ in range(random.randint(0, 8)):
        network.run(random.randint(50, 1500))
        if random.random() < 0.5:
            one, other = random.sample(ids, 2)
            network.cut ^= {frozenset((one, other))}
        elif network.nodes[one := random.choice(ids)].election is not None:
            network.crash(one)
            network.at(random.randint(0, 500), lambda id_=one: network.boot(id_))  # type: ignore[misc]
    network.run(3000)
    network.faults = Faults()
    network.cut.clear()
    assert network.run(300_000, lambda: network.agreed() is not None), f"seed {seed}"
    leader = network.agreed()
    network.run(10_000)
    assert network.agreed() == leader, f"seed {seed}: it does not last"
    return network


@pytest.mark.parametrize("hundreds", range(20))
def test_no_fault_elects_two_leaders_and_quiet_elects_one(hundreds: int) -> None:
    for seed in range(hundreds * 100, hundreds * 100 + 100):
        try:
            misbehave(seed)
        except AssertionError as error:
            error.add_note(f"misbehave({seed})")
            raise
