"""Recipes: what applications build from znodes, sessions and watches.

    async with kraal.connect("127.0.0.1:2181") as zk:
        async with Lock(zk, "/locks/a") as held:
            ...

Each takes a client and a path, uses the client's public names only, and leaves neither znodes nor
watches behind when a wait is cancelled.
"""

from kraal.recipes.election import LeaderElection
from kraal.recipes.errors import (
    AcquireCancelledError,
    AcquireTimeoutError,
    AlreadyHeldError,
    LimitMismatchError,
    LostError,
    NotHeldError,
    RecipeError,
)
from kraal.recipes.held import Held, ManyHeld
from kraal.recipes.latch import LeaderLatch, Participant
from kraal.recipes.lease import Lease, LeaseHeld, MultiLease, Term
from kraal.recipes.lock import Lock
from kraal.recipes.multi_lock import MultiLock
from kraal.recipes.read_write_lock import ReadWriteLock
from kraal.recipes.semaphore import Semaphore

__all__ = [
    "AcquireCancelledError",
    "AcquireTimeoutError",
    "AlreadyHeldError",
    "Held",
    "LeaderElection",
    "LeaderLatch",
    "Lease",
    "LeaseHeld",
    "LimitMismatchError",
    "Lock",
    "LostError",
    "ManyHeld",
    "MultiLease",
    "MultiLock",
    "NotHeldError",
    "Participant",
    "ReadWriteLock",
    "RecipeError",
    "Semaphore",
    "Term",
]
