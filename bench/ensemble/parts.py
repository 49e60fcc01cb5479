"""What is measured on an ensemble as a whole: start, memory, the leader's death, catching up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bench import lifecycle, loader
from bench.ensemble.clients import Client, Clients, create, longest_pause, set_data
from bench.loader import Load, LoaderError
from tests.support.ensembles import APACHE, Ensemble, Member

KEYS = 10_000
WRITERS = 10
PACE_S = 0.01
LEAD_IN_S = 1.0
SETTLE_S = 1.0
IDLE_S = 3.0
PATIENCE_S = 120.0
UPDATES_PER_ZNODE = 2
FILL = (9, 100)


def ports(members: Sequence[Member]) -> list[int]:
    return [member.client_port for member in members]


def pids(members: Sequence[Member]) -> list[int]:
    return [member.server.pid for member in members if member.server is not None]


def everyone(ensemble: Ensemble) -> list[Member]:
    """All members, the leader first."""
    leader = ensemble.wait_leader(PATIENCE_S)
    return [leader, *(member for member in ensemble.members.values() if member is not leader)]


def fill_keys(ensemble: Ensemble) -> None:
    """Create the znodes that the loads read and write."""
    loader.run(Load("fill", *FILL, keys=KEYS), ports(everyone(ensemble)))


def heat(ensemble: Ensemble, seconds: float) -> None:
    """Writes through all members, so that a just-in-time compiler has seen them."""
    load = Load("write", *FILL, warm_up=0.0, seconds=seconds, keys=KEYS)
    loader.run(load, ports(everyone(ensemble)))


def cold_start(ensemble: Ensemble) -> float:
    """Start all members at once; seconds until the first write is acknowledged."""
    members = list(ensemble.members.values())
    clients = Clients(
        [Client([member.client_port], create("/first"), PATIENCE_S) for member in members]
    )
    began = time.monotonic()
    for member in members:
        member.launch()
    clients.start()
    try:
        ensemble.wait("first write", lambda: any(c.acked for c in clients.clients), PATIENCE_S)
    finally:
        clients.finish()
    seconds = min(client.acked[0] for client in clients.clients if client.acked) - began
    ensemble.wait_serving(PATIENCE_S)
    return seconds


def memory(ensemble: Ensemble, znodes: int) -> dict[str, float]:
    """Resident memory of the leader and a follower, idle and after a load of a fixed size."""
    members = everyone(ensemble)
    roles = {"leader": members[0], "follower": members[1]}
    time.sleep(IDLE_S)
    figures = {
        f"{role}_idle_mib": lifecycle.proc_mib(pids([member])[0], "VmRSS")
        for role, member in roles.items()
    }
    load = Load("fill", *FILL, area="fill", keys=znodes, parents=lifecycle.FILL_PARENTS)
    loader.run(load, ports(members))
    load = Load(
        "update", *FILL, area="fill", keys=znodes, parents=lifecycle.FILL_PARENTS,
        requests=UPDATES_PER_ZNODE * znodes,
    )  # fmt: skip
    loader.run(load, ports(members))
    for role, member in roles.items():
        assert member.server is not None
        lifecycle.settle(member.server)
        measured = lifecycle.memory(member.server, jvm=member.kind == APACHE)
        figures |= {f"{role}_{name}": value for name, value in measured.items()}
    return figures


def failover(ensemble: Ensemble) -> dict[str, float]:
    """Kill the leader under writes through the others; how long those paused, in ms.

    The killed member is not started again. `pause_ms` is the longest that any client waited
    from one acknowledgement to the next, `silence_ms` the longest in which none got any.
    """
    leader, *others = everyone(ensemble)
    clients = Clients(
        [
            Client(
                ports(others[number % 2 :] + others[: number % 2]),
                set_data(f"/bench/keys/p{number:04}/n{number:08}"),
                PACE_S,
            )
            for number in range(WRITERS)
        ]
    )
    clients.start()
    try:
        if not clients.wait(0.0, PATIENCE_S):
            raise LoaderError("a client's writes are not acknowledged before the kill")
        time.sleep(LEAD_IN_S)
        attempts = sum(client.attempts for client in clients.clients)
        killed = time.monotonic()
        leader.kill()
        if not clients.wait(killed, PATIENCE_S):
            raise LoaderError(f"a client's writes still wait {PATIENCE_S:.0f} s after the kill")
        time.sleep(SETTLE_S)
    finally:
        clients.finish()
    everybody = sorted(time for client in clients.clients for time in client.acked)
    return {
        "pause_ms": max(longest_pause(client.acked, killed) for client in clients.clients) * 1000,
        "silence_ms": longest_pause(everybody, killed) * 1000,
        "attempts": sum(client.attempts for client in clients.clients) - attempts,
        "sessions_lost": sum(client.expired for client in clients.clients),
    }


def lag(
    ensemble: Ensemble, writes: int, say: Callable[[str], None] = lambda _text: None
) -> dict[str, float]:
    """Kill a follower, write through the others, start it; seconds until it has caught up."""
    leader, behind, other = everyone(ensemble)
    behind.kill()
    load = Load("update", *FILL, keys=KEYS, requests=writes)
    written = loader.run(load, ports([leader, other]))
    say(f"{writes:,} writes without a follower at {written['per_second']:,.0f}/s")
    target = leader.zxid()
    began = time.monotonic()
    behind.launch()
    ensemble.wait("a follower in step", lambda: behind.zxid() >= target, PATIENCE_S)
    seconds = time.monotonic() - began
    ensemble.wait_serving(PATIENCE_S)
    # It is a server like any other: a loader that misses a znode would say so.
    reading = Load("read", 1, 10, warm_up=0.0, seconds=0.2, keys=KEYS)
    loader.run(reading, behind.client_port)
    return {"seconds": seconds, "per_second": written["per_second"]}
