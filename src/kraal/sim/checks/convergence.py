"""The end of a run: once the faults stop, everything works again and is the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraal.model.session_id import show as show_session
from kraal.model.zxid import show
from kraal.replica.status import Mode
from kraal.sim.client import Request, SimClient
from kraal.sim.scheduler import MS, SECOND
from kraal.sim.violation import violated
from kraal.tree.data_tree import DataTree
from kraal.tree.digest import signed
from kraal.wire.opcodes import OpCode

if TYPE_CHECKING:
    from kraal.sim.server import SimServer
    from kraal.sim.world import World

PROMISE = "what was mended works again"
ANSWER_US = 10 * SECOND
"""An election may come between: a disk that was slow may just have cost a leader its quorum."""
CONFIG = b"/zookeeper/config"


class Convergence:
    """Waits for a world to recover, and compares what it has become."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wait_until_all_serve(self, limit_ms: int) -> int:
        """How long it took until one leader had all servers behind it, in ms."""
        world = self._world
        begin = world.scheduler.now_us
        if not world.scheduler.run(limit_ms * MS, self._all_serve):
            states = [_describe(server) for server in world.servers.values()]
            violated(PROMISE, "after %d ms: %s", limit_ms, ", ".join(states))
        return (world.scheduler.now_us - begin) // MS

    def settle_membership(self, limit_ms: int) -> None:
        """The members of the last configuration run, and nobody else."""
        world = self._world
        self._start_members()
        world.run(500)  # what was asked for may still be on its way to the leader
        if not world.scheduler.run(limit_ms * MS, self._has_settled_leader):
            states = [_describe(server) for server in world.servers.values()]
            violated(PROMISE, "after %d ms: %s", limit_ms, ", ".join(states))
        self._start_members()
        config = world.checks.membership.newest()
        for server in world.servers.values():
            if config is not None and server.id not in config.members:
                server.is_idle = True
                if server.is_up:
                    server.crash(power=False)

    def _has_settled_leader(self) -> bool:
        """Nothing is pending: a configuration that was proposed may still be committed."""
        leader = self._world.leader()
        return leader is not None and leader.peer.last_seen is leader.peer.config

    def _start_members(self) -> None:
        config = self._world.checks.membership.newest()
        for server in self._world.servers.values():
            if config is not None and server.id in config.members and server.is_idle:
                server.is_idle = False
                server.start()

    def _all_serve(self) -> bool:
        servers = [server for server in self._world.servers.values() if not server.is_idle]
        if not all(server.is_up and server.peer.replica is not None for server in servers):
            return False
        modes = [server.peer.replica.mode for server in servers if server.peer.replica]
        epochs = {server.peer.current_epoch for server in servers}
        return modes.count(Mode.LEADER) == 1 and Mode.READ_ONLY not in modes and len(epochs) == 1

    def probe(self, limit_ms: int) -> None:
        """A new client of each server writes."""
        world = self._world
        left: list[SimClient] = []
        for server_id, server in world.servers.items():
            if server.is_idle or server.port.replica is None:
                continue  # also a leader that serves no clients
            client = world.client(timeout_ms=4000)
            client.server_ids = [server_id]
            left.append(client)
            self._write(client, left)
        if not world.scheduler.run(limit_ms * MS, lambda: not left):
            names = ", ".join(client.name for client in left)
            violated(PROMISE, "after %d ms no write of %s has succeeded", limit_ms, names)

    def _write(self, client: SimClient, left: list[SimClient]) -> None:
        def answered(reply: object) -> None:
            if reply is not None and client in left:
                left.remove(client)
                client.server_ids = None

        def attempt() -> None:
            if client in left:
                request = Request(OpCode.CREATE, b"/probe-", flags=2, then=answered)
                client.after((500 if client.request(request) else 20) * MS, attempt)

        client.after(0, attempt)

    def settle(self) -> None:
        """Every request is answered, and dead clients' sessions are over."""
        world = self._world
        if not world.scheduler.run(ANSWER_US, self._all_answered):
            for client in world.clients:
                if client.is_up and not client.is_connected:
                    violated(PROMISE, "%s does not find a server", client.name)
                if client.is_up and client.connection and client.connection.outstanding:
                    request = client.connection.outstanding[0]
                    violated(PROMISE, "%s of %s is never answered", request, client.name)
        expiry_ms = 22 * world.plan.tick_ms + 1000
        if not world.scheduler.run(expiry_ms * MS, lambda: not self._unused_sessions()):
            found = ", ".join(map(show_session, self._unused_sessions()))
            violated("sessions end", "nobody uses %s, but they live", found)
        # A disk that was slow may just have cost a follower its leader.
        self.wait_until_all_serve(expiry_ms)
        world.run(500)  # what was committed last reaches everybody

    def _all_answered(self) -> bool:
        return all(
            client.is_connected and client.connection and not client.connection.outstanding
            for client in self._world.clients
            if client.is_up
        )

    def _unused_sessions(self) -> list[int]:
        clients = self._world.clients
        living = {client.session.id for client in clients if client.is_up}
        return [id_ for id_ in self._world.checks.history.tree.sessions if id_ not in living]

    def compare(self) -> None:
        """All trees are the one that the history makes."""
        world = self._world
        for server in world.servers.values():
            if server.is_idle:
                continue
            tree = server.peer.tree
            history = world.checks.history
            if history.floor(tree.last_zxid) != history.tip:
                violated(
                    PROMISE, "%s ends at %s instead of %s",
                    server.name, show(tree.last_zxid), show(history.tip),
                )  # fmt: skip
            found = difference(tree, history.tree)
            if found:
                violated("one history", "%s: %s", server.name, found)


def _describe(server: SimServer) -> str:
    if not server.is_up:
        return f"{server.name} is down"
    peer = server.peer
    mode = peer.replica.mode if peer.replica else "serves nobody"
    return f"{server.name} is {peer.state.name}, {mode}, epoch {peer.current_epoch}"


def difference(tree: DataTree, expected: DataTree) -> str | None:
    """What distinguishes two trees, if anything does."""
    if set(tree.nodes) != set(expected.nodes):
        return f"other znodes: {sorted(set(tree.nodes) ^ set(expected.nodes))[:5]}"
    for path, node in tree.nodes.items():
        other = expected.nodes[path]
        if path == CONFIG:
            continue
        if (node.data, node.stat, node.acl.encoded) != (other.data, other.stat, other.acl.encoded):
            return f"{path!r} is another one"
        if set(node.children or ()) != set(other.children or ()):
            return f"{path!r} has other children"
    if tree.sessions != expected.sessions:
        return f"other sessions: {tree.sessions} instead of {expected.sessions}"
    ours = {owner: set(paths) for owner, paths in tree.ephemerals.items()}
    theirs = {owner: set(paths) for owner, paths in expected.ephemerals.items()}
    if ours != theirs:
        return f"other ephemerals: {ours} instead of {theirs}"
    if signed(tree.digest) != signed(tree.compute_digest()):
        return "its digest is not that of its znodes"
    return None
