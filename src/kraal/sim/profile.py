"""Profiles: what kind of ensemble, how much load, which faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CALM: Mapping[str, int] = {}
FAULTS: Mapping[str, int] = {
    "kill": 8,
    "power": 8,
    "tear": 12,
    "bad disk": 4,
    "kill leader": 8,
    "lonely leader": 12,
    "all": 3,
    "partition": 8,
    "isolate": 8,
    "one way": 6,
    "cut": 12,
    "pause": 8,
    "clock": 2,
    "slow disk": 6,
    "slow network": 6,
    "hang up": 4,
    "deaf client": 4,
    "client dies": 3,
    "client leaves": 3,
}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Times in milliseconds; where there are several values, the seed chooses."""

    voters: tuple[int, ...] = (1, 2, 3, 3, 3, 4, 5, 5, 7)
    observers: tuple[int, ...] = (0, 0, 1, 2)
    spares: tuple[int, ...] = (0,)
    """Servers that may join; with them the membership changes."""
    clients: tuple[int, ...] = (2, 3, 4)
    duration_ms: int = 12_000
    faults: Mapping[str, int] = field(default_factory=lambda: FAULTS)
    fault_pause_ms: tuple[int, int] = (100, 2000)
    delay_us: tuple[tuple[int, int], ...] = ((50, 500), (50, 500), (200, 5000), (2000, 15_000))
    flush_us: tuple[tuple[int, int], ...] = ((50, 300), (200, 3000), (200, 3000), (3000, 20_000))
    reconfig_pause_ms: tuple[int, int] = (100, 2000)
    request_pause_ms: tuple[int, int] = (10, 150)
    pipelined: tuple[int, ...] = (2, 4, 8)
    hot_bursts: float = 0.25
    """Share of a client's bursts that are about one znode."""


DISK: Mapping[str, int] = {
    "power": 10,
    "tear": 30,
    "bad disk": 15,
    "all": 10,
    "kill leader": 5,
    "lonely leader": 10,
    "slow disk": 5,
    "cut": 10,
}
NETWORK: Mapping[str, int] = {
    "partition": 10,
    "isolate": 10,
    "one way": 10,
    "lonely leader": 10,
    "cut": 20,
    "slow network": 10,
    "pause": 10,
    "hang up": 5,
}
LEADERS: Mapping[str, int] = {"lonely leader": 20, "kill leader": 4, "isolate": 4, "cut": 4}
PROFILES: Mapping[str, Profile] = {
    "faults": Profile(),
    "quiet": Profile(faults=CALM, duration_ms=5000),
    "busy": Profile(
        faults=CALM,
        voters=(1, 3),
        duration_ms=3000,
        request_pause_ms=(1, 30),
        pipelined=(6, 12),
        hot_bursts=0.9,
        delay_us=((200, 5000),),
        flush_us=((3000, 20_000),),
    ),
    "leaders": Profile(faults=LEADERS, voters=(3, 3, 5), observers=(0,)),
    "disk": Profile(faults=DISK),
    "network": Profile(faults=NETWORK),
    "reconfig": Profile(voters=(2, 3, 3, 4, 5), observers=(0, 1), spares=(2,)),
    "quiet reconfig": Profile(
        voters=(2, 3, 3, 5), observers=(0, 1), spares=(2,), faults=CALM, duration_ms=8000
    ),
}
