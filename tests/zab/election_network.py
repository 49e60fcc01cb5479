"""Elections in virtual time: a network that can lose, delay, repeat and partition."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from random import Random

from kraal.model.config import EnsembleSettings
from kraal.model.ensemble import EnsembleConfig
from kraal.zab.election import Election, Vote
from kraal.zab.state import State

PATIENCE_MS = 1000
"""How long a server with a role waits for the servers that the role needs."""
QUIET_DELAY_MS = 5


def configuration(
    voters: Collection[int], observers: Collection[int] = (), more: str = ""
) -> EnsembleConfig:
    """Servers 1.. of host zkN; `more` are further lines, such as groups and a version."""
    lines = [f"server.{id_}=zk{id_}:{2000 + id_}:{3000 + id_}" for id_ in voters]
    lines += [f"server.{id_}=zk{id_}:{2000 + id_}:{3000 + id_}:observer" for id_ in observers]
    return EnsembleConfig.parse("\n".join([*lines, more]))


def settings_of(config: EnsembleConfig) -> EnsembleSettings:
    return EnsembleSettings(config=config, init_limit_ticks=10, sync_limit_ticks=5)


@dataclass
class Node:
    """One server: what survives its crash, and its election while it runs."""

    id: int
    zxid: int
    epoch: int
    election: Election | None = None
    life: int = 0
    """Counts starts of the process and of elections: what was scheduled before is void."""
    established_in: int = 0
    """The life in which it leads an epoch."""
    candidacies: set[tuple[int, int]] = field(default_factory=set)
    """Every zxid and epoch under which it could be voted for."""

    @property
    def state(self) -> State | None:
        return self.election.state if self.election else None

    @property
    def leader(self) -> int | None:
        """Whom it follows, or itself while it leads."""
        if self.election is None or self.election.state is State.LOOKING:
            return None
        return self.election.vote.leader


@dataclass
class Faults:
    """What the network does until it is quiet; probabilities, and delays in ms."""

    lost: float = 0.0
    repeated: float = 0.0
    stale: float = 0.0
    delay_ms: int = QUIET_DELAY_MS


class _Link:
    """The courier of one server."""

    def __init__(self, network: Network, source: int) -> None:
        self._network = network
        self._source = source

    def send(self, server_id: int, message: bytes) -> None:
        self._network.carry(self._source, server_id, message)


class Network:
    """Runs the elections of its nodes; every decision is checked as it is made."""

    def __init__(self, config: EnsembleConfig, random: Random, faults: Faults) -> None:
        self.config = config
        self.random = random
        self.faults = faults
        self.now_ms = 0
        self.nodes = {id_: Node(id_, 0, 0) for id_ in sorted(config.members)}
        self.cut: set[frozenset[int]] = set()
        self.carried = 0
        self.established = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sent: dict[tuple[int, int], list[bytes]] = {}
        self._chosen: dict[int, dict[tuple[int, int], int]] = {}
        """By round: what each life of each voter decided."""

    # Time

    def at(self, delay_ms: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self.carried, what))
        self.carried += 1

    def run(self, ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; whether `until` came true."""
        end = self.now_ms + ms
        while not until():
            due = self._next_deadline()
            if self._queue and (due is None or self._queue[0][0] <= due[0]):
                at_ms, _, what = self._queue[0]
                if at_ms > end:
                    break
                heapq.heappop(self._queue)
                self.now_ms = at_ms
                what()
            elif due is None or due[0] > end:
                break
            else:
                self.now_ms = max(self.now_ms, due[0])
                due[1].tick(self.now_ms)
        else:
            return True
        self.now_ms = end
        return until()

    def _next_deadline(self) -> tuple[int, Election] | None:
        found: tuple[int, Election] | None = None
        for node in self.nodes.values():
            if node.election is not None:
                deadline = node.election.deadline_ms()
                if deadline is not None and (found is None or deadline < found[0]):
                    found = deadline, node.election
        return found

    # Messages

    def carry(self, source: int, target: int, message: bytes) -> None:
        assert source != target, "nobody notifies itself"
        assert target in self.nodes, "nobody notifies a stranger"
        faults, random = self.faults, self.random
        earlier = self._sent.setdefault((source, target), [])
        earlier.append(message)
        copies = [message] if random.random() >= faults.lost else []
        if random.random() < faults.repeated:
            copies.append(message)
        if random.random() < faults.stale:
            copies.append(random.choice(earlier))
        for one in copies:
            late = random.random() < 0.2
            delay_ms = QUIET_DELAY_MS
            if faults.delay_ms > QUIET_DELAY_MS:
                delay_ms = random.randint(1, faults.delay_ms if late else 20)
            self.at(delay_ms, lambda one=one: self._deliver(source, target, one))  # type: ignore[misc]

    def _deliver(self, source: int, target: int, message: bytes) -> None:
        election = self.nodes[target].election
        if election is not None and frozenset((source, target)) not in self.cut:
            election.received(self.now_ms, source, message)

    # Servers

    def boot(self, *ids: int) -> None:
        """Start processes, which begin to look."""
        for id_ in ids:
            node = self.nodes[id_]
            node.life += 1
            node.election = Election(
                id_,
                settings_of(self.config),
                _Link(self, id_),
                lambda state, vote, node=node: self._decided(node, state, vote),  # type: ignore[misc]
            )
            self.look(node)

    def crash(self, id_: int) -> None:
        node = self.nodes[id_]
        node.life += 1
        node.election = None

    def look(self, node: Node) -> None:
        assert node.election is not None
        node.life += 1
        node.candidacies.add((node.zxid, node.epoch))
        node.election.start(self.now_ms, zxid=node.zxid, peer_epoch=node.epoch)

    def followers(self, leader: int) -> list[int]:
        """Voters that follow it, itself included while it leads."""
        return [
            id_
            for id_ in self.config.voters
            if self.nodes[id_].leader == leader and frozenset((id_, leader)) not in self.cut
        ]

    def leads(self, id_: int) -> bool:
        return self.nodes[id_].state is State.LEADING and self.config.contains_quorum(
            self.followers(id_)
        )

    def agreed(self) -> int | None:
        """The leader that all who are up have, if they do."""
        up = [node for node in self.nodes.values() if node.election is not None]
        leaders = {node.leader for node in up}
        leader = leaders.pop() if len(leaders) == 1 else None
        return leader if leader is not None and self.leads(leader) else None

    def _decided(self, node: Node, state: State, vote: Vote) -> None:
        assert node.election is not None
        leader = self.nodes[vote.leader]
        assert vote.leader in self.config.voters
        assert (vote.zxid, vote.peer_epoch) in leader.candidacies, "a vote that nobody cast"
        assert self.config.contains_quorum(node.election.electors)
        if state is State.OBSERVING:
            assert node.id in self.config.observers
        else:
            assert (state is State.LEADING) == (vote.leader == node.id)
        if not self.established:
            self._check_first_choice(vote)
        self._check_round(node, vote)
        life = node.life
        self.at(PATIENCE_MS, lambda: self._look_around(node, life))

    def _check_first_choice(self, vote: Vote) -> None:
        """As long as nothing was written, a leader is behind no more than a minority."""
        behind = [
            node.id
            for node in self.nodes.values()
            if (node.epoch, node.zxid, node.id) <= (vote.peer_epoch, vote.zxid, vote.leader)
        ]
        assert self.config.contains_quorum(behind), f"{vote} was elected by nobody"

    def _check_round(self, node: Node, vote: Vote) -> None:
        """In one round only one leader is followed by a quorum."""
        if node.id not in self.config.voters:
            return
        chosen = self._chosen.setdefault(vote.round, {})
        chosen[node.id, node.life] = vote.leader
        current = {
            id_: leader for (id_, life), leader in chosen.items() if self.nodes[id_].life == life
        }
        quorums = [
            leader
            for leader in set(current.values())
            if self.config.contains_quorum([id_ for id_ in current if current[id_] == leader])
            and self.nodes[leader].state is State.LEADING
        ]
        assert len(quorums) <= 1, f"round {vote.round} has leaders {quorums}"

    def _look_around(self, node: Node, life: int) -> None:
        """Leave a role that does not hold; a leader with its quorum begins an epoch."""
        if node.life != life or node.election is None or node.leader is None:
            return
        if node.state is State.LEADING and self.leads(node.id):
            followers = [self.nodes[id_] for id_ in self.followers(node.id)]
            if node.established_in != life:
                node.established_in = life
                self.established += 1
                epoch = 1 + max(other.epoch for other in followers)
                for other in [*followers, *self._observers(node.id)]:
                    self._sync(other, node, epoch)
        elif node.state is State.LEADING or not self._is_led(node):
            self.look(node)
            return
        else:
            leader = self.nodes[node.election.vote.leader]
            is_behind = node.election.vote.peer_epoch != leader.epoch
            if is_behind and leader.established_in == leader.life:
                self._sync(node, leader, leader.epoch)
        self.at(PATIENCE_MS, lambda: self._look_around(node, life))

    def _is_led(self, node: Node) -> bool:
        assert node.election is not None
        leader = self.nodes[node.election.vote.leader]
        return leader.state is State.LEADING and frozenset((node.id, leader.id)) not in self.cut

    def _observers(self, leader: int) -> list[Node]:
        return [node for id_, node in self.nodes.items()
                if id_ in self.config.observers and node.leader == leader]  # fmt: skip

    def _sync(self, node: Node, leader: Node, epoch: int) -> None:
        """A learner takes the leader's history; the leader writes one transaction."""
        assert node.election is not None and leader.election is not None
        leader.candidacies.add((node.election.vote.zxid, epoch))
        node.epoch = epoch
        node.zxid = epoch << 32 | 1
        node.election.synced(epoch)
