"""Restores while servers fail: the ensemble takes one as a whole or not at all."""

from __future__ import annotations

from random import Random

import pytest

from kraal.model.zxid import epoch
from kraal.replica.leading_term import LeadingTerm
from kraal.sim.checks.watcher import Watcher
from kraal.sim.client import Request, SimClient
from kraal.sim.protocol import Reply
from kraal.tree.apply import apply
from kraal.tree.data_tree import DataTree
from kraal.wire.opcodes import OpCode
from kraal.wire.records.txn import CreateTxn, Txn
from tests.scenarios.story import Story

SERVERS = (1, 2, 3)
STEPS = 30
LEAP = 1000
"""So far a restored tree is ahead of every transaction."""


class Restores:
    """Clients write, servers fail, and now and then the leader is given another tree.

    Everything that happens to clients has a place in one order, that of `clock`.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.story = story = Story(voters=3, seed=seed)
        for name in vars(Watcher):
            if not name.startswith("_"):  # the checks know of transactions alone
                setattr(story.world.checks, name, lambda *_, **__: None)
        story.start()
        story.until_led_by(3, 1, 2)
        self.clients = [self._client() for _ in range(3)]
        self.clock = 0
        self.writes = 0
        self.acknowledged: dict[bytes, tuple[int, int]] = {}
        """By path, when the write was sent and when it was acknowledged."""
        self.restored: dict[bytes, int] = {}
        """By the znode that only this tree has, when it was given to a leader."""
        self.down: int | None = None

    def _client(self) -> SimClient:
        sim = self.story.world.client(timeout_ms=4000, read_only=False)
        sim.server_ids = list(SERVERS)
        return sim

    def now(self) -> int:
        self.clock += 1
        return self.clock

    # What happens

    def play(self) -> None:
        for _ in range(STEPS):
            step = self.random.choices(
                (self.write, self.restore, self.stop_or_start, self.separate, self.heal),
                (6, 2, 2, 1, 2),
            )
            step[0]()
            self.story.run(self.random.randrange(1, 1500))
        self.heal()
        if self.down is not None:
            self.stop_or_start()
        self.until_the_same()

    def write(self) -> None:
        for client in self.clients:
            for _ in range(self.random.randrange(4)):
                self.writes += 1
                path, sent = b"/w%d" % self.writes, self.now()

                def acknowledged(reply: Reply | None, path: bytes = path, sent: int = sent) -> None:
                    if reply is not None and reply.err == 0:
                        self.acknowledged[path] = (sent, self.now())

                client.request(Request(OpCode.CREATE, path, b"", then=acknowledged))

    def restore(self) -> None:
        leader = self.story.world.leader()
        if leader is None or not isinstance(leader.peer.term, LeadingTerm):
            return
        term = leader.peer.term.leader
        tree = DataTree.pristine(extended_types=False, digests=True)
        zxid = term.last_proposed + LEAP
        assert epoch(zxid) == term.epoch
        mark = b"/restored%d" % len(self.restored)
        apply(tree, Txn(0, 0, zxid, 0, OpCode.CREATE, CreateTxn(mark, b"", None, False, 1), None))
        self.restored[mark] = self.now()
        leader.peer.restore(leader.now_ms, leader.wall_ms, tree)

    def stop_or_start(self) -> None:
        if self.down is not None:
            self.story.start(self.down)
            self.down = None
        else:
            self.down = self.random.choice(SERVERS)
            self.story.power_off(self.down)

    def separate(self) -> None:
        alone = self.random.choice(SERVERS)
        self.story.separate([alone], [each for each in SERVERS if each != alone])

    def heal(self) -> None:
        self.story.heal()

    # What is promised

    def until_the_same(self) -> None:
        story = self.story
        story.until(lambda: all(story.serves(server) is not None for server in SERVERS))
        story.client(1).create("/behind")

        def same() -> bool:
            if any(story.serves(server) is None for server in SERVERS):
                return False
            trees = [story.tree(server) for server in SERVERS]
            return len({(tree.last_zxid, tree.digest) for tree in trees}) == 1

        story.until(same)

    def judge(self) -> bytes | None:
        """Returns what znode says which restore counts."""
        nodes = self.story.tree(1).nodes
        marks = [mark for mark in self.restored if mark in nodes]
        assert len(marks) <= 1
        began = self.restored[marks[0]] if marks else 0
        for path, (sent, acknowledged) in self.acknowledged.items():
            if sent > began:
                assert path in nodes, f"{path!r} was acknowledged and is lost"
            elif acknowledged < began:
                assert path not in nodes, f"{path!r} is older than the restored tree"
        return marks[0] if marks else None


@pytest.mark.parametrize("seed", range(8))
def test_a_restore_counts_as_a_whole_or_not_at_all(seed: int) -> None:
    restores = Restores(seed)
    restores.play()
    restores.judge()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_restores() -> None:
    counted: list[bool] = []
    for seed in range(1000):
        restores = Restores(seed)
        restores.play()
        counted.append(restores.judge() is not None)
    assert {True, False} == set(counted)
